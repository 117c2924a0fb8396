//! The part of a snapshot that the verdict on one connection depends on.

use std::collections::BTreeSet;

use crate::model::{Connection, Node, Pod};
use crate::snapshot::{Change, Snapshot};

/// The pods at the ends of a connection, their namespaces, nodes and policies, as the changes that make them from nothing. A
/// compile of it judges the connection as one of the whole snapshot does, and costs next to nothing.
pub fn excerpt(snapshot: &Snapshot, connection: &Connection) -> Vec<Change> {
    let ends: BTreeSet<_> = [connection.from, connection.to].into();
    let pods: Vec<&Pod> = ends.into_iter().filter_map(|end| snapshot.owner(end)).collect();
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| &*pod.namespace).collect();
    let mut changes = Vec::new();
    for name in namespaces {
        changes.extend(snapshot.namespace(name).cloned().map(Change::ApplyNamespace));
        let policies = snapshot.policies_of(name).map(|policy| policy.as_ref().clone());
        changes.extend(policies.map(Change::ApplyPolicy));
    }
    for pod in pods {
        if let Some(node) = &pod.node {
            let addresses = snapshot.own_node_addresses(pod);
            changes.push(Change::ApplyNode(Node {
                name: node.clone(),
                addresses,
                pod_ranges: Vec::new(),
            }));
        }
        changes.push(Change::ApplyPod(pod.clone()));
    }
    changes
}
