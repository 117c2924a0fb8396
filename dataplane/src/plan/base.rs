//! When the base of a subject may change. The base is the subject's row of class 0:0, which applies to every class without
//! a row of its own.
//!
//! A packet whose class has no row reads the base in a second lookup, which may see a later state than the first. Assume
//! that the base changes from `b` to `b'`. The following cases must be excluded:
//!
//! | a packet sees | how it could happen | order that excludes it |
//! |---|---|---|
//! | `b'` although its class gets a row | it missed the row before it was added, and read the base after it changed | add the row, grace period, change the base |
//! | `b` although its class loses its row | it missed the row, and read the base before it changed | change the base, then remove the row |
//! | `b'` although its address moves from a class without a row to one with a row | it still has the old class | move the address, grace period, change the base |
//! | `b` although its address moves from a class with a row to one without | it has the new class | change the base, then move the address |
//!
//! A case is harmless if what the packet sees lies between what the programs before and after allow it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::{ClassId, ProfileId};

use super::profiles::Profiles;
use super::transition::{RowEdit, Transition, row_edits};
use crate::contents::rows;

/// When a row may change, as a position in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Not at all: the row stays in the kernel as garbage.
    Never,
    /// Before any address changes class.
    Early,
    /// As `Early`, but with a grace period before the whole delta.
    AfterGrace,
    /// After a grace period that follows the changes of class.
    Late,
}

/// How the base of a subject changes that is isolated both before and after the delta.
#[derive(Debug, Clone, Copy)]
struct BaseEdit {
    before: ProfileId,
    after: ProfileId,
    /// The base must change before addresses enter classes.
    must_be_early: bool,
    /// The base must change after no packet has a class any more that its address left.
    must_be_late: bool,
    /// The base must change a grace period after rows were added.
    follows_rows: bool,
    /// A packet under way may have missed a row, and so may read the base.
    is_pinned: bool,
}

/// The subjects whose base changes while packets may read it.
#[derive(Debug)]
pub(super) struct BaseEdits {
    by_subject: HashMap<(Direction, IpAddr), BaseEdit>,
}

impl BaseEdits {
    pub(super) fn new(
        transition: &Transition<'_>,
        profiles: &mut Profiles<'_>,
        edits: &[RowEdit],
    ) -> Self {
        let mut by_subject = HashMap::new();
        let mut ways = None;
        for &RowEdit { direction, subject, class, from, to } in edits {
            let stays = transition.is_subject_before(direction, subject)
                && transition.is_subject_after(direction, subject);
            if class == ClassId::UNKNOWN && from != to && stays {
                let mut edit = BaseEdit {
                    before: transition.state.row(direction, subject, class),
                    after: to.unwrap_or(ProfileId::NOTHING),
                    must_be_early: false,
                    must_be_late: false,
                    follows_rows: false,
                    is_pinned: transition.state.may_miss_rows(direction, subject),
                };
                let ways = ways.get_or_insert_with(|| Ways::new(transition));
                for way in ways.with_rows(direction, subject) {
                    edit.regard_way(transition, profiles, (direction, subject), way);
                }
                by_subject.insert((direction, subject), edit);
            }
        }
        let mut bases = Self { by_subject };
        if !bases.by_subject.is_empty() {
            edits.iter().for_each(|edit| bases.regard_row(transition, profiles, edit));
        }
        bases
    }

    /// Whether the base of some subject would have to change both before and after addresses change class.
    pub(super) fn are_circular(&self) -> bool {
        self.by_subject.values().any(|edit| edit.must_be_early && edit.must_be_late)
    }

    fn regard_row(
        &mut self,
        transition: &Transition<'_>,
        profiles: &mut Profiles<'_>,
        edit: &RowEdit,
    ) {
        let Some(base) = self.by_subject.get_mut(&(edit.direction, edit.subject)) else { return };
        if edit.class == ClassId::UNKNOWN
            || !transition.is_readable(edit)
            || transition.is_inert_after(edit)
        {
            return;
        }
        match (edit.from, edit.to) {
            (None, Some(row)) => {
                if !profiles.is_between_after(base.after, base.before, row) {
                    base.follows_rows = true;
                    base.must_be_late |= transition.is_row_late(edit.class);
                }
            }
            (Some(row), None) => {
                if transition.entered.contains(&edit.class)
                    && !profiles.is_between_before(base.before, row, base.after)
                {
                    base.must_be_early = true;
                }
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn get(&self, edit: &RowEdit) -> Option<&BaseEdit> {
        self.by_subject.get(&(edit.direction, edit.subject))
    }

    /// When the base that this edit changes may change.
    pub(super) fn when(&self, edit: &RowEdit) -> When {
        self.get(edit).map_or(When::Early, BaseEdit::when)
    }

    /// Whether the removal of a row must wait for a base of its subject that changes late.
    pub(super) fn is_late(&self, edit: &RowEdit) -> bool {
        self.get(edit).is_some_and(|base| base.when() == When::Late)
    }

    /// Whether the base of the row's subject changes only a grace period after rows of the subject were added.
    pub(super) fn follows_rows(&self, edit: &RowEdit) -> bool {
        self.get(edit).is_some_and(|base| base.follows_rows)
    }

    /// Whether the base of the row's subject changes.
    pub(super) fn has(&self, edit: &RowEdit) -> bool {
        self.get(edit).is_some()
    }
}

impl BaseEdit {
    /// Records what a change of class (`from`, `to`) requires of the base.
    fn regard_way(
        &mut self,
        transition: &Transition<'_>,
        profiles: &mut Profiles<'_>,
        (direction, subject): (Direction, IpAddr),
        (from, to): (ClassId, ClassId),
    ) {
        let row = |profile, class| {
            Some(profile).filter(|&p| class != ClassId::UNKNOWN && p != ProfileId::NOTHING)
        };
        let left = row(transition.state.row(direction, subject, from), from);
        let entered = row(transition.row_after(direction, subject, to), to);
        match (left, entered) {
            (None, Some(entered)) => {
                self.must_be_late |= !profiles.is_between_after(self.after, self.before, entered);
            }
            (Some(left), None) => {
                self.must_be_early |= !profiles.is_between_before(self.before, left, self.after);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn when(&self) -> When {
        match self {
            Self { must_be_early: true, is_pinned: true, .. } => When::AfterGrace,
            Self { must_be_early: true, is_pinned: false, .. } => When::Early,
            // The grace period before the late changes serves these cases as well.
            Self { must_be_late: true, .. }
            | Self { follows_rows: true, .. }
            | Self { is_pinned: true, .. } => When::Late,
            Self { .. } => When::Early,
        }
    }
}

/// The changes of class of a delta, indexed by old and by new class.
struct Ways<'t, 'a> {
    transition: &'t Transition<'a>,
    /// (new class, old class).
    backwards: BTreeSet<(ClassId, ClassId)>,
}

impl<'t, 'a> Ways<'t, 'a> {
    fn new(transition: &'t Transition<'a>) -> Self {
        let backwards = transition.ways.iter().map(|&(from, to)| (to, from)).collect();
        Self { transition, backwards }
    }

    /// The changes of class whose old or new class the subject has a row for, before or after the delta. The result may
    /// contain others, for which the base applies on both sides. The cost is proportional to the number of the subject's
    /// rows or to the number of changes of class, whichever is smaller.
    fn with_rows(&self, direction: Direction, subject: IpAddr) -> BTreeSet<(ClassId, ClassId)> {
        let Self { transition, backwards } = self;
        let ways = &transition.ways;
        let of_subject = (subject, ClassId(ClassId::UNKNOWN.0 + 1))..=(subject, ClassId(u32::MAX));
        let before = rows(&transition.state.kernel, direction).range(of_subject.clone());
        let edits = row_edits(transition.delta, direction).range(of_subject);
        let classes = before.map(|(key, _)| key.1).chain(edits.map(|(key, _)| key.1));
        let classes: Vec<ClassId> = classes.take(ways.len()).collect();
        if classes.len() == ways.len() {
            return ways.clone();
        }
        let mut found = BTreeSet::new();
        for class in classes {
            let with = (class, ClassId(0))..=(class, ClassId(u32::MAX));
            found.extend(ways.range(with.clone()));
            found.extend(backwards.range(with).map(|&(to, from)| (from, to)));
        }
        found
    }
}
