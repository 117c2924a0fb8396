//! Every kind of change that a cluster makes, judged by real packets.

use palisade::protocol::State;

use crate::cluster::{Cluster, NODE, NODE_ADDRESS, until_in_sync};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";
/// Of machines that are no pods at first.
const D: &str = "10.0.0.4";
const E: &str = "10.0.0.5";

const MACHINES: [(&str, &str); 5] = [("a", A), ("b", B), ("c", C), ("d", D), ("e", E)];

/// Isolates b, and allows what `from` says.
fn guard(from: &str) -> String {
    format!("{{podSelector: {{matchLabels: {{app: b}}}}, ingress: [{{from: [{from}]}}]}}")
}

fn populated() -> Cluster {
    let cluster = Cluster::new(&MACHINES);
    cluster.add_namespace("blue");
    cluster.add_pod("x/a", NODE, A);
    cluster.add_pod("x/b", NODE, B);
    // On another node.
    cluster.add_pod("blue/c", "n2", C);
    cluster
}

#[test]
fn policies_and_labels_are_enforced_as_they_change() {
    let cluster = populated();
    let agent = cluster.agent();
    until_in_sync(&agent);
    // Of kinds on which no verdict depends as well, which may be listed later.
    let status = agent.until("all lists", |status| {
        status.kubernetes.as_ref().is_some_and(|api| api.watches.iter().all(|it| it.lists > 0))
    });
    let api = status.kubernetes.expect("the API server");
    assert_eq!((api.server.as_str(), api.behind_seconds), ("https://127.0.0.1:6443", None));
    assert!(api.watches.iter().all(|watch| watch.lists == 1 && watch.errors.is_empty()), "{api:?}");
    assert_eq!((status.sizes.pods, status.sizes.local_pods), (3, 2));
    assert!(cluster.passes(A, B, 80) && cluster.passes(C, B, 80), "nothing is isolated");

    // A policy that comes, changes and goes.
    cluster.add_policy("guard", &guard("{podSelector: {matchLabels: {app: a}}}"));
    cluster.until_passes(C, B, 80, false);
    assert!(cluster.passes(A, B, 80) && cluster.passes(B, A, 80));
    cluster.add_policy("guard", &guard("{namespaceSelector: {matchLabels: {team: blue}}}"));
    cluster.until_passes(A, B, 80, false);
    assert!(!cluster.passes(C, B, 80));
    let change = agent.until("the change", |status| {
        status.changes.iter().any(|c| c.objects == ["NetworkPolicy x/guard changed"])
    });
    assert!(change.time_to_enforce.last_us.is_some());

    // Labels of a namespace, then of a pod.
    cluster.kubectl(&["label", "namespace", "blue", "team=blue"]);
    cluster.until_passes(C, B, 80, true);
    assert!(!cluster.passes(A, B, 80));
    cluster.kubectl(&["label", "namespace", "blue", "team-"]);
    cluster.until_passes(C, B, 80, false);
    cluster.add_policy("guard", &guard("{podSelector: {matchLabels: {role: client}}}"));
    cluster.kubectl(&["label", "pod", "-n", "x", "a", "role=client"]);
    cluster.until_passes(A, B, 80, true);
    cluster.kubectl(&["label", "pod", "-n", "x", "a", "role=server", "--overwrite"]);
    cluster.until_passes(A, B, 80, false);
    // The subject's own label: the policy no longer selects it.
    cluster.kubectl(&["label", "pod", "-n", "x", "b", "app=other", "--overwrite"]);
    cluster.until_passes(A, B, 80, true);
    cluster.kubectl(&["label", "pod", "-n", "x", "b", "app=b", "--overwrite"]);
    cluster.until_passes(A, B, 80, false);
    cluster.kubectl(&["delete", "networkpolicy", "-n", "x", "guard"]);
    cluster.until_passes(A, B, 80, true);
    assert!(cluster.passes(C, B, 80));
    agent.verify();
}

#[test]
fn pods_are_born_end_and_leave_their_addresses_to_others() {
    let cluster = populated();
    cluster.add_policy("guard", &guard("{podSelector: {matchLabels: {app: d}}}"));
    let agent = cluster.agent();
    until_in_sync(&agent);
    assert!(!cluster.passes(A, B, 80) && !cluster.passes(D, B, 80));

    // Born: bound first, then with an address.
    cluster.bind("x/d", NODE);
    agent.until("the pod", |status| status.sizes.pods == 4);
    assert!(!cluster.passes(D, B, 80), "it has no address yet");
    cluster.set_status("x/d", "Running", D);
    cluster.until_passes(D, B, 80, true);

    // It ends, and its address goes to another pod.
    cluster.set_status("x/d", "Succeeded", D);
    cluster.until_passes(D, B, 80, false);
    cluster.add_pod("x/e", NODE, D);
    agent.until("the pod", |status| status.sizes.pods == 5 && status.state == State::Enforcing);
    assert!(!cluster.passes(D, B, 80), "the address is another's now");
    cluster.kubectl(&["label", "pod", "-n", "x", "e", "app=d", "--overwrite"]);
    cluster.until_passes(D, B, 80, true);
    // The late deletion of the first takes nothing from the second.
    cluster.delete_pod("x/d");
    agent.until("the deletion", |status| status.sizes.pods == 4);
    assert!(cluster.passes(D, B, 80));
    cluster.delete_pod("x/e");
    cluster.until_passes(D, B, 80, false);

    // Under the same name, with another address.
    cluster.add_pod("x/d", NODE, E);
    cluster.until_passes(E, B, 80, true);
    assert!(!cluster.passes(D, B, 80));

    // An isolated pod is born on this node, and moves to another.
    cluster.add_policy("alone", "{podSelector: {matchLabels: {app: f}}, policyTypes: [Ingress]}");
    cluster.add_pod("x/f", NODE, D);
    cluster.until_passes(A, D, 80, false);
    cluster.delete_pod("x/f");
    cluster.until_passes(A, D, 80, true);
    cluster.add_pod("x/f", "n2", D);
    agent.until("the pod", |status| status.sizes.pods == 5 && status.state == State::Enforcing);
    assert!(cluster.passes(A, D, 80), "other nodes' pods are judged there");
    agent.verify();
}

#[test]
fn a_namespace_and_the_own_node_count_from_the_moment_they_are_known() {
    let cluster = populated();
    cluster.add_policy("guard", &guard("{namespaceSelector: {}}"));
    let agent = cluster.agent();
    until_in_sync(&agent);
    assert!(cluster.passes(A, B, 80) && cluster.passes(C, B, 80) && !cluster.passes(D, B, 80));
    cluster.add_namespace("z");
    cluster.add_pod("z/d", "n2", D);
    cluster.until_passes(D, B, 80, true);

    // The addresses of the own node are its host's; those of another node are ordinary.
    let from_node = agent.verdict(NODE_ADDRESS, "x/b");
    assert_eq!(from_node, "allow");
    cluster.add_node("n3", E);
    assert_eq!(agent.verdict(E, "x/b"), "deny");
    agent.verify();
}
