//! A bounded number of flows, by what repeats have in common. The one that was not seen for longest makes room.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::flow::Flow;
use super::observation::FlowKey;

#[derive(Debug)]
struct Entry {
    /// Its place in `order`.
    place: u64,
    flow: Arc<Flow>,
}

#[derive(Debug)]
pub(super) struct Ring {
    capacity: usize,
    entries: HashMap<FlowKey, Entry>,
    /// The flow seen last comes last.
    order: BTreeMap<u64, FlowKey>,
    next_place: u64,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), order: BTreeMap::new(), next_place: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &FlowKey) -> Option<&Arc<Flow>> {
        self.entries.get(key).map(|entry| &entry.flow)
    }

    /// Changes a flow that was seen again, and makes it the last.
    pub(super) fn touch(&mut self, key: &FlowKey, change: impl FnOnce(&mut Flow)) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.order.remove(&entry.place);
        entry.place = self.next_place;
        self.order.insert(entry.place, *key);
        self.next_place += 1;
        change(Arc::make_mut(&mut entry.flow));
    }

    /// Puts a flow at the end, in the place of one of the same key; returns how many were forgotten for it.
    pub(super) fn insert(&mut self, key: FlowKey, flow: Flow) -> u64 {
        let entry = Entry { place: self.next_place, flow: Arc::new(flow) };
        if let Some(old) = self.entries.insert(key, entry) {
            self.order.remove(&old.place);
        }
        self.order.insert(self.next_place, key);
        self.next_place += 1;
        let mut forgotten = 0;
        while self.entries.len() > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
            forgotten += 1;
        }
        forgotten
    }

    /// The one seen last first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.order.values().rev().filter_map(|key| self.get(key))
    }
}
