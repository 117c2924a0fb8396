//! What a delta does to the decisions of a packet's walk: whether they narrow or widen, and where both meet.
//!
//! A packet's verdict is a conjunction of decisions, read in this order: not dropped as mid-stream or on a bridge (the
//! sets of subjects and bridges), egress, ingress. A packet under way may see an earlier decision as it was and a
//! later one as it is. While all that change for it narrow, or all widen, that yields a verdict of before or after. It
//! yields one of neither only if an earlier decision narrows and, in the same window and not before, a later one widens.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use palisade_compiler::model::Direction;
use palisade_compiler::program::{ClassId, ProfileId};

use super::allowed::Allowed;
use super::shift::{Shift, row_edits, subject_edits};

/// In which ways decisions change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) narrows: bool,
    pub(super) widens: bool,
}

impl Effect {
    const NARROWS: Self = Self { narrows: true, widens: false };
    const WIDENS: Self = Self { narrows: false, widens: true };

    fn and(self, other: Self) -> Self {
        Self { narrows: self.narrows || other.narrows, widens: self.widens || other.widens }
    }

    fn opposes(self, other: Self) -> bool {
        (self.narrows && other.widens) || (self.widens && other.narrows)
    }
}

/// How a delta has to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// As it is. `grace_first`: what it widens comes after something of this window that narrowed.
    Direct { grace_first: bool, egress_narrows: bool },
    /// By way of the meet of before and after.
    Meet,
}

#[derive(Debug)]
pub(super) struct Judge<'s, 'a> {
    pub(super) shift: &'s Shift<'a>,
    before: HashMap<ProfileId, Rc<Allowed>>,
    after: HashMap<ProfileId, Rc<Allowed>>,
}

impl<'s, 'a> Judge<'s, 'a> {
    pub(super) fn new(shift: &'s Shift<'a>) -> Self {
        Self { shift, before: HashMap::new(), after: HashMap::new() }
    }

    pub(super) fn allowed_before(&mut self, profile: ProfileId) -> Rc<Allowed> {
        let table = self.shift.table;
        let of = || Rc::new(Allowed::of(profile, table.listed(profile)));
        Rc::clone(self.before.entry(profile).or_insert_with(of))
    }

    pub(super) fn allowed_after(&mut self, profile: ProfileId) -> Rc<Allowed> {
        let shift = self.shift;
        let of = || Rc::new(Allowed::of(profile, shift.listed_after(profile)));
        Rc::clone(self.after.entry(profile).or_insert_with(of))
    }

    fn compare(&mut self, before: ProfileId, after: ProfileId) -> Effect {
        if before == after {
            return Effect::default();
        }
        let (before, after) = (self.allowed_before(before), self.allowed_after(after));
        Effect { narrows: !before.is_within(&after), widens: !after.is_within(&before) }
    }

    pub(super) fn course(&mut self) -> Course {
        let shift = self.shift;
        if !shift.rewritten().is_empty() || self.is_circular() {
            return Course::Meet;
        }
        let isolation = self.isolation();
        let (rows, mut pairs) = self.rows(isolation);
        for direction in Direction::ALL {
            let at = pairs.of(direction);
            *at = at.and(self.moves_of_subjects(direction));
        }
        let window = &shift.table.window;
        let mixed = isolation != Effect::default();
        let mut any = rows.and(isolation);
        if mixed || window.isolated {
            any = any.and(self.moves());
        }
        if (mixed && any.narrows && any.widens) || pairs.egress.opposes(pairs.ingress) {
            return Course::Meet;
        }
        let grace_first =
            (window.isolated && any.widens) || (window.egress_narrowed && pairs.ingress.widens);
        Course::Direct { grace_first, egress_narrows: pairs.egress.narrows }
    }

    /// Whether some class is left, entered, and has rows that change under those who stay: no order of these is right.
    fn is_circular(&self) -> bool {
        let shift = self.shift;
        let both: BTreeSet<ClassId> = shift.left.intersection(&shift.entered).copied().collect();
        !both.is_empty()
            && shift.row_edits().iter().any(|edit| {
                both.contains(&edit.class) && shift.readable(edit) && !shift.inert_after(edit)
            })
    }

    /// What the edits of subjects themselves do.
    fn isolation(&self) -> Effect {
        let delta = self.shift.delta;
        let subjects = delta.local_in.values().chain(delta.local_out.values());
        subjects
            .map(|edit| if edit.after.is_some() { Effect::NARROWS } else { Effect::WIDENS })
            .fold(Effect::default(), Effect::and)
    }

    /// What row edits do to any packet, and to packets between a subject of egress and one of ingress.
    fn rows(&mut self, isolation: Effect) -> (Effect, Pairs) {
        let shift = self.shift;
        let (mut any, mut pairs) = (Effect::default(), Pairs::default());
        for direction in Direction::ALL {
            let peers = shift.subjects(opposite(direction));
            let at = pairs.of(direction);
            if !peers.is_empty() {
                for edit in subject_edits(shift.delta, direction).values() {
                    *at =
                        at.and(if edit.after.is_some() { Effect::NARROWS } else { Effect::WIDENS });
                }
            }
            let edits = row_edits(shift.delta, direction);
            if edits.is_empty() {
                continue;
            }
            let of_subjects: BTreeSet<ClassId> = peers
                .into_iter()
                .flat_map(|peer| [shift.table.class_of(peer), shift.class_after(peer)])
                .collect();
            for (&(subject, class), edit) in edits {
                let judged = shift.subject_before(direction, subject)
                    && shift.subject_after(direction, subject)
                    && shift.table.inhabited(class)
                    && shift.inhabited_after(class);
                let wanted = of_subjects.contains(&class)
                    || isolation != Effect::default()
                    || shift.table.window.isolated;
                if judged && wanted {
                    let before = shift.table.row(direction, subject, class);
                    let effect = self.compare(before, edit.after.unwrap_or(ProfileId::NOTHING));
                    any = any.and(effect);
                    if of_subjects.contains(&class) {
                        let at = pairs.of(direction);
                        *at = at.and(effect);
                    }
                }
            }
        }
        (any, pairs)
    }

    /// What changes of class do to the decisions of one direction about peers that are subjects of the other.
    fn moves_of_subjects(&mut self, direction: Direction) -> Effect {
        let shift = self.shift;
        let subjects = shift.subjects(opposite(direction));
        let moved: BTreeSet<(ClassId, ClassId)> = if shift.components.is_empty() {
            let moved = shift.moved.iter().filter(|(address, _)| subjects.contains(address));
            moved.map(|(_, &way)| way).collect()
        } else {
            let ways = subjects.iter().map(|&a| (shift.table.class_of(a), shift.class_after(a)));
            ways.filter(|(from, to)| from != to).collect()
        };
        self.ways(direction, &moved)
    }

    /// What changes of class do to any packet.
    fn moves(&mut self) -> Effect {
        let ways = self.shift.ways.clone();
        self.ways(Direction::Ingress, &ways).and(self.ways(Direction::Egress, &ways))
    }

    fn ways(&mut self, direction: Direction, ways: &BTreeSet<(ClassId, ClassId)>) -> Effect {
        let mut effect = Effect::default();
        if ways.is_empty() {
            return effect;
        }
        let shift = self.shift;
        for subject in shift.subjects(direction) {
            let stays =
                shift.subject_before(direction, subject) && shift.subject_after(direction, subject);
            for &(from, to) in ways.iter().filter(|_| stays) {
                let before = shift.table.row(direction, subject, from);
                effect = effect.and(self.compare(before, shift.row_after(direction, subject, to)));
            }
        }
        effect
    }
}

/// The decisions about packets between a subject of egress and a subject of ingress.
#[derive(Debug, Clone, Copy, Default)]
struct Pairs {
    egress: Effect,
    ingress: Effect,
}

impl Pairs {
    fn of(&mut self, direction: Direction) -> &mut Effect {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

const fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}
