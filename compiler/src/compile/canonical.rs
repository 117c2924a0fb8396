//! What a program means, without the names it happens to use: equal for equal input, whatever the history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::atoms::{highest, number};
use crate::model::{Direction, Family};
use crate::program::{ClassId, PortSet, ProfileId, Program, Tables, port_sets};

/// What a class is allowed: by direction and subject, the ports in both forms that the kernel holds.
type Column = BTreeMap<(Direction, IpAddr), Option<PortSet>>;

/// A program up to the naming of ids and the merging of classes with equal columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    v4: CanonicalTables,
    v6: CanonicalTables,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CanonicalTables {
    local_in: BTreeSet<IpAddr>,
    local_out: BTreeSet<IpAddr>,
    hairpin: BTreeSet<IpAddr>,
    /// Every column in use, and by place in it the column of each pod, of each range of other addresses, and of the rest.
    columns: Vec<Column>,
    pods: BTreeMap<IpAddr, usize>,
    ranges: Vec<(u128, u128, usize)>,
    profiles: BTreeSet<PortSet>,
}

impl Program {
    pub fn canonical(&self) -> Canonical {
        Canonical {
            v4: canonical_tables(&self.v4, Family::V4),
            v6: canonical_tables(&self.v6, Family::V6),
        }
    }
}

fn canonical_tables(tables: &Tables, family: Family) -> CanonicalTables {
    let contents = port_sets(tables);
    let mut by_class: BTreeMap<ClassId, Column> = BTreeMap::new();
    let members = tables.class.values().chain(tables.cidr.values());
    for &class in members.chain([&ClassId::UNKNOWN]) {
        by_class.entry(class).or_default();
    }
    let rows = [(Direction::Ingress, &tables.allow_in), (Direction::Egress, &tables.allow_out)];
    for (direction, rows) in rows {
        for (&(subject, class), &profile) in rows {
            if let Some(column) = by_class.get_mut(&class) {
                let content = match profile {
                    ProfileId::EVERYTHING => None,
                    _ => Some(contents.get(&profile).cloned().unwrap_or_default()),
                };
                column.insert((direction, subject), content);
            }
        }
    }
    let sorted: BTreeSet<&Column> = by_class.values().collect();
    let columns: Vec<Column> = sorted.into_iter().cloned().collect();
    let place = |class: ClassId| {
        by_class.get(&class).and_then(|column| columns.binary_search(column).ok()).unwrap_or(0)
    };
    CanonicalTables {
        local_in: tables.local_in.clone(),
        local_out: tables.local_out.clone(),
        hairpin: tables.hairpin.clone(),
        pods: tables.class.iter().map(|(&address, &class)| (address, place(class))).collect(),
        ranges: ranges(tables, family, place),
        columns,
        profiles: contents.into_values().collect(),
    }
}

/// The whole address space as ranges of equal columns, no two neighbours equal.
fn ranges(
    tables: &Tables,
    family: Family,
    place: impl Fn(ClassId) -> usize,
) -> Vec<(u128, u128, usize)> {
    let mut ranges: Vec<(u128, u128, usize)> = Vec::new();
    let mut push = |first: u128, last: u128, column: usize| match ranges.last_mut() {
        Some(range) if range.2 == column => range.1 = last,
        _ => ranges.push((first, last, column)),
    };
    let rest = place(ClassId::UNKNOWN);
    let mut next = Some(0);
    for (range, &class) in &tables.cidr {
        let (first, last) = (number(range.first), number(range.last));
        if let Some(gap) = next.filter(|&gap| gap < first) {
            push(gap, first - 1, rest);
        }
        push(first, last, place(class));
        next = last.checked_add(1);
    }
    if let Some(gap) = next.filter(|&gap| gap <= highest(family)) {
        push(gap, highest(family), rest);
    }
    ranges
}
