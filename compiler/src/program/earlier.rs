//! What a packet met before the last changes: a program taken back by their deltas, as far as two addresses are concerned.
//!
//! A copy of a whole program would cost as much as the cluster is large; what one packet looks up is a handful of elements.

use std::net::IpAddr;

use super::delta::Edits;
use super::{
    AddressRange, ClassId, Delta, PortElement, PortRangeElement, ProfileId, Program, Tables,
    TablesDelta,
};
use crate::model::{Connection, Family};

/// The elements that the first packet of the connection, in either direction, looked up before the deltas: those that led to
/// the program, the latest first.
pub fn tables_before(program: &Program, deltas: &[&Delta], connection: &Connection) -> Tables {
    let family = Family::of(connection.to);
    let deltas = deltas.iter().rev().map(|delta| &delta[family]).collect();
    Earlier { now: &program[family], deltas, connection }.tables()
}

struct Earlier<'a> {
    now: &'a Tables,
    /// The earliest first.
    deltas: Vec<&'a TablesDelta>,
    connection: &'a Connection,
}

impl Earlier<'_> {
    /// What the key had before the deltas: the earliest one that changes it says so.
    fn value<K: Ord, V: Copy>(
        &self,
        edits: impl Fn(&TablesDelta) -> &Edits<K, V>,
        key: &K,
        now: Option<V>,
    ) -> Option<V> {
        let edit = self.deltas.iter().find_map(|delta| edits(delta).get(key));
        edit.map_or(now, |edit| edit.before)
    }

    fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        let Connection { from, to, .. } = *self.connection;
        for address in [from, to] {
            self.put_address(&mut tables, address);
        }
        let classes = [tables.class_of(from), tables.class_of(to), ClassId::UNKNOWN];
        for row in [from, to].iter().flat_map(|&subject| classes.map(|class| (subject, class))) {
            let ingress = self.value(|delta| &delta.allow_in, &row, self.row_in(&row));
            let egress = self.value(|delta| &delta.allow_out, &row, self.row_out(&row));
            tables.allow_in.extend(ingress.map(|profile| (row, profile)));
            tables.allow_out.extend(egress.map(|profile| (row, profile)));
        }
        let rows = tables.allow_in.values().chain(tables.allow_out.values());
        let profiles: Vec<ProfileId> = rows.copied().collect();
        profiles.into_iter().for_each(|profile| self.put_port(&mut tables, profile));
        tables
    }

    fn row_in(&self, row: &(IpAddr, ClassId)) -> Option<ProfileId> {
        self.now.allow_in.get(row).copied()
    }

    fn row_out(&self, row: &(IpAddr, ClassId)) -> Option<ProfileId> {
        self.now.allow_out.get(row).copied()
    }

    fn put_address(&self, tables: &mut Tables, address: IpAddr) {
        let now = self.now;
        let had = |is_there: bool| is_there.then_some(());
        let local_in = self.value(|d| &d.local_in, &address, had(now.local_in.contains(&address)));
        let local_out =
            self.value(|d| &d.local_out, &address, had(now.local_out.contains(&address)));
        let hairpin = self.value(|d| &d.hairpin, &address, had(now.hairpin.contains(&address)));
        tables.local_in.extend(local_in.map(|()| address));
        tables.local_out.extend(local_out.map(|()| address));
        tables.hairpin.extend(hairpin.map(|()| address));
        let class = self.value(|d| &d.class, &address, now.class.get(&address).copied());
        tables.class.extend(class.map(|class| (address, class)));
        let only = AddressRange { first: address, last: address };
        tables.cidr.extend(self.atom_over(address).map(|class| (only, class)));
    }

    /// The class of the atom that held the address.
    fn atom_over(&self, address: IpAddr) -> Option<ClassId> {
        for delta in &self.deltas {
            let mut over =
                delta.cidr.iter().filter(|(range, _)| range.contains(address)).peekable();
            if over.peek().is_some() {
                // Of the atoms that came and went over it, at most one was there before.
                return over.find_map(|(_, edit)| edit.before);
            }
        }
        self.now.atom_over(address)
    }

    fn put_port(&self, tables: &mut Tables, profile: ProfileId) {
        let Connection { protocol, port, .. } = *self.connection;
        let element = PortElement { profile, protocol, port };
        let is_there = self.now.ports.contains(&element).then_some(());
        let single = self.value(|delta| &delta.ports, &element, is_there);
        tables.ports.extend(single.map(|()| element));
        if self.has_port_in_range(element) {
            let only = PortRangeElement { profile, protocol, first: port, last: port };
            tables.port_ranges.insert(only);
        }
    }

    fn has_port_in_range(&self, element: PortElement) -> bool {
        let PortElement { profile, protocol, port } = element;
        let holds = |range: &PortRangeElement| {
            (range.profile, range.protocol) == (profile, protocol)
                && (range.first..=range.last).contains(&port)
        };
        for delta in &self.deltas {
            let mut over = delta.port_ranges.iter().filter(|(range, _)| holds(range)).peekable();
            if over.peek().is_some() {
                return over.any(|(_, edit)| edit.before.is_some());
            }
        }
        self.now.has_port_in_range(element)
    }
}
