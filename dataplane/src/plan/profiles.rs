//! What profiles allow before and after a delta. Each distinct pair of profiles is compared and intersected once.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use palisade_compiler::program::{PortElement, PortRangeElement, PortSet, ProfileId, TablesDelta};

use super::state::TableState;
use crate::contents::first_port;

/// Whether decisions narrow, widen, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) narrows: bool,
    pub(super) widens: bool,
}

impl Effect {
    pub(super) const NARROWS: Self = Self { narrows: true, widens: false };
    pub(super) const WIDENS: Self = Self { narrows: false, widens: true };

    pub(super) fn and(self, other: Self) -> Self {
        Self { narrows: self.narrows || other.narrows, widens: self.widens || other.widens }
    }

    /// Whether one of the two narrows while the other widens.
    pub(super) fn opposes(self, other: Self) -> bool {
        (self.narrows && other.widens) || (self.widens && other.narrows)
    }
}

#[derive(Debug)]
pub(super) struct Profiles<'a> {
    state: &'a TableState,
    delta: &'a TablesDelta,
    before: HashMap<ProfileId, Rc<PortSet>>,
    after: HashMap<ProfileId, Rc<PortSet>>,
    effects: HashMap<(ProfileId, ProfileId), Effect>,
    /// For each (seen, before, after), whether `seen` is between the other two. The first map has the contents of `seen`
    /// before the delta, the second those after it.
    between: [HashMap<[ProfileId; 3], bool>; 2],
}

impl<'a> Profiles<'a> {
    pub(super) fn new(state: &'a TableState, delta: &'a TablesDelta) -> Self {
        Self {
            state,
            delta,
            before: HashMap::new(),
            after: HashMap::new(),
            effects: HashMap::new(),
            between: Default::default(),
        }
    }

    /// What the profile allows before the delta.
    pub(super) fn before(&mut self, profile: ProfileId) -> Rc<PortSet> {
        let state = self.state;
        let of = || PortSet::of_profile(profile, state.ports(profile), state.port_ranges(profile));
        Rc::clone(self.before.entry(profile).or_insert_with(|| Rc::new(of())))
    }

    /// What the profile allows after the delta.
    pub(super) fn after(&mut self, profile: ProfileId) -> Rc<PortSet> {
        let (state, delta) = (self.state, self.delta);
        let of = || {
            let mut ports: BTreeSet<PortElement> = state.ports(profile).collect();
            for (&port, edit) in delta.ports.range(first_port(profile)..) {
                if port.profile != profile {
                    break;
                }
                if edit.after.is_some() {
                    ports.insert(port)
                } else {
                    ports.remove(&port)
                };
            }
            let mut ranges: BTreeSet<PortRangeElement> = state.port_ranges(profile).collect();
            let first = PortRangeElement { profile, protocol: 0, first: 0, last: 0 };
            for (&range, edit) in delta.port_ranges.range(first..) {
                if range.profile != profile {
                    break;
                }
                if edit.after.is_some() {
                    ranges.insert(range)
                } else {
                    ranges.remove(&range)
                };
            }
            PortSet::of_profile(profile, ports, ranges)
        };
        Rc::clone(self.after.entry(profile).or_insert_with(|| Rc::new(of())))
    }

    /// The effect on a decision whose profile changes from `before` to `after`.
    pub(super) fn effect(&mut self, before: ProfileId, after: ProfileId) -> Effect {
        if before == after {
            return Effect::default();
        }
        if let Some(&effect) = self.effects.get(&(before, after)) {
            return effect;
        }
        let (old, new) = (self.before(before), self.after(after));
        let effect = Effect { narrows: !old.is_within(&new), widens: !new.is_within(&old) };
        self.effects.insert((before, after), effect);
        effect
    }

    /// Whether `profile` allows no more than `other`, both with their contents after the delta.
    pub(super) fn is_within_after(&mut self, profile: ProfileId, other: ProfileId) -> bool {
        profile == other || self.after(profile).is_within(&self.after(other))
    }

    /// Whether, for every port, the decision of `seen` equals that of `before` or that of `after`. `seen` has its contents
    /// from before the delta.
    pub(super) fn is_between_before(
        &mut self,
        seen: ProfileId,
        before: ProfileId,
        after: ProfileId,
    ) -> bool {
        let key = [seen, before, after];
        let [known, _] = &self.between;
        if let Some(&is_between) = known.get(&key) {
            return is_between;
        }
        let sets = [self.before(seen), self.before(before), self.after(after)];
        let is_between = is_between(&sets);
        let [known, _] = &mut self.between;
        known.insert(key, is_between);
        is_between
    }

    /// As `is_between_before`, but `seen` has its contents from after the delta.
    pub(super) fn is_between_after(
        &mut self,
        seen: ProfileId,
        before: ProfileId,
        after: ProfileId,
    ) -> bool {
        let key = [seen, before, after];
        let [_, known] = &self.between;
        if let Some(&is_between) = known.get(&key) {
            return is_between;
        }
        let sets = [self.after(seen), self.before(before), self.after(after)];
        let is_between = is_between(&sets);
        let [_, known] = &mut self.between;
        known.insert(key, is_between);
        is_between
    }
}

#[cfg(test)]
impl Profiles<'_> {
    /// The number of pairs of profiles that were compared.
    pub(super) fn comparisons(&self) -> usize {
        self.effects.len()
    }
}

fn is_between([seen, before, after]: &[Rc<PortSet>; 3]) -> bool {
    before.intersection(after).is_within(seen)
        && seen.is_within(&PortSet::union([before.as_ref(), after.as_ref()]))
}
