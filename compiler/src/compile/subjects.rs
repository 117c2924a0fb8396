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
    /// `None` where the namespace has no policies.
    selection: Option<SelectionKey>,
    groups: PodGroups,
}

#[derive(Debug)]
pub(super) struct Subjects {
    locality: Locality,
    policies: Policies,
    local: BTreeMap<PodId, LocalPod>,
}

impl Subjects {
    pub(super) fn new(locality: Locality) -> Self {
        Self { locality, policies: Policies::default(), local: BTreeMap::new() }
    }

    /// How many pods are local.
    pub(super) fn len(&self) -> usize {
        self.local.len()
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
            let keys = self.group_keys(pod, selection.as_ref());
            let groups = keys.map(|key| Some(groups.acquire(key?, &self.policies, sets)));
            LocalPod { namespace: Arc::clone(&pod.namespace), selection, groups }
        });
        let groups_of = |pod: &Option<LocalPod>| pod.as_ref().map_or([None, None], |p| p.groups);
        let changed = groups_of(&old) != groups_of(&new);
        if let Some(old) = old {
            old.groups.iter().flatten().for_each(|&group| groups.release(group));
            let place = |pod: &LocalPod| (Arc::clone(&pod.namespace), pod.selection.clone());
            if let Some(selection) = &old.selection
                && new.as_ref().map(place) != Some(place(&old))
            {
                self.policies.leave(id, &old.namespace, selection);
            }
        }
        if let Some(new) = new {
            self.local.insert(id, new);
        }
        changed
    }

    fn group_keys(&self, pod: &Pod, selection: Option<&SelectionKey>) -> [Option<GroupKey>; 2] {
        let selection = selection.and_then(|key| self.policies.selection(&pod.namespace, key));
        Direction::ALL.map(|direction| GroupKey::of(direction, pod, selection?))
    }
}
