//! Local pods, and the groups that they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::groups::{GroupKey, Groups};
use super::ids::PodGroups;
use super::locality::Locality;
use super::peer_sets::PeerSets;
use super::policies::{Policies, SelectionKey};
use crate::model::{Direction, Pod};
use crate::snapshot::{PodId, Snapshot, Touched};

#[derive(Debug)]
struct LocalPod {
    namespace: Arc<str>,
    selection: SelectionKey,
    groups: PodGroups,
}

#[derive(Debug)]
pub(super) struct Subjects {
    locality: Locality,
    policies: Policies,
    local: BTreeMap<PodId, LocalPod>,
    isolated: IsolatedPods,
    /// Isolated pods that have no address yet.
    awaited: BTreeSet<PodId>,
    /// How often a local pod came, went or changed.
    changes: u64,
}

/// How many local pods policies isolate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IsolatedPods {
    pub ingress: usize,
    pub egress: usize,
    /// In either direction or both.
    pub either: usize,
}

impl IsolatedPods {
    /// The three counts, each with whether a pod with these groups is one of those counted.
    fn counts(&mut self, groups: PodGroups) -> [(&mut usize, bool); 3] {
        let [first, second] = groups.map(|group| group.is_some());
        let (ingress, egress) = match Direction::ALL {
            [Direction::Ingress, _] => (first, second),
            [Direction::Egress, _] => (second, first),
        };
        [
            (&mut self.ingress, ingress),
            (&mut self.egress, egress),
            (&mut self.either, ingress || egress),
        ]
    }

    fn add(&mut self, groups: PodGroups) {
        self.counts(groups).into_iter().for_each(|(count, is_one)| *count += usize::from(is_one));
    }

    fn remove(&mut self, groups: PodGroups) {
        self.counts(groups).into_iter().for_each(|(count, was_one)| *count -= usize::from(was_one));
    }
}

impl Subjects {
    pub(super) fn new(locality: Locality) -> Self {
        Self {
            locality,
            policies: Policies::default(),
            local: BTreeMap::new(),
            isolated: IsolatedPods::default(),
            awaited: BTreeSet::new(),
            changes: 0,
        }
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The local pods.
    pub(super) fn local(&self) -> impl Iterator<Item = PodId> {
        self.local.keys().copied()
    }

    /// Local pods that policies isolate and that have no address yet.
    pub(super) fn awaited(&self) -> impl Iterator<Item = PodId> {
        self.awaited.iter().copied()
    }

    /// How many pods are local.
    pub(super) fn len(&self) -> usize {
        self.local.len()
    }

    pub(super) fn isolated(&self) -> IsolatedPods {
        self.isolated
    }

    pub(super) fn locality(&self) -> &Locality {
        &self.locality
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(super) fn groups_of(&self, pod: PodId) -> PodGroups {
        self.local.get(&pod).map_or([None, None], |pod| pod.groups)
    }

    /// Brings local pods' groups up to date; returns the pods whose groups changed.
    pub(super) fn update(
        &mut self,
        touched: &Touched,
        snapshot: &Snapshot,
        groups: &mut Groups,
        sets: &mut PeerSets,
    ) -> BTreeSet<PodId> {
        let mut dirty = self.policies.update(&touched.policies, snapshot);
        dirty.extend(&touched.pods);
        if !touched.nodes.is_empty() {
            let is_on_one = |id: &&PodId| {
                let node = snapshot.pod(**id).and_then(|pod| pod.node.as_ref());
                node.is_some_and(|node| touched.nodes.contains(node))
            };
            dirty.extend(self.local.keys().filter(is_on_one));
        }
        dirty.retain(|&id| self.update_pod(id, snapshot, groups, sets));
        dirty
    }

    /// Whether the pod's groups changed.
    fn update_pod(
        &mut self,
        id: PodId,
        snapshot: &Snapshot,
        groups: &mut Groups,
        sets: &mut PeerSets,
    ) -> bool {
        let old = self.local.remove(&id);
        let new = snapshot.pod(id).filter(|pod| self.locality.holds(pod)).map(|pod| {
            let selection = self.policies.enter(id, pod);
            let keys = self.group_keys(pod, &selection, snapshot);
            let groups = keys.map(|key| Some(groups.acquire(key?, &self.policies, sets)));
            LocalPod { namespace: Arc::clone(&pod.namespace), selection, groups }
        });
        let groups_of = |pod: &Option<LocalPod>| pod.as_ref().map_or([None, None], |p| p.groups);
        let changed = groups_of(&old) != groups_of(&new);
        self.changes += u64::from(old.is_some() || new.is_some());
        self.isolated.remove(groups_of(&old));
        self.isolated.add(groups_of(&new));
        let has_address = snapshot.pod(id).is_some_and(|pod| !pod.addresses.is_empty());
        if !has_address && groups_of(&new).iter().any(Option::is_some) {
            self.awaited.insert(id);
        } else {
            self.awaited.remove(&id);
        }
        if let Some(old) = old {
            old.groups.iter().flatten().for_each(|&group| groups.release(group));
            let place = |pod: &LocalPod| (Arc::clone(&pod.namespace), pod.selection.clone());
            if new.as_ref().map(place) != Some(place(&old)) {
                self.policies.leave(id, &old.namespace, &old.selection);
            }
        }
        if let Some(new) = new {
            self.local.insert(id, new);
        }
        changed
    }

    fn group_keys(
        &self,
        pod: &Pod,
        key: &SelectionKey,
        snapshot: &Snapshot,
    ) -> [Option<GroupKey>; 2] {
        let selection = self.policies.selection(&pod.namespace, key);
        let node = snapshot.own_node_addresses(pod);
        Direction::ALL.map(|direction| GroupKey::of(direction, pod, selection?, &node))
    }
}
