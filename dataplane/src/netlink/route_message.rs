//! The messages of routes: `struct rtmsg`, and the attributes behind it (linux/rtnetlink.h).

pub(super) const NEWROUTE: u16 = 24;
pub(super) const DELROUTE: u16 = 25;
pub(super) const GETROUTE: u16 = 26;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_PRIORITY: u16 = 6;
pub(super) const RTA_TABLE: u16 = 15;
pub(super) const RTA_VIA: u16 = 18;

/// `RTN_*`
pub(super) const UNICAST: u8 = 1;
pub(super) const LOCAL: u8 = 2;
pub(super) const BROADCAST: u8 = 3;
pub(super) const ANYCAST: u8 = 4;
pub(super) const MULTICAST: u8 = 5;

/// The length of `struct rtmsg`, and where in it are the length of the destination's prefix, the table, the protocol, the type
/// and the flags.
pub(super) const ROUTE_HEADER: usize = 12;
pub(super) const LENGTH_OFFSET: usize = 1;
pub(super) const TABLE_OFFSET: usize = 4;
pub(super) const PROTOCOL_OFFSET: usize = 5;
pub(super) const TYPE_OFFSET: usize = 7;
pub(super) const FLAGS_OFFSET: usize = 8;
