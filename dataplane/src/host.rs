//! Facts of the host on which a program is enforced that are elements of the tables beside it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::program::delta::{
    Edit, Edits, apply_edits, chain_edits, edits_between, inverse_edits,
};
use palisade_compiler::program::element::{Container, Kind, MacAddress, kind};
use palisade_compiler::program::sets::{Planning, SetName};
use palisade_compiler::program::{AddressRange, TableFamily, TupleElement};
use palisade_compiler::set_contents;

use crate::transaction::Element;

macro_rules! host_contents {
    (program { $($program:tt)+ } host { $($host:tt)+ }) => {
        set_contents! {
            /// What the tables hold of the host itself: where subjects are attached to it.
            contents HostFacts;
            /// The edits of the host's facts.
            delta HostDelta;
            $($host)+
        }
    };
}

palisade_compiler::set_catalogue!(host_contents);

impl HostFacts {
    /// Those that one table holds. Facts that several tables hold are no reason for one to be there.
    pub fn within(&self, table: TableFamily) -> Self {
        let mut facts = Self::default();
        if !TableFamily::OF_PROGRAM.contains(&table) && !self.has_any_within(table) {
            return facts;
        }
        for set in table.sets() {
            self.elements(set).for_each(|element| facts.insert(set, element));
        }
        facts
    }

    /// Whether one table holds some of them that are its own.
    pub fn has_any_within(&self, table: TableFamily) -> bool {
        table.own_sets().any(|set| self.count(set) > 0)
    }

    /// Leaves out those that no other table holds.
    pub fn leave_out(&mut self, table: TableFamily) {
        for set in table.own_sets() {
            let elements: Vec<Element> = self.elements(set).collect();
            elements.into_iter().for_each(|element| self.remove(set, element));
        }
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: &Self) {
        for set in SetName::ALL {
            other.elements(set).for_each(|element| self.insert(set, element));
        }
    }
}

impl HostDelta {
    /// Whether some edit makes packets pass more checks than before, in sets for which this is true.
    pub fn narrows(&self, counts: impl Fn(SetName) -> bool) -> bool {
        SetName::ALL.into_iter().filter(|&set| counts(set)).any(|set| {
            self.edits(set).into_iter().any(|edit| is_narrowing(set, edit.after.is_some()))
        })
    }
}

/// Whether a fact of the set makes packets pass more checks when it comes, or when it goes.
pub(crate) fn is_narrowing(set: SetName, comes: bool) -> bool {
    comes == matches!(set.planning(), Planning::HostChecks | Planning::GuardedInterfaces)
}

impl HostFacts {
    /// Whether there are ranges that others contain, which an interval set cannot hold.
    pub fn has_overlaps(&self) -> bool {
        [&self.held_ipv4, &self.held_ipv6]
            .into_iter()
            .any(|ranges| ranges.iter().any(|range| is_within_another(range, ranges)))
    }

    /// Leaves out ranges that others contain.
    pub fn remove_overlaps(&mut self) {
        for ranges in [&mut self.held_ipv4, &mut self.held_ipv6] {
            let all = ranges.clone();
            ranges.retain(|range| !is_within_another(range, &all));
        }
    }

    /// Whether the sources of some interface or port are looked at.
    pub fn has_guarded(&self) -> bool {
        let guarded = [&self.pod_interfaces, &self.first_interfaces, &self.guarded_ports];
        guarded.iter().any(|guarded| !guarded.is_empty()) || !self.unidentified_ports.is_empty()
    }

    /// Whether packets that enter by the interface must have one of its sources.
    pub fn guards(&self, interface: u32) -> bool {
        [&self.pod_interfaces, &self.first_interfaces, &self.guarded_ports]
            .iter()
            .any(|guarded| guarded.contains(&interface))
    }
}

fn is_within_another(range: &AddressRange, ranges: &BTreeSet<AddressRange>) -> bool {
    ranges
        .iter()
        .any(|other| other != range && other.first <= range.first && range.last <= other.last)
}
