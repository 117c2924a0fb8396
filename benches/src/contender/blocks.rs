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

/// The smallest list of prefixes for the numbers from `first` to `last` with this many bits. Each prefix is given by its
/// first number and its length.
pub(super) fn prefixes((first, last): Range, bits: u32) -> Vec<(u128, u32)> {
    let mut prefixes = Vec::new();
    let mut next = Some(first);
    while let Some(first) = next.filter(|first| *first <= last) {
        // The largest block that begins here and does not exceed the range.
        let mut free = first.trailing_zeros().min(bits);
        let end = |free: u32| first | (1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1));
        while end(free) > last {
            free -= 1;
        }
        prefixes.push((first, bits - free));
        next = end(free).checked_add(1);
    }
    prefixes
}

/// The same for a range of addresses, each prefix for example as `10.0.0.0/29`.
pub(super) fn prefix_texts(range: Range, family: Family) -> impl Iterator<Item = String> {
    let bits = if family == Family::V4 { 32 } else { 128 };
    let text = move |(first, length)| format!("{}/{length}", address(first, family));
    prefixes(range, bits).into_iter().map(text)
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
            prefix_texts((number(first), number(last)), Family::of(first)).collect::<Vec<_>>()
        };
        assert_eq!(of("10.0.0.64", "10.0.0.255"), ["10.0.0.64/26", "10.0.0.128/25"]);
        assert_eq!(of("10.0.0.1", "10.0.0.1"), ["10.0.0.1/32"]);
        assert_eq!(of("10.0.0.1", "10.0.0.2"), ["10.0.0.1/32", "10.0.0.2/32"]);
        assert_eq!(of("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(of("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(of("2001:db8::", "2001:db8::1"), ["2001:db8::/127"]);
        assert_eq!(of("128.0.0.0", "255.255.255.255"), ["128.0.0.0/1"]);
    }

    #[test]
    fn ranges_are_their_prefixes() {
        assert_eq!(prefixes((0, 65_535), 16), [(0, 0)]);
        assert_eq!(prefixes((80, 80), 16), [(80, 16)]);
        assert_eq!(prefixes((1, 6), 16), [(1, 16), (2, 15), (4, 15), (6, 16)]);
        assert_eq!(prefixes((65_534, 65_535), 16), [(65_534, 15)]);
        assert_eq!(prefixes((0, u128::MAX), 128), [(0, 0)]);
        assert_eq!(prefixes((u128::MAX, u128::MAX), 128), [(u128::MAX, 128)]);
        for (first, last) in [(0, 0), (1, 65_535), (1_000, 1_999), (30_001, 40_007)] {
            let of: u32 = prefixes((first, last), 16).iter().map(|(_, l)| 1 << (16 - l)).sum();
            assert_eq!(u128::from(of), last - first + 1);
        }
    }
}
