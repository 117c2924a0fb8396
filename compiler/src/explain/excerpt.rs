//! The part of a snapshot that the verdicts on some connections depend on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Connection, Node, Pod};
use crate::snapshot::{Change, Snapshot};

/// The pods at the ends of a connection, their namespaces, nodes and policies, as the changes that make them from nothing. A
/// compile of it judges the connection as one of the whole snapshot does, and costs next to nothing.
pub fn excerpt(snapshot: &Snapshot, connection: &Connection) -> Vec<Change> {
    excerpt_of(snapshot, [connection.from, connection.to])
}

/// The same for all connections between any of these addresses, and between them and addresses of no pod.
pub fn excerpt_of(snapshot: &Snapshot, ends: impl IntoIterator<Item = IpAddr>) -> Vec<Change> {
    let ends: BTreeSet<IpAddr> = ends.into_iter().collect();
    let mut pods: Vec<&Pod> = ends.into_iter().filter_map(|end| snapshot.owner(end)).collect();
    pods.sort_unstable_by_key(|pod| (&pod.namespace, &pod.name));
    pods.dedup_by_key(|pod| (&pod.namespace, &pod.name));
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| &*pod.namespace).collect();
    let mut changes = Vec::new();
    for name in namespaces {
        changes.extend(snapshot.namespace(name).cloned().map(Change::ApplyNamespace));
        let policies = snapshot.policies_of(name).map(|policy| policy.as_ref().clone());
        changes.extend(policies.map(Change::ApplyPolicy));
    }
    let mut nodes: BTreeSet<&Arc<str>> = BTreeSet::new();
    for pod in pods {
        if let Some(node) = pod.node.as_ref().filter(|node| nodes.insert(node)) {
            let addresses = snapshot.own_node_addresses(pod);
            let node = Node { name: node.clone(), addresses, pod_ranges: Vec::new() };
            changes.push(Change::ApplyNode(node));
        }
        changes.push(Change::ApplyPod(pod.clone()));
    }
    changes
}
