//! Reading manifests: nothing panics, typed Kubernetes objects are read without a finding, and what is wrong is reported with its
//! place and a remedy.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use palisade_compiler::model::{Peers, Ports};
use palisade_compiler::parse::{Object, Parsed, Severity, parse};
use proptest::prelude::*;

fn read(bytes: &[u8]) -> (Vec<Object>, Parsed) {
    let mut objects = Vec::new();
    let parsed = parse("in.yaml", bytes, &mut |object| objects.push(object));
    (objects, parsed)
}

const VALID: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {a: b}}}
- {apiVersion: v1, kind: Service, metadata: {name: s, namespace: x}, spec: {clusterIPs: [10.96.0.1], ports: [{port: 80}]}}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: s, namespace: x}, endpoints: [{addresses: [10.0.0.1]}]}
- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: x}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: n, namespace: x}
spec:
  podSelector: {matchExpressions: [{key: a, operator: In, values: [b, c]}]}
  ingress:
  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, &peer {podSelector: {}}]
    ports: [{port: 80, endPort: 90}, {port: http, protocol: TCP}]
  - from: [*peer]
";

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn no_mutation_of_a_manifest_makes_it_panic(
        cuts in proptest::collection::vec((0_usize..VALID.len(), 0_usize..6, "[ -~\n]{0,4}"), 1..6)
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, removed, inserted) in cuts {
            let at = at.min(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted.into_bytes());
        }
        let (objects, parsed) = read(&bytes);
        prop_assert_eq!(objects.len(), parsed.objects);
    }

    /// What the typed API can say is read without a complaint, and means what was said.
    #[test]
    fn typed_policies_are_read_as_they_are(
        rules in proptest::collection::vec((0_u16..4, 1_u16..u16::MAX, any::<bool>()), 0..4),
        egress in any::<bool>(),
    ) {
        let port = |number: u16, named: bool| net::NetworkPolicyPort {
            port: Some(if named {
                IntOrString::String("http".into())
            } else {
                IntOrString::Int(i32::from(number))
            }),
            protocol: Some("UDP".into()),
            end_port: None,
        };
        let labels = meta::LabelSelector {
            match_labels: Some([("app".to_owned(), "x".to_owned())].into()),
            ..Default::default()
        };
        let peer = |kind: u16| match kind {
            1 => Some(net::NetworkPolicyPeer { pod_selector: Some(labels.clone()), ..Default::default() }),
            2 => Some(net::NetworkPolicyPeer {
                namespace_selector: Some(meta::LabelSelector::default()),
                ..Default::default()
            }),
            3 => Some(net::NetworkPolicyPeer {
                ip_block: Some(net::IPBlock { cidr: "192.0.2.0/24".into(), except: None }),
                ..Default::default()
            }),
            _ => None,
        };
        let ingress: Vec<net::NetworkPolicyIngressRule> = rules
            .iter()
            .map(|&(kind, number, named)| net::NetworkPolicyIngressRule {
                from: peer(kind).map(|peer| vec![peer]),
                ports: Some(vec![port(number, named)]),
            })
            .collect();
        let types = if egress { vec!["Ingress".into(), "Egress".into()] } else { vec!["Ingress".into()] };
        let policy = net::NetworkPolicy {
            metadata: meta::ObjectMeta {
                name: Some("p".into()),
                namespace: Some("x".into()),
                ..Default::default()
            },
            spec: Some(net::NetworkPolicySpec {
                pod_selector: Some(meta::LabelSelector::default()),
                ingress: Some(ingress),
                policy_types: Some(types),
                ..Default::default()
            }),
        };
        let (objects, parsed) = read(&serde_json::to_vec(&policy).unwrap());
        prop_assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        let [Object::Policy(read)] = objects.as_slice() else { panic!("{objects:?}") };
        prop_assert_eq!((read.isolates.ingress, read.isolates.egress), (true, egress));
        prop_assert_eq!(read.ingress.len(), rules.len());
        for (rule, &(kind, ..)) in read.ingress.iter().zip(&rules) {
            prop_assert_eq!(matches!(rule.peers, Peers::Everyone), kind == 0);
            prop_assert!(matches!(&rule.ports, Ports::AnyOf(ports) if ports.len() == 1));
        }
    }
}

#[test]
fn typed_pods_and_nodes_are_read_as_they_are() {
    let container = core::Container {
        name: "c".into(),
        ports: Some(vec![core::ContainerPort {
            container_port: 8080,
            name: Some("http".into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let pod = core::Pod {
        metadata: meta::ObjectMeta {
            name: Some("p".into()),
            namespace: Some("x".into()),
            ..Default::default()
        },
        spec: Some(core::PodSpec {
            containers: vec![container],
            node_name: Some("n".into()),
            ..Default::default()
        }),
        status: Some(core::PodStatus {
            pod_ips: Some(vec![
                core::PodIP { ip: "10.0.0.1".into() },
                core::PodIP { ip: "fd00::1".into() },
            ]),
            phase: Some("Running".into()),
            ..Default::default()
        }),
    };
    let (objects, parsed) = read(&serde_json::to_vec(&pod).unwrap());
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    let [Object::Pod(pod)] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!(&*pod.namespace, "x");
    assert_eq!(pod.addresses.iter().count(), 2);
    assert_eq!(pod.ports[0].port, 8080);
    assert_eq!(pod.node.as_deref(), Some("n"));
}

/// Each names the object, the field and what to do; the document beside it is read all the same.
#[test]
fn what_is_wrong_is_reported_with_its_place_and_a_remedy() {
    let policy = |spec: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: np, namespace: x}}, spec: {spec}}}"
        )
    };
    let pod = |rest: &str| {
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: x}}, {rest}}}")
    };
    let cases = [
        (
            policy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0/8}}]}]}"),
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            policy(
                "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
            ),
            "except",
        ),
        (
            policy("{podSelector: {}, ingress: [{ports: [{port: '80'}]}]}"),
            "spec.ingress[0].ports[0].port",
        ),
        (
            policy("{podSelector: {}, ingress: [{ports: [{port: 0}]}]}"),
            "spec.ingress[0].ports[0].port",
        ),
        (policy("{podSelector: {}, ingress: [{ports: [{port: 90, endPort: 80}]}]}"), "endPort"),
        (policy("{podSelector: {}, ingress: [{ports: [{protocol: tcp}]}]}"), "protocol"),
        (policy("{podSelector: {}, egress: [{from: []}]}"), "spec.egress[0]"),
        (
            policy("{podSelector: {matchExpressions: [{key: a, operator: In}]}}"),
            "spec.podSelector.matchExpressions[0]",
        ),
        (policy("{podSelector: {matchLabels: {'a b': c}}}"), "spec.podSelector.matchLabels"),
        (policy("{podSelector: {}, policyTypes: [Both]}"), "spec.policyTypes"),
        (
            policy("{podSelector: {}, policyTypes: [Ingress, Egress, Ingress]}"),
            "spec.policyTypes has 3 entries",
        ),
        (policy("{podSelector: {matchLabel: {a: b}}}"), "every pod of the namespace x"),
        (
            policy("{podSelector: {}, ingress: [{ports: [{port: 80-90}]}]}"),
            "Write port: 80 and endPort: 90",
        ),
        (pod("sepc: {}"), "sepc is not a field of a Pod"),
        (pod("spec: {containers: []}, status: {podIPs: [{ip: 10.0.0}]}"), "status.podIPs[0]"),
        (pod("spec: {hostNetwork: maybe, containers: []}"), "spec.hostNetwork"),
    ];
    for (document, field) in cases {
        let text = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: x}}}}\n---\n{document}\n"
        );
        let (objects, parsed) = read(text.as_bytes());
        assert!(matches!(objects.first(), Some(Object::Namespace(_))), "{document}");
        let errors: Vec<_> =
            parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        let [error] = errors.as_slice() else { panic!("{document}: {errors:?}") };
        let said = error.to_string();
        assert!(said.contains(field), "{document}: {said} is not {field}");
        assert_eq!(error.place.line, Some(3), "{said}");
        assert!(error.object.is_some() && !error.remedy.is_empty(), "{error}");
    }
}

#[test]
fn deep_nesting_and_alias_bombs_are_errors() {
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    for text in [deep.as_str(), bomb, "\u{0}", "%", "{\"a\":", "a: b: c"] {
        let (objects, parsed) = read(text.as_bytes());
        assert!(objects.is_empty());
        assert!(!parsed.diagnostics.is_empty(), "{:.40}", text);
    }
}

/// What a failed download leaves, and other documents that declare nothing: the caller must keep what it knew.
#[test]
fn what_declares_nothing_that_is_known_leaves_the_set_unknown() {
    for text in [
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":401}"#,
        r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[]}"#,
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"next"},"items":[]}"#,
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"remainingItemCount":3},"items":[]}"#,
        "null",
        "7",
        "text",
        "[]",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namesapce: shop}\nspec: {podSelector: {}}\n",
    ] {
        let (objects, parsed) = read(text.as_bytes());
        assert!(objects.is_empty() && !parsed.readable && parsed.has_errors(), "{text}");
    }
    let half = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\n\
                spec:\n  podSelector: {}\n  ingress:\n  - from:\n";
    let (_, parsed) = read(half.as_bytes());
    assert_eq!(parsed.cut_short.and_then(|place| place.line), Some(7));
    assert!(read((half.to_owned() + "    - podSelector: {}\n").as_bytes()).1.cut_short.is_none());
}

/// Wherever a manifest is cut, a document that is not understood has an error that says why.
#[test]
fn what_is_not_understood_is_an_error() {
    for cut in 0..VALID.len() {
        let (_, parsed) = read(VALID.get(..cut).unwrap_or_default().as_bytes());
        assert!(parsed.has_errors() || (parsed.readable && parsed.withheld.is_empty()), "{cut}");
    }
}
