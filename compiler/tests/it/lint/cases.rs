//! Each code: manifests that it is found in, and nearly the same ones that it is not found in.

use palisade_compiler::lint::{Code, Severity};

use super::{CLUSTER, lint_text, manifests, of};

/// A code; lines beside `CLUSTER` that it is found in, with a part of its message and of its remedy; and lines that it is not
/// found in.
struct Case(Code, &'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    Case(
        Code::ManifestError,
        "policy shop/p {podSelector: {}, ingress: [{form: []}]}",
        "spec.ingress[0].form",
        "Did you mean from?",
        "policy shop/p {podSelector: {}, ingress: [{from: []}]}",
    ),
    Case(
        Code::ManifestWarning,
        "policy shop/p {podSelector: {}, egress: [{to: [{podSelector: {}}]}]}",
        "isolates ingress as well",
        "policyTypes: [Egress]",
        "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}",
    ),
    Case(
        Code::NamespaceByDefault,
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}}}",
        "read into default",
        "--namespace",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop}, spec: {podSelector: {}}}",
    ),
    Case(
        Code::NotRead,
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: shop}, spec: {}}",
        "Deployment",
        "kubectl get pods",
        "",
    ),
    Case(
        Code::UnknownIgnore,
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop, annotations: {palisade.io/lint-ignore: PAL999}}, spec: {podSelector: {}}}",
        "PAL999",
        "codes of this table",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop, annotations: {palisade.io/lint-ignore: PAL101}}, spec: {podSelector: {}}}",
    ),
    Case(
        Code::SelectsNoPod,
        "policy shop/p {podSelector: {matchLabels: {app: wbe}}}",
        "app=wbe selects no pod of the namespace shop",
        "Did you mean app=web, as shop/web has?",
        "policy shop/p {podSelector: {matchLabels: {app: web}}}",
    ),
    Case(
        Code::NamespaceHasNoPods,
        "policy empty/p {podSelector: {matchLabels: {app: web}}}",
        "empty is a namespace without pods",
        "metadata.namespace",
        "policy ops/p {podSelector: {matchLabels: {app: web}}}",
    ),
    Case(
        Code::SelectsOnlyHostPods,
        "policy shop/p {podSelector: {matchLabels: {role: host}}}",
        "1 pod on the host's network (shop/agent)",
        "hostNetwork: false",
        "policy shop/p {podSelector: {matchLabels: {app: web}}}",
    ),
    Case(
        Code::SelectsHostPods,
        "policy shop/p {podSelector: {}}",
        "also selects 1 pod on the host's network (shop/agent)",
        "hostNetwork: false",
        "policy shop/p {podSelector: {matchExpressions: [{key: role, operator: DoesNotExist}]}}",
    ),
    Case(
        Code::PeerMatchesNoPod,
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: prometheus}}}]}]}",
        "spec.ingress[0].from[0] selects app=prometheus in the policy's own namespace shop",
        "add a namespaceSelector for kubernetes.io/metadata.name: ops",
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
    ),
    Case(
        Code::PeerMatchesNoNamespace,
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {purpose: monitorin}}}]}]}",
        "matches no namespace (purpose=monitorin)",
        "Did you mean purpose=monitoring, as namespace ops has?",
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {purpose: monitoring}}}]}]}",
    ),
    Case(
        Code::AndForOr,
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: web}}}]}]}",
        "no pod has both",
        "two entries",
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}, {podSelector: {matchLabels: {app: web}}}]}]}",
    ),
    Case(
        Code::OrForAnd,
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}, {podSelector: {matchLabels: {app: prometheus}}}]}]}",
        "the entry 0 beside it allows every pod of the namespaces with team=ops",
        "remove the dash",
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: prometheus}}}]}]}",
    ),
    Case(
        Code::PeerOnHostNetwork,
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: agent}}}]}]}",
        "only pods on the host's network",
        "ipBlock",
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}",
    ),
    Case(
        Code::PeerNamespacesHaveNoPods,
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {stage: later}}}]}]}",
        "namespaces without pods (empty)",
        "Check the name",
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}}]}]}",
    ),
    Case(
        Code::UnknownPortName,
        "policy shop/p {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: htpp}]}]}",
        "TCP port named htpp",
        "Did you mean the TCP port http, which is 8080?",
        "policy shop/p {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}",
    ),
    Case(
        Code::DnsWithoutUdp,
        "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53}]}]}",
        "no policy for these pods allows it for UDP",
        "protocol: UDP",
        "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53}, {port: 53, protocol: UDP}]}]}",
    ),
    Case(
        Code::OtherProtocol,
        "policy shop/p {podSelector: {matchLabels: {app: syslog}}, ingress: [{ports: [{port: 514}]}]}",
        "is for TCP port 514, which on the pods is UDP (shop/syslog)",
        "protocol: UDP",
        "policy shop/p {podSelector: {matchLabels: {app: syslog}}, ingress: [{ports: [{port: 514, protocol: UDP}]}]}",
    ),
    Case(
        Code::WholeRange,
        "policy shop/p {podSelector: {}, ingress: [{ports: [{port: 1, endPort: 65535}]}]}",
        "holds every TCP port",
        "Leave out",
        "policy shop/p {podSelector: {}, ingress: [{ports: [{port: 1024, endPort: 65535}]}]}",
    ),
    Case(
        Code::PortAllowedTwice,
        "policy shop/p {podSelector: {}, ingress: [{ports: [{port: 8080}, {port: 8000, endPort: 8100}]}]}",
        "spec.ingress[0].ports[0] lies within ports[1] of the same rule (TCP ports 8000-8100)",
        "Remove it",
        "policy shop/p {podSelector: {}, ingress: [{ports: [{port: 8080, protocol: UDP}, {port: 8000, endPort: 8100}]}]}",
    ),
    Case(
        Code::ServicePort,
        "policy shop/p {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 80}]}]}",
        "the port of the Service shop/api",
        "port: 8080",
        "policy shop/p {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 8080}]}]}",
    ),
    Case(
        Code::ExceptRemovesEverything,
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25, 203.0.113.128/25]}}]}]}",
        "its except removes all of it",
        "Correct the blocks",
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25, 203.0.113.128/26]}}]}]}",
    ),
    Case(
        Code::ExceptRemovesNothing,
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/28, 203.0.113.0/25]}}]}]}",
        "except[0] is 203.0.113.0/28, which the except 203.0.113.0/25 removes already",
        "Remove it",
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/28, 203.0.113.0/25]}}]}]}",
    ),
    Case(
        Code::ExceptAllowedElsewhere,
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/28]}}, {ipBlock: {cidr: 203.0.0.0/16}}]}]}",
        "except[0] removes 203.0.113.0/28, which spec.ingress[0].from[1] (203.0.0.0/16) allows",
        "other block as well",
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/28]}}, {ipBlock: {cidr: 203.0.0.0/16, except: [203.0.113.0/24]}}]}]}",
    ),
    Case(
        Code::BlockHoldsPods,
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}",
        "holds 6 addresses of pods (shop/web 10.0.0.1, shop/api 10.0.0.2, shop/db 10.0.0.3 and 3 more)",
        "select them by labels",
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/16]}}]}]}",
    ),
    Case(
        Code::BlockIsPod,
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.1/32}}]}]}",
        "the address of a pod (ops/prometheus 10.0.1.1)",
        "by its labels",
        "policy shop/p {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.1/32}}]}]}",
    ),
    Case(
        Code::BlockHoldsServices,
        "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}",
        "addresses of Services (shop/api 10.96.0.1)",
        "pods behind the Service",
        "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/16]}}]}]}",
    ),
    Case(
        Code::OneDirection,
        "policy shop/p {podSelector: {}, policyTypes: [Ingress]}",
        "The namespace shop has 4 pods (api, db, syslog and 1 more) that are isolated for ingress only",
        "policyTypes",
        "policy shop/p {podSelector: {}, policyTypes: [Ingress, Egress]}",
    ),
    Case(
        Code::NamespaceNotIsolated,
        "policy ops/p {podSelector: {}}",
        "The namespace shop has 4 pods (api, db, syslog and 1 more) and no policy isolates any of them",
        "policyTypes: [Ingress, Egress]",
        "policy ops/p {podSelector: {}}\npolicy shop/p {podSelector: {}}\npolicy kube-system/p {podSelector: {}}",
    ),
    Case(
        Code::PodsNotSelected,
        "policy shop/p {podSelector: {matchLabels: {tier: back}}}",
        "The namespace shop has 2 pods (syslog, web) that are isolated by no policy",
        "podSelector: {}",
        "policy shop/p {podSelector: {matchExpressions: [{key: app, operator: Exists}]}}",
    ),
    Case(
        Code::RuleAllowsEverything,
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {}]}",
        "spec.ingress[1] allows everything",
        "Remove that rule",
        "policy shop/p {podSelector: {}, ingress: [{}]}",
    ),
    Case(
        Code::RuleForEveryone,
        "policy shop/p {podSelector: {}, ingress: [{from: [], ports: [{port: 8080}]}]}",
        "has no from: every address may connect, also outside the cluster, on TCP port 8080",
        "namespaceSelector: {}",
        "policy shop/p {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 8080}]}]}",
    ),
    Case(
        Code::EgressWithoutDns,
        "policy shop/p {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: api}}}]}]}",
        "lets 1 pod (shop/web) connect, and no policy lets them query the DNS",
        "port 53",
        "policy shop/p {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: api}}}]}]}\n\
         policy shop/dns {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}]}]}",
    ),
    Case(
        Code::Subsumed,
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}\n\
         policy shop/q {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {}}]}]}",
        "allows nothing that shop/q does not allow",
        "Remove one of the two",
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}], egress: []}\n\
         policy shop/q {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
    ),
    Case(
        Code::RepeatedRule,
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{podSelector: {}}]}]}",
        "spec.ingress[1] is the same rule as spec.ingress[0]",
        "Remove it",
        "policy shop/p {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {}}]}]}",
    ),
];

#[test]
fn every_code_fires_where_it_should_and_only_there() {
    for Case(code, fires, message, remedy, silent) in CASES {
        let report = lint_text(&manifests(&format!("{CLUSTER}{fires}")));
        let found = of(&report, *code);
        let is_it = |f: &&&palisade_compiler::lint::Finding| {
            f.message.contains(message) && f.remedy.contains(remedy)
        };
        assert!(found.iter().any(|f| is_it(&f)), "{code}: no {message:?} in {report:#?}");
        for finding in found {
            assert_eq!(finding.severity, code.severity());
            assert_eq!(finding.why, code.entry().why);
        }
        let report = lint_text(&manifests(&format!("{CLUSTER}{silent}")));
        assert!(of(&report, *code).is_empty(), "{code} in {report:#?}");
    }
}

#[test]
fn every_code_has_a_case() {
    // Of input without pods, below; of changes, in lost_match.rs; of use, in the agent (reconcile/usage/tests.rs).
    let of_changes = [Code::PolicyLostPods, Code::PodLostIsolation, Code::PeerLostPods];
    let of_use = [Code::PolicyNeverUsed, Code::RuleNeverUsed, Code::IsolationNeverDenied];
    let others = [[Code::NoPods; 3], of_changes, of_use].concat();
    let cases: Vec<Code> = CASES.iter().map(|case| case.0).chain(others).collect();
    for code in Code::ALL {
        assert!(cases.contains(code), "{code} has no case");
    }
}

#[test]
fn without_pods_only_what_is_written_is_judged() {
    let policy = "policy shop/p {podSelector: {matchLabels: {app: a}}, ingress: [{from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: http}]}]}";
    let report = lint_text(&manifests(policy));
    let codes: Vec<Code> = report.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::NoPods]);
    assert!(lint_text(&manifests("namespace a {}")).findings.is_empty());
}

/// A policy for pods that a Job left behind is no slip of its author's.
#[test]
fn pods_that_have_ended_have_their_labels() {
    let ended = "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: job, labels: {app: job}}, status: {phase: Succeeded}}";
    let policy = "policy shop/p {podSelector: {matchLabels: {app: job}}, ingress: [{from: [{podSelector: {matchLabels: {app: job}}}]}]}";
    let report = lint_text(&manifests(&format!("{CLUSTER}{ended}\n{policy}")));
    assert_eq!(report.count_from(Severity::Warning), 0, "{report:#?}");
}

#[test]
fn findings_are_accepted_by_annotation_each_by_its_code() {
    let annotated = |codes: &str| {
        let policy = format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: shop, name: p, annotations: {{palisade.io/lint-ignore: '{codes}'}}}}, spec: {{podSelector: {{matchLabels: {{app: none}}}}, ingress: [{{}}]}}}}"
        );
        lint_text(&manifests(&format!("{CLUSTER}{policy}")))
    };
    let about_it = |codes: &str| -> Vec<Code> {
        let report = annotated(codes);
        let own =
            report.findings.iter().filter(|f| f.object.as_ref().is_some_and(|o| o.name == "p"));
        own.map(|finding| finding.code).collect()
    };
    assert_eq!(
        about_it("PAL999"),
        [Code::UnknownIgnore, Code::SelectsNoPod, Code::RuleForEveryone]
    );
    assert_eq!(about_it("pal101"), [Code::RuleForEveryone]);
    assert_eq!(about_it("PAL101, PAL505"), []);
    assert_eq!(annotated("PAL101, PAL505").ignored, 2);
}

#[test]
fn pods_and_namespaces_are_accepted_too() {
    let annotated = |kind: &str, metadata: &str| {
        format!(
            "{{apiVersion: v1, kind: {kind}, metadata: {{{metadata}, annotations: {{palisade.io/lint-ignore: PAL503}}}}}}\n"
        )
    };
    let policy = "policy a/p {podSelector: {matchLabels: {app: web}}}\n";
    let pods = "pod a/web {app: web} 10.1.0.1\npod a/one {app: one} 10.1.0.2\n";
    let open = |more: &str| {
        let report = lint_text(&manifests(&format!("{policy}{pods}{more}")));
        of(&report, Code::PodsNotSelected).iter().map(|f| f.message.clone()).collect::<Vec<_>>()
    };
    let two =
        "{apiVersion: v1, kind: Pod, metadata: {namespace: a, name: two, labels: {app: one}}}\n";
    assert!(open(two)[0].contains("2 pods (one and 1 more)"), "{:?}", open(two));
    let accepted = annotated("Pod", "namespace: a, name: two, labels: {app: one}");
    assert!(open(&accepted)[0].contains("1 pod (one) that is"), "{:?}", open(&accepted));
    assert!(open(&annotated("Namespace", "name: a")).is_empty());
}

#[test]
fn a_typo_in_one_of_many_labels_is_named_and_another_word_is_not() {
    let selector = |labels: &str| {
        let policy = format!("policy shop/p {{podSelector: {{matchLabels: {{{labels}}}}}}}");
        let report = lint_text(&manifests(&format!("{CLUSTER}{policy}")));
        of(&report, Code::SelectsNoPod)[0].remedy.clone()
    };
    assert_eq!(selector("app: db, tier: bakc"), "Did you mean tier=back, as shop/db has?");
    assert_eq!(selector("App: db"), "Did you mean app=db, as shop/db has?");
    assert_eq!(selector("app: cache"), Code::SelectsNoPod.entry().remedy);
    assert!(selector("app: prometheus").contains("ops/prometheus has these labels"));
}

/// Who gives a part of the cluster names namespaces that are not in it.
#[test]
fn a_namespace_that_is_only_named_is_a_note_and_a_misspelt_one_a_warning() {
    let named = |name: &str| {
        let policy = format!(
            "policy shop/p {{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}]}}]}}"
        );
        let report = lint_text(&manifests(&format!("{CLUSTER}{policy}")));
        report
            .findings
            .iter()
            .filter(|f| f.code.id().starts_with("PAL2"))
            .map(|f| f.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(named("ingress-nginx"), [Code::PeerNamespacesHaveNoPods]);
    assert_eq!(named("kube-sytem"), [Code::PeerMatchesNoNamespace]);
    assert_eq!(named("kube-system"), []);
}

/// Between pods that a port name is looked up on, one that has it is enough.
#[test]
fn a_port_name_that_some_pod_has_is_right() {
    let egress = |peers: &str, port: &str| {
        let policy = format!(
            "policy shop/p {{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: {peers}, ports: [{port}]}}]}}"
        );
        let report = lint_text(&manifests(&format!("{CLUSTER}{policy}")));
        of(&report, Code::UnknownPortName).len()
    };
    assert_eq!(egress("[{podSelector: {}}]", "{port: sql}"), 0);
    assert_eq!(egress("[{podSelector: {matchLabels: {app: web}}}]", "{port: sql}"), 1);
    assert_eq!(
        egress(
            "[{podSelector: {matchLabels: {app: web}}}, {podSelector: {matchLabels: {app: db}}}]",
            "{port: sql}"
        ),
        0
    );
    assert_eq!(
        egress(
            "[{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 10.0.0.0/8}}]",
            "{port: sql}"
        ),
        0
    );
    assert_eq!(egress("[]", "{port: sql}"), 0);
    assert_eq!(egress("[]", "{port: sql, protocol: UDP}"), 1);
    assert_eq!(egress("[]", "{port: nothing}"), 1);
}

/// Deny everything, and open nothing: who writes that wants it. A resolver on the nodes' own network is always reached.
#[test]
fn dns_is_missed_only_where_something_is_allowed_and_the_resolver_is_a_pod() {
    let count = |lines: &str| {
        of(&lint_text(&manifests(&format!("{CLUSTER}{lines}"))), Code::EgressWithoutDns).len()
    };
    let to_api = "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: api}}}]}]}";
    assert_eq!(count("policy shop/p {podSelector: {}, policyTypes: [Egress]}"), 0);
    assert_eq!(count(to_api), 1);
    assert_eq!(
        count(&format!(
            "{to_api}\nhost kube-system/node-dns {{k8s-app: node-local-dns}} 192.168.0.1"
        )),
        0
    );
    let everywhere = "policy shop/q {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}";
    assert_eq!(count(&format!("{to_api}\n{everywhere}")), 0);
    let by_name = "policy shop/q {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: dns, protocol: UDP}]}]}";
    assert_eq!(count(&format!("{to_api}\n{by_name}")), 0);
}

/// Of two equal policies the second is superfluous, and of three two are.
#[test]
fn of_equal_policies_one_stays() {
    let policy = |name: &str| {
        format!(
            "policy shop/{name} {{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{}}}}]}}]}}\n"
        )
    };
    let report =
        lint_text(&manifests(&[CLUSTER, &policy("a"), &policy("b"), &policy("c")].concat()));
    let named: Vec<_> =
        of(&report, Code::Subsumed).iter().map(|f| f.object.clone().unwrap().name).collect();
    assert_eq!(named, ["b", "c"]);
}
