//! Which entries a dump lists.

use std::net::IpAddr;

use super::super::wire;
use super::entry::{TUPLE_ORIGINAL, TUPLE_REPLY};
use super::tuple;

/// `CTA_FILTER` and its attributes; flags select the fields of a tuple that count (Linux 5.8).
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// `CTA_FILTER_F_CTA_IP_SRC` (net/netfilter/nf_internals.h).
const SOURCE_ADDRESS: u32 = 1;

/// Which packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the end that was first to send.
    Original,
    /// The answers to it, as they come from the end that really sends them.
    Reply,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Original, Self::Reply];
}

/// What a dump lists. The kernel goes through its whole table in any case; what it does not list it does not copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    All,
    /// Those whose packets in this direction come from the address. The ends of a connection are the sources of its two
    /// directions: destinations may be translated.
    Source(IpAddr, Direction),
}

impl Selection {
    /// `NFPROTO_*`; 0 for all.
    pub(super) fn family(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Source(address, _) => super::entry::family_of(address),
        }
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        let Self::Source(address, direction) = self else { return };
        let (tuple, flags) = match direction {
            Direction::Original => (TUPLE_ORIGINAL, FILTER_ORIGINAL),
            Direction::Reply => (TUPLE_REPLY, FILTER_REPLY),
        };
        let nest = wire::open_nest(out, tuple);
        tuple::put_source_only(out, address);
        wire::close_nest(out, nest);
        let nest = wire::open_nest(out, FILTER);
        // The flags are in host byte order.
        wire::put(out, flags, &SOURCE_ADDRESS.to_ne_bytes());
        wire::close_nest(out, nest);
    }
}
