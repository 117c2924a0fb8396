//! Each string, label set and port list of a snapshot held once.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::model::{Labels, NamedPort};

#[derive(Debug, Default)]
pub(super) struct Interner {
    strings: Pool<str>,
    labels: Pool<Labels>,
    ports: Pool<[NamedPort]>,
}

impl Interner {
    pub(super) fn string(&mut self, string: &Arc<str>) -> Arc<str> {
        self.strings.get(string)
    }

    pub(super) fn labels(&mut self, labels: &Arc<Labels>) -> Arc<Labels> {
        if let Some(known) = self.labels.find(labels) {
            return known;
        }
        let shared: Labels =
            labels.iter().map(|(k, v)| (self.strings.get(k), self.strings.get(v))).collect();
        self.labels.get(&Arc::new(shared))
    }

    pub(super) fn ports(&mut self, ports: &Arc<[NamedPort]>) -> Arc<[NamedPort]> {
        self.ports.get(ports)
    }
}

#[derive(Debug)]
struct Pool<T: ?Sized> {
    items: HashSet<Arc<T>>,
    /// The size at which unused items are looked for: twice what was in use the last time, so that the search costs
    /// each insertion a constant.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 1024;

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { items: HashSet::new(), sweep_at: FIRST_SWEEP }
    }
}

impl<T: Hash + Eq + ?Sized> Pool<T> {
    fn find(&self, item: &Arc<T>) -> Option<Arc<T>> {
        self.items.get(item).cloned()
    }

    fn get(&mut self, item: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.find(item) {
            return known;
        }
        if self.items.len() >= self.sweep_at {
            self.items.retain(|item| Arc::strong_count(item) > 1);
            self.sweep_at = FIRST_SWEEP.max(self.items.len() * 2);
        }
        self.items.insert(Arc::clone(item));
        Arc::clone(item)
    }
}
