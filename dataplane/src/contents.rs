//! What a table holds, and what a packet's lookups find in it.

use palisade_compiler::model::Direction;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, PortElement, ProfileId, Program, TableFamily, Tables};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::host::HostFacts;
use crate::transaction::Element;

pub(crate) type Rows = BTreeMap<(IpAddr, ClassId), ProfileId>;

/// The set of subjects of a direction.
pub(crate) const fn subjects_set(direction: Direction) -> SetName {
    match direction {
        Direction::Ingress => SetName::LocalIn,
        Direction::Egress => SetName::LocalOut,
    }
}

/// The map of rows of a direction.
pub(crate) const fn rows_set(direction: Direction) -> SetName {
    match direction {
        Direction::Ingress => SetName::AllowIn,
        Direction::Egress => SetName::AllowOut,
    }
}

pub(crate) fn subjects(tables: &Tables, direction: Direction) -> &BTreeSet<IpAddr> {
    match direction {
        Direction::Ingress => &tables.local_in,
        Direction::Egress => &tables.local_out,
    }
}

pub(crate) fn rows(tables: &Tables, direction: Direction) -> &Rows {
    match direction {
        Direction::Ingress => &tables.allow_in,
        Direction::Egress => &tables.allow_out,
    }
}

/// Everything that one table holds: the program's part, where it has one, and the host's.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    pub program: Option<&'a Tables>,
    /// Facts of this table only.
    pub host: &'a HostFacts,
}

impl<'a> Contents<'a> {
    /// What the table holds of a program, beside these facts.
    pub fn of(table: TableFamily, program: &'a Program, host: &'a HostFacts) -> Self {
        Self { program: table.family().map(|family| &program[family]), host }
    }

    /// How many elements the set has, its catch-all not counted.
    pub fn count(&self, set: SetName) -> usize {
        self.program.map_or(0, |program| program.count(set)) + self.host.count(set)
    }

    /// The elements of the set, its catch-all not among them.
    pub fn elements(&self, set: SetName) -> impl Iterator<Item = Element> + use<'a> {
        let program = self.program.map(|program| program.elements(set));
        program.into_iter().flatten().chain(self.host.elements(set))
    }
}

/// The class that the kernel's lookup of an address yields: a stored 0:0 counts as a miss.
pub(crate) fn class_of(tables: &Tables, address: IpAddr) -> ClassId {
    match tables.class.get(&address) {
        Some(&class) if class != ClassId::UNKNOWN => class,
        Some(_) | None => tables.cidr_class_of(address),
    }
}

/// The least element of `ports` that a profile could have; all of a profile's elements stand together.
pub(crate) const fn first_port(profile: ProfileId) -> PortElement {
    PortElement { profile, protocol: 0, port: 0 }
}
