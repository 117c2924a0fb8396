//! The compiled program: a fixed skeleton of rules, and policy as the elements of its sets and maps.
//!
//! The first packet of a connection is judged in these steps: peer address -> class -> (subject address, class) -> profile ->
//! (profile, protocol, port) -> verdict. Everything here is plain ordered data, without handles of the kernel.

pub mod capacity;
pub mod delta;
pub mod eval;
mod port_set;
pub mod render;
pub mod skeleton;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::{Direction, Family};

pub use delta::{Delta, TablesDelta};
pub use port_set::{MAX_EXPANDED_PORTS, PortRange, PortSet, port_sets};

/// The id of a class: a set of addresses that no rule of the local policies tells apart.
///
/// Printed as nft prints a `classid`: hexadecimal `major:minor`. Majors are 0x0001-0x7fff, so that no class can be
/// mistaken for a profile, nor for a priority that the kernel derived from a TOS field (`0:x`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl ClassId {
    /// The class of every address that is neither in `class` nor in `cidr`: no known pod's, and in no block but `/0`.
    pub const UNKNOWN: Self = Self(0);
    /// The first id that is handed out, and one past the last.
    pub const FIRST: u32 = 0x0001_0001;
    pub const END: u32 = 0x7f00_0000;
    /// Ids from here to `PASSING_END` are for the dataplane's transitional states, never in a compiled program.
    pub const PASSING: u32 = 0x7f00_0000;
    pub const PASSING_END: u32 = 0x8000_0000;
}

/// The id of a profile: an interned set of allowed (protocol, port range).
///
/// The id tells where the profile's ports are. A profile with elements in `port_ranges` has the bit `RANGED` and may have
/// elements in `ports` as well; a profile without the bit has elements in `ports` only. The rules look into `port_ranges`,
/// an interval set that is slower than a hash, only where the bit is set.
///
/// | majors (hexadecimal) | what |
/// |---|---|
/// | `8000` (`8000:0`, `8000:1`) | `DENY`, `EVERYTHING` |
/// | `8000`-`bfff` | profiles of a compiled program without port ranges, from `FIRST` on |
/// | `c000`-`fdff` | profiles of a compiled program with port ranges, from `FIRST_RANGED` on |
/// | `fe00`-`fffe` | the dataplane's transitional profiles, with or without port ranges |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(pub u32);

impl ProfileId {
    /// What a lookup finds where there is no row. It is never stored in a row.
    pub const NOTHING: Self = Self(0);
    /// Allows nothing, though the subject's base allows something: a row that is stored so that the base does not apply.
    pub const DENY: Self = Self(0x8000_0000);
    /// Allows every port and protocol.
    pub const EVERYTHING: Self = Self(0x8000_0001);
    /// The bit of profiles that may have elements in `port_ranges`.
    pub const RANGED: u32 = 0x4000_0000;
    /// The first id of a profile without port ranges, and one past the last.
    pub const FIRST: u32 = 0x8000_0002;
    pub const UNRANGED_END: u32 = Self::FIRST_RANGED;
    /// The first id of a profile with port ranges, and one past the last.
    pub const FIRST_RANGED: u32 = 0xc000_0000;
    pub const END: u32 = 0xfe00_0000;
    /// Ids from here to `PASSING_END` are for the dataplane's transitional states, never in a compiled program. All have the
    /// bit `RANGED`.
    pub const PASSING: u32 = 0xfe00_0000;
    pub const PASSING_END: u32 = 0xffff_0000;

    /// Whether the profile may have elements in `port_ranges`.
    pub const fn is_ranged(self) -> bool {
        self.0 & Self::RANGED != 0
    }

    /// Whether the profile allows nothing, whatever the tables hold: `NOTHING` and `DENY`.
    pub const fn denies(self) -> bool {
        matches!(self, Self::NOTHING | Self::DENY)
    }
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
    /// Rows: (subject, peer's class) -> profile; profile `NOTHING` is never stored. The row of class `UNKNOWN` is the
    /// subject's base: it applies to every class that the subject has no row for.
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

    /// The profile that a packet's lookups find for a subject and its peer's class: the row, or the subject's base where
    /// there is no row; `NOTHING` where there is neither.
    pub fn profile_of(&self, direction: Direction, subject: IpAddr, class: ClassId) -> ProfileId {
        let rows = match direction {
            Direction::Ingress => &self.allow_in,
            Direction::Egress => &self.allow_out,
        };
        let row = rows.get(&(subject, class)).or_else(|| rows.get(&(subject, ClassId::UNKNOWN)));
        row.copied().unwrap_or(ProfileId::NOTHING)
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

/// What the kernel must hold: `table ip palisade` and `table ip6 palisade`.
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
