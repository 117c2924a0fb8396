//! What Kubernetes' own types write means what was put into them.

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{good, only_namespace, only_node, only_pod, only_policy};
use crate::model::{
    ContainerPort, IpBlock, Isolation, Namespaces, Operator, Peer, Peers, Phase, PolicyRule,
    PortMatch, PortSpec, Ports, Protocol, Requirement, Selector,
};
use crate::parse::Object;

fn meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some("x".into()),
        labels: Some([("app".to_owned(), "web".to_owned())].into()),
        ..ObjectMeta::default()
    }
}

/// The same object through JSON and through YAML.
#[track_caller]
fn both<T: Resource + serde::Serialize>(object: &T) -> Vec<Object> {
    let json = serde_json::to_string(object).unwrap();
    let yaml = serde_saphyr::to_string(object).unwrap();
    let read = good(&json);
    assert_eq!(read, good(&yaml), "{yaml}");
    read
}

#[test]
fn namespaces_and_nodes() {
    let namespace = core::Namespace {
        metadata: ObjectMeta { namespace: None, ..meta("x") },
        ..Default::default()
    };
    let namespace = only_namespace(both(&namespace));
    assert_eq!((&*namespace.name, namespace.labels.len()), ("x", 2));

    let address = |kind: &str, address: &str| core::NodeAddress {
        type_: kind.into(),
        address: address.into(),
    };
    let node = core::Node {
        metadata: ObjectMeta { namespace: None, ..meta("n1") },
        spec: Some(core::NodeSpec {
            pod_cidr: Some("10.1.2.0/24".into()),
            pod_cidrs: Some(vec!["10.1.2.0/24".into(), "fd00:1:2::/64".into()]),
            ..Default::default()
        }),
        status: Some(core::NodeStatus {
            addresses: Some(vec![address("InternalIP", "192.0.2.1"), address("Hostname", "n1")]),
            ..Default::default()
        }),
    };
    let node = only_node(both(&node));
    assert_eq!((&*node.name, node.addresses), ("n1", vec!["192.0.2.1".parse().unwrap()]));
    let ranges = ["10.1.2.0/24", "fd00:1:2::/64"].map(|range| range.parse().unwrap());
    assert_eq!(node.pod_ranges, ranges);
}

#[test]
fn pods() {
    let port =
        core::ContainerPort { name: Some("http".into()), container_port: 80, ..Default::default() };
    let container =
        core::Container { name: "web".into(), ports: Some(vec![port]), ..Default::default() };
    let pod = core::Pod {
        metadata: ObjectMeta { uid: Some("7".into()), ..meta("a") },
        spec: Some(core::PodSpec {
            node_name: Some("n1".into()),
            containers: vec![container],
            ..Default::default()
        }),
        status: Some(core::PodStatus {
            phase: Some("Running".into()),
            pod_ips: Some(vec![core::PodIP { ip: "10.0.0.1".into() }]),
            ..Default::default()
        }),
    };
    let read = only_pod(both(&pod));
    assert_eq!((&*read.namespace, &*read.name, read.uid.clone()), ("x", "a", Some("7".into())));
    assert_eq!(
        (read.phase, read.node.as_deref(), read.host_network),
        (Phase::Running, Some("n1"), false)
    );
    assert_eq!(read.labels.get("app").map(|v| &**v), Some("web"));
    assert_eq!(read.addresses.v4, Some([10, 0, 0, 1].into()));
    assert_eq!(
        *read.ports,
        [ContainerPort { name: Some("http".into()), protocol: Protocol::Tcp, port: 80 }]
    );
}

fn policy() -> networking::NetworkPolicy {
    let labels = |key: &str, value: &str| LabelSelector {
        match_labels: Some([(key.to_owned(), value.to_owned())].into()),
        ..Default::default()
    };
    let expression = LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "tier".into(),
            operator: "NotIn".into(),
            values: Some(vec!["front".into()]),
        }]),
        ..Default::default()
    };
    networking::NetworkPolicy {
        metadata: meta("p"),
        spec: Some(networking::NetworkPolicySpec {
            pod_selector: Some(labels("app", "db")),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![networking::NetworkPolicyIngressRule {
                from: Some(vec![networking::NetworkPolicyPeer {
                    namespace_selector: Some(LabelSelector::default()),
                    pod_selector: Some(expression),
                    ..Default::default()
                }]),
                ports: Some(vec![networking::NetworkPolicyPort {
                    port: Some(IntOrString::String("sql".into())),
                    ..Default::default()
                }]),
            }]),
            egress: Some(vec![networking::NetworkPolicyEgressRule {
                to: Some(vec![networking::NetworkPolicyPeer {
                    ip_block: Some(networking::IPBlock {
                        cidr: "10.0.0.0/8".into(),
                        except: Some(vec!["10.1.0.0/16".into()]),
                    }),
                    ..Default::default()
                }]),
                ports: Some(vec![networking::NetworkPolicyPort {
                    port: Some(IntOrString::Int(80)),
                    end_port: Some(90),
                    protocol: Some("UDP".into()),
                }]),
            }]),
        }),
    }
}

#[test]
fn policies() {
    let read = only_policy(both(&policy()));
    let requirement = |key: &str, operator| Selector {
        requirements: vec![Requirement { key: key.into(), operator }],
    };
    assert_eq!(read.key.to_string(), "x/p");
    assert_eq!(read.subjects, requirement("app", Operator::In(vec!["db".into()])));
    assert_eq!(read.isolates, Isolation { ingress: true, egress: true });
    let pods = requirement("tier", Operator::NotIn(vec!["front".into()]));
    let namespaces = Namespaces::Selected(Selector::everything());
    let port = PortMatch { protocol: Protocol::Tcp, port: PortSpec::Named("sql".into()) };
    assert_eq!(
        read.ingress,
        [PolicyRule {
            peers: Peers::AnyOf(vec![Peer::Pods { namespaces, pods }]),
            ports: Ports::AnyOf(vec![port]),
        }]
    );
    let cidr = "10.0.0.0/8".parse().unwrap();
    let block = IpBlock { cidr, except: vec!["10.1.0.0/16".parse().unwrap()] };
    let port = PortMatch { protocol: Protocol::Udp, port: PortSpec::Range { first: 80, last: 90 } };
    assert_eq!(
        read.egress,
        [PolicyRule {
            peers: Peers::AnyOf(vec![Peer::Block(block)]),
            ports: Ports::AnyOf(vec![port])
        }]
    );
}
