//! The compiler's tables of one family, as BPF maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, Tables, TablesDelta,
};

use crate::contender::ContenderError;
use crate::contender::blocks::{self, number, prefixes};
use crate::sys::{Map, MapKind};

/// The directions in which an address is isolated, as bits of the upper half of its value in `addresses`. The lower half is
/// its class.
pub(super) const EGRESS: u32 = 1;
pub(super) const INGRESS: u32 = 2;

/// The size in bytes of a key of `ports`: profile, protocol as u16, and port in network byte order. The keys of
/// `port_ranges` are prefixes of it.
pub(super) const PORT_KEY: usize = 8;
/// The number of bits of a port key before the port.
const BEFORE_PORT: u32 = 48;
/// The size in bytes of a prefix length, which precedes the prefix.
pub(super) const LENGTH: usize = size_of::<u32>();
const CLASS: usize = size_of::<ClassId>();

/// The least capacity of a map. Maps have room for a quarter more elements than are loaded. A hash has one bucket for each
/// element of its capacity, and fewer buckets use the caches better.
const MIN_CAPACITY: usize = 4096;

pub(super) const fn address_size(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Address -> class, and the directions in which the address is isolated.
    Addresses,
    /// Prefix -> class.
    Cidr,
    /// (subject, peer's class) -> profile.
    AllowIn,
    AllowOut,
    Ports,
    PortRanges,
}

/// An element to set, or to remove if it has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) map: Name,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Maps {
    pub(super) addresses: Map,
    pub(super) cidr: Map,
    pub(super) allow_in: Map,
    pub(super) allow_out: Map,
    pub(super) ports: Map,
    pub(super) port_ranges: Map,
}

impl Maps {
    pub(super) const COUNT: usize = 6;

    /// Creates empty maps with room for the contents.
    pub(super) fn new(family: Family, contents: &[Change]) -> Result<Self, ContenderError> {
        let map = |name, kind, key_size, value_size| {
            let count = contents.iter().filter(|change| change.map == name).count();
            let capacity = u32::try_from(MIN_CAPACITY.max(count + count / 4)).unwrap_or(u32::MAX);
            Map::new(kind, key_size, value_size, capacity).map_err(|source| ContenderError::Bpf {
                what: format!("create the map of {name:?}"),
                source,
            })
        };
        let address = address_size(family);
        let (hash, trie) = (MapKind::Hash, MapKind::PrefixTrie);
        Ok(Self {
            addresses: map(Name::Addresses, hash, address, 8)?,
            cidr: map(Name::Cidr, trie, LENGTH + address, 4)?,
            allow_in: map(Name::AllowIn, hash, address + CLASS, 4)?,
            allow_out: map(Name::AllowOut, hash, address + CLASS, 4)?,
            ports: map(Name::Ports, hash, PORT_KEY, 4)?,
            port_ranges: map(Name::PortRanges, trie, LENGTH + PORT_KEY, 4)?,
        })
    }

    fn map(&self, name: Name) -> &Map {
        match name {
            Name::Addresses => &self.addresses,
            Name::Cidr => &self.cidr,
            Name::AllowIn => &self.allow_in,
            Name::AllowOut => &self.allow_out,
            Name::Ports => &self.ports,
            Name::PortRanges => &self.port_ranges,
        }
    }

    pub(super) fn commit(&self, changes: &[Change]) -> Result<(), ContenderError> {
        for Change { map, key, value } in changes {
            let done = match value {
                Some(value) => self.map(*map).set(key, value),
                None => self.map(*map).remove(key),
            };
            done.map_err(|source| {
                let what = if value.is_some() { "set" } else { "remove" };
                ContenderError::Bpf { what: format!("{what} an element of {map:?}"), source }
            })?;
        }
        Ok(())
    }
}

/// The changes of the maps for a delta. `after` are the tables after it. An element is added before the elements that refer
/// to it, and all additions come before all removals.
pub(super) fn changes(delta: &TablesDelta, after: &Tables) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut put = |map, key, value| changes.push(Change { map, key, value });
    for (element, edit) in &delta.ports {
        put(Name::Ports, port_key(element), edit.after.map(|()| number_value(1)));
    }
    let ranges = delta.port_ranges.iter();
    let ranges = ranges.map(|(range, edit)| (range_keys(range), edit.after.map(|()| 1)));
    for (key, value) in overlaid(ranges.collect()) {
        put(Name::PortRanges, key, value);
    }
    for (map, edits) in [(Name::AllowIn, &delta.allow_in), (Name::AllowOut, &delta.allow_out)] {
        for (&(subject, class), edit) in edits {
            let profile = edit.after.map(|ProfileId(profile)| number_value(profile));
            put(map, row_key(subject, class), profile);
        }
    }
    let atoms = delta.cidr.iter();
    let atoms =
        atoms.map(|(range, edit)| (atom_keys(range), edit.after.map(|ClassId(class)| class)));
    for (key, value) in overlaid(atoms.collect()) {
        put(Name::Cidr, key, value);
    }
    let isolated = delta.local_in.keys().chain(delta.local_out.keys());
    let touched: BTreeSet<IpAddr> = isolated.chain(delta.class.keys()).copied().collect();
    for address in touched {
        put(Name::Addresses, octets(address), address_value(address, after));
    }
    changes.sort_by_key(|change| change.value.is_none());
    changes
}

fn number_value(number: u32) -> Vec<u8> {
    number.to_ne_bytes().to_vec()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_value(address: IpAddr, tables: &Tables) -> Option<Vec<u8>> {
    let class = tables.class.get(&address);
    let egress = if tables.local_out.contains(&address) { EGRESS } else { 0 };
    let ingress = if tables.local_in.contains(&address) { INGRESS } else { 0 };
    let isolated = egress | ingress;
    let value = u64::from(isolated) << 32 | u64::from(class.map_or(0, |class| class.0));
    (class.is_some() || isolated != 0).then(|| value.to_ne_bytes().to_vec())
}

fn row_key(subject: IpAddr, class: ClassId) -> Vec<u8> {
    [octets(subject), number_value(class.0)].concat()
}

fn port_key(element: &PortElement) -> Vec<u8> {
    let PortElement { profile, protocol, port } = *element;
    let protocol = u16::from(protocol).to_ne_bytes();
    [&profile.0.to_ne_bytes()[..], &protocol, &port.to_be_bytes()].concat()
}

fn range_keys(range: &PortRangeElement) -> Vec<Vec<u8>> {
    let PortRangeElement { profile, protocol, first, last } = *range;
    let key = |(port, length): (u128, u32)| {
        let element = PortElement { profile, protocol, port: port as u16 };
        [number_value(BEFORE_PORT + length), port_key(&element)].concat()
    };
    prefixes((first.into(), last.into()), u16::BITS).into_iter().map(key).collect()
}

fn atom_keys(range: &AddressRange) -> Vec<Vec<u8>> {
    let family = Family::of(range.first);
    let bits = 8 * address_size(family) as u32;
    let key = |(address, length)| {
        let address = blocks::address(address, family);
        [number_value(length), octets(address)].concat()
    };
    prefixes((number(range.first), number(range.last)), bits).into_iter().map(key).collect()
}

/// Lists each key once. The removed and the added elements may have prefixes in common.
fn overlaid(edits: Vec<(Vec<Vec<u8>>, Option<u32>)>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let (come, gone): (Vec<_>, Vec<_>) = edits.into_iter().partition(|(_, value)| value.is_some());
    let mut keys = BTreeMap::new();
    for (prefixes, value) in gone.into_iter().chain(come) {
        keys.extend(prefixes.into_iter().map(|key| (key, value.map(number_value))));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_what_goes_and_comes_stays() {
        let (old, new) = (vec![b"a".to_vec(), b"b".to_vec()], vec![b"b".to_vec(), b"c".to_vec()]);
        let both = overlaid(vec![(new, Some(2)), (old, None)]);
        let values: Vec<_> = both.into_values().map(|value| value.is_some()).collect();
        assert_eq!(values, [false, true, true]);
    }
}
