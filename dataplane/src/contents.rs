//! A table's contents as single elements, and back.

use palisade_compiler::model::Direction;
use palisade_compiler::program::delta::Edits;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, PortElement, ProfileId, Tables, TablesDelta};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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

/// The elements of one set, catch-all not among them.
pub fn elements(tables: &Tables, set: SetName) -> Vec<Element> {
    let rows = |rows: &Rows| rows.iter().map(|(&(s, c), &p)| Element::Row(s, c, p)).collect();
    match set {
        SetName::LocalIn => tables.local_in.iter().map(|&a| Element::Address(a)).collect(),
        SetName::LocalOut => tables.local_out.iter().map(|&a| Element::Address(a)).collect(),
        SetName::Hairpin => tables.hairpin.iter().map(|&a| Element::Hairpin(a)).collect(),
        SetName::Bridges => tables.bridges.iter().map(|&i| Element::Bridge(i)).collect(),
        SetName::Class => tables.class.iter().map(|(&a, &c)| Element::Class(a, c)).collect(),
        SetName::Cidr => tables.cidr.iter().map(|(&r, &c)| Element::Cidr(r, c)).collect(),
        SetName::AllowIn => rows(&tables.allow_in),
        SetName::AllowOut => rows(&tables.allow_out),
        SetName::Ports => tables.ports.iter().map(|&e| Element::Port(e)).collect(),
        SetName::PortRanges => tables.port_ranges.iter().map(|&e| Element::PortRange(e)).collect(),
    }
}

/// How many elements a set has, catch-all not counted.
pub fn count(tables: &Tables, set: SetName) -> usize {
    match set {
        SetName::LocalIn => tables.local_in.len(),
        SetName::LocalOut => tables.local_out.len(),
        SetName::Hairpin => tables.hairpin.len(),
        SetName::Bridges => tables.bridges.len(),
        SetName::Class => tables.class.len(),
        SetName::Cidr => tables.cidr.len(),
        SetName::AllowIn => tables.allow_in.len(),
        SetName::AllowOut => tables.allow_out.len(),
        SetName::Ports => tables.ports.len(),
        SetName::PortRanges => tables.port_ranges.len(),
    }
}

/// How many elements a delta adds to a set, or gives another value.
pub fn additions(delta: &TablesDelta, set: SetName) -> usize {
    fn come<K, V: Copy>(edits: &Edits<K, V>) -> usize {
        edits.values().filter(|edit| edit.after.is_some()).count()
    }
    match set {
        SetName::LocalIn => come(&delta.local_in),
        SetName::LocalOut => come(&delta.local_out),
        SetName::Hairpin => come(&delta.hairpin),
        SetName::Bridges => come(&delta.bridges),
        SetName::Class => come(&delta.class),
        SetName::Cidr => come(&delta.cidr),
        SetName::AllowIn => come(&delta.allow_in),
        SetName::AllowOut => come(&delta.allow_out),
        SetName::Ports => come(&delta.ports),
        SetName::PortRanges => come(&delta.port_ranges),
    }
}

/// Adds an element; its key must be free. An element that the set cannot hold, and the catch-all, change nothing.
pub fn insert(tables: &mut Tables, set: SetName, element: Element) {
    match element {
        Element::Address(address) if set == SetName::LocalIn => {
            tables.local_in.insert(address);
        }
        Element::Address(address) => _ = tables.local_out.insert(address),
        Element::Hairpin(address) => _ = tables.hairpin.insert(address),
        Element::Bridge(index) => _ = tables.bridges.insert(index),
        Element::Class(address, class) => _ = tables.class.insert(address, class),
        Element::Cidr(range, class) => _ = tables.cidr.insert(range, class),
        Element::Row(subject, class, profile) => {
            let rows =
                if set == SetName::AllowIn { &mut tables.allow_in } else { &mut tables.allow_out };
            rows.insert((subject, class), profile);
        }
        Element::Port(port) => _ = tables.ports.insert(port),
        Element::PortRange(range) => _ = tables.port_ranges.insert(range),
        Element::CatchAll => {}
    }
}

/// Removes an element by its key.
pub fn remove(tables: &mut Tables, set: SetName, element: Element) {
    match element {
        Element::Address(address) if set == SetName::LocalIn => {
            tables.local_in.remove(&address);
        }
        Element::Address(address) => _ = tables.local_out.remove(&address),
        Element::Hairpin(address) => _ = tables.hairpin.remove(&address),
        Element::Bridge(index) => _ = tables.bridges.remove(&index),
        Element::Class(address, _) => _ = tables.class.remove(&address),
        Element::Cidr(range, _) => _ = tables.cidr.remove(&range),
        Element::Row(subject, class, _) => {
            let rows =
                if set == SetName::AllowIn { &mut tables.allow_in } else { &mut tables.allow_out };
            rows.remove(&(subject, class));
        }
        Element::Port(port) => _ = tables.ports.remove(&port),
        Element::PortRange(range) => _ = tables.port_ranges.remove(&range),
        Element::CatchAll => {}
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
