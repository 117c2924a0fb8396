//! Classes that lost their members in the kernel, recognized by their rows.
//!
//! A class is matched to an id of the kernel by its members. Where the members are missing there - somebody deleted the
//! elements - its rows still tell which it was, and restoring it is as small a change as the damage.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Direction, Family};
use crate::program::{ClassId, ProfileId, Program, Tables};

type Column = BTreeSet<(Direction, IpAddr, ProfileId)>;

/// The tables found, with the members put back of classes that were compiled under a new id though the tables have rows for
/// them under an unused one. `None` if there is no such class.
pub(super) fn recognized(found: &Program, compiled: &Program) -> Option<Program> {
    let mut better = found.clone();
    let mut any = false;
    for family in Family::ALL {
        any |= recognize(found.family(family), compiled.family(family), better.family_mut(family));
    }
    any.then_some(better)
}

fn recognize(found: &Tables, compiled: &Tables, better: &mut Tables) -> bool {
    let old = columns(found);
    let mut new = columns(compiled);
    let used = ids(compiled);
    new.retain(|class, column| !old.contains_key(class) && !column.is_empty());
    let mut names: BTreeMap<&Column, ClassId> = BTreeMap::new();
    let is_free = |class: &ClassId| *class != ClassId::UNKNOWN && !used.contains(class);
    for (class, column) in old.iter().filter(|(class, _)| is_free(class)) {
        names.entry(column).or_insert(*class);
    }
    let mut renamed: BTreeMap<ClassId, ClassId> = BTreeMap::new();
    for (class, column) in &new {
        if let Some(name) = names.remove(column) {
            renamed.insert(*class, name);
        }
    }
    for (&address, class) in &compiled.class {
        if let Some(&name) = renamed.get(class) {
            better.class.insert(address, name);
        }
    }
    for (range, class) in &compiled.cidr {
        if let Some(&name) = renamed.get(class) {
            let overlaps = |other: &&crate::program::AddressRange| {
                other.first <= range.last && range.first <= other.last
            };
            let gone: Vec<_> = better.cidr.keys().filter(overlaps).copied().collect();
            gone.iter().for_each(|range| _ = better.cidr.remove(range));
            better.cidr.insert(*range, name);
        }
    }
    !renamed.is_empty()
}

fn ids(tables: &Tables) -> BTreeSet<ClassId> {
    tables.class.values().chain(tables.cidr.values()).copied().collect()
}

fn columns(tables: &Tables) -> BTreeMap<ClassId, Column> {
    let mut columns: BTreeMap<ClassId, Column> = BTreeMap::new();
    let rows = [(Direction::Ingress, &tables.allow_in), (Direction::Egress, &tables.allow_out)];
    for (direction, rows) in rows {
        for (&(subject, class), &profile) in rows {
            columns.entry(class).or_default().insert((direction, subject, profile));
        }
    }
    columns
}
