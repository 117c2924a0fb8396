//! The compiled program: a fixed skeleton of rules, and policy as the elements of its sets and maps.
//!
//! The first packet of a connection is judged in these steps: peer address -> class -> (subject address, class) -> profile ->
//! (profile, protocol, port) -> verdict. Everything here is plain ordered data, without handles of the kernel.

pub mod capacity;
mod contents;
pub mod delta;
pub mod earlier;
pub mod element;
pub mod eval;
pub mod live;
pub mod narrowing;
mod port_set;
mod protocol;
pub mod render;
pub mod sets;
pub mod skeleton;
mod table_family;
mod tables;

use std::fmt;
use std::net::IpAddr;

use crate::model::{Family, PerFamily};

pub use delta::Delta;
pub use element::Element;
pub use port_set::{MAX_EXPANDED_PORTS, PortRange, PortSet, port_sets};
pub use table_family::TableFamily;
pub use tables::{Tables, TablesDelta};

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
    /// The bits of which every class but `UNKNOWN` has some, and a priority that the kernel derived from a TOS field has none.
    pub const MAJOR: u32 = 0xffff_0000;
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
    /// The bit that every profile has and no class.
    pub const BIT: u32 = 0x8000_0000;
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

/// One element of `revoked_ipv4` or `revoked_ipv6`: what packets of one direction of a connection have in common. `protocol` is an
/// IANA number of a protocol with ports, `source_port` and `port` (the destination's) are in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TupleElement {
    pub protocol: u8,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
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

/// What the kernel must hold: `table ip palisade` and `table ip6 palisade`.
pub type Program = PerFamily<Tables>;

impl Program {
    /// How many elements the kernel holds for this, catch-alls not counted.
    pub fn elements(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether policies isolate the address in a direction.
    pub fn is_subject(&self, address: IpAddr) -> bool {
        let tables = &self[Family::of(address)];
        tables.local_in.contains(&address) || tables.local_out.contains(&address)
    }
}
