//! The names of objects, each held once and known by a number, with what is known of each.

use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::object::ObjectKey;

/// A name's place, reused after the last file ceased to declare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(u32);

#[derive(Debug)]
pub(super) struct Name {
    pub(super) key: ObjectKey,
    /// The file whose declaration counts.
    pub(super) counts: Option<Arc<Path>>,
    /// Of the object as that file declares it: two versions of an object have the same one once in 2^64. Only with `counts`.
    pub(super) fingerprint: u64,
    /// How many files declare it.
    pub(super) files: u32,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Option<Name>>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    by_key: HashTable<u32>,
}

impl Names {
    pub(super) fn get(&self, id: NameId) -> Option<&Name> {
        self.names.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: NameId) -> Option<&mut Name> {
        self.names.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn find(&self, key: &ObjectKey) -> Option<NameId> {
        let is_it = |&id: &u32| self.get(NameId(id)).is_some_and(|name| name.key == *key);
        self.by_key.find(self.hasher.hash_one(key), is_it).copied().map(NameId)
    }

    /// The number of a name, a new one where it has none.
    pub(super) fn enter(&mut self, key: ObjectKey) -> NameId {
        if let Some(id) = self.find(&key) {
            return id;
        }
        let hash = self.hasher.hash_one(&key);
        let name = Some(Name { key, counts: None, fingerprint: 0, files: 0 });
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.names.get_mut(id as usize) {
                    *place = name;
                }
                id
            }
            None => {
                // By an eighth, where a vector would double: there may be 100,000 names.
                if self.names.len() == self.names.capacity() {
                    self.names.reserve_exact(self.names.len() / 8 + 16);
                }
                self.names.push(name);
                // 2^32 names do not fit any memory this runs in.
                u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let (names, hasher) = (&self.names, &self.hasher);
        self.by_key.insert_unique(hash, id, |&id| {
            let name = names.get(id as usize).and_then(Option::as_ref);
            name.map_or(0, |name| hasher.hash_one(&name.key))
        });
        NameId(id)
    }

    pub(super) fn remove(&mut self, id: NameId) {
        let Some(name) = self.names.get_mut(id.0 as usize).and_then(Option::take) else { return };
        let hash = self.hasher.hash_one(&name.key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&other| other == id.0) {
            entry.remove();
        }
        self.free.push(id.0);
    }
}
