//! A delta as seen from a table: which addresses change class, and what the program says before and after.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::delta::Edits;
use palisade_compiler::program::{AddressRange, ClassId, ProfileId, TablesDelta};

use super::atoms::AtomGroup;
use super::state::TableState;
use crate::contents::subjects;

/// A row that must be added to the kernel, removed from it, or changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowEdit {
    pub(super) direction: Direction,
    pub(super) subject: IpAddr,
    pub(super) class: ClassId,
    /// The profile in the kernel. The row may be garbage.
    pub(super) from: Option<ProfileId>,
    pub(super) to: Option<ProfileId>,
}

#[derive(Debug)]
pub(super) struct Transition<'a> {
    pub(super) state: &'a TableState,
    pub(super) delta: &'a TablesDelta,
    pub(super) atoms: Vec<AtomGroup>,
    /// Addresses with an edit in `class` whose class changes, with the old and the new class.
    pub(super) moved: BTreeMap<IpAddr, (ClassId, ClassId)>,
    /// Every pair of old and new class of an address that changes class, whether by `class` or by `cidr`.
    pub(super) ways: BTreeSet<(ClassId, ClassId)>,
    /// The classes that some address leaves.
    pub(super) left: BTreeSet<ClassId>,
    /// The classes that some address enters.
    pub(super) entered: BTreeSet<ClassId>,
    /// Addresses that become subjects and change class. Both must happen in one transaction.
    pub(super) bundled: BTreeSet<IpAddr>,
    /// Addresses that should be in `bundled` and cannot be, because atoms that contain them change as well or because their
    /// own element is removed.
    pub(super) unbundled: BTreeSet<IpAddr>,
    /// The atoms of the delta that exist after it, sorted by address.
    atoms_after: Vec<(AddressRange, ClassId)>,
    /// For each class, by how much the number of its elements grows.
    more_members: HashMap<ClassId, isize>,
    /// For each profile, by how much the number of the program's rows that have it grows.
    more_named: HashMap<ProfileId, isize>,
}

pub(super) fn row_edits(
    delta: &TablesDelta,
    direction: Direction,
) -> &Edits<(IpAddr, ClassId), ProfileId> {
    match direction {
        Direction::Ingress => &delta.allow_in,
        Direction::Egress => &delta.allow_out,
    }
}

pub(super) fn subject_edits(delta: &TablesDelta, direction: Direction) -> &Edits<IpAddr> {
    match direction {
        Direction::Ingress => &delta.local_in,
        Direction::Egress => &delta.local_out,
    }
}

impl<'a> Transition<'a> {
    pub(super) fn new(state: &'a TableState, delta: &'a TablesDelta) -> Self {
        let after = delta.cidr.iter().filter_map(|(&range, edit)| Some((range, edit.after?)));
        let mut transition = Self {
            state,
            delta,
            atoms: AtomGroup::of(&state.kernel, delta),
            moved: BTreeMap::new(),
            ways: BTreeSet::new(),
            left: BTreeSet::new(),
            entered: BTreeSet::new(),
            bundled: BTreeSet::new(),
            unbundled: BTreeSet::new(),
            atoms_after: after.collect(),
            more_members: HashMap::new(),
            more_named: HashMap::new(),
        };
        for &address in delta.class.keys() {
            let (from, to) = (state.class_of(address), transition.class_after(address));
            if from != to {
                transition.moved.insert(address, (from, to));
                transition.ways.insert((from, to));
            }
        }
        for group in &transition.atoms {
            let ways = group.spans().into_iter().map(|(_, from, to)| (from, to));
            transition.ways.extend(ways.filter(|(from, to)| from != to));
        }
        transition.left = transition.ways.iter().map(|way| way.0).collect();
        transition.entered = transition.ways.iter().map(|way| way.1).collect();
        transition.count();
        transition.bundle();
        transition
    }

    fn bundle(&mut self) {
        let isolated = Direction::ALL.into_iter().flat_map(|d| self.isolated(d));
        let isolated: BTreeSet<IpAddr> = isolated.collect();
        let moves = |&address: &IpAddr| self.state.class_of(address) != self.class_after(address);
        let keeps_element =
            |address: &IpAddr| self.delta.class.get(address).is_some_and(|e| e.after.is_some());
        let is_under = |address: &IpAddr| {
            self.atoms.iter().any(|g| g.hull.first <= *address && *address <= g.hull.last)
        };
        let moved = isolated.into_iter().filter(moves);
        (self.bundled, self.unbundled) =
            moved.partition(|address| keeps_element(address) && !is_under(address));
    }

    fn count(&mut self) {
        let mut note = |class: Option<ClassId>, by: isize| {
            if let Some(class) = class {
                *self.more_members.entry(class).or_insert(0) += by;
            }
        };
        for (address, edit) in &self.delta.class {
            note(self.state.kernel.class.get(address).copied(), -1);
            note(edit.after, 1);
        }
        for (range, edit) in &self.delta.cidr {
            note(self.state.kernel.cidr.get(range).copied(), -1);
            note(edit.after, 1);
        }
        for direction in Direction::ALL {
            for (&(subject, class), edit) in row_edits(self.delta, direction) {
                let before = self.state.row(direction, subject, class);
                *self.more_named.entry(before).or_insert(0) -= 1;
                if let Some(after) = edit.after {
                    *self.more_named.entry(after).or_insert(0) += 1;
                }
            }
        }
    }

    pub(super) fn class_after(&self, address: IpAddr) -> ClassId {
        let stored = match self.delta.class.get(&address) {
            Some(edit) => edit.after,
            None => self.state.kernel.class.get(&address).copied(),
        };
        stored.filter(|&c| c != ClassId::UNKNOWN).unwrap_or_else(|| self.cidr_after(address))
    }

    fn cidr_after(&self, address: IpAddr) -> ClassId {
        let next = self.atoms_after.partition_point(|(range, _)| range.first <= address);
        let edited = next.checked_sub(1).and_then(|at| self.atoms_after.get(at));
        if let Some(&(_, class)) = edited.filter(|(range, _)| range.contains(address)) {
            return class;
        }
        let over = self.state.atoms_over(AddressRange { first: address, last: address });
        over.first()
            .filter(|(range, _)| !self.delta.cidr.contains_key(range))
            .map_or(ClassId::UNKNOWN, |&(_, class)| class)
    }

    pub(super) fn is_subject_before(&self, direction: Direction, address: IpAddr) -> bool {
        self.state.is_subject(direction, address)
    }

    pub(super) fn is_subject_after(&self, direction: Direction, address: IpAddr) -> bool {
        match subject_edits(self.delta, direction).get(&address) {
            Some(edit) => edit.after.is_some(),
            None => self.state.is_subject(direction, address),
        }
    }

    pub(super) fn subjects_before(&self, direction: Direction) -> impl Iterator<Item = IpAddr> {
        subjects(&self.state.kernel, direction).iter().copied()
    }

    /// The subjects before and after the delta.
    pub(super) fn subjects(&self, direction: Direction) -> BTreeSet<IpAddr> {
        let edited = subject_edits(self.delta, direction).keys();
        subjects(&self.state.kernel, direction).iter().chain(edited).copied().collect()
    }

    /// The addresses that become subjects of the direction.
    pub(super) fn isolated(&self, direction: Direction) -> impl Iterator<Item = IpAddr> {
        let edits = subject_edits(self.delta, direction).iter();
        edits
            .filter(move |(a, e)| e.after.is_some() && !self.state.is_subject(direction, **a))
            .map(|(&address, _)| address)
    }

    pub(super) fn row_after(
        &self,
        direction: Direction,
        subject: IpAddr,
        class: ClassId,
    ) -> ProfileId {
        match row_edits(self.delta, direction).get(&(subject, class)) {
            Some(edit) => edit.after.unwrap_or(ProfileId::NOTHING),
            None => self.state.row(direction, subject, class),
        }
    }

    /// The profile of the class in the program after the delta: its row, or the base of the subject if there is no row.
    pub(super) fn profile_after(
        &self,
        direction: Direction,
        subject: IpAddr,
        class: ClassId,
    ) -> ProfileId {
        match self.row_after(direction, subject, class) {
            ProfileId::NOTHING => self.row_after(direction, subject, ClassId::UNKNOWN),
            row => row,
        }
    }

    /// Whether a packet that was in the rules of a subject when this window released it may find its peer in a class that
    /// is allowed less than the old class of the peer. The rows of the released subject still exist.
    pub(super) fn narrows_for_released(&self) -> bool {
        Direction::ALL.into_iter().any(|direction| {
            let released = self.state.window.released(direction);
            released.iter().any(|&subject| {
                self.ways.iter().any(|&(from, to)| {
                    let from = self.state.readable_profile(direction, subject, from);
                    let to = self.state.readable_profile(direction, subject, to);
                    from != to && !from.denies() && to != ProfileId::EVERYTHING
                })
            })
        })
    }

    /// Whether the base applies to the class both before and after the delta.
    pub(super) fn is_of_base(&self, direction: Direction, subject: IpAddr, class: ClassId) -> bool {
        class == ClassId::UNKNOWN
            || (self.state.row(direction, subject, class) == ProfileId::NOTHING
                && self.row_after(direction, subject, class) == ProfileId::NOTHING)
    }

    /// Whether rows of the class, if packets may read them, can change only a grace period after addresses changed class.
    pub(super) fn is_row_late(&self, class: ClassId) -> bool {
        self.left.contains(&class)
            || (self.state.window.left.contains(&class) && !self.entered.contains(&class))
    }

    pub(super) fn is_inhabited_after(&self, class: ClassId) -> bool {
        let more = self.more_members.get(&class).copied().unwrap_or(0);
        class == ClassId::UNKNOWN || self.state.members_after(class, more) > 0
    }

    /// The number of rows of the program that have the profile after the delta.
    pub(super) fn named_after(&self, profile: ProfileId) -> isize {
        let before = isize::try_from(self.state.named_by_program(profile)).unwrap_or(isize::MAX);
        before.saturating_add(self.more_named.get(&profile).copied().unwrap_or(0))
    }

    /// Profiles that are in use before the delta and whose contents it changes. This happens only in a repair, or if an id
    /// is reused for other contents.
    pub(super) fn rewritten(&self) -> BTreeSet<ProfileId> {
        let ports = self.delta.ports.iter().map(|(e, edit)| (e.profile, edit.after));
        let ranges = self.delta.port_ranges.iter().map(|(e, edit)| (e.profile, edit.after));
        let mut rewritten: BTreeSet<ProfileId> = ports
            .chain(ranges)
            .filter(|&(profile, after)| after.is_some() || self.named_after(profile) > 0)
            .map(|(profile, _)| profile)
            .collect();
        rewritten.retain(|&profile| self.state.named_by_program(profile) > 0);
        rewritten
    }

    /// Whether the delta removes the row and nothing can read it afterwards, so that it can stay as garbage.
    pub(super) fn is_inert_after(&self, edit: &RowEdit) -> bool {
        edit.to.is_none()
            && !(self.is_subject_after(edit.direction, edit.subject)
                && self.is_inhabited_after(edit.class))
    }

    /// Whether a packet under way may read the row as it is before the delta.
    pub(super) fn is_readable(&self, edit: &RowEdit) -> bool {
        let subject = self.is_subject_before(edit.direction, edit.subject)
            || self.state.window.released(edit.direction).contains(&edit.subject);
        subject
            && (self.state.is_inhabited(edit.class) || self.state.window.left.contains(&edit.class))
    }

    /// The rows in which the kernel differs from the program after the delta, including garbage that would become readable.
    pub(super) fn row_edits(&self) -> Vec<RowEdit> {
        let mut edits = Vec::new();
        for direction in Direction::ALL {
            let kernel = crate::contents::rows(&self.state.kernel, direction);
            let delta = row_edits(self.delta, direction);
            let mut edit = |subject, class, to| {
                let from = kernel.get(&(subject, class)).copied();
                edits.push(RowEdit { direction, subject, class, from, to });
            };
            delta.iter().for_each(|(&(subject, class), e)| edit(subject, class, e.after));
            for (subject, class) in self.revived_rows(direction) {
                if !delta.contains_key(&(subject, class)) {
                    edit(subject, class, None);
                }
            }
        }
        edits
    }

    /// Garbage rows whose subject becomes isolated again, or whose class is entered again.
    fn revived_rows(&self, direction: Direction) -> BTreeSet<(IpAddr, ClassId)> {
        let garbage = &self.state.garbage;
        let isolated = self.isolated(direction).flat_map(|subject| {
            garbage.classes_of(direction, subject).map(move |class| (subject, class))
        });
        let entered = self.entered.iter().flat_map(|&class| {
            garbage.subjects_of(direction, class).map(move |subject| (subject, class))
        });
        isolated
            .chain(entered)
            .filter(|&(s, c)| self.is_subject_after(direction, s) && self.is_inhabited_after(c))
            .collect()
    }
}
