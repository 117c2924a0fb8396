//! Recognizes classes that lost their members in the kernel by their rows.
//!
//! A class is normally matched to an id in the kernel by its members. If the members are missing there, because somebody
//! deleted the elements, the rows still show which class it was. With the old id restored, the repair is as small a change
//! as the damage.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Direction, Family};
use crate::program::{ClassId, ProfileId, Program, Tables};

type Column = BTreeSet<(Direction, IpAddr, ProfileId)>;

/// Returns the tables found, completed for every class that was compiled under a new id although the tables have the same
/// rows under an id that is not in use: the members of such a class are added to the tables under the old id. Returns
/// `None` if there is no such class.
pub(super) fn recognized(found: &Program, compiled: &Program) -> Option<Program> {
    let mut completed = found.clone();
    let mut any = false;
    for family in Family::ALL {
        any |=
            recognize(found.family(family), compiled.family(family), completed.family_mut(family));
    }
    any.then_some(completed)
}

fn recognize(found: &Tables, compiled: &Tables, completed: &mut Tables) -> bool {
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
            completed.class.insert(address, name);
        }
    }
    for (range, class) in &compiled.cidr {
        if let Some(&name) = renamed.get(class) {
            let overlaps = |other: &&crate::program::AddressRange| {
                other.first <= range.last && range.first <= other.last
            };
            let gone: Vec<_> = completed.cidr.keys().filter(overlaps).copied().collect();
            gone.iter().for_each(|range| _ = completed.cidr.remove(range));
            completed.cidr.insert(*range, name);
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
