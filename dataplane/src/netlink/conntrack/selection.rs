//! Which entries a dump lists.

use std::net::{IpAddr, Ipv4Addr};

use palisade_compiler::model::Family;

use super::super::wire;
use super::entry::{TUPLE_ORIGINAL, TUPLE_REPLY, number};
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
    Family(Family),
    /// Those whose packets in this direction come from the address. The ends of a connection are the sources of its two
    /// directions: destinations may be translated.
    ///
    /// There is no such selection by an IPv6 address: the kernel lists every other address's entries instead
    /// (`ctnetlink_filter_match_tuple` compares by `!ipv6_addr_cmp`; seen on Linux 6.18).
    Source(Ipv4Addr, Direction),
}

impl Selection {
    /// `NFPROTO_*`; 0 for all.
    pub(super) fn family(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Family(family) => number(family),
            Self::Source(..) => number(Family::V4),
        }
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        let Self::Source(address, direction) = self else { return };
        let (tuple, flags) = match direction {
            Direction::Original => (TUPLE_ORIGINAL, FILTER_ORIGINAL),
            Direction::Reply => (TUPLE_REPLY, FILTER_REPLY),
        };
        let nest = wire::open_nest(out, tuple);
        tuple::put_source_only(out, IpAddr::V4(address));
        wire::close_nest(out, nest);
        let nest = wire::open_nest(out, FILTER);
        // The flags are in host byte order.
        wire::put(out, flags, &SOURCE_ADDRESS.to_ne_bytes());
        wire::close_nest(out, nest);
    }
}
