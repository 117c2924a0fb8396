//! The peer sets in use, interned, and indexed so that a new kind of pod meets only the sets that can match it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::ids::{KindId, PeerSetId, PortName};
use super::peers::{Bucket, PeerSetKey};
use crate::model::{ContainerPort, Family, Labels, Namespace, PerFamily};
use crate::program::PortSet;

/// Membership in a peer set; of a set with port names, with the ports resolved on the pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Item {
    pub(super) set: PeerSetId,
    pub(super) ports: Option<Arc<PortSet>>,
}

#[derive(Debug)]
pub(super) struct PeerSet {
    pub(super) key: Arc<PeerSetKey>,
    uses: usize,
    /// The kinds of pod that its terms match, kept by `Kinds`.
    pub(super) kinds: BTreeSet<KindId>,
    /// Whether it holds every address of the family, and so tells none apart: IPv4 and IPv6.
    everyone: PerFamily<bool>,
}

impl PeerSet {
    pub(super) fn is_everyone(&self, family: Family) -> bool {
        self.everyone[family]
    }

    /// The item of a pod with these named ports that is in the set, if its ports resolve to anything.
    pub(super) fn item(&self, id: PeerSetId, ports: &[ContainerPort]) -> Option<Item> {
        match self.key.resolve(ports) {
            None => Some(Item { set: id, ports: None }),
            Some(resolved) if resolved.is_nothing() => None,
            Some(resolved) => Some(Item { set: id, ports: Some(Arc::new(resolved)) }),
        }
    }

    pub(super) fn matches(&self, namespace: &Namespace, labels: &Labels) -> bool {
        self.key.matches(namespace, labels)
    }
}

/// The peer sets of all rules that some local pod is subject to.
#[derive(Debug, Default)]
pub(super) struct PeerSets {
    by_key: HashMap<Arc<PeerSetKey>, PeerSetId>,
    sets: HashMap<PeerSetId, PeerSet>,
    buckets: HashMap<Bucket, HashSet<PeerSetId>>,
    /// How many sets' pod selectors name a label key; and how many sets a port name.
    label_keys: HashMap<Arc<str>, usize>,
    port_names: HashMap<PortName, usize>,
    next: u32,
    /// Sets that came or lost their last use since they were last taken.
    come: BTreeSet<PeerSetId>,
    unused: BTreeSet<PeerSetId>,
}

/// Below these numbers, names that are not in use are kept.
const MANY_KINDS: usize = 16_384;
const MANY_NAMES: usize = 1024;

impl PeerSets {
    pub(super) fn get(&self, id: PeerSetId) -> Option<&PeerSet> {
        self.sets.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PeerSetId) -> Option<&mut PeerSet> {
        self.sets.get_mut(&id)
    }

    pub(super) fn names_label(&self, key: &str) -> bool {
        self.label_keys.contains_key(key)
    }

    pub(super) fn names_port(&self, port: &ContainerPort) -> bool {
        // A lookup key without a clone of the name would need a second map.
        !self.port_names.is_empty()
            && port.name.as_ref().is_some_and(|name| {
                self.port_names.contains_key(&(port.protocol, Arc::clone(name)))
            })
    }

    pub(super) fn acquire(&mut self, key: PeerSetKey) -> PeerSetId {
        if let Some(&id) = self.by_key.get(&key) {
            if let Some(set) = self.sets.get_mut(&id) {
                set.uses += 1;
            }
            self.unused.remove(&id);
            return id;
        }
        let id = PeerSetId(self.next);
        // A set that lives 2^32 sets long would be met again; wrapping keeps every other id apart.
        self.next = self.next.wrapping_add(1);
        let key = Arc::new(key);
        let everyone = PerFamily::from_fn(|family| key.is_everyone(family));
        let set = PeerSet { key: Arc::clone(&key), uses: 1, kinds: BTreeSet::new(), everyone };
        self.by_key.insert(key, id);
        self.sets.insert(id, set);
        self.come.insert(id);
        id
    }

    pub(super) fn release(&mut self, id: PeerSetId) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        set.uses -= 1;
        if set.uses == 0 {
            self.unused.insert(id);
        }
    }

    /// The sets that came since the last call; from now on `candidates` finds them.
    pub(super) fn take_come(&mut self) -> Vec<PeerSetId> {
        let come: Vec<_> = std::mem::take(&mut self.come).into_iter().collect();
        for &id in &come {
            let Some(key) = self.sets.get(&id).map(|set| Arc::clone(&set.key)) else { continue };
            for term in &key.terms {
                self.buckets.entry(term.bucket()).or_default().insert(id);
            }
        }
        come
    }

    /// Counts the label keys and port names of sets that came; true if kinds have to be told apart by more names than before.
    pub(super) fn note_names(&mut self) -> bool {
        let known = self.label_keys.len() + self.port_names.len();
        for id in &self.come {
            let Some(set) = self.sets.get(id) else { continue };
            for key in set.key.label_keys() {
                *self.label_keys.entry(Arc::clone(key)).or_insert(0) += 1;
            }
            for name in &set.key.names {
                *self.port_names.entry(name.clone()).or_insert(0) += 1;
            }
        }
        known != self.label_keys.len() + self.port_names.len()
    }

    /// Takes out the sets without a use. Their names stay noted until `forget_names`.
    pub(super) fn take_gone(&mut self) -> Vec<(PeerSetId, PeerSet)> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.unused) {
            let Some(set) = self.sets.remove(&id) else { continue };
            self.by_key.remove(&set.key);
            for term in &set.key.terms {
                let bucket = term.bucket();
                if let Some(sets) = self.buckets.get_mut(&bucket) {
                    sets.remove(&id);
                    if sets.is_empty() {
                        self.buckets.remove(&bucket);
                    }
                }
            }
            for key in set.key.label_keys() {
                if let Some(count) = self.label_keys.get_mut(key) {
                    *count -= 1;
                }
            }
            for name in &set.key.names {
                if let Some(count) = self.port_names.get_mut(name) {
                    *count -= 1;
                }
            }
            gone.push((id, set));
        }
        gone
    }

    /// Drops label keys and port names that no set names any more, if these are many or there are many kinds; true if any
    /// were dropped. Kinds are finer than they must be until then, which costs memory and no verdict; and a name that
    /// soon comes back, as with a policy that is edited, costs nothing.
    pub(super) fn forget_names(&mut self, kinds: usize) -> bool {
        if kinds < MANY_KINDS && self.label_keys.len() + self.port_names.len() < MANY_NAMES {
            return false;
        }
        let before = self.label_keys.len() + self.port_names.len();
        self.label_keys.retain(|_, count| *count > 0);
        self.port_names.retain(|_, count| *count > 0);
        before != self.label_keys.len() + self.port_names.len()
    }

    /// A superset of the sets whose terms match a pod.
    pub(super) fn candidates(&self, namespace: &Namespace, labels: &Labels) -> BTreeSet<PeerSetId> {
        let mut found = BTreeSet::new();
        let mut take = |bucket: &Bucket| {
            if let Some(sets) = self.buckets.get(bucket) {
                found.extend(sets.iter().copied());
            }
        };
        take(&Bucket::Any);
        take(&Bucket::Namespace(Arc::clone(&namespace.name)));
        for (key, value) in labels.iter() {
            take(&Bucket::PodLabel(Arc::clone(key), Arc::clone(value)));
        }
        for (key, value) in namespace.labels.iter() {
            take(&Bucket::NamespaceLabel(Arc::clone(key), Arc::clone(value)));
        }
        found
    }
}
