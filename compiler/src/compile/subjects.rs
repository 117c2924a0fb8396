//! Local pods, the policies that select each, and so the groups they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::Locality;
use super::groups::{GroupId, GroupKey, Groups};
use super::peers::{PeerSets, demanded_label};
use crate::model::{Direction, Pod, Policy, PolicyKey};
use crate::snapshot::{PodId, Snapshot, Touched};

/// A pod's group for ingress and for egress; none where no policy isolates it.
pub(super) type PodGroups = [Option<GroupId>; 2];

type Policies = Vec<Arc<Policy>>;

/// The policies of one namespace, by what they demand of a pod.
#[derive(Debug, Default)]
struct NamespacePolicies {
    by_label: HashMap<(Arc<str>, Arc<str>), Policies>,
    others: Policies,
}

impl NamespacePolicies {
    fn bucket(&mut self, policy: &Policy) -> &mut Policies {
        match demanded_label(&policy.subjects) {
            Some(label) => self.by_label.entry(label).or_default(),
            None => &mut self.others,
        }
    }

    fn selecting<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Arc<Policy>> {
        let labelled = pod.labels.iter().filter_map(|(key, value)| {
            if self.by_label.is_empty() {
                return None;
            }
            self.by_label.get(&(Arc::clone(key), Arc::clone(value)))
        });
        let candidates = labelled.flatten().chain(&self.others);
        candidates.filter(|policy| policy.subjects.matches(&pod.labels))
    }
}

#[derive(Debug)]
pub(super) struct Subjects {
    locality: Locality,
    policies: BTreeMap<Arc<str>, NamespacePolicies>,
    /// Each policy as it is indexed, to find it again when it changed.
    indexed: BTreeMap<PolicyKey, Arc<Policy>>,
    local: BTreeMap<PodId, (Arc<str>, PodGroups)>,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<PodId>>,
}

impl Subjects {
    pub(super) fn new(locality: Locality) -> Self {
        Self {
            locality,
            policies: BTreeMap::new(),
            indexed: BTreeMap::new(),
            local: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.local.len()
    }

    pub(super) fn groups_of(&self, pod: PodId) -> PodGroups {
        self.local.get(&pod).map_or([None, None], |(_, groups)| *groups)
    }

    fn is_local(&self, pod: &Pod) -> bool {
        pod.has_identity()
            && match &self.locality {
                // From the moment it is bound: its policies are in the kernel before its first packet.
                Locality::Node(name) => pod.node.as_ref() == Some(name),
                Locality::Everywhere => !pod.addresses.is_empty(),
            }
    }

    /// Brings local pods' groups up to date; returns the pods whose groups changed.
    pub(super) fn update(
        &mut self,
        touched: &Touched,
        snapshot: &Snapshot,
        groups: &mut Groups,
        sets: &mut PeerSets,
    ) -> BTreeSet<PodId> {
        let mut dirty: BTreeSet<PodId> = BTreeSet::new();
        for key in &touched.policies {
            self.index_policy(key, snapshot.policy(key));
            dirty.extend(self.by_namespace.get(&key.namespace).into_iter().flatten());
        }
        dirty.extend(&touched.pods);
        dirty.retain(|&id| self.update_pod(id, snapshot, groups, sets));
        dirty
    }

    fn index_policy(&mut self, key: &PolicyKey, policy: Option<&Arc<Policy>>) {
        let namespace = self.policies.entry(Arc::clone(&key.namespace)).or_default();
        if let Some(old) = self.indexed.remove(key) {
            let bucket = namespace.bucket(&old);
            bucket.retain(|policy| policy.key != *key);
            if bucket.is_empty()
                && let Some(label) = demanded_label(&old.subjects)
            {
                namespace.by_label.remove(&label);
            }
        }
        if let Some(policy) = policy {
            namespace.bucket(policy).push(Arc::clone(policy));
            self.indexed.insert(key.clone(), Arc::clone(policy));
        }
        if namespace.by_label.is_empty() && namespace.others.is_empty() {
            self.policies.remove(&key.namespace);
        }
    }

    fn update_pod(
        &mut self,
        id: PodId,
        snapshot: &Snapshot,
        groups: &mut Groups,
        sets: &mut PeerSets,
    ) -> bool {
        let pod = snapshot.pod(id).filter(|pod| self.is_local(pod));
        let new = match pod {
            Some(pod) => Direction::ALL.map(|direction| {
                let key = self.group_key(direction, pod)?;
                Some(groups.acquire(key, sets))
            }),
            None => [None, None],
        };
        let old = self.local.remove(&id);
        if let Some((namespace, old)) = &old {
            old.iter().flatten().for_each(|&group| groups.release(group));
            if let Some(pods) = self.by_namespace.get_mut(namespace) {
                pods.remove(&id);
                if pods.is_empty() {
                    self.by_namespace.remove(namespace);
                }
            }
        }
        if let Some(pod) = pod {
            self.local.insert(id, (Arc::clone(&pod.namespace), new));
            self.by_namespace.entry(Arc::clone(&pod.namespace)).or_default().insert(id);
        }
        old.map_or([None, None], |(_, groups)| groups) != new
    }

    fn group_key(&self, direction: Direction, pod: &Pod) -> Option<GroupKey> {
        let policies = self.policies.get(&pod.namespace)?;
        let mut selecting: Vec<_> = policies
            .selecting(pod)
            .filter(|policy| policy.isolates.in_direction(direction))
            .cloned()
            .collect();
        if selecting.is_empty() {
            return None;
        }
        selecting.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Some(GroupKey::of(direction, selecting, pod))
    }
}
