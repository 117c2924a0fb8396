//! How large sets are declared.

use std::collections::BTreeMap;

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::capacity::{capacity, fits};
use palisade_compiler::program::skeleton::SetName;

/// How much larger than its elements a set is declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capacities {
    /// So that a set seldom has to be built anew.
    #[default]
    Spacious,
    /// What is needed and not one more, so that nearly every addition builds a set anew: tests find here what happens
    /// elsewhere at a million elements.
    Tight,
}

/// How often a set is doubled beyond what its elements need, because the kernel said that it was full though it should not
/// have been.
const MAX_DOUBLINGS: u32 = 4;

/// The sizes that sets are declared with.
#[derive(Debug, Default)]
pub(super) struct Sizing {
    capacities: Capacities,
    /// How often a set was doubled.
    doublings: BTreeMap<(TableFamily, SetName), u32>,
}

impl Sizing {
    pub(super) fn new(capacities: Capacities) -> Self {
        Self { capacities, doublings: BTreeMap::new() }
    }

    /// The `size` for a set of so many elements, its catch-all not counted; `None` for sets without a bound.
    pub(super) fn size(&self, family: TableFamily, set: SetName, elements: usize) -> Option<u32> {
        let spacious = capacity(set, elements)?;
        let exact = elements.saturating_add(usize::from(set.has_catch_all())).max(1);
        let needed = match self.capacities {
            Capacities::Spacious => spacious,
            Capacities::Tight => u32::try_from(exact).unwrap_or(u32::MAX),
        };
        let doublings = self.doublings.get(&(family, set)).copied().unwrap_or(0);
        Some(needed.saturating_mul(1 << doublings))
    }

    /// Whether a set declared with `size` takes so many elements, its catch-all not counted.
    pub(super) fn fits(
        &self,
        family: TableFamily,
        set: SetName,
        size: Option<u32>,
        elements: usize,
    ) -> bool {
        let is_doubled = self.doublings.contains_key(&(family, set));
        fits(set, size, elements) && (!is_doubled || size >= self.size(family, set, elements))
    }

    /// Notes that the kernel took no more elements into a set: it must be made twice as large as it otherwise would be. That
    /// happens where the kernel holds more than was known, and at most `MAX_DOUBLINGS` times: beyond, something else is wrong.
    pub(super) fn note_full(&mut self, family: TableFamily, set: SetName) {
        let doublings = self.doublings.entry((family, set)).or_insert(0);
        *doublings = (*doublings + 1).min(MAX_DOUBLINGS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: SetName = SetName::LocalIn;

    #[test]
    fn a_full_set_doubles_up_to_a_bound() {
        let mut sizing = Sizing::new(Capacities::Tight);
        let mut size = sizing.size(TableFamily::Ip, SET, 10);
        assert_eq!(size, Some(10));
        for wanted in [20, 40, 80, 160] {
            assert!(sizing.fits(TableFamily::Ip, SET, size, 10));
            sizing.note_full(TableFamily::Ip, SET);
            assert!(!sizing.fits(TableFamily::Ip, SET, size, 10));
            size = sizing.size(TableFamily::Ip, SET, 10);
            assert_eq!(size, Some(wanted));
        }
        sizing.note_full(TableFamily::Ip, SET);
        assert_eq!(sizing.size(TableFamily::Ip, SET, 10), size);
        assert_eq!(
            sizing.size(TableFamily::Ip6, SET, 10),
            Some(10),
            "the other family's is another set"
        );
    }

    #[test]
    fn tight_sets_hold_what_they_must_and_no_more() {
        let sizing = Sizing::new(Capacities::Tight);
        for set in [SET, SetName::Class] {
            let size = sizing.size(TableFamily::Ip, set, 3);
            assert!(sizing.fits(TableFamily::Ip, set, size, 3));
            assert!(!sizing.fits(TableFamily::Ip, set, size, 4));
        }
        assert_eq!(sizing.size(TableFamily::Ip, SET, 0), Some(1), "a size of 0 would be no bound");
        assert_eq!(sizing.size(TableFamily::Ip, SetName::Cidr, 3), None);
    }
}
