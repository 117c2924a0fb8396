//! Which connections to look at.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_compiler::program::narrowing::Narrowing;
use palisade_compiler::program::{AddressRange, Program};
use palisade_dataplane::netlink::conntrack::{Direction, Entry, Selection};

/// Addresses that the kernel is asked for one by one. For each it goes through all of its entries twice, and to copy them all
/// out costs as much as some such walks.
const MAX_SELECTED: usize = 1;

/// The connections to look at, by the ends that packets really come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::reconcile) struct Scope {
    /// Ends of connections to judge.
    addresses: HashSet<IpAddr>,
    ranges: BTreeSet<AddressRange>,
    /// Ends whose connections are deleted whatever policies say.
    released: HashSet<IpAddr>,
}

impl Scope {
    /// The connections that changes up to this program may have forbidden, and those of addresses that left their pods.
    pub(in crate::reconcile) fn new(
        narrowing: Narrowing,
        released: BTreeSet<IpAddr>,
        program: &Program,
    ) -> Self {
        let mut addresses: HashSet<IpAddr> = narrowing.addresses.into_iter().collect();
        if narrowing.everyone {
            for (_, tables) in program.iter() {
                addresses.extend(tables.local_in.iter().chain(&tables.local_out));
            }
        }
        Self { addresses, ranges: narrowing.ranges, released: released.into_iter().collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ranges.is_empty() && self.released.is_empty()
    }

    /// Adds another.
    pub(super) fn extend(&mut self, other: Self) {
        self.addresses.extend(other.addresses);
        self.ranges.extend(other.ranges);
        self.released.extend(other.released);
    }

    /// Leaves out the host's own addresses: what goes to and comes from its processes is always allowed, and passes no rule.
    pub(super) fn without(&mut self, host: &BTreeSet<IpAddr>) {
        self.released.retain(|address| !host.contains(address));
    }

    pub(super) fn releases(&self, entry: &Entry) -> bool {
        entry.ends().iter().any(|end| self.released.contains(end))
    }

    pub(super) fn judges(&self, entry: &Entry) -> bool {
        entry.ends().iter().any(|end| {
            self.addresses.contains(end) || self.ranges.iter().any(|range| range.contains(*end))
        })
    }

    /// What to have the kernel list, so that every connection of the scope is among it.
    pub(super) fn selections(&self) -> Vec<Selection> {
        let all: HashSet<&IpAddr> = self.addresses.union(&self.released).collect();
        if !self.ranges.is_empty() || all.len() > MAX_SELECTED * Family::ALL.len() {
            return vec![Selection::All];
        }
        // A pod has an address of each family, and the kernel skips the other family's entries cheaply.
        if Family::ALL
            .iter()
            .any(|&f| all.iter().filter(|a| Family::of(***a) == f).count() > MAX_SELECTED)
        {
            return vec![Selection::All];
        }
        let directions = |&address| Direction::ALL.map(|d| Selection::Source(address, d));
        all.into_iter().flat_map(directions).collect()
    }
}
