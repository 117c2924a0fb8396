use super::{assert_helpful, fields, findings, good, only_policy, read};
use crate::model::{Namespaces, Peer, Peers, Policy, PortSpec, Ports, Protocol, Selector};

/// A policy with this spec, written in one line in flow style.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: p, namespace: x}}\nspec: {spec}\n"
    )
}

/// Directions isolated, and how many rules each has.
fn shape(policy: &Policy) -> String {
    let of = |isolates, rules: usize| if isolates { rules.to_string() } else { "-".into() };
    let ingress = of(policy.isolates.ingress, policy.ingress.len());
    format!("{ingress} {}", of(policy.isolates.egress, policy.egress.len()))
}

#[test]
fn policy_types_and_rules_decide_what_is_isolated() {
    for (spec, expected) in [
        ("{podSelector: {}}", "0 -"),
        ("{podSelector: {}, ingress: }", "0 -"),
        ("{podSelector: {}, ingress: []}", "0 -"),
        ("{podSelector: {}, ingress: [{}]}", "1 -"),
        ("{podSelector: {}, ingress: [], egress: [{}]}", "0 1"),
        ("{podSelector: {}, egress: , ingress: [{}]}", "1 -"),
        ("{podSelector: {}, policyTypes: , ingress: [{}]}", "1 -"),
        ("{podSelector: {}, policyTypes: [], ingress: [{}]}", "1 -"),
        ("{podSelector: {}, policyTypes: [Ingress]}", "0 -"),
        ("{podSelector: {}, policyTypes: [Ingress, Ingress]}", "0 -"),
        ("{podSelector: {}, policyTypes: [Egress]}", "- 0"),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{}, {}]}", "- 2"),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", "0 0"),
    ] {
        assert_eq!(shape(&only_policy(good(&policy(spec)))), expected, "{spec}");
    }
}

#[test]
fn what_may_not_be_meant_is_told() {
    for (spec, expected, field) in [
        ("{podSelector: {}, egress: [{}]}", "0 1", "spec.policyTypes"),
        ("{podSelector: {}, egress: []}", "0 -", "spec.egress"),
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", "- 0", "spec.ingress"),
        ("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", "0 -", "spec.egress"),
        ("{}", "0 -", "spec.podSelector"),
        (
            "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}",
            "1 -",
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
    ] {
        let (objects, parsed) = read(&policy(spec));
        let policy = only_policy(objects);
        assert_eq!(shape(&policy), expected, "{spec}");
        assert!(policy.isolates.ingress || policy.ingress.is_empty());
        assert_eq!(fields(&parsed), [format!("warning {field}")], "{spec}");
        assert_helpful(&parsed);
    }
}

fn rule(rule: &str) -> crate::model::PolicyRule {
    let text = policy(&format!("{{podSelector: {{}}, ingress: [{rule}]}}"));
    only_policy(good(&text)).ingress.remove(0)
}

#[test]
fn peers_are_what_the_rule_says() {
    let ns = |key: &str| -> String { format!("{{matchLabels: {{ns: {key}}}}}") };
    let selected = |selector: &Selector| match &selector.requirements[..] {
        [] => "all".to_owned(),
        [one] => format!("{}", one.key),
        _ => panic!("{selector:?}"),
    };
    for (from, expected) in [
        ("{}".to_owned(), "everyone"),
        ("{from: }".into(), "everyone"),
        ("{from: []}".into(), "everyone"),
        ("{from: [], ports: [{port: 80}]}".into(), "everyone"),
        ("{from: [{podSelector: {}}]}".into(), "all in own"),
        ("{from: [{namespaceSelector: {}}]}".into(), "all in all"),
        ("{from: [{namespaceSelector: {}, podSelector: }]}".into(), "all in all"),
        (format!("{{from: [{{namespaceSelector: {}}}]}}", ns("a")), "all in ns"),
        (
            format!(
                "{{from: [{{namespaceSelector: {}, podSelector: {{matchLabels: {{p: q}}}}}}]}}",
                ns("a")
            ),
            "p in ns",
        ),
        (
            format!(
                "{{from: [{{namespaceSelector: {}}}, {{podSelector: {{matchLabels: {{p: q}}}}}}]}}",
                ns("a")
            ),
            "all in ns, p in own",
        ),
        ("{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}".into(), "0.0.0.0/0 but []"),
        (
            "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.1.2.3/32]}}]}".into(),
            "10.0.0.0/8 but [10.1.0.0/16, 10.1.2.3/32]",
        ),
        ("{from: [{ipBlock: {cidr: \"fd00::/8\", except: }}]}".into(), "fd00::/8 but []"),
    ] {
        let found = match rule(&from).peers {
            Peers::Everyone => "everyone".to_owned(),
            Peers::AnyOf(peers) => {
                let peers = peers.iter().map(|peer| match peer {
                    Peer::Pods { namespaces: Namespaces::Own, pods } => {
                        format!("{} in own", selected(pods))
                    }
                    Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods } => {
                        format!("{} in {}", selected(pods), selected(namespaces))
                    }
                    Peer::Block(block) => format!("{} but {:?}", block.cidr, block.except),
                });
                peers.collect::<Vec<_>>().join(", ")
            }
        };
        assert_eq!(found, expected, "{from}");
    }
}

#[test]
fn ports_are_what_the_rule_says() {
    for (ports, expected) in [
        ("", "every"),
        ("[]", "every"),
        ("[{}]", "TCP *"),
        ("[{protocol: UDP}]", "UDP *"),
        ("[{protocol: SCTP, port: 7}]", "SCTP 7-7"),
        ("[{protocol: , port: 80, endPort: }]", "TCP 80-80"),
        ("[{port: 80, endPort: 80}]", "TCP 80-80"),
        ("[{port: 1, endPort: 65535}]", "TCP 1-65535"),
        ("[{port: http}, {port: 8-a, protocol: UDP}]", "TCP http, UDP 8-a"),
    ] {
        let found = match rule(&format!("{{ports: {ports}}}")).ports {
            Ports::Every => "every".to_owned(),
            Ports::AnyOf(ports) => {
                let ports = ports.iter().map(|port| match &port.port {
                    PortSpec::Any => format!("{} *", port.protocol),
                    PortSpec::Range { first, last } => format!("{} {first}-{last}", port.protocol),
                    PortSpec::Named(name) => format!("{} {name}", port.protocol),
                });
                ports.collect::<Vec<_>>().join(", ")
            }
        };
        assert_eq!(found, expected, "{ports}");
    }
    assert_eq!(Protocol::ALL.len(), 3);
}

/// Rules with one wrong field, and which.
const WRONG_RULES: &[(&str, &str)] = &[
    ("", ""),
    ("text", ""),
    ("{form: []}", ".form"),
    ("{to: [{podSelector: {}}]}", ".to"),
    ("{port: [{port: 80}]}", ".port"),
    ("{podSelector: {}}", ".podSelector"),
    ("{from: {podSelector: {}}}", ".from"),
    ("{from: [text]}", ".from[0]"),
    ("{from: [{}]}", ".from[0]"),
    ("{from: [ , ]}", ".from[0]"),
    ("{from: [{podSelector: }]}", ".from[0]"),
    ("{from: [{namespaceSelectors: {}}]}", ".from[0].namespaceSelectors"),
    ("{from: [{podSelector: {app: web}}]}", ".from[0].podSelector.app"),
    ("{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}", ".from[0]"),
    ("{from: [{ipBlock: 10.0.0.0/8}]}", ".from[0].ipBlock"),
    ("{from: [{ipBlock: {}}]}", ".from[0].ipBlock.cidr"),
    ("{from: [{ipBlock: {cidr: 10.0.0.1}}]}", ".from[0].ipBlock.cidr"),
    ("{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}", ".from[0].ipBlock.cidr"),
    ("{from: [{ipBlock: {cidr: \"::ffff:10.0.0.0/104\"}}]}", ".from[0].ipBlock.cidr"),
    ("{from: [{ipBlock: {cidr: 10.0.0.0/8, excepts: []}}]}", ".from[0].ipBlock.excepts"),
    ("{from: [{ipBlock: {cidr: 10.0.0.0/8, except: 10.0.0.0/9}}]}", ".from[0].ipBlock.except"),
    ("{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}", ".from[0].ipBlock.except[0]"),
    (
        "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}",
        ".from[0].ipBlock.except[0]",
    ),
    (
        "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [\"fd00::/16\"]}}]}",
        ".from[0].ipBlock.except[0]",
    ),
    ("{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/7]}}]}", ".from[0].ipBlock.except[0]"),
    ("{ports: 80}", ".ports"),
    ("{ports: [80]}", ".ports[0]"),
    ("{ports: [ , ]}", ".ports[0]"),
    ("{ports: [{ports: 80}]}", ".ports[0].ports"),
    ("{ports: [{port: \"80\"}]}", ".ports[0].port"),
    ("{ports: [{port: 80-90}]}", ".ports[0].port"),
    ("{ports: [{port: \"80,443\"}]}", ".ports[0].port"),
    ("{ports: [{port: 80.5}]}", ".ports[0].port"),
    ("{ports: [{port: 0}]}", ".ports[0].port"),
    ("{ports: [{port: 65536}]}", ".ports[0].port"),
    ("{ports: [{port: -1}]}", ".ports[0].port"),
    // Octal to the API server, decimal to the eye.
    ("{ports: [{port: 0100}]}", ".ports[0].port"),
    ("{ports: [{port: Http}]}", ".ports[0].port"),
    ("{ports: [{port: a-name-too-long-}]}", ".ports[0].port"),
    ("{ports: [{port: \"\"}]}", ".ports[0].port"),
    ("{ports: [{port: true}]}", ".ports[0].port"),
    ("{ports: [{protocol: tcp}]}", ".ports[0].protocol"),
    ("{ports: [{protocol: \"\"}]}", ".ports[0].protocol"),
    ("{ports: [{protocol: ICMP}]}", ".ports[0].protocol"),
    ("{ports: [{protocol: 6}]}", ".ports[0].protocol"),
    ("{ports: [{endPort: 90}]}", ".ports[0].endPort"),
    ("{ports: [{port: http, endPort: 90}]}", ".ports[0].endPort"),
    ("{ports: [{port: 80, endPort: 79}]}", ".ports[0].endPort"),
    ("{ports: [{port: 80, endPort: 65536}]}", ".ports[0].endPort"),
    ("{ports: [{port: 80, endPort: \"90\"}]}", ".ports[0].endPort"),
];

/// One wrong field anywhere takes every rule of both directions away, and nothing else.
#[test]
fn a_policy_with_a_wrong_rule_isolates_and_allows_nothing() {
    for (rule, field) in WRONG_RULES {
        // "- " with nothing after it, which flow style cannot say at the end of a list.
        let rule = rule.replace("[ , ]", "[null]");
        let rule = if rule.is_empty() { "null" } else { &rule };
        let text = policy(&format!(
            "{{podSelector: {{matchLabels: {{a: b}}}}, policyTypes: [Ingress, Egress], ingress: [{{}}, {rule}], egress: [{{}}]}}"
        ));
        let (objects, parsed) = read(&text);
        let policy = only_policy(objects);
        assert_eq!(fields(&parsed), [format!("error spec.ingress[1]{field}")], "{rule}");
        assert_eq!(
            (shape(&policy), policy.subjects.requirements.len()),
            ("0 0".into(), 1),
            "{rule}"
        );
        assert!(parsed.readable && parsed.withheld.is_empty());
        assert_helpful(&parsed);
    }
}

#[test]
fn a_policy_with_a_wrong_spec_isolates_what_it_may_mean() {
    for (spec, expected, field) in [
        ("", "0 0", "spec"),
        ("null", "0 0", "spec"),
        ("text", "0 0", "spec"),
        ("[{}]", "0 0", "spec"),
        ("{podSelector: {}, policyTypes: Ingress, ingress: [{}]}", "0 0", "spec.policyTypes"),
        ("{podSelector: {}, policyTypes: [ingress], ingress: [{}]}", "0 0", "spec.policyTypes[0]"),
        (
            "{podSelector: {}, policyTypes: [Ingress, 1], ingress: [{}]}",
            "0 0",
            "spec.policyTypes[1]",
        ),
        (
            "{podSelector: {}, policyTypes: [Ingress, Egress, Ingress], ingress: [{}]}",
            "0 0",
            "spec.policyTypes",
        ),
        (
            "{podSelector: {}, policyTypes: [Ingress, Egress, Both], ingress: [{}]}",
            "0 0",
            "spec.policyTypes[2]",
        ),
        ("{podSelector: {}, policyType: [Egress]}", "0 0", "spec.policyType"),
        ("{podSelector: {}, egres: [{}]}", "0 0", "spec.egres"),
        ("{podSelector: {}, policyTypes: [Ingress], egres: [{}]}", "0 -", "spec.egres"),
        ("{podSelector: {}, ingress: {}}", "0 -", "spec.ingress"),
        ("{podSelector: {}, ingress: [], egress: {}}", "0 0", "spec.egress"),
    ] {
        let (objects, parsed) = read(&policy(spec));
        assert_eq!(shape(&only_policy(objects)), expected, "{spec}");
        assert_eq!(fields(&parsed), [format!("error {field}")], "{spec}");
        assert_helpful(&parsed);
    }
    let misspelt = policy("{podSelector: {matchLabels: {a: b}}}").replace("spec:", "sepc:");
    let (objects, parsed) = read(&misspelt);
    assert_eq!(shape(&only_policy(objects)), "0 0");
    assert_eq!(fields(&parsed), ["error sepc", "error spec"]);
    let (objects, parsed) = read(&policy("").replace("spec: \n", ""));
    assert_eq!(shape(&only_policy(objects)), "0 0");
    assert!(findings(&parsed).contains("spec is missing"), "{}", findings(&parsed));
    let unindented = policy("\npodSelector: {}\npolicyTypes: [Ingress]\ningress: [{}]");
    let (objects, parsed) = read(&unindented);
    assert_eq!(shape(&only_policy(objects)), "0 0");
    assert!(findings(&parsed).contains("Write it under spec"), "{}", findings(&parsed));
}

#[test]
fn a_policy_with_a_wrong_name_or_version_isolates_too() {
    let whole = policy("{podSelector: {}, ingress: [{}]}");
    for (right, wrong, field) in [
        ("apiVersion: networking.k8s.io/v1\n", "", "apiVersion"),
        ("networking.k8s.io/v1\n", "networking.k8s.io/v1beta1\n", "apiVersion"),
        ("networking.k8s.io/v1\n", "networkin.k8s.io/v1\n", "apiVersion"),
        ("networking.k8s.io/v1\n", "extensions/v1beta1\n", "apiVersion"),
        ("networking.k8s.io/v1\n", "v1\n", "apiVersion"),
        ("name: p,", "name: P,", "metadata.name"),
    ] {
        let (objects, parsed) = read(&whole.replace(right, wrong));
        assert_eq!(shape(&only_policy(objects)), "0 -");
        assert_eq!(fields(&parsed), [format!("error {field}")]);
    }
}

/// Whoever never knew it is told to isolate what any of them does, and to allow nothing.
#[test]
fn a_policy_given_twice_is_withheld_and_closed() {
    for (first, second, expected, subjects) in [
        ("{podSelector: {}, ingress: [{}]}", "{podSelector: {}}", "0 -", 0),
        ("{podSelector: {matchLabels: {a: b}}}", "{podSelector: {matchLabels: {a: b}}}", "0 -", 1),
        ("{podSelector: {matchLabels: {a: b}}}", "{podSelector: {matchLabels: {a: c}}}", "0 -", 0),
        (
            "{podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress], ingress: [{}]}",
            "{podSelector: {matchLabels: {a: b}}, policyTypes: [Egress], egress: [{}]}",
            "0 0",
            1,
        ),
        ("{podSelector: {matchLabels: {a: b}}, policyTypes: [Egress]}", "text", "0 0", 0),
    ] {
        for (first, second) in [(first, second), (second, first)] {
            for text in [
                [policy(first), policy(second)].join("---\n"),
                [policy(first), policy(second), policy(first)].join("---\n"),
            ] {
                let (_, parsed) = read(&text);
                let [withheld] = &parsed.withheld[..] else { panic!("{:?}", parsed.withheld) };
                assert_eq!(withheld.object.to_string(), "NetworkPolicy x/p");
                let closed = withheld.closed.as_ref().unwrap();
                assert_eq!(
                    (shape(closed), closed.subjects.requirements.len(), closed.key.to_string()),
                    (expected.to_owned(), subjects, "x/p".to_owned()),
                    "{text}"
                );
                assert!(fields(&parsed).contains(&"error metadata.name".to_owned()));
                assert!(parsed.readable);
                assert_helpful(&parsed);
            }
        }
    }
}

#[test]
fn each_error_says_where_it_is_and_what_to_do() {
    let text = "\
# a policy
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: x}
spec:
  podSelector: {app: web}
  ingress:
  - from:
    - namespaceSelectors: {}
    - cidr: 10.0.0.0/8
    - ipBlock: {cidr: 10.0.0.1}
    port: 80
  - podSelector: {}
  - ports:
    - port: \"80\"
";
    let (_, parsed) = read(text);
    assert_eq!(
        findings(&parsed)
            .replace(" error: NetworkPolicy x/p: spec.", " ")
            .replace(" Until this is corrected, the policy isolates every pod of the namespace x for ingress, and allows nothing.", ""),
        "\
in.yaml:6:17: podSelector.app is not a field of a label selector. Write labels under matchLabels.
in.yaml:12:5: ingress[0].port is not a field of an ingress rule. Write it into an item of the list ports.
in.yaml:9:7: ingress[0].from[0].namespaceSelectors is not a field of a peer. Did you mean namespaceSelector?
in.yaml:10:7: ingress[0].from[1].cidr is not a field of a peer. Write it under ipBlock.
in.yaml:11:17: ingress[0].from[2].ipBlock.cidr is \"10.0.0.1\", which is not a CIDR. Write 10.0.0.1/32 for this one address.
in.yaml:13:5: ingress[1].podSelector is not a field of an ingress rule. Write it into an item of the list from.
in.yaml:15:7: ingress[2].ports[0].port is \"80\", which is not the name of a port. Write the number 80 without quotes.
"
    );
}
