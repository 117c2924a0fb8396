//! What a change of the program means for pods, and which policies are behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_compiler::model::{Direction, Pod};
use palisade_compiler::program::Delta;
use palisade_compiler::snapshot::Snapshot;

/// A sentence for each pod and direction in which it becomes isolated or is not isolated any more.
pub(super) fn sentences(delta: &Delta, snapshot: &Snapshot) -> Vec<String> {
    let mut sentences = BTreeSet::new();
    for (direction, isolated) in isolation(delta) {
        for (address, isolated) in isolated {
            let owner = snapshot.owner(address);
            let name = owner.map_or_else(
                || format!("the address {address}"),
                |pod| format!("pod {}/{}", pod.namespace, pod.name),
            );
            sentences.insert(match (isolated, owner) {
                (true, Some(pod)) => format!(
                    "{name} becomes isolated for {direction} by {}",
                    policies(snapshot, pod, direction).join(", ")
                ),
                (true, None) => format!("{name} becomes isolated for {direction}"),
                (false, _) => format!("{name} is not isolated for {direction} any more"),
            });
        }
    }
    sentences.into_iter().collect()
}

/// By direction, the addresses whose isolation changes, and whether they are isolated afterwards.
fn isolation(delta: &Delta) -> BTreeMap<Direction, BTreeMap<IpAddr, bool>> {
    let mut changes: BTreeMap<Direction, BTreeMap<IpAddr, bool>> = BTreeMap::new();
    for (_, tables) in delta.iter() {
        let by_direction =
            [(Direction::Ingress, &tables.local_in), (Direction::Egress, &tables.local_out)];
        for (direction, edits) in by_direction {
            let addresses = edits.iter().map(|(&address, edit)| (address, edit.after.is_some()));
            changes.entry(direction).or_default().extend(addresses);
        }
    }
    changes
}

/// The names of the policies that isolate the pod.
fn policies(snapshot: &Snapshot, pod: &Pod, direction: Direction) -> Vec<String> {
    let isolates = |isolation: palisade_compiler::model::Isolation| match direction {
        Direction::Ingress => isolation.ingress,
        Direction::Egress => isolation.egress,
    };
    snapshot
        .policies_of(&pod.namespace)
        .filter(|policy| isolates(policy.isolates) && policy.subjects.matches(&pod.labels))
        .map(|policy| format!("NetworkPolicy {}", policy.key))
        .collect()
}
