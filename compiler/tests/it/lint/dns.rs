//! Whose DNS pods need: the one behind the cluster's Service, unless they ask another.

use palisade_compiler::explain::ObjectName;
use palisade_compiler::lint::{Code, Settings};

use super::{CLUSTER, lint_text_with, manifests, of};

/// Web may reach the API alone.
const TO_API: &str = "policy shop/p {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: api}}}]}]}\n";
/// And the pods with the usual label.
const TO_LABEL: &str = "policy shop/dns {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}]}]}\n";

fn missed(lines: &str, service: Option<(&str, &str)>) -> Vec<String> {
    let dns_service = service
        .map(|(namespace, name)| ObjectName { namespace: namespace.into(), name: name.into() });
    let text = manifests(&format!("{CLUSTER}{lines}"));
    let report = lint_text_with(&text, &Settings { dns_service });
    of(&report, Code::EgressWithoutDns).iter().map(|found| found.message.clone()).collect()
}

#[test]
fn the_resolver_is_what_stands_behind_the_clusters_service() {
    let names = "namespace infra {}\npod infra/names {app: names} 10.0.5.1 dns UDP 53\n";
    let dns = "{apiVersion: v1, kind: Service, metadata: {namespace: kube-system, name: kube-dns}, spec: {clusterIP: 10.96.0.10, selector: {app: names}, ports: [{port: 53, protocol: UDP}]}}\n";
    let here = "pod kube-system/names {app: names} 10.0.5.2 dns UDP 53\n";
    assert_eq!(missed(&[TO_API, TO_LABEL].concat(), None), [""; 0], "by the label");
    let by_service = missed(&[TO_API, TO_LABEL, here, dns].concat(), None);
    assert_eq!(by_service.len(), 1, "the label is of pods that nobody asks");
    assert!(by_service[0].contains("app=names in the namespace kube-system"), "{by_service:?}");
    // A Service with nothing behind it says nothing.
    assert_eq!(missed(&[TO_API, TO_LABEL, names, dns].concat(), None), [""; 0]);
    let elsewhere =
        dns.replace("namespace: kube-system, name: kube-dns", "namespace: infra, name: resolver");
    let unusual = [TO_API, TO_LABEL, names, &elsewhere].concat();
    assert_eq!(missed(&unusual, None), [""; 0]);
    let named = missed(&unusual, Some(("infra", "resolver")));
    assert!(named.len() == 1 && named[0].contains("app=names in the namespace infra"), "{named:?}");
    let allowed = "policy shop/more {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: names}}}]}]}\n";
    assert_eq!(missed(&[&unusual, allowed].concat(), Some(("infra", "resolver"))), [""; 0]);
}

#[test]
fn pods_that_ask_another_resolver_miss_nothing() {
    let solo = |name: &str, policy: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: {name}, labels: {{app: solo}}}}, spec: {{dnsPolicy: {policy}, containers: []}}, status: {{phase: Running, podIPs: [{{ip: 10.0.0.9}}]}}}}\n"
        )
    };
    let to_api = TO_API.replace("app: web", "app: solo");
    for policy in ["Default", "None"] {
        assert_eq!(
            missed(&[to_api.as_str(), &solo("solo", policy)].concat(), None),
            [""; 0],
            "{policy}"
        );
    }
    for policy in ["ClusterFirst", "ClusterFirstWithHostNet"] {
        assert_eq!(
            missed(&[to_api.as_str(), &solo("solo", policy)].concat(), None).len(),
            1,
            "{policy}"
        );
    }
    // Beside one that does, the others are counted and named.
    let pods = [solo("solo", "ClusterFirst"), solo("a-solo", "Default")].concat();
    let beside = missed(&[to_api.as_str(), &pods].concat(), None);
    assert!(beside[0].contains("lets 1 pod (shop/solo) connect"), "{beside:?}");
}
