//! Converts blocks with exceptions into ranges and prefixes, for contenders without exceptions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use palisade_compiler::model::{Family, IpBlock};

/// The first and last address, as numbers in one family.
pub(super) type Range = (u128, u128);

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

pub(super) fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(number as u32).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

/// All addresses of a family.
pub(super) fn everything(family: Family) -> Range {
    match family {
        Family::V4 => (0, u32::MAX.into()),
        Family::V6 => (0, u128::MAX),
    }
}

fn bounds(net: IpNet) -> Range {
    (number(net.network()), number(net.broadcast()))
}

/// The addresses that the blocks of a family contain, without the exceptions. The ranges are disjoint, ascending and not
/// adjacent.
pub(super) fn ranges(blocks: &[&IpBlock], family: Family) -> Vec<Range> {
    let of_family = blocks.iter().filter(|block| Family::of(block.cidr.network()) == family);
    merged(of_family.flat_map(|block| pieces(block)).collect())
}

fn pieces(block: &IpBlock) -> Vec<Range> {
    let (mut first, last) = bounds(block.cidr);
    let mut pieces = Vec::new();
    for (hole_first, hole_last) in merged(block.except.iter().map(|net| bounds(*net)).collect()) {
        if hole_first > first {
            pieces.push((first, hole_first - 1));
        }
        if hole_last >= last {
            return pieces;
        }
        first = hole_last + 1;
    }
    pieces.push((first, last));
    pieces
}

/// The union of ranges.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The smallest list of prefixes that together make up a range.
pub(super) fn prefixes((first, last): Range, family: Family) -> Vec<String> {
    let bits = if family == Family::V4 { 32 } else { 128 };
    // The number of addresses of a prefix, minus one.
    let span = |free: u32| if free == 128 { u128::MAX } else { (1_u128 << free) - 1 };
    let mut prefixes = Vec::new();
    let mut at = first;
    loop {
        let aligned = if at == 0 { bits } else { at.trailing_zeros().min(bits) };
        let free = (0..=aligned).rev().find(|&free| span(free) <= last - at).unwrap_or(0);
        prefixes.push(format!("{}/{}", address(at, family), bits - free));
        let end = at + span(free);
        if end >= last {
            return prefixes;
        }
        at = end + 1;
    }
}

/// `10.0.0.0-10.0.0.7`, or a single address.
pub(super) fn text((first, last): Range, family: Family) -> String {
    if first == last {
        return address(first, family).to_string();
    }
    format!("{}-{}", address(first, family), address(last, family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> IpBlock {
        let net = |text: &str| text.parse().unwrap();
        IpBlock { cidr: net(cidr), except: except.iter().map(|text| net(text)).collect() }
    }

    #[test]
    fn exceptions_narrow_their_own_block() {
        let (a, b) = (block("10.0.0.0/24", &["10.0.0.64/26"]), block("10.0.0.96/27", &[]));
        let found: Vec<_> =
            ranges(&[&a, &b], Family::V4).into_iter().map(|r| text(r, Family::V4)).collect();
        assert_eq!(found, ["10.0.0.0-10.0.0.63", "10.0.0.96-10.0.0.255"]);
        assert!(ranges(&[&a], Family::V6).is_empty());
        let all = block("10.0.0.0/24", &["10.0.0.0/25", "10.0.0.128/25"]);
        assert!(ranges(&[&all], Family::V4).is_empty());
    }

    #[test]
    fn prefixes_make_up_the_range() {
        let of = |first: &str, last: &str| {
            let (first, last): (IpAddr, IpAddr) = (first.parse().unwrap(), last.parse().unwrap());
            prefixes((number(first), number(last)), Family::of(first))
        };
        assert_eq!(of("10.0.0.64", "10.0.0.255"), ["10.0.0.64/26", "10.0.0.128/25"]);
        assert_eq!(of("10.0.0.1", "10.0.0.1"), ["10.0.0.1/32"]);
        assert_eq!(of("10.0.0.1", "10.0.0.2"), ["10.0.0.1/32", "10.0.0.2/32"]);
        assert_eq!(of("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(of("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(of("2001:db8::", "2001:db8::1"), ["2001:db8::/127"]);
        assert_eq!(of("128.0.0.0", "255.255.255.255"), ["128.0.0.0/1"]);
    }
}
