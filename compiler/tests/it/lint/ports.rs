//! Ports that containers declare without a name, and Services whose port is not translated.

use palisade_compiler::lint::Code;

use super::{CLUSTER, lint_text, manifests};

fn pod(ports: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: many, labels: {{app: many}}}}, spec: {{containers: [{{name: c, ports: [{ports}]}}]}}, status: {{phase: Running, podIPs: [{{ip: 10.0.0.9}}]}}}}\n"
    )
}

fn codes(lines: &str) -> Vec<Code> {
    let report = lint_text(&manifests(&format!("{CLUSTER}{lines}")));
    let of_ports = report.findings.into_iter().map(|finding| finding.code);
    of_ports.filter(|code| [Code::OtherProtocol, Code::ServicePort].contains(code)).collect()
}

#[test]
fn a_port_without_a_name_is_one_that_the_pod_has() {
    let policy =
        "policy shop/p {podSelector: {matchLabels: {app: many}}, ingress: [{ports: [{port: 53}]}]}";
    let udp = "{name: dns, protocol: UDP, containerPort: 53}";
    assert_eq!(codes(&[&pod(udp), policy].concat()), [Code::OtherProtocol]);
    let unnamed = "{protocol: UDP, containerPort: 53}";
    assert_eq!(codes(&[&pod(unnamed), policy].concat()), [Code::OtherProtocol]);
    let both = format!("{udp}, {{containerPort: 53}}");
    assert_eq!(codes(&[&pod(&both), policy].concat()), []);
}

#[test]
fn the_port_of_a_service_may_be_the_pods_own_without_a_name() {
    let policy =
        "policy shop/p {podSelector: {matchLabels: {app: many}}, ingress: [{ports: [{port: 80}]}]}";
    let service = "service shop/many {app: many} 10.96.0.9 80 8080\n";
    let declared = |port| pod(&format!("{{containerPort: {port}}}"));
    assert_eq!(codes(&[&declared(8080), service, policy].concat()), [Code::ServicePort]);
    let two = pod("{containerPort: 8080}, {containerPort: 80}");
    assert_eq!(codes(&[&two, service, policy].concat()), []);
}

/// Clients of a headless Service connect to the pods' own addresses, and no port is translated.
#[test]
fn the_port_of_a_headless_service_is_the_pods_own() {
    let policy =
        "policy shop/p {podSelector: {matchLabels: {app: many}}, ingress: [{ports: [{port: 80}]}]}";
    let service = |address: &str| format!("service shop/many {{app: many}} {address} 80 8080\n");
    let pod = pod("{containerPort: 8080}");
    assert_eq!(codes(&[&pod, &service("None"), policy].concat()), []);
    assert_eq!(codes(&[&pod, &service("10.96.0.9"), policy].concat()), [Code::ServicePort]);
    // Beside one with an address, clients may use the number nevertheless.
    let other = "service shop/other {app: many} None 80 80\n";
    assert_eq!(codes(&[&pod, &service("10.96.0.9"), other, policy].concat()), []);
}
