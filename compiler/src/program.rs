//! The compiled program: a fixed skeleton of rules, and policy as the elements of its sets and maps.
//!
//! A first packet walks: peer address -> class -> (subject address, class) -> profile -> (profile, protocol,
//! port) -> verdict. Everything here is plain ordered data: no handles, no kernel, no names of kernel objects
//! beyond the logical ones.

pub mod capacity;
mod contents;
pub mod delta;
pub mod element;
pub mod eval;
pub mod render;
pub mod sets;
pub mod skeleton;
mod tables;

use std::fmt;
use std::net::IpAddr;

use crate::model::PerFamily;

pub use delta::Delta;
pub use element::Element;
pub use tables::{Tables, TablesDelta};

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

/// A range of at most this many ports is expanded into `ports`: an exact hash is cheaper to look up and to change
/// than an interval set of concatenations.
pub const MAX_EXPANDED_PORTS: u32 = 256;

/// What the kernel must hold: `table ip palisade` and `table ip6 palisade`.
pub type Program = PerFamily<Tables>;

impl Program {
    /// How many elements the kernel holds for this, catch-alls not counted.
    pub fn elements(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}
