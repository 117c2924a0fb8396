//! Services and EndpointSlices, which are read for explanations alone.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{assert_helpful, findings, good, read, read_bytes};
use crate::model::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Protocol, Service, ServiceKind,
    ServicePort, TargetPort,
};
use crate::parse::{Object, Severity};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[track_caller]
fn only<T: serde::Serialize>(object: &T) -> Object {
    let json = serde_json::to_string(object).unwrap();
    let read = good(&json);
    assert_eq!(read, good(&serde_saphyr::to_string(object).unwrap()));
    // Keys in the order of the alphabet, as kubectl prints JSON: the kind stands after some fields.
    let sorted: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&json).unwrap();
    assert_eq!(read, good(&serde_json::to_string(&sorted).unwrap()));
    read.into_iter().next().unwrap()
}

/// A Service with every field that is read.
fn typed_service() -> core::Service {
    let port = |name: &str, port: i32| core::ServicePort {
        name: Some(name.into()),
        port,
        ..Default::default()
    };
    core::Service {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("x".into()),
            ..Default::default()
        },
        spec: Some(core::ServiceSpec {
            type_: Some("LoadBalancer".into()),
            cluster_ip: Some("10.96.0.1".into()),
            cluster_ips: Some(vec!["10.96.0.1".into(), "fd00::1".into()]),
            external_ips: Some(vec!["203.0.113.7".into()]),
            selector: Some([("app".to_owned(), "web".to_owned())].into()),
            ports: Some(vec![
                core::ServicePort {
                    target_port: Some(IntOrString::String("http".into())),
                    node_port: Some(30080),
                    ..port("http", 80)
                },
                core::ServicePort {
                    target_port: Some(IntOrString::Int(5353)),
                    protocol: Some("UDP".into()),
                    ..port("dns", 53)
                },
                port("", 443),
            ]),
            ..Default::default()
        }),
        status: Some(core::ServiceStatus {
            load_balancer: Some(core::LoadBalancerStatus {
                ingress: Some(vec![
                    core::LoadBalancerIngress {
                        ip: Some("198.51.100.9".into()),
                        ..Default::default()
                    },
                    core::LoadBalancerIngress {
                        hostname: Some("lb.example".into()),
                        ..Default::default()
                    },
                ]),
            }),
            ..Default::default()
        }),
    }
}

#[test]
fn a_service_is_what_its_manifest_says() {
    let service = typed_service();
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    let expected = Service {
        namespace: "x".into(),
        name: "web".into(),
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00::1")],
        is_headless: false,
        external_ips: vec![ip("203.0.113.7")],
        load_balancer_ips: vec![ip("198.51.100.9")],
        selector: Some(std::sync::Arc::new([("app", "web")].into_iter().collect())),
        ports: vec![
            ServicePort {
                name: Some("http".into()),
                protocol: tcp,
                port: 80,
                target: TargetPort::Named("http".into()),
                node_port: Some(30080),
            },
            ServicePort {
                name: Some("dns".into()),
                protocol: udp,
                port: 53,
                target: TargetPort::Number(5353),
                node_port: None,
            },
            ServicePort {
                name: None,
                protocol: tcp,
                port: 443,
                target: TargetPort::Number(443),
                node_port: None,
            },
        ],
    };
    assert_eq!(only(&service), Object::Service(expected.clone()));
    assert_eq!(expected.addresses().count(), 4);

    let headless = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: x}\nspec: {clusterIP: None, selector: {}}\n";
    let [Object::Service(headless)] = &good(headless)[..] else { panic!() };
    assert_eq!((headless.kind, &headless.selector), (ServiceKind::ClusterIp, &None));
    assert_eq!(headless.addresses().count(), 0);
}

#[test]
fn an_endpoint_slice_is_what_its_manifest_says() {
    let slice = discovery::EndpointSlice {
        metadata: ObjectMeta {
            name: Some("web-7".into()),
            namespace: Some("x".into()),
            labels: Some([("kubernetes.io/service-name".to_owned(), "web".to_owned())].into()),
            ..Default::default()
        },
        address_type: "IPv4".into(),
        endpoints: Some(vec![
            discovery::Endpoint {
                addresses: vec!["10.0.0.1".into()],
                conditions: Some(discovery::EndpointConditions {
                    ready: Some(false),
                    terminating: Some(true),
                    ..Default::default()
                }),
                node_name: Some("n1".into()),
                target_ref: Some(core::ObjectReference {
                    kind: Some("Pod".into()),
                    name: Some("web-a".into()),
                    namespace: Some("x".into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            discovery::Endpoint { addresses: vec!["10.0.0.2".into()], ..Default::default() },
        ]),
        ports: Some(vec![
            discovery::EndpointPort {
                name: Some("http".into()),
                port: Some(8080),
                protocol: Some("TCP".into()),
                ..Default::default()
            },
            discovery::EndpointPort { name: Some(String::new()), ..Default::default() },
        ]),
    };
    let expected = EndpointSlice {
        namespace: "x".into(),
        name: "web-7".into(),
        service: Some("web".into()),
        endpoints: vec![
            Endpoint {
                addresses: vec![ip("10.0.0.1")],
                conditions: EndpointConditions { ready: false, serving: false, terminating: true },
                pod: Some("web-a".into()),
                node: Some("n1".into()),
            },
            Endpoint {
                addresses: vec![ip("10.0.0.2")],
                conditions: EndpointConditions::default(),
                pod: None,
                node: None,
            },
        ],
        ports: vec![
            EndpointPort { name: Some("http".into()), protocol: Protocol::Tcp, port: Some(8080) },
            EndpointPort { name: None, protocol: Protocol::Tcp, port: None },
        ],
    };
    assert_eq!(only(&slice), Object::EndpointSlice(expected));
}

/// No verdict depends on them: what is wrong is said, and nothing else stops for it.
#[test]
fn wrong_services_are_warnings() {
    let service = |metadata: &str, rest: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\n{rest}")
    };
    let good_one = "{name: web, namespace: x}";
    for (text, kept) in [
        (service(good_one, "spec: {clusterIPs: [10.96.0.300, 10.96.0.1]}\n"), true),
        (service(good_one, "spec: {clusterIP: nonsense, type: Any}\n"), true),
        (service(good_one, "spec: {ports: [{port: 0}, {port: 80, protocol: TPC}, 7]}\n"), true),
        (service(good_one, "spec: {selector: {a: 1}}\n"), true),
        (service(good_one, "spec: text\nstatus: text\n"), true),
        (service(good_one, "sepc: {}\n"), false),
        (service("{name: WEB, namespace: x}", ""), false),
        (service("{name: web, namesapce: x}", ""), false),
        (service("{namespace: x}", ""), false),
        (service(good_one, "").replace("v1", "v2"), false),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, namespace: x}\nendpoints: 7\nports: [{port: a}]\n".into(), true),
    ] {
        let (objects, parsed) = read(&text);
        assert_eq!(objects.len(), usize::from(kept), "{text}");
        assert!(parsed.readable && parsed.withheld.is_empty() && !parsed.has_errors(), "{text}");
        assert!(!parsed.diagnostics.is_empty(), "{text}");
        assert!(parsed.diagnostics.iter().all(|d| d.severity == Severity::Warning));
        assert_helpful(&parsed);
    }
    let twice = [service(good_one, ""), service(good_one, "")].join("---\n");
    let (objects, parsed) = read(&twice);
    assert_eq!(objects.len(), 1);
    assert!(
        parsed.withheld.is_empty() && findings(&parsed).contains("stands at in.yaml:1:1 already")
    );
}

#[test]
fn a_namespace_may_be_given_for_objects_that_name_none() {
    let text = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: \"\"}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: other}
---
apiVersion: v1
kind: Service
metadata: {name: s}
---
apiVersion: v1
kind: Namespace
metadata: {name: x}
";
    let (objects, parsed) = read_bytes("in.yaml", text.as_bytes(), Some("shop"));
    assert_eq!(findings(&parsed), "");
    let named = ["policy shop/deny", "pod shop/a", "pod other/b", "service shop/s", "namespace x"];
    assert_eq!(super::names(&objects), named);
    let (objects, parsed) = read_bytes("in.yaml", text.as_bytes(), None);
    let named =
        ["policy default/deny", "pod default/a", "pod other/b", "service default/s", "namespace x"];
    assert_eq!(super::names(&objects), named);
    assert_eq!(
        findings(&parsed),
        "\
in.yaml:3:1: warning: NetworkPolicy default/deny: metadata.namespace is missing, and the object is read into default. Write it, or give \
one for all such objects by --namespace.
in.yaml:8:21: warning: Pod default/a: metadata.namespace is missing, and the object is read into default. Write it, or give one for all \
such objects by --namespace.
"
    );
}

#[test]
fn a_pod_names_the_addresses_of_its_host() {
    let pod = |status: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: x}}\nstatus: {status}\n"
        )
    };
    let of = |status: &str| {
        let pod = super::only_pod(good(&pod(status)));
        pod.host_ips.iter().map(|address| address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of("{hostIP: 192.0.2.1}"), ["192.0.2.1"]);
    assert_eq!(
        of("{hostIP: 192.0.2.1, hostIPs: [{ip: 192.0.2.1}, {ip: \"fd00::7\"}]}"),
        ["192.0.2.1", "fd00::7"]
    );
    assert!(of("{hostIP: \"\"}").is_empty() && of("{}").is_empty());
    let (objects, parsed) = read(&pod("{hostIPs: [{ip: 192.0.2}], podIP: 10.0.0.1}"));
    assert!(super::only_pod(objects).addresses.v4.is_some());
    assert_eq!(super::fields(&parsed), ["error status.hostIPs[0].ip"]);
}
