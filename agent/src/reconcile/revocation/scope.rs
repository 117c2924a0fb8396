//! Which connections to look at.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use palisade_compiler::model::{Family, PerFamily};
use palisade_compiler::program::narrowing::Narrowing;
use palisade_compiler::program::{AddressRange, Program};
use palisade_dataplane::netlink::conntrack::{Direction, Entry, Selection};

/// IPv4 addresses that the kernel is asked for one by one. For each it goes through all of its entries twice, and to copy them
/// all out costs as much as some such walks.
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
        let whole = PerFamily::from_fn(|family| self.is_wide(family));
        if whole.v4 && whole.v6 {
            return vec![Selection::All];
        }
        let families = whole.iter().filter(|&(_, &is_whole)| is_whole);
        let mut selections: Vec<_> =
            families.map(|(family, _)| Selection::Family(family)).collect();
        if !whole.v4 {
            let addresses = self.ends().filter_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
            let both = |address| Direction::ALL.map(|d| Selection::Source(address, d));
            selections.extend(addresses.flat_map(both));
        }
        selections
    }

    fn ends(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.union(&self.released).copied()
    }

    /// Whether the kernel had better list all entries of the family.
    fn is_wide(&self, family: Family) -> bool {
        let is_of = |address: IpAddr| Family::of(address) == family;
        let most = match family {
            Family::V4 => MAX_SELECTED,
            // The kernel cannot select by an IPv6 address.
            Family::V6 => 0,
        };
        self.ranges.iter().any(|range| is_of(range.first))
            || self.ends().filter(|&address| is_of(address)).count() > most
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn scope(addresses: &[&str], released: &[&str]) -> Scope {
        let set = |list: &[&str]| list.iter().filter_map(|text| text.parse().ok()).collect();
        Scope { addresses: set(addresses), released: set(released), ..Scope::default() }
    }

    #[test]
    fn one_address_is_selected_in_both_directions_and_many_are_not() {
        let both = |n| {
            let address = Ipv4Addr::new(10, 0, 0, n);
            Direction::ALL.map(|direction| Selection::Source(address, direction)).to_vec()
        };
        assert_eq!(scope(&["10.0.0.1"], &[]).selections(), both(1));
        assert_eq!(scope(&["10.0.0.1"], &["10.0.0.1"]).selections(), both(1));
        let whole = |family| vec![Selection::Family(family)];
        assert_eq!(scope(&["10.0.0.1"], &["10.0.0.2"]).selections(), whole(Family::V4));
        assert_eq!(scope(&["fd00::1"], &[]).selections(), whole(Family::V6));
        let pod = scope(&[], &["10.0.0.1", "fd00::1"]).selections();
        assert_eq!(pod, [whole(Family::V6), both(1)].concat());
        let many = scope(&["10.0.0.1", "10.0.0.2", "fd00::1"], &[]);
        assert_eq!(many.selections(), [Selection::All]);
        let range = AddressRange { first: [10, 0, 0, 0].into(), last: [10, 0, 0, 9].into() };
        let ranged = Scope { ranges: [range].into(), ..Scope::default() };
        assert_eq!(ranged.selections(), whole(Family::V4));
        assert_eq!(Scope::default().selections(), []);
    }

    #[test]
    fn the_hosts_own_addresses_are_never_released() {
        let mut scope = scope(&[], &["10.0.0.1", "192.0.2.1"]);
        scope.without(&["192.0.2.1".parse().unwrap_or(IpAddr::from([0; 4]))].into());
        assert_eq!(scope.released, ["10.0.0.1".parse().unwrap_or(IpAddr::from([0; 4]))].into());
    }
}
