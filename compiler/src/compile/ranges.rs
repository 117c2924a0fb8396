//! Ranges of addresses as numbers, and the addresses that CIDR blocks cover.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Family, IpBlock};

/// First and last address, both included.
pub(super) type Range = (u128, u128);

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The inverse of `number`. A number that is too large for the family gives its last address.
pub(super) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

pub(super) const fn highest(family: Family) -> u128 {
    match family {
        Family::V4 => u32::MAX as u128,
        Family::V6 => u128::MAX,
    }
}

/// The addresses of one family in the blocks, each less its own excepts: sorted, disjoint, not adjacent.
pub(super) fn ranges_of(blocks: &[&IpBlock], family: Family) -> Vec<Range> {
    let mut all = Vec::new();
    for block in blocks {
        if Family::of(block.cidr.addr()) == family {
            let excepts = block.except.iter().filter(|e| Family::of(e.addr()) == family);
            let holes = union(excepts.map(bounds).collect());
            all.extend(subtract(bounds(&block.cidr), &holes));
        }
    }
    union(all)
}

fn bounds(net: &IpNet) -> Range {
    (number(net.network()), number(net.broadcast()))
}

pub(super) fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut united: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match united.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => united.push((first, last)),
        }
    }
    united
}

/// The parts of a range that are in none of the holes, which are sorted and disjoint.
fn subtract((first, last): Range, holes: &[Range]) -> Vec<Range> {
    let mut rest = Vec::new();
    let mut next = Some(first);
    for &(hole_first, hole_last) in holes {
        let Some(start) = next else { break };
        if hole_last < start || hole_first > last {
            continue;
        }
        if hole_first > start {
            rest.push((start, hole_first - 1));
        }
        next = hole_last.checked_add(1).filter(|&n| n <= last);
    }
    rest.extend(next.map(|start| (start, last)));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> IpBlock {
        IpBlock {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|e| e.parse().unwrap()).collect(),
        }
    }

    fn range(first: &str, last: &str) -> Range {
        (number(first.parse().unwrap()), number(last.parse().unwrap()))
    }

    #[test]
    fn a_block_loses_its_excepts_and_blocks_unite() {
        let holed = block("10.0.0.0/24", &["10.0.0.0/26", "10.0.0.32/27", "10.0.0.255/32"]);
        assert_eq!(ranges_of(&[&holed], Family::V4), [range("10.0.0.64", "10.0.0.254")]);
        let filler = block("10.0.0.255/32", &[]);
        assert_eq!(ranges_of(&[&holed, &filler], Family::V4), [range("10.0.0.64", "10.0.0.255")]);
        assert!(ranges_of(&[&holed], Family::V6).is_empty());
        let all = block("::/0", &[]);
        assert_eq!(ranges_of(&[&all], Family::V6), [(0, u128::MAX)]);
        let upper = block("::/0", &["::/1"]);
        assert_eq!(ranges_of(&[&upper], Family::V6), [(1 << 127, u128::MAX)]);
    }
}
