//! What a program means, without the names it happens to use: equal for equal input, whatever the history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::ranges::{highest, number};
use crate::model::{Direction, Family};
use crate::program::{ClassId, PortSet, ProfileId, Program, Tables, port_sets};

/// What a class is allowed, by direction and subject. Who is allowed nothing is not in it.
type Column = BTreeMap<(Direction, IpAddr), PortSet>;

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
    let by_class = columns(tables, &contents);
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

/// What each class is allowed. The row of `UNKNOWN` applies where a class has none of its own.
fn columns(tables: &Tables, contents: &BTreeMap<ProfileId, PortSet>) -> BTreeMap<ClassId, Column> {
    let rows = [(Direction::Ingress, &tables.allow_in), (Direction::Egress, &tables.allow_out)];
    let mut own: BTreeMap<ClassId, Column> = BTreeMap::new();
    for (direction, rows) in rows {
        for (&(subject, class), &profile) in rows {
            let content = match profile {
                ProfileId::EVERYTHING => PortSet::everything(),
                _ => contents.get(&profile).cloned().unwrap_or_default(),
            };
            own.entry(class).or_default().insert((direction, subject), content);
        }
    }
    let base = own.remove(&ClassId::UNKNOWN).unwrap_or_default();
    let members: BTreeSet<ClassId> =
        tables.class.values().chain(tables.cidr.values()).copied().collect();
    let effective = members.into_iter().chain([ClassId::UNKNOWN]).map(|class| {
        let mut column = base.clone();
        column.extend(own.remove(&class).unwrap_or_default());
        // No row means the same as one that allows nothing, as long as there is no base.
        column.retain(|_, content| !content.is_nothing());
        (class, column)
    });
    effective.collect()
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
