//! Policies that do what they look like: no warning. And what a hostile author could make costly or long.

use palisade_compiler::lint::{Code, Severity};

use super::{CLUSTER, lint_text, manifests, of};

/// What is found from warnings on, beside the shop's cluster.
fn warnings(lines: &str) -> Vec<Code> {
    let report = lint_text(&manifests(&format!("{CLUSTER}{lines}")));
    let severe = report.findings.iter().filter(|finding| finding.severity >= Severity::Warning);
    severe.map(|finding| finding.code).collect()
}

const DNS: &str = "policy shop/dns {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}, {port: 53}]}]}\n";

/// What a pod of the cluster does with a port number says nothing of a server elsewhere.
#[test]
fn a_block_outside_the_cluster_may_have_any_protocol() {
    let to = |peer: &str| {
        warnings(&format!(
            "{DNS}policy shop/p {{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{peer}], ports: [{{port: 514}}]}}]}}"
        ))
    };
    assert_eq!(to("{ipBlock: {cidr: 203.0.113.0/24}}"), []);
    assert_eq!(to("{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/16]}}"), []);
    assert_eq!(to("{podSelector: {matchLabels: {app: syslog}}}"), [Code::OtherProtocol]);
}

/// A private network as a whole, without the pods, as the remedy for blocks that hold pods has it.
#[test]
fn a_private_network_holds_services_by_chance() {
    let to = |cidr: &str| {
        warnings(&format!(
            "{DNS}policy shop/p {{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: {cidr}, except: [10.0.0.0/16]}}}}]}}]}}"
        ))
    };
    assert_eq!(to("10.0.0.0/8"), []);
    let services = "policy shop/p {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}";
    assert_eq!(warnings(&format!("{DNS}{services}")), [Code::BlockHoldsServices]);
}

/// It asks the resolvers that its node has.
#[test]
fn the_resolver_itself_needs_no_resolver() {
    let resolver = "policy kube-system/p {podSelector: {matchLabels: {k8s-app: kube-dns}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.53/32}}]}]}";
    assert_eq!(warnings(resolver), []);
}

/// A number may be the port of a Service and also that of the pods.
#[test]
fn a_number_that_any_service_translates_to_is_the_pods_own() {
    let policy = "policy shop/p {podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}\n";
    assert_eq!(warnings(policy), [Code::ServicePort]);
    let two_ports = "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: two}, spec: {clusterIP: 10.96.0.2, selector: {app: api}, ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 8081, targetPort: 80}]}}";
    assert_eq!(warnings(&format!("{policy}{two_ports}")), []);
    let of_others = "service shop/db {app: db} 10.96.0.2 8081 80";
    assert_eq!(warnings(&format!("{policy}{of_others}")), [Code::ServicePort]);
}

#[test]
fn dns_over_udp_may_be_allowed_by_a_policy_for_more_pods() {
    let tcp = "policy shop/p {podSelector: {matchLabels: {app: api, tier: back}}, policyTypes: [Egress], egress: [{ports: [{port: 53}]}]}\n";
    let udp = |selector: &str| {
        format!(
            "policy shop/q {{podSelector: {selector}, policyTypes: [Egress], egress: [{{ports: [{{port: 53, protocol: UDP}}]}}]}}"
        )
    };
    let count = |more: &str| {
        of(&lint_text(&manifests(&format!("{CLUSTER}{tcp}{more}"))), Code::DnsWithoutUdp).len()
    };
    assert_eq!(count(&udp("{matchLabels: {tier: back}}")), 0);
    assert_eq!(count(&udp("{}")), 0);
    assert_eq!(count(&udp("{matchLabels: {app: web}}")), 1);
}

/// A finding stays a sentence, however much its author wrote.
#[test]
fn a_selector_with_many_values_is_shortened() {
    let values: Vec<String> = (0..5_000).map(|n| format!("none{n}")).collect();
    let selector = format!("{{key: app, operator: In, values: [{}]}}", values.join(", "));
    let many = vec![selector; 20].join(", ");
    let policy = format!(
        "policy shop/p {{podSelector: {{matchExpressions: [{many}]}}, ingress: [{{from: [{{podSelector: {{matchExpressions: [{many}]}}}}]}}]}}"
    );
    let report = lint_text(&manifests(&format!("{CLUSTER}{policy}")));
    let found = of(&report, Code::SelectsNoPod)[0];
    assert!(found.message.len() < 1_000, "{} bytes", found.message.len());
    assert!(found.message.contains("app in (none0, "), "{}", found.message);
    assert!(found.message.contains("more"), "{}", found.message);
    assert_eq!(of(&report, Code::PeerMatchesNoPod).len(), 1);
}
