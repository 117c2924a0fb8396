//! Addresses that leave a local pod: whatever was connected with them was connected with another pod.

use std::net::IpAddr;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Phase, Pod};
use palisade_compiler::snapshot::{Change, ObjectKind};
use palisade_compiler::testkit::build::pod;
use palisade_compiler::testkit::relist;

/// A pod with the uid `NAME-GENERATION`, on a node.
fn on(node: &str, name: &str, generation: u32, address: &str) -> Pod {
    pod(&format!("x/{name}")).on(node).ip(address).with_uid(&format!("{name}-{generation}"))
}

fn gone(name: &str) -> Change {
    Change::DeletePod { namespace: "x".into(), name: name.into(), uid: None }
}

struct Node(Compiler);

impl Node {
    fn new(locality: Locality) -> Self {
        Self(Compiler::new(locality))
    }

    /// The addresses that the changes release.
    fn releases(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<IpAddr> {
        self.0.apply(changes);
        self.0.take_released().into_iter().collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const NONE: [IpAddr; 0] = [];

#[test]
fn an_address_is_released_when_its_pod_is_gone_or_another_has_it() {
    let mut node = Node::new(Locality::Node("n1".into()));
    let apply = Change::ApplyPod;
    assert_eq!(node.releases([apply(on("n1", "a", 1, "10.0.0.1"))]), NONE, "a pod that comes");
    let labelled = on("n1", "a", 1, "10.0.0.1").labelled("app=a");
    assert_eq!(node.releases([apply(labelled)]), NONE, "its labels change");
    let moved = on("n1", "a", 1, "10.0.0.9");
    assert_eq!(node.releases([apply(moved)]), [ip("10.0.0.1")], "it has another address");
    let ended = on("n1", "a", 1, "10.0.0.9").in_phase(Phase::Succeeded);
    assert_eq!(node.releases([apply(ended)]), [ip("10.0.0.9")], "it has ended");
    assert_eq!(node.releases([gone("a")]), NONE, "it had left before");

    node.releases([apply(on("n1", "b", 1, "10.0.0.2"))]);
    assert_eq!(node.releases([gone("b")]), [ip("10.0.0.2")]);
    // A successor of the same name, which took the address in the same batch.
    node.releases([apply(on("n1", "c", 1, "10.0.0.3"))]);
    let again = [gone("c"), apply(on("n1", "c", 2, "10.0.0.3"))];
    assert_eq!(node.releases(again), [ip("10.0.0.3")]);
    // One that began later takes precedence while the other is still there.
    let later = Pod { started: Some(9), ..on("n1", "d", 1, "10.0.0.3") };
    assert_eq!(node.releases([apply(later)]), [ip("10.0.0.3")]);
}

#[test]
fn a_relist_releases_what_vanished_alone() {
    let mut node = Node::new(Locality::Node("n1".into()));
    let pods = [on("n1", "a", 1, "10.0.0.1"), on("n1", "b", 1, "10.0.0.2")];
    node.releases(pods.clone().map(Change::ApplyPod));
    let [a, _] = pods;
    let released = node.releases(relist(ObjectKind::Pod, [Change::ApplyPod(a)]));
    assert_eq!(released, [ip("10.0.0.2")]);
}

#[test]
fn pods_of_other_nodes_and_of_the_hosts_network_release_nothing() {
    let mut node = Node::new(Locality::Node("n1".into()));
    let host = on("n1", "host", 1, "192.0.2.1").on_host_network();
    node.releases([on("n2", "far", 1, "10.0.1.1"), host].map(Change::ApplyPod));
    assert_eq!(node.releases([gone("far"), gone("host")]), NONE);
    // Unless a pod of this node has it now.
    node.releases([Change::ApplyPod(on("n2", "far", 1, "10.0.1.1"))]);
    let taken = [gone("far"), Change::ApplyPod(on("n1", "near", 1, "10.0.1.1"))];
    assert_eq!(node.releases(taken), [ip("10.0.1.1")]);
    let mut everywhere = Node::new(Locality::Everywhere);
    everywhere.releases([Change::ApplyPod(on("n2", "far", 1, "10.0.1.1"))]);
    assert_eq!(everywhere.releases([gone("far")]), [ip("10.0.1.1")]);
}
