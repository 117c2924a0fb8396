//! The compiled program: a fixed skeleton of rules, and policy as the elements of its sets and maps.
//!
//! A first packet walks: peer address -> class -> (subject address, class) -> profile -> (profile, protocol,
//! port) -> verdict. Everything here is plain ordered data: no handles, no kernel, no names of kernel objects
//! beyond the logical ones.

pub mod capacity;
pub mod delta;
pub mod eval;
mod port_set;
pub mod render;
pub mod skeleton;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::Family;

pub use delta::{Delta, TablesDelta};
pub use port_set::{MAX_EXPANDED_PORTS, PortRange, PortSet, port_sets};

/// The id of a class: a set of addresses that no rule of the local policies tells apart.
///
/// Printed as nft prints a `classid`: hexadecimal `major:minor`. Majors are 0x0001-0x7fff, so that no class can be
/// taken for a profile, nor for a priority that the kernel derived from a TOS field (`0:x`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl ClassId {
    /// The class of every address that is in no map and in no atom: no pod we know, and in no block but `/0`.
    pub const UNKNOWN: Self = Self(0);
    /// The first id that is handed out, and one past the last.
    pub const FIRST: u32 = 0x0001_0001;
    pub const END: u32 = 0x7f00_0000;
    /// Ids from here to 0x7fff_ffff are for the dataplane's passing states, never in a compiled program.
    pub const PASSING: u32 = 0x7f00_0000;
    pub const PASSING_END: u32 = 0x8000_0000;
}

/// The id of a profile: an interned set of allowed (protocol, port range).
///
/// Majors are 0x8000-0xfffe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(pub u32);

impl ProfileId {
    /// Allows nothing; what a lookup without an element yields. Never stored in a row.
    pub const NOTHING: Self = Self(0);
    /// Allows every port and protocol.
    pub const EVERYTHING: Self = Self(0x8000_0001);
    pub const FIRST: u32 = 0x8000_0002;
    pub const END: u32 = 0xfe00_0000;
    /// As `ClassId::PASSING`.
    pub const PASSING: u32 = 0xfe00_0000;
    pub const PASSING_END: u32 = 0xffff_0000;
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A range of addresses of one family, both ends included, `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl AddressRange {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first <= address && address <= self.last
    }
}

/// One element of `ports`: a single port. `protocol` is an IANA number, `port` in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortElement {
    pub profile: ProfileId,
    pub protocol: u8,
    pub port: u16,
}

/// One element of `port_ranges`: ports `first` to `last`, both included; ranges of one (profile, protocol) are disjoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRangeElement {
    pub profile: ProfileId,
    pub protocol: u8,
    pub first: u16,
    pub last: u16,
}

/// The elements of one family's table.
///
/// The catch-all elements (`* : 0:0` of `class`, `allow_in`, `allow_out`) belong to the skeleton and are not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Subjects: local pods isolated for ingress (egress).
    pub local_in: BTreeSet<IpAddr>,
    pub local_out: BTreeSet<IpAddr>,
    /// The set `self` of `pod . pod`: subjects that may reach themselves through a Service.
    pub hairpin: BTreeSet<IpAddr>,
    /// Interface indexes of bridges that carry subjects: the set `bridges` of `index . index`. Not the
    /// compiler's to know: the agent adds them.
    pub bridges: BTreeSet<u32>,
    /// Every known pod's address.
    pub class: BTreeMap<IpAddr, ClassId>,
    /// Disjoint atoms of all other addresses; class `UNKNOWN` is never stored.
    pub cidr: BTreeMap<AddressRange, ClassId>,
    /// Rows: (subject, peer's class) -> profile; profile `NOTHING` is never stored.
    pub allow_in: BTreeMap<(IpAddr, ClassId), ProfileId>,
    pub allow_out: BTreeMap<(IpAddr, ClassId), ProfileId>,
    pub ports: BTreeSet<PortElement>,
    pub port_ranges: BTreeSet<PortRangeElement>,
}

impl Tables {
    /// The class that a packet's lookup of the address finds.
    pub fn class_of(&self, address: IpAddr) -> ClassId {
        match self.class.get(&address) {
            Some(&class) => class,
            None => self.cidr_class_of(address),
        }
    }

    /// The class of the atom that holds the address, whether or not a pod has it.
    pub fn cidr_class_of(&self, address: IpAddr) -> ClassId {
        self.atom_over(address).unwrap_or(ClassId::UNKNOWN)
    }

    /// The class of the atom that the address is in.
    pub(crate) fn atom_over(&self, address: IpAddr) -> Option<ClassId> {
        let highest = match address {
            IpAddr::V4(_) => IpAddr::from([0xff; 4]),
            IpAddr::V6(_) => IpAddr::from([0xff; 16]),
        };
        self.cidr
            .range(..=AddressRange { first: address, last: highest })
            .next_back()
            .filter(|(range, _)| range.contains(address))
            .map(|(_, &class)| class)
    }

    /// How many elements the kernel holds for this, catch-alls not counted.
    pub fn elements(&self) -> usize {
        self.local_in.len()
            + self.local_out.len()
            + self.hairpin.len()
            + self.bridges.len()
            + self.class.len()
            + self.cidr.len()
            + self.allow_in.len()
            + self.allow_out.len()
            + self.ports.len()
            + self.port_ranges.len()
    }
}

/// What the kernel is to hold: `table ip palisade` and `table ip6 palisade`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub v4: Tables,
    pub v6: Tables,
}

impl Program {
    pub fn family(&self, family: Family) -> &Tables {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub fn family_mut(&mut self, family: Family) -> &mut Tables {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub fn elements(&self) -> usize {
        self.v4.elements() + self.v6.elements()
    }
}
