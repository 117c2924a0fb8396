//! The difference of two programs, element by element: what an input change does to the kernel's contents.

use std::collections::BTreeMap;

use super::element::Container;
use super::{Program, TablesDelta};
use crate::model::PerFamily;

/// What a key held before and what it holds after; `None` is absence. The two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit<V> {
    pub before: Option<V>,
    pub after: Option<V>,
}

/// The edits of one map (or, with `V = ()`, of one set), by key.
pub type Edits<K, V = ()> = BTreeMap<K, Edit<V>>;

/// The difference of two programs.
pub type Delta = PerFamily<TablesDelta>;

impl Delta {
    pub fn between(before: &Program, after: &Program) -> Self {
        Self::from_fn(|family| TablesDelta::between(&before[family], &after[family]))
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// How many elements come, go or change.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Makes this the difference of its own `before` and the later delta's `after`.
    pub fn then(&mut self, later: Self) {
        self.v4.then(later.v4);
        self.v6.then(later.v6);
    }

    pub fn apply_to(&self, program: &mut Program) {
        self.v4.apply_to(&mut program.v4);
        self.v6.apply_to(&mut program.v6);
    }
}

/// Notes that `key` changes from `before` to `after`, on top of what is noted already; a round trip cancels out.
pub fn record<K: Ord, V: PartialEq + Copy>(
    edits: &mut Edits<K, V>,
    key: K,
    before: Option<V>,
    after: Option<V>,
) {
    use std::collections::btree_map::Entry;
    match edits.entry(key) {
        Entry::Vacant(entry) => {
            if before != after {
                entry.insert(Edit { before, after });
            }
        }
        Entry::Occupied(mut entry) => {
            if entry.get().before == after {
                entry.remove();
            } else {
                entry.get_mut().after = after;
            }
        }
    }
}

/// Adds the edits that were made after these.
pub fn chain_edits<K: Ord, V: PartialEq + Copy>(edits: &mut Edits<K, V>, later: Edits<K, V>) {
    for (key, edit) in later {
        record(edits, key, edit.before, edit.after);
    }
}

/// The edits that lead from one container's contents to another's.
pub fn edits_between<C>(before: &C, after: &C) -> Edits<C::Key, C::Value>
where
    C: Container<Key: Ord + Copy, Value: PartialEq + Copy>,
{
    let mut edits = Edits::new();
    for (key, value) in before.entries() {
        let now = after.value(&key);
        if now != Some(value) {
            edits.insert(key, Edit { before: Some(value), after: now });
        }
    }
    for (key, value) in after.entries() {
        if before.value(&key).is_none() {
            edits.insert(key, Edit { before: None, after: Some(value) });
        }
    }
    edits
}

/// The edits that take these back.
pub fn inverse_edits<K: Ord + Copy, V: Copy>(edits: &Edits<K, V>) -> Edits<K, V> {
    let turned =
        |(&key, edit): (&K, &Edit<V>)| (key, Edit { before: edit.after, after: edit.before });
    edits.iter().map(turned).collect()
}

/// Makes a container hold what the edits lead to.
pub fn apply_edits<C>(edits: &Edits<C::Key, C::Value>, container: &mut C)
where
    C: Container<Key: Copy, Value: Copy>,
{
    for (key, edit) in edits {
        match edit.after {
            Some(value) => container.put(*key, value),
            None => container.take(key),
        }
    }
}
