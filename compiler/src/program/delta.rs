//! The difference of two programs, element by element: what an input change does to the kernel's contents.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::net::IpAddr;

use super::{AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, Program, Tables};
use crate::model::Family;

/// What a key held before and what it holds after; `None` is absence. The two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit<V> {
    pub before: Option<V>,
    pub after: Option<V>,
}

/// The edits of one map (or, with `V = ()`, of one set), by key.
pub type Edits<K, V = ()> = BTreeMap<K, Edit<V>>;

/// The edits of one family's table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablesDelta {
    pub local_in: Edits<IpAddr>,
    pub local_out: Edits<IpAddr>,
    pub hairpin: Edits<IpAddr>,
    pub bridges: Edits<u32>,
    pub class: Edits<IpAddr, ClassId>,
    pub cidr: Edits<AddressRange, ClassId>,
    pub allow_in: Edits<(IpAddr, ClassId), ProfileId>,
    pub allow_out: Edits<(IpAddr, ClassId), ProfileId>,
    pub ports: Edits<PortElement>,
    pub port_ranges: Edits<PortRangeElement>,
}

/// The difference of two programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    pub v4: TablesDelta,
    pub v6: TablesDelta,
}

impl Delta {
    pub fn between(before: &Program, after: &Program) -> Self {
        Self {
            v4: TablesDelta::between(&before.v4, &after.v4),
            v6: TablesDelta::between(&before.v6, &after.v6),
        }
    }

    pub fn family(&self, family: Family) -> &TablesDelta {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub fn family_mut(&mut self, family: Family) -> &mut TablesDelta {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
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

/// Runs one expression for every field of the table's contents, so that no field can be forgotten in one place.
macro_rules! for_each_field {
    ($macro:ident) => {
        $macro!(
            maps: class, cidr, allow_in, allow_out;
            sets: local_in, local_out, hairpin, bridges, ports, port_ranges;
        )
    };
}

impl TablesDelta {
    pub fn between(before: &Tables, after: &Tables) -> Self {
        macro_rules! diff {
            (maps: $($map:ident),+; sets: $($set:ident),+;) => {
                Self {
                    $($map: map_edits(&before.$map, &after.$map),)+
                    $($set: set_edits(&before.$set, &after.$set),)+
                }
            };
        }
        for_each_field!(diff)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        macro_rules! sum {
            (maps: $($map:ident),+; sets: $($set:ident),+;) => {
                0 $(+ self.$map.len())+ $(+ self.$set.len())+
            };
        }
        for_each_field!(sum)
    }

    pub fn then(&mut self, later: Self) {
        macro_rules! merge {
            (maps: $($map:ident),+; sets: $($set:ident),+;) => {{
                $(chain(&mut self.$map, later.$map);)+
                $(chain(&mut self.$set, later.$set);)+
            }};
        }
        for_each_field!(merge);
    }

    pub fn apply_to(&self, tables: &mut Tables) {
        macro_rules! apply {
            (maps: $($map:ident),+; sets: $($set:ident),+;) => {{
                $(apply_map(&self.$map, &mut tables.$map);)+
                $(apply_set(&self.$set, &mut tables.$set);)+
            }};
        }
        for_each_field!(apply);
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

fn chain<K: Ord, V: PartialEq + Copy>(edits: &mut Edits<K, V>, later: Edits<K, V>) {
    for (key, edit) in later {
        record(edits, key, edit.before, edit.after);
    }
}

fn map_edits<K: Ord + Copy, V: PartialEq + Copy>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> Edits<K, V> {
    let mut edits = Edits::new();
    for (&key, &value) in before {
        if after.get(&key) != Some(&value) {
            edits.insert(key, Edit { before: Some(value), after: after.get(&key).copied() });
        }
    }
    for (&key, &value) in after {
        if !before.contains_key(&key) {
            edits.insert(key, Edit { before: None, after: Some(value) });
        }
    }
    edits
}

fn set_edits<K: Ord + Copy + Hash>(before: &BTreeSet<K>, after: &BTreeSet<K>) -> Edits<K> {
    let gone = before.difference(after).map(|&key| (key, Edit { before: Some(()), after: None }));
    let come = after.difference(before).map(|&key| (key, Edit { before: None, after: Some(()) }));
    gone.chain(come).collect()
}

fn apply_map<K: Ord + Copy, V: Copy>(edits: &Edits<K, V>, map: &mut BTreeMap<K, V>) {
    for (&key, edit) in edits {
        match edit.after {
            Some(value) => _ = map.insert(key, value),
            None => _ = map.remove(&key),
        }
    }
}

fn apply_set<K: Ord + Copy>(edits: &Edits<K>, set: &mut BTreeSet<K>) {
    for (&key, edit) in edits {
        match edit.after {
            Some(()) => _ = set.insert(key),
            None => _ = set.remove(&key),
        }
    }
}
