//! Every kind of change that a cluster makes, on nodes whose pods real network plugins connect: judged by real connections between
//! all pods, on the same node and across nodes, after each change.

use crate::cni::Plugin;
use crate::nodes_network::Network;

/// Selects the pods of an application, as a pod selector in a policy.
fn app(name: &str) -> String {
    format!("podSelector: {{matchLabels: {{app: {name}}}}}")
}

/// `b` takes these peers and nobody else.
fn guard(network: &Network, from: &str) {
    network
        .cluster
        .add_policy("guard", &format!("{{{}, ingress: [{{from: [{from}]}}]}}", app("b")));
}

fn label(network: &Network, object: &[&str], label: &str) {
    network.cluster.kubectl(&[&["label", "--overwrite"], object, &[label]].concat());
}

/// The pods `a` and `b` on `n1`, `c` and `d` on `n2`; `d` is in the namespace `z`, the others in `x`.
fn populated(plugin: Plugin) -> Network {
    let mut network = Network::new(plugin);
    for (pod, node) in [("x/a", "n1"), ("x/b", "n1"), ("x/c", "n2"), ("z/d", "n2")] {
        let (_, name) = pod.split_once('/').unwrap();
        network.start(pod, node, &format!("app: {name}"), None);
    }
    network.judge("nothing is isolated", |_, _| true);
    network
}

#[track_caller]
fn every_kind_of_change_is_enforced(plugin: Plugin) {
    let mut network = populated(plugin);
    policies_and_labels_change(&network);
    pods_are_born_move_and_end(&mut network);
    a_node_is_added(&mut network);
    for policy in ["guard", "callers"] {
        network.cluster.kubectl(&["delete", "networkpolicy", "-n", "x", policy]);
    }
    network.judge("nothing is isolated any more", |_, _| true);
    network.stop_all();
}

/// In the end `b`, on `n1`, takes `d` alone by the label of its namespace; `c`, on `n2`, takes clients and reaches `b` alone, and
/// `a` is a client.
fn policies_and_labels_change(network: &Network) {
    guard(network, &format!("{{{}}}", app("a")));
    network.judge("b takes a alone", |from, to| to != "b" || from == "a");
    guard(network, "{namespaceSelector: {matchLabels: {team: red}}}");
    network.judge("b takes team red, which has nobody", |_, to| to != "b");
    label(network, &["namespace", "z"], "team=red");
    network.judge("d is of team red now", |from, to| to != "b" || from == "d");
    label(network, &["namespace", "z"], "team-");
    network.judge("d is not any more", |_, to| to != "b");
    label(network, &["namespace", "z"], "team=red");

    let callers = format!(
        "{{{}, policyTypes: [Ingress, Egress], ingress: [{{from: [{{podSelector: {{matchLabels: {{role: client}}}}}}]}}], egress: [{{to: [{{{}}}]}}]}}",
        app("c"),
        app("b")
    );
    network.cluster.add_policy("callers", &callers);
    network.judge("c takes clients, of which there is none", rule(&[]));
    label(network, &["pod", "-n", "x", "a"], "role=client");
    network.judge("a is a client now", rule(&["a"]));

    label(network, &["pod", "-n", "x", "b"], "app=free");
    let free = |from: &str, to: &str| from != "c" && (to != "c" || from == "a");
    network.judge("b is not selected any more, and c must not reach it", free);
    label(network, &["pod", "-n", "x", "b"], "app=b");
    network.judge("b is selected again", rule(&["a"]));
}

/// `b` takes `d` and whoever else is of team red; `c` takes these clients, and reaches nobody but `b`, which does not take it.
fn rule<'c>(clients: &'c [&'c str]) -> impl Fn(&str, &str) -> bool + 'c {
    move |from, to| match (from, to) {
        ("c", _) => false,
        (_, "b") => ["d", "g"].contains(&from),
        (_, "c") => clients.contains(&from),
        _ => true,
    }
}

fn pods_are_born_move_and_end(network: &mut Network) {
    let client = "app: e, role: client";
    network.start("x/e", "n2", client, None);
    network.judge("e is born on c's node, a client", rule(&["a", "e"]));
    let before = network.address("x/e");
    network.remove("x/e");
    network.start("x/e", "n1", client, None);
    assert_ne!(network.address("x/e"), before, "the nodes have ranges of their own");
    network.judge("e moved to another node than c's", rule(&["a", "e"]));

    network.remove("x/b");
    network.start("x/b", "n2", "app: b", None);
    network.judge("b, which is isolated, moved to d's node", rule(&["a", "e"]));
    let isolated = |node: &str| {
        network.agent(node).until("what it isolates", |status| {
            status.isolated.pods == if node == "n1" { 0 } else { 2 }
        });
    };
    isolated("n1");
    isolated("n2");

    // Its processes still send from its address, which is nobody's now.
    network.set_phase("x/e", "Succeeded");
    network.judge("e has ended", rule(&["a"]));
    let address = network.address("x/e");
    network.stop("x/e");
    network.start("x/f", "n1", "app: f", Some(address));
    assert_eq!(network.address("x/f"), address);
    network.judge("f has e's address, and is no client", rule(&["a"]));
    label(network, &["pod", "-n", "x", "f"], "role=client");
    network.judge("f is a client now", rule(&["a", "f"]));
    network.cluster.delete_pod("x/e");
    for node in ["n1", "n2"] {
        network.agent(node).until("e's deletion", |status| status.sizes.pods == 5);
    }
    network.judge("e's late deletion takes nothing from f", rule(&["a", "f"]));
    network.cluster.delete_pod("x/f");
    network.judge(
        "f is deleted, and its address is nobody's though processes still use it",
        rule(&["a"]),
    );
    network.stop("x/f");
}

fn a_node_is_added(network: &mut Network) {
    let hosts = |network: &Network, may: [bool; 3]| {
        for (node, may) in ["n1", "n2", "n3"].into_iter().zip(may) {
            network.until_connects("b takes its own node", node, "x/b", may);
            network.until_connects("a takes everyone", node, "x/a", true);
        }
    };
    network.add_node();
    // The processes of b's own node, such as the kubelet's probes; those of others are ordinary.
    hosts(network, [false, true, false]);
    network.start("z/g", "n3", "app: g", None);
    network.judge("g is of team red, on the new node", rule(&["a"]));
    network.cluster.add_policy(
        "open",
        &format!("{{{}, ingress: [{{from: [{{ipBlock: {{cidr: 192.0.2.3/32}}}}]}}]}}", app("b")),
    );
    hosts(network, [false, true, true]);
    network.judge("a block lets in the node, and none of its pods", rule(&["a"]));
    network.cluster.kubectl(&["delete", "networkpolicy", "-n", "x", "open"]);
    hosts(network, [false, true, false]);

    network.cluster.apply(
        &crate::command::policy("g", &format!("{{{}, policyTypes: [Ingress]}}", app("g")))
            .replace("namespace: x", "namespace: z"),
    );
    let closed = |from: &str, to: &str| to != "g" && rule(&["a"])(from, to);
    network.judge("g is isolated by the agent of the new node", closed);
    network.cluster.kubectl(&["delete", "networkpolicy", "-n", "z", "g"]);
}

#[test]
fn every_kind_of_change_is_enforced_for_pods_on_bridges() {
    every_kind_of_change_is_enforced(Plugin::Bridge);
}

#[test]
fn every_kind_of_change_is_enforced_for_pods_on_routed_links() {
    every_kind_of_change_is_enforced(Plugin::Ptp);
}
