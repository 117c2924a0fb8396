//! Orders one delta of one table into changes and grace periods, so that every packet sees each decision either as it was
//! before or as it is after.
//!
//! | part | what | why there |
//! |---|---|---|
//! | 1 | contents of profiles that no packet reads; new ranges in an earlier transaction | a row must find its ports |
//! | 2 | added hairpins, then rows of classes that no address left | a packet that the rows deny must find its hairpin, and an address that enters a class must find its rows |
//! | 3 | removed subjects; a grace period if any address moves | a packet in the middle of their rules must not see classes that they have no rows for |
//! | 4 | changes of class: atoms, then addresses in a later transaction | all at once for each address |
//! | 5 | grace period, then atoms over addresses that just got an element of their own | a packet may have missed that element |
//! | 6 | added subjects | their rows exist |
//! | 7 | grace period, then rows of classes that some address left | a packet may still have the class that its address left |
//! | 8 | grace period, then removed hairpins of subjects | a packet may have been denied by the old rows |
//! | - | elements that nothing leads to any more stay as garbage | packets may have read them; the next grace period serves all of them |
//!
//! The order within 2 and 7 is: rows that are added or changed, bases, and rows that are removed so that the base applies.
//! `BaseEdits` describes what a base waits for, and whether it changes in 2 or in 7.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, PortElement, PortRangeElement, ProfileId};

use super::atoms::{AtomGroup, is_covered};
use super::base::{BaseEdits, When};
use super::profiles::Profiles;
use super::step::{Action, Change, Schedule};
use super::transition::{RowEdit, Transition, subject_edits};
use crate::contents::{rows_set, subjects_set};
use crate::transaction::Element;

/// The edits of rows at one position in the schedule.
#[derive(Debug, Default)]
struct Rows {
    /// Rows that are added or changed, and rows that are removed where no base changes.
    first: Vec<Action>,
    /// Whether a grace period must separate added rows from changes of the base.
    grace: bool,
    bases: Vec<Action>,
    /// Rows that are removed so that the base applies.
    gone: Vec<Action>,
}

impl Rows {
    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.bases.is_empty() && self.gone.is_empty()
    }

    fn append_to(&mut self, schedule: &mut Schedule) {
        schedule.actions.append(&mut self.first);
        if self.grace && !self.bases.is_empty() {
            schedule.actions.push(Action::Grace);
        }
        schedule.actions.append(&mut self.bases);
        schedule.actions.append(&mut self.gone);
    }
}

#[derive(Debug)]
struct Scheduler<'t, 'a> {
    transition: &'t Transition<'a>,
    edits: Vec<RowEdit>,
    bases: BaseEdits,
    grace_first: bool,
    contents: Vec<Action>,
    ranges: Vec<Action>,
    hairpins: Vec<Action>,
    early: Rows,
    late: Rows,
    last: Vec<Action>,
    notes: Vec<Action>,
}

pub(super) fn schedule(transition: &Transition<'_>, grace_first: bool) -> Schedule {
    let edits = transition.row_edits();
    let mut profiles = Profiles::new(transition.state, transition.delta);
    let bases = BaseEdits::new(transition, &mut profiles, &edits);
    let mut scheduler = Scheduler {
        transition,
        edits,
        bases,
        grace_first,
        contents: Vec::new(),
        ranges: Vec::new(),
        hairpins: Vec::new(),
        early: Rows::default(),
        late: Rows::default(),
        last: Vec::new(),
        notes: Vec::new(),
    };
    scheduler.hairpins();
    scheduler.rows();
    scheduler.profiles();
    scheduler.compose()
}

impl Scheduler<'_, '_> {
    fn rows(&mut self) {
        for edit in std::mem::take(&mut self.edits) {
            let set = rows_set(edit.direction);
            let element = |profile| Element::Row(edit.subject, edit.class, profile);
            if edit.from == edit.to {
                if let Some(profile) = edit.to {
                    self.notes.push(Action::Keep(set, element(profile)));
                }
                continue;
            }
            let gone = edit.from.map(|profile| Change::Remove(set, element(profile)));
            let come = edit.to.map(|profile| Change::Add(set, element(profile)));
            let piece = Action::Together(gone.into_iter().chain(come).collect());
            let when = self.when(&edit);
            self.grace_first |= when == When::AfterGrace;
            let rows = match when {
                When::Never => {
                    if let Some(profile) = edit.from {
                        self.notes.push(Action::Discard(set, element(profile)));
                    }
                    continue;
                }
                When::Early | When::AfterGrace => &mut self.early,
                When::Late => &mut self.late,
            };
            if !self.bases.has(&edit) {
                rows.first.push(piece);
            } else if edit.class == ClassId::UNKNOWN {
                rows.bases.push(piece);
            } else if edit.to.is_none() {
                rows.gone.push(piece);
            } else {
                rows.grace |= edit.from.is_none() && self.bases.follows_rows(&edit);
                rows.first.push(piece);
            }
        }
    }

    fn when(&self, edit: &RowEdit) -> When {
        let transition = self.transition;
        let window = &transition.state.window;
        if transition.is_inert_after(edit) {
            When::Never
        } else if !transition.is_readable(edit) {
            When::Early
        } else if !transition.is_subject_before(edit.direction, edit.subject) {
            When::AfterGrace
        } else if !transition.is_subject_after(edit.direction, edit.subject) {
            When::Late
        } else if edit.class == ClassId::UNKNOWN {
            self.bases.when(edit)
        } else if transition.is_row_late(edit.class) {
            When::Late
        } else if window.left.contains(&edit.class) {
            When::AfterGrace
        } else if edit.to.is_none()
            && !transition.entered.contains(&edit.class)
            && self.bases.is_late(edit)
        {
            When::Late
        } else {
            When::Early
        }
    }

    fn profiles(&mut self) {
        let transition = self.transition;
        let kernel = &transition.state.kernel;
        for (&port, edit) in &transition.delta.ports {
            let has = kernel.ports.contains(&port);
            let (set, element) = (SetName::Ports, Element::Port(port));
            self.content(port.profile, set, element, has, edit.after.is_some());
        }
        for (&range, edit) in &transition.delta.port_ranges {
            let has = kernel.port_ranges.contains(&range);
            let (set, element) = (SetName::PortRanges, Element::PortRange(range));
            self.content(range.profile, set, element, has, edit.after.is_some());
        }
        for profile in self.revived_profiles() {
            let garbage = &transition.state.garbage;
            let is_old = |port: &PortElement| !transition.delta.ports.contains_key(port);
            for port in garbage.ports_of(profile).filter(is_old) {
                self.content(profile, SetName::Ports, Element::Port(port), true, false);
            }
            let is_old =
                |range: &PortRangeElement| !transition.delta.port_ranges.contains_key(range);
            for range in garbage.ranges_of(profile).filter(is_old) {
                let (set, element) = (SetName::PortRanges, Element::PortRange(range));
                self.content(profile, set, element, true, false);
            }
        }
    }

    fn content(
        &mut self,
        profile: ProfileId,
        set: SetName,
        element: Element,
        has: bool,
        wanted: bool,
    ) {
        match (has, wanted) {
            (false, false) => return,
            (true, true) => return self.notes.push(Action::Keep(set, element)),
            (true, false) if self.transition.named_after(profile) <= 0 => {
                return self.notes.push(Action::Discard(set, element));
            }
            (true, false) | (false, true) => {}
        }
        self.grace_first |= !self.transition.state.is_unread(profile);
        let list = if set == SetName::PortRanges { &mut self.ranges } else { &mut self.contents };
        let change = if wanted { Change::Add(set, element) } else { Change::Remove(set, element) };
        list.push(Action::Together(vec![change]));
    }

    /// Profiles that get rows again, while the kernel still has old contents of theirs.
    fn revived_profiles(&self) -> BTreeSet<ProfileId> {
        let delta = self.transition.delta;
        let rows = delta.allow_in.values().chain(delta.allow_out.values());
        rows.filter_map(|edit| edit.after)
            .filter(|&profile| self.transition.state.named_by_program(profile) == 0)
            .collect()
    }

    fn hairpins(&mut self) {
        let transition = self.transition;
        for (&address, edit) in &transition.delta.hairpin {
            let element = Element::Hairpin(address);
            let has = transition.state.kernel.hairpin.contains(&address);
            match (has, edit.after.is_some()) {
                (false, false) => {}
                (true, true) => self.notes.push(Action::Keep(SetName::Hairpin, element)),
                (false, true) => {
                    let change = Change::Add(SetName::Hairpin, element);
                    self.hairpins.push(Action::Together(vec![change]));
                }
                (true, false) if self.is_subject_after(address) => {
                    let change = Change::Remove(SetName::Hairpin, element);
                    self.last.push(Action::Together(vec![change]));
                }
                (true, false) => self.notes.push(Action::Discard(SetName::Hairpin, element)),
            }
        }
        let isolated: BTreeSet<IpAddr> = Direction::ALL
            .into_iter()
            .flat_map(|direction| transition.isolated(direction))
            .collect();
        for address in isolated {
            if transition.state.garbage.hairpin.contains(&address)
                && !transition.delta.hairpin.contains_key(&address)
            {
                let window = &transition.state.window;
                self.grace_first |=
                    Direction::ALL.into_iter().any(|d| window.released(d).contains(&address));
                let change = Change::Remove(SetName::Hairpin, Element::Hairpin(address));
                self.hairpins.push(Action::Together(vec![change]));
            }
        }
    }

    fn is_subject_after(&self, address: IpAddr) -> bool {
        Direction::ALL
            .into_iter()
            .any(|direction| self.transition.is_subject_after(direction, address))
    }

    fn compose(mut self) -> Schedule {
        let transition = self.transition;
        let moves = !transition.ways.is_empty();
        let mut schedule = Schedule::default();
        if self.grace_first || transition.narrows_for_released() {
            schedule.actions.push(Action::Grace);
        }
        if !self.ranges.is_empty() {
            // Removals come first, because an old and a new range may overlap.
            self.ranges.sort_by_key(Action::adds);
            schedule.actions.append(&mut self.ranges);
            schedule.actions.push(Action::NextTransaction);
        }
        schedule.actions.append(&mut self.contents);
        schedule.actions.append(&mut self.hairpins);
        self.early.append_to(&mut schedule);
        let releases = self.releases(&mut schedule);
        if releases && moves {
            schedule.actions.push(Action::Grace);
        }
        self.moves(&mut schedule);
        self.isolations(&mut schedule);
        if !self.late.is_empty() {
            schedule.actions.push(Action::Grace);
            self.late.append_to(&mut schedule);
        }
        if !self.last.is_empty() {
            schedule.actions.push(Action::Grace);
            schedule.actions.append(&mut self.last);
        }
        schedule.actions.append(&mut self.notes);
        schedule
    }

    /// Removes subjects. Returns whether there were any to remove.
    fn releases(&self, schedule: &mut Schedule) -> bool {
        let mut any = false;
        for direction in Direction::ALL {
            for (&address, edit) in subject_edits(self.transition.delta, direction) {
                if edit.after.is_none() && self.transition.is_subject_before(direction, address) {
                    schedule.remove(subjects_set(direction), Element::Address(address));
                    any = true;
                }
            }
        }
        any
    }

    /// Adds subjects. Those that also change class come first, together with that change.
    fn isolations(&self, schedule: &mut Schedule) {
        let bundled = &self.transition.bundled;
        let mut together: Vec<Change> =
            bundled.iter().flat_map(|&address| self.class_changes(address)).collect();
        let mut apart = Vec::new();
        for direction in Direction::ALL {
            for address in self.transition.isolated(direction) {
                let list = if bundled.contains(&address) { &mut together } else { &mut apart };
                list.push(Change::Add(subjects_set(direction), Element::Address(address)));
            }
        }
        if !together.is_empty() {
            schedule.together(together);
        }
        apart.into_iter().for_each(|change| schedule.together(vec![change]));
    }

    fn moves(&self, schedule: &mut Schedule) {
        let transition = self.transition;
        let appeared = self.appeared();
        let waits =
            |group: &AtomGroup| appeared.range(group.hull.first..=group.hull.last).next().is_some();
        let (waiting, ready): (Vec<&AtomGroup>, Vec<&AtomGroup>) =
            transition.atoms.iter().partition(|group| waits(group));
        let edits = transition.delta.class.iter();
        let (back, now): (Vec<_>, Vec<_>) = edits
            .filter(|(address, _)| !transition.bundled.contains(*address))
            .partition(|(address, edit)| edit.after.is_none() && is_covered(&waiting, **address));
        let ways = |schedule: &mut Schedule| {
            if !transition.left.is_empty() {
                schedule.actions.push(Action::ClassesLeft(transition.left.clone()));
            }
        };
        self.atoms(schedule, &ready);
        self.classes(schedule, now.into_iter().map(|(&address, _)| address));
        ways(schedule);
        if !waiting.is_empty() {
            schedule.actions.push(Action::Grace);
            self.atoms(schedule, &waiting);
            self.classes(schedule, back.into_iter().map(|(&address, _)| address));
            ways(schedule);
        }
    }

    /// Addresses that have an element in `class` from now on, but that a packet under way may have looked up there without
    /// finding one.
    fn appeared(&self) -> BTreeSet<IpAddr> {
        let kernel = &self.transition.state.kernel.class;
        let edits = self.transition.delta.class.iter();
        let new = edits.filter(|(a, e)| e.after.is_some() && !kernel.contains_key(*a));
        let before =
            if self.grace_first { None } else { Some(&self.transition.state.window.appeared) };
        new.map(|(&address, _)| address).chain(before.into_iter().flatten().copied()).collect()
    }

    fn atoms(&self, schedule: &mut Schedule, groups: &[&AtomGroup]) {
        for group in groups {
            let element = |&(range, class): &(_, _)| Element::Cidr(range, class);
            let gone = group.removed.iter().map(element);
            let come = group.added.iter().map(element);
            let changes = gone
                .map(|e| Change::Remove(SetName::Cidr, e))
                .chain(come.map(|e| Change::Add(SetName::Cidr, e)));
            schedule.together(changes.collect());
        }
        if !groups.is_empty() {
            // Within a transaction, packets see new atoms a moment later than what they look up before: subjects and addresses.
            schedule.actions.push(Action::NextTransaction);
        }
    }

    fn classes(&self, schedule: &mut Schedule, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            let changes = self.class_changes(address);
            if !changes.is_empty() {
                schedule.together(changes);
            }
        }
    }

    /// The change of the address's own element in `class`, if the kernel has another one.
    fn class_changes(&self, address: IpAddr) -> Vec<Change> {
        let transition = self.transition;
        let before = transition.state.kernel.class.get(&address).copied();
        let after = transition.delta.class.get(&address).and_then(|edit| edit.after);
        if before == after {
            return Vec::new();
        }
        let element = |class| Element::Class(address, class);
        let gone = before.map(|c| Change::Remove(SetName::Class, element(c)));
        let come = after.map(|c| Change::Add(SetName::Class, element(c)));
        gone.into_iter().chain(come).collect()
    }
}
