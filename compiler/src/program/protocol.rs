//! Protocol numbers (IANA) that the rules name.

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const ICMPV6: u8 = 58;
