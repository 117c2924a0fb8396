//! Garbage: elements that the kernel has and the program does not. New packets cannot reach them, but a packet under way
//! may still read them. They can be removed after a grace period.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, PortElement, PortRangeElement, ProfileId, Tables};

use super::step::Change;
use crate::contents::{self, first_port, rows_set};
use crate::transaction::Element;

#[derive(Debug, Clone, Default)]
pub(super) struct Garbage {
    ingress: Rows,
    egress: Rows,
    pub(super) hairpin: BTreeSet<IpAddr>,
    pub(super) ports: BTreeSet<PortElement>,
    pub(super) port_ranges: BTreeSet<PortRangeElement>,
}

/// Rows of one direction, indexed by class and by subject.
#[derive(Debug, Clone, Default)]
struct Rows {
    by_class: BTreeSet<(ClassId, IpAddr)>,
    by_subject: BTreeSet<(IpAddr, ClassId)>,
}

impl Garbage {
    /// The number of garbage elements.
    pub(super) fn len(&self) -> usize {
        self.ingress.by_subject.len()
            + self.egress.by_subject.len()
            + self.hairpin.len()
            + self.ports.len()
            + self.port_ranges.len()
    }

    fn rows(&self, direction: Direction) -> &Rows {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    pub(super) fn has_row(&self, direction: Direction, subject: IpAddr, class: ClassId) -> bool {
        self.rows(direction).by_subject.contains(&(subject, class))
    }

    /// The subjects that have a garbage row of the class.
    pub(super) fn subjects_of(
        &self,
        direction: Direction,
        class: ClassId,
    ) -> impl Iterator<Item = IpAddr> {
        let rows = self.rows(direction).by_class.range((class, IpAddr::from([0; 4]))..);
        rows.take_while(move |(c, _)| *c == class).map(|&(_, subject)| subject)
    }

    /// The classes that the subject has a garbage row for.
    pub(super) fn classes_of(
        &self,
        direction: Direction,
        subject: IpAddr,
    ) -> impl Iterator<Item = ClassId> {
        let rows = self.rows(direction).by_subject.range((subject, ClassId::UNKNOWN)..);
        rows.take_while(move |(s, _)| *s == subject).map(|&(_, class)| class)
    }

    pub(super) fn ports_of(&self, profile: ProfileId) -> impl Iterator<Item = PortElement> {
        let ports = self.ports.range(first_port(profile)..);
        ports.take_while(move |e| e.profile == profile).copied()
    }

    pub(super) fn ranges_of(&self, profile: ProfileId) -> impl Iterator<Item = PortRangeElement> {
        let first = PortRangeElement { profile, protocol: 0, first: 0, last: 0 };
        self.port_ranges.range(first..).take_while(move |e| e.profile == profile).copied()
    }

    /// Marks an element as garbage, or as part of the program again. Returns whether that changed anything.
    pub(super) fn mark(&mut self, set: SetName, element: Element, garbage: bool) -> bool {
        fn put<T: Ord>(set: &mut BTreeSet<T>, key: T, garbage: bool) -> bool {
            if garbage { set.insert(key) } else { set.remove(&key) }
        }
        match element {
            Element::Row(subject, class, _) => {
                let rows = match row_direction(set) {
                    Direction::Ingress => &mut self.ingress,
                    Direction::Egress => &mut self.egress,
                };
                put(&mut rows.by_class, (class, subject), garbage);
                put(&mut rows.by_subject, (subject, class), garbage)
            }
            Element::Hairpin(address) => put(&mut self.hairpin, address, garbage),
            Element::Port(port) => put(&mut self.ports, port, garbage),
            Element::PortRange(range) => put(&mut self.port_ranges, range, garbage),
            Element::Address(_)
            | Element::Range(_)
            | Element::Bridge(_)
            | Element::Interface(_)
            | Element::Source(..)
            | Element::Target(..)
            | Element::Service(_)
            | Element::Mac(_)
            | Element::PortMac(..)
            | Element::Tuple(_)
            | Element::Class(..)
            | Element::Cidr(..)
            | Element::CatchAll => false,
        }
    }

    /// The changes that remove all garbage from the contents of the kernel.
    pub(super) fn removals(&self, kernel: &Tables) -> Vec<Change> {
        let mut removals = Vec::with_capacity(self.len());
        for direction in Direction::ALL {
            let rows = contents::rows(kernel, direction);
            for key in &self.rows(direction).by_subject {
                if let Some(&profile) = rows.get(key) {
                    let element = Element::Row(key.0, key.1, profile);
                    removals.push(Change::Remove(rows_set(direction), element));
                }
            }
        }
        let mut remove = |set, element| removals.push(Change::Remove(set, element));
        self.hairpin.iter().for_each(|&a| remove(SetName::Hairpin, Element::Hairpin(a)));
        self.ports.iter().for_each(|&e| remove(SetName::Ports, Element::Port(e)));
        self.port_ranges.iter().for_each(|&e| remove(SetName::PortRanges, Element::PortRange(e)));
        removals
    }

    /// Removes all garbage from a copy of the kernel's contents.
    pub(super) fn take_out_of(&self, tables: &mut Tables) {
        for (rows, direction) in
            [(&mut tables.allow_in, Direction::Ingress), (&mut tables.allow_out, Direction::Egress)]
        {
            rows.retain(|key, _| !self.rows(direction).by_subject.contains(key));
        }
        tables.hairpin.retain(|address| !self.hairpin.contains(address));
        tables.ports.retain(|port| !self.ports.contains(port));
        tables.port_ranges.retain(|range| !self.port_ranges.contains(range));
    }
}

pub(super) const fn row_direction(set: SetName) -> Direction {
    if matches!(set, SetName::AllowIn) { Direction::Ingress } else { Direction::Egress }
}
