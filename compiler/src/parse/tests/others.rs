//! Kinds that are not read.

use super::{assert_helpful, findings, read};
use crate::parse::Severity;

fn one(version: &str, kind: &str, name: &str) -> String {
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: x}}\n")
}

#[test]
fn kinds_without_a_meaning_for_policy_are_one_line() {
    let (objects, parsed) = read(
        "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
- {apiVersion: example.org/v1, kind: Pods, metadata: {name: a}, items: []}
",
    );
    assert!(objects.is_empty() && parsed.readable && !parsed.has_errors());
    assert_eq!(
        findings(&parsed),
        "in.yaml:4:4: warning: 4 objects are of kinds that say nothing about policy, and are not read: 2 ConfigMap, 1 Deployment, \
         1 Pods. Nothing need be done, but the pods that these objects make are read only from objects of their own (kubectl get \
         pods -o yaml).\n"
    );
    let (_, parsed) = read(&one("v1", "Secret", "a"));
    assert_eq!(
        findings(&parsed),
        "in.yaml:1:1: warning: One object is of a kind that says nothing about policy, and is not read: 1 Secret. Nothing need be \
         done.\n"
    );
    let many: String = (0..150)
        .map(|at| format!("---\n{}", one("example.org/v1", &format!("Kind{at}"), "a")))
        .collect();
    let (_, parsed) = read(&many);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert!(findings(&parsed).contains("150 objects are of kinds"), "{}", findings(&parsed));
    assert!(findings(&parsed).contains("142 of other kinds"), "{}", findings(&parsed));
}

/// What stands beside policies in `kubectl get all` and in charts must not pass for a slip of the pen.
#[test]
fn no_kind_of_kubernetes_passes_for_a_misspelt_one() {
    let kinds = "Binding ComponentStatus ConfigMap Endpoints Event LimitRange PersistentVolume PersistentVolumeClaim \
                 PodTemplate ReplicationController ResourceQuota Secret ServiceAccount ControllerRevision \
                 DaemonSet Deployment ReplicaSet StatefulSet Job CronJob HorizontalPodAutoscaler Ingress IngressClass \
                 IPAddress ServiceCIDR Scale PodSecurityPolicy PodDisruptionBudget Eviction Role Lease \
                 RuntimeClass FlowSchema CSINode NodeMetrics PodMetrics";
    for kind in kinds.split_whitespace() {
        for version in
            ["v1", "apps/v1", "networking.k8s.io/v1", "policy.networking.k8s.io/v1alpha1"]
        {
            let (_, parsed) = read(&one(version, kind, "a"));
            assert!(parsed.readable && !parsed.has_errors(), "{}", findings(&parsed));
        }
    }
}

/// Policies of other engines and of later APIs: whoever wrote one thinks that it is enforced.
#[test]
fn a_policy_of_another_kind_is_reported_as_not_enforced() {
    for (version, kind) in [
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
        ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("projectcalico.org/v3", "GlobalNetworkPolicy"),
        ("k8s.cni.cncf.io/v1beta1", "MultiNetworkPolicy"),
        ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
        ("crd.antrea.io/v1beta1", "AntreaNetworkPolicy"),
        ("k8s.ovn.org/v1", "EgressFirewall"),
        ("network.openshift.io/v1", "EgressNetworkPolicy"),
        ("", "AdminNetworkPolicy"),
    ] {
        let text = [one(version, kind, "a"), one("v1", "Secret", "a"), one(version, kind, "b")];
        let (objects, parsed) = read(&text.join("---\n"));
        assert!(objects.is_empty() && parsed.readable && parsed.has_errors(), "{kind}");
        let errors: Vec<_> =
            parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
        let [error] = &errors[..] else { panic!("{}", findings(&parsed)) };
        let of = if version.is_empty() { String::new() } else { format!(" of {version}") };
        assert_eq!(
            error.message,
            format!("2 objects of kind {kind}{of} are policies that this version does not enforce")
        );
        assert_helpful(&parsed);
    }
    for (version, kind) in
        [("projectcalico.org/v3", "StagedNetworkPolicy"), ("v1", "NetworkPolicyPort2")]
    {
        assert!(!read(&one(version, kind, "a")).1.has_errors(), "{kind}");
    }
    let list = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicyList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n";
    assert!(findings(&read(list).1).contains("2 objects of kind AdminNetworkPolicy of policy."));
}
