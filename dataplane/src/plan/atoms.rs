//! Groups edited atoms of `cidr` that overlap. All atoms of a group change in one transaction.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::program::{AddressRange, ClassId, Tables, TablesDelta};

/// Edited atoms that overlap directly, or through others of the group.
#[derive(Debug)]
pub(super) struct AtomGroup {
    /// From the first address of any atom of the group to the last address of any.
    pub(super) hull: AddressRange,
    pub(super) removed: Vec<(AddressRange, ClassId)>,
    pub(super) added: Vec<(AddressRange, ClassId)>,
}

impl AtomGroup {
    /// The groups of a delta, in the order of their addresses. `kernel` is what the kernel has.
    pub(super) fn of(kernel: &Tables, delta: &TablesDelta) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (&range, edit) in &delta.cidr {
            let before = kernel.cidr.get(&range).copied();
            if before == edit.after {
                continue;
            }
            let group = match groups.last_mut() {
                Some(last) if range.first <= last.hull.last => last,
                Some(_) | None => {
                    groups.push(Self { hull: range, removed: Vec::new(), added: Vec::new() });
                    let Some(new) = groups.last_mut() else { continue };
                    new
                }
            };
            group.hull.last = group.hull.last.max(range.last);
            group.removed.extend(before.map(|class| (range, class)));
            group.added.extend(edit.after.map(|class| (range, class)));
        }
        groups
    }

    /// Splits the group at every address where an old or a new atom begins or ends. Returns each span with its class before
    /// and after.
    pub(super) fn spans(&self) -> Vec<(AddressRange, ClassId, ClassId)> {
        let mut starts = BTreeSet::new();
        for (range, _) in self.removed.iter().chain(&self.added) {
            starts.insert(bits(range.first));
            starts.extend(bits(range.last).checked_add(1));
        }
        let starts: Vec<u128> = starts.into_iter().filter(|&s| s <= bits(self.hull.last)).collect();
        let ends = starts.iter().skip(1).map(|s| s - 1).chain([bits(self.hull.last)]);
        let spans = starts.iter().zip(ends).map(|(&first, last)| {
            let first = address(self.hull.first, first);
            let range = AddressRange { first, last: address(self.hull.first, last) };
            (range, class_in(&self.removed, first), class_in(&self.added, first))
        });
        spans.collect()
    }
}

/// Whether one of these groups, which are sorted by address, contains the address.
pub(super) fn is_covered(groups: &[&AtomGroup], address: IpAddr) -> bool {
    let next = groups.partition_point(|group| group.hull.first <= address);
    let last = next.checked_sub(1).and_then(|at| groups.get(at));
    last.is_some_and(|group| group.hull.contains(address))
}

/// The class that sorted, disjoint ranges assign to an address.
fn class_in(ranges: &[(AddressRange, ClassId)], address: IpAddr) -> ClassId {
    let next = ranges.partition_point(|(range, _)| range.first <= address);
    next.checked_sub(1)
        .and_then(|at| ranges.get(at))
        .filter(|(range, _)| range.contains(address))
        .map_or(ClassId::UNKNOWN, |&(_, class)| class)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with these bits, in the family of `like`.
fn address(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}
