//! Elements as the kernel holds them, and back.
//!
//! Ids are in host byte order, as the maps' lookups leave them in a register; only `port_ranges` has them big endian,
//! because nft turns the register round before that lookup. Addresses, protocols and ports are as in the packet. Each
//! field of a key is padded to 4 bytes. A range in `cidr` is two elements: its first address, and the address behind
//! its last with the flag `interval end`; ranges in `port_ranges` have both ends in one.

use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::element::{ElementKind as Kind, MacAddress};
use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, TupleElement,
};

use super::wire::{Attribute, Attributes, close_nest, open_nest, put};
use crate::transaction::Element;

/// `enum nft_set_elem_attributes`.
const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const USERDATA: u16 = 6;
const KEY_END: u16 = 10;
/// `NFTA_DATA_VALUE`, `NFTA_LIST_ELEM`.
const VALUE: u16 = 1;
const LIST_ELEM: u16 = 1;

/// `enum nft_set_elem_flags`.
const INTERVAL_END: u32 = 1;
const CATCH_ALL: u32 = 2;

/// nft's mark of a range that ends with the last address there is: userdata `NFTNL_UDATA_SET_ELEM_FLAGS` with
/// `NFTNL_SET_ELEM_F_INTERVAL_OPEN`.
const OPEN_INTERVAL: [u8; 6] = {
    let [a, b, c, d] = 1u32.to_ne_bytes();
    [1, 4, a, b, c, d]
};

/// The most bytes that `put_element` appends: two elements of `cidr` over IPv6.
pub(super) const MAX_ELEMENT: usize = 128;

/// Whether the element is one of that set, in that table.
pub(super) fn fits(table: TableFamily, set: SetName, element: &Element) -> bool {
    let is_of_kind = element.kind().map_or(set.has_catch_all(), |kind| kind == set.kind());
    let is_range = !matches!(element, Element::Cidr(range, _) | Element::Range(range) if range.first > range.last);
    let is_of_family = element.is_of(set.family(table));
    set.tables().contains(&table) && is_of_kind && is_range && is_of_family
}

/// The longest key, of a tuple over IPv6.
const MAX_KEY: usize = 44;

/// A key or a value.
struct Bytes {
    buffer: [u8; MAX_KEY],
    length: usize,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { buffer: [0; MAX_KEY], length: 0 }
    }
}

impl Bytes {
    /// Appends a field, padded to 4 bytes.
    fn field(mut self, field: &[u8]) -> Self {
        if let Some(slot) = self.buffer.get_mut(self.length..self.length + field.len()) {
            slot.copy_from_slice(field);
        }
        self.length += field.len().next_multiple_of(4);
        self
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.field(&address.octets()),
            IpAddr::V6(address) => self.field(&address.octets()),
        }
    }

    fn id(self, id: u32) -> Self {
        self.field(&id.to_ne_bytes())
    }

    /// A key of one field is not padded.
    fn cut(mut self, length: usize) -> Self {
        self.length = length;
        self
    }

    fn as_slice(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

#[derive(Default)]
struct Parts<'a> {
    flags: u32,
    key: Bytes,
    key_end: Bytes,
    data: Bytes,
    userdata: &'a [u8],
}

/// Appends the list entries of one element.
pub(super) fn put_element(out: &mut Vec<u8>, element: &Element) {
    let key = Bytes::default;
    let parts = match *element {
        Element::Address(address) => Parts { key: key().address(address), ..Parts::default() },
        Element::Hairpin(address) => {
            Parts { key: key().address(address).address(address), ..Parts::default() }
        }
        Element::Bridge(index) => Parts { key: key().id(index).id(index), ..Parts::default() },
        Element::Interface(index) => Parts { key: key().id(index), ..Parts::default() },
        Element::Source(index, address) | Element::Target(index, address) => {
            Parts { key: key().id(index).address(address), ..Parts::default() }
        }
        Element::Mac(MacAddress(mac)) => {
            Parts { key: key().field(&mac).cut(mac.len()), ..Parts::default() }
        }
        Element::PortMac(index, MacAddress(mac)) => {
            Parts { key: key().id(index).field(&mac), ..Parts::default() }
        }
        Element::Service(port) => {
            Parts { key: key().field(&port.to_be_bytes()).cut(2), ..Parts::default() }
        }
        Element::Class(address, class) => {
            Parts { key: key().address(address), data: key().id(class.0), ..Parts::default() }
        }
        Element::Range(range) => return put_range(out, range, None),
        Element::Cidr(range, class) => return put_range(out, range, Some(class)),
        Element::Row(address, class, profile) => Parts {
            key: key().address(address).id(class.0),
            data: key().id(profile.0),
            ..Parts::default()
        },
        Element::Port(PortElement { profile, protocol, port }) => Parts {
            key: key().id(profile.0).field(&[protocol]).field(&port.to_be_bytes()),
            ..Parts::default()
        },
        Element::PortRange(PortRangeElement { profile, protocol, first, last }) => {
            let end = |port: u16| {
                let profile = profile.0.to_be_bytes();
                key().field(&profile).field(&[protocol]).field(&port.to_be_bytes())
            };
            Parts { key: end(first), key_end: end(last), ..Parts::default() }
        }
        Element::Tuple(tuple) => Parts { key: tuple_key(tuple), ..Parts::default() },
        Element::CatchAll => Parts { flags: CATCH_ALL, data: key().id(0), ..Parts::default() },
    };
    put_parts(out, &parts);
}

fn tuple_key(tuple: TupleElement) -> Bytes {
    let TupleElement { protocol, source, destination, source_port, port } = tuple;
    let ends = Bytes::default().field(&[protocol]).address(source).address(destination);
    ends.field(&source_port.to_be_bytes()).field(&port.to_be_bytes())
}

fn put_range(out: &mut Vec<u8>, range: AddressRange, class: Option<ClassId>) {
    let behind = next(range.last);
    let userdata: &[u8] = if behind.is_none() { &OPEN_INTERVAL } else { &[] };
    let key = Bytes::default().address(range.first);
    let data = class.map_or_else(Bytes::default, |class| Bytes::default().id(class.0));
    put_parts(out, &Parts { key, data, userdata, ..Parts::default() });
    if let Some(end) = behind {
        let key = Bytes::default().address(end);
        put_parts(out, &Parts { flags: INTERVAL_END, key, ..Parts::default() });
    }
}

/// In the order in which libnftnl writes them.
fn put_parts(out: &mut Vec<u8>, parts: &Parts<'_>) {
    let at = open_nest(out, LIST_ELEM);
    if parts.flags != 0 {
        put(out, FLAGS, &parts.flags.to_be_bytes());
    }
    for (kind, bytes) in [(KEY, &parts.key), (KEY_END, &parts.key_end), (DATA, &parts.data)] {
        if bytes.length > 0 {
            let nest = open_nest(out, kind);
            put(out, VALUE, bytes.as_slice());
            close_nest(out, nest);
        }
    }
    if !parts.userdata.is_empty() {
        put(out, USERDATA, parts.userdata);
    }
    close_nest(out, at);
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

fn previous(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address.to_bits().saturating_sub(1).into()),
        IpAddr::V6(address) => IpAddr::V6(address.to_bits().saturating_sub(1).into()),
    }
}

/// Collects the elements of one set from a dump.
#[derive(Debug)]
pub(super) struct Collector {
    family: TableFamily,
    set: SetName,
    elements: Vec<Element>,
    /// Of interval sets of addresses: where the class changes, `None` behind a range.
    bounds: Vec<(IpAddr, Option<ClassId>)>,
    /// An element had a form that Palisade never writes.
    foreign: bool,
}

impl Collector {
    pub(super) fn new(family: TableFamily, set: SetName) -> Self {
        Self { family, set, elements: Vec::new(), bounds: Vec::new(), foreign: false }
    }

    pub(super) fn add(&mut self, element: Attributes<'_>) {
        if self.take(element).is_none() {
            self.foreign = true;
        }
    }

    /// The elements in order, each once, and whether all were of our form.
    pub(super) fn finish(mut self) -> (Vec<Element>, bool) {
        let mut elements = self.elements;
        // An end sorts before a beginning at the same address.
        self.bounds.sort_unstable_by_key(|&(at, class)| (at, class));
        for (i, &(first, class)) in self.bounds.iter().enumerate() {
            let behind = self.bounds.get(i + 1).map(|&(next, _)| next);
            if let Some(class) = class
                && behind != Some(first)
            {
                let highest = || highest(self.set.family(self.family));
                let range = AddressRange { first, last: behind.map_or_else(highest, previous) };
                elements.push(match self.set.kind() {
                    Kind::Range => Element::Range(range),
                    _ => Element::Cidr(range, class),
                });
            }
        }
        elements.sort_unstable();
        elements.dedup();
        (elements, !self.foreign)
    }

    fn take(&mut self, element: Attributes<'_>) -> Option<()> {
        let (mut key, mut key_end, mut data, mut flags) = (None, None, None, 0);
        for attribute in element {
            match attribute.kind {
                KEY => key = attribute.data(),
                KEY_END => key_end = attribute.data(),
                DATA => data = attribute.data(),
                FLAGS => flags = attribute.be_u32()?,
                USERDATA => {}
                // A timeout, a counter, an object: not ours.
                _ => return None,
            }
        }
        if flags == CATCH_ALL && self.set.has_catch_all() {
            (data? == [0; 4]).then_some(())?;
            self.elements.push(Element::CatchAll);
            return Some(());
        }
        let key = key?;
        if matches!(self.set.kind(), Kind::Cidr | Kind::Range) {
            let address = self.address(key)?;
            let class = match flags {
                0 if self.set.kind() == Kind::Range => Some(ClassId::UNKNOWN),
                0 => Some(ClassId(id(data?)?)),
                INTERVAL_END => None,
                _ => return None,
            };
            self.bounds.push((address, class));
            return Some(());
        }
        (flags == 0).then_some(())?;
        self.elements.push(self.element(key, key_end, data)?);
        Some(())
    }

    fn element(&self, key: &[u8], key_end: Option<&[u8]>, data: Option<&[u8]>) -> Option<Element> {
        Some(match self.set.kind() {
            Kind::Address => Element::Address(self.address(key)?),
            Kind::Hairpin => {
                let (a, b) = key.split_at_checked(key.len() / 2)?;
                (a == b).then_some(())?;
                Element::Hairpin(self.address(a)?)
            }
            Kind::Bridge => {
                let (a, b) = key.split_at_checked(4)?;
                (a == b).then_some(())?;
                Element::Bridge(id(a)?)
            }
            Kind::Interface => Element::Interface(id(key)?),
            Kind::Source => {
                let (index, address) = key.split_at_checked(4)?;
                Element::Source(id(index)?, self.address(address)?)
            }
            Kind::Target => {
                let (index, address) = key.split_at_checked(4)?;
                Element::Target(id(index)?, self.address(address)?)
            }
            Kind::Mac => Element::Mac(MacAddress(key.try_into().ok()?)),
            Kind::PortMac => {
                let (index, mac) = key.split_at_checked(4)?;
                let &[a, b, c, d, e, f, 0, 0] = mac else { return None };
                Element::PortMac(id(index)?, MacAddress([a, b, c, d, e, f]))
            }
            Kind::Service => Element::Service(u16::from_be_bytes(key.try_into().ok()?)),
            Kind::Class => Element::Class(self.address(key)?, ClassId(id(data?)?)),
            Kind::Row => {
                let (address, class) = key.split_at_checked(key.len().checked_sub(4)?)?;
                let (class, profile) = (ClassId(id(class)?), ProfileId(id(data?)?));
                Element::Row(self.address(address)?, class, profile)
            }
            Kind::Port => {
                let (profile, protocol, port) = port_key(key, u32::from_ne_bytes)?;
                Element::Port(PortElement { profile, protocol, port })
            }
            Kind::PortRange => {
                let from = port_key(key, u32::from_be_bytes)?;
                let to = port_key(key_end.unwrap_or(key), u32::from_be_bytes)?;
                ((from.0, from.1) == (to.0, to.1)).then_some(())?;
                let (profile, protocol, first) = from;
                Element::PortRange(PortRangeElement { profile, protocol, first, last: to.2 })
            }
            Kind::Tuple => Element::Tuple(self.tuple(key)?),
            Kind::Cidr | Kind::Range => return None,
        })
    }

    fn tuple(&self, key: &[u8]) -> Option<TupleElement> {
        let (protocol, rest) = key.split_at_checked(4)?;
        let &[protocol, 0, 0, 0] = protocol else { return None };
        let (ends, ports) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        let (source, destination) = ends.split_at_checked(ends.len() / 2)?;
        let (source, destination) = (self.address(source)?, self.address(destination)?);
        let &[s0, s1, 0, 0, p0, p1, 0, 0] = ports else { return None };
        let [source_port, port] = [[s0, s1], [p0, p1]].map(u16::from_be_bytes);
        Some(TupleElement { protocol, source, destination, source_port, port })
    }

    fn address(&self, bytes: &[u8]) -> Option<IpAddr> {
        match self.set.family(self.family) {
            Family::V4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            Family::V6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        }
    }
}

fn highest(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([0xff; 4]),
        Family::V6 => IpAddr::from([0xff; 16]),
    }
}

fn id(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn port_key(key: &[u8], order: fn([u8; 4]) -> u32) -> Option<(ProfileId, u8, u16)> {
    let &[a, b, c, d, protocol, 0, 0, 0, p0, p1, 0, 0] = key else { return None };
    Some((ProfileId(order([a, b, c, d])), protocol, u16::from_be_bytes([p0, p1])))
}

/// The elements in an `NFTA_SET_ELEM_LIST_ELEMENTS`.
pub(super) fn in_list(list: Attribute<'_>) -> impl Iterator<Item = Attributes<'_>> {
    list.nested().map(Attribute::nested)
}

/// The key and value bytes of an element that is no element of ours, as of an anonymous map.
pub(super) fn raw(element: Attributes<'_>) -> Option<(&[u8], &[u8])> {
    Some((element.get(KEY)?.data()?, element.get(DATA)?.data()?))
}

/// Appends an element of the anonymous map from TOS bits to priority.
pub(super) fn put_restore(out: &mut Vec<u8>, tos: u8, priority: u32) {
    let key = Bytes::default().field(&[tos]).cut(1);
    let data = Bytes::default().id(priority);
    put_parts(out, &Parts { key, data, ..Parts::default() });
}
