//! Whether a delta can be carried out as it is, or must go by way of the meet of before and after.
//!
//! A packet's verdict is a conjunction of decisions, read in this order: not dropped as mid-stream or on a bridge (the
//! sets of subjects and bridges), egress, ingress. A packet under way may see an earlier decision as it was and a
//! later one as it is. While all that change for it narrow, or all widen, that yields a verdict of before or after. It
//! yields one of neither only if an earlier decision narrows and, in the same window and not before, a later one widens.

use std::collections::BTreeSet;

use palisade_compiler::model::Direction;
use palisade_compiler::program::ClassId;

use super::base::BaseEdits;
use super::profiles::{Effect, Profiles};
use super::transition::{RowEdit, Transition, row_edits, subject_edits};

/// How a delta has to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// As it is. `grace_first`: what it widens comes after something of this window that narrowed.
    Direct { grace_first: bool, egress_narrows: bool },
    /// By way of the meet of before and after.
    ByMeet,
}

impl Strategy {
    pub(super) fn choose(transition: &Transition<'_>) -> Self {
        let edits = transition.row_edits();
        if !transition.rewritten().is_empty() || is_circular(transition, &edits) {
            return Self::ByMeet;
        }
        let mut profiles = Profiles::new(transition.state, transition.delta);
        if BaseEdits::new(transition, &mut profiles, &edits).are_circular() {
            return Self::ByMeet;
        }
        let mut effects = Effects { transition, profiles };
        let isolation = effects.of_isolation();
        let (rows, mut pairs) = effects.of_rows(isolation);
        for direction in Direction::ALL {
            let at = pairs.of(direction);
            *at = at.and(effects.of_moved_subjects(direction));
        }
        let window = &transition.state.window;
        let is_mixed = isolation != Effect::default();
        let mut any = rows.and(isolation);
        if is_mixed || window.isolated {
            any = any.and(effects.of_moves());
        }
        if (is_mixed && any.narrows && any.widens) || pairs.egress.opposes(pairs.ingress) {
            return Self::ByMeet;
        }
        let grace_first =
            (window.isolated && any.widens) || (window.egress_narrowed && pairs.ingress.widens);
        Self::Direct { grace_first, egress_narrows: pairs.egress.narrows }
    }
}

/// Whether some class is left, entered, and has rows that change under those who stay: no order of these is right. The base
/// is another matter (`BaseEdits`).
fn is_circular(transition: &Transition<'_>, edits: &[RowEdit]) -> bool {
    let is_both = |class: &ClassId| {
        *class != ClassId::UNKNOWN
            && transition.left.contains(class)
            && transition.entered.contains(class)
    };
    edits.iter().any(|edit| {
        is_both(&edit.class) && transition.is_readable(edit) && !transition.is_inert_after(edit)
    })
}

/// The effects of a delta's parts on packets' decisions.
#[derive(Debug)]
struct Effects<'t, 'a> {
    transition: &'t Transition<'a>,
    profiles: Profiles<'a>,
}

/// Effects on packets between a subject of egress and a subject of ingress.
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

impl Effects<'_, '_> {
    /// What the edits of subjects themselves do.
    fn of_isolation(&self) -> Effect {
        let delta = self.transition.delta;
        let subjects = delta.local_in.values().chain(delta.local_out.values());
        subjects.map(|edit| of_member(edit.after.is_some())).fold(Effect::default(), Effect::and)
    }

    /// What row edits do to any packet, and what they and edits of subjects do to packets between subjects.
    fn of_rows(&mut self, isolation: Effect) -> (Effect, Pairs) {
        let transition = self.transition;
        let (mut any, mut pairs) = (Effect::default(), Pairs::default());
        for direction in Direction::ALL {
            let peers = transition.subjects(opposite(direction));
            let at = pairs.of(direction);
            if !peers.is_empty() {
                for edit in subject_edits(transition.delta, direction).values() {
                    *at = at.and(of_member(edit.after.is_some()));
                }
            }
            let edits = row_edits(transition.delta, direction);
            if edits.is_empty() {
                continue;
            }
            let of_subjects: BTreeSet<ClassId> = peers
                .into_iter()
                .flat_map(|peer| [transition.state.class_of(peer), transition.class_after(peer)])
                .collect();
            for &(subject, class) in edits.keys() {
                let is_judged = transition.is_subject_before(direction, subject)
                    && transition.is_subject_after(direction, subject)
                    && transition.state.is_inhabited(class)
                    && transition.is_inhabited_after(class);
                let is_of_subjects = if class == ClassId::UNKNOWN {
                    of_subjects.iter().any(|&c| transition.is_of_base(direction, subject, c))
                } else {
                    of_subjects.contains(&class)
                };
                let is_wanted = is_of_subjects
                    || isolation != Effect::default()
                    || transition.state.window.isolated;
                if is_judged && is_wanted {
                    let before = transition.state.profile(direction, subject, class);
                    let after = transition.profile_after(direction, subject, class);
                    let effect = self.profiles.effect(before, after);
                    any = any.and(effect);
                    if is_of_subjects {
                        let at = pairs.of(direction);
                        *at = at.and(effect);
                    }
                }
            }
        }
        (any, pairs)
    }

    /// What changes of class do to the decisions of one direction about peers that are subjects of the other.
    fn of_moved_subjects(&mut self, direction: Direction) -> Effect {
        let transition = self.transition;
        let subjects = transition.subjects(opposite(direction));
        let ways: BTreeSet<(ClassId, ClassId)> = if transition.atoms.is_empty() {
            let moved = transition.moved.iter().filter(|(address, _)| subjects.contains(address));
            moved.map(|(_, &way)| way).collect()
        } else {
            let ways =
                subjects.iter().map(|&a| (transition.state.class_of(a), transition.class_after(a)));
            ways.filter(|(from, to)| from != to).collect()
        };
        self.of_ways(direction, &ways)
    }

    /// What changes of class do to any packet.
    fn of_moves(&mut self) -> Effect {
        let ways = &self.transition.ways;
        self.of_ways(Direction::Ingress, ways).and(self.of_ways(Direction::Egress, ways))
    }

    fn of_ways(&mut self, direction: Direction, ways: &BTreeSet<(ClassId, ClassId)>) -> Effect {
        let mut effect = Effect::default();
        if ways.is_empty() {
            return effect;
        }
        let transition = self.transition;
        for subject in transition.subjects(direction) {
            let stays = transition.is_subject_before(direction, subject)
                && transition.is_subject_after(direction, subject);
            for &(from, to) in ways.iter().filter(|_| stays) {
                let before = transition.state.profile(direction, subject, from);
                let after = transition.profile_after(direction, subject, to);
                effect = effect.and(self.profiles.effect(before, after));
            }
        }
        effect
    }
}

/// What it does that a subject or bridge comes or goes.
const fn of_member(comes: bool) -> Effect {
    if comes { Effect::NARROWS } else { Effect::WIDENS }
}

const fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use palisade_compiler::program::{PortElement, ProfileId, Tables, TablesDelta};

    use super::super::state::TableState;
    use super::*;

    /// Pods that are isolated in both directions and allow each other every second of so many ports.
    fn pods_with_ports(pods: u32, ports: u16, profile: ProfileId) -> Tables {
        let mut tables = Tables::default();
        let class = ClassId(ClassId::FIRST);
        for n in 0..pods {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + n));
            tables.local_in.insert(address);
            tables.local_out.insert(address);
            tables.class.insert(address, class);
            tables.allow_in.insert((address, class), profile);
            tables.allow_out.insert((address, class), ProfileId::EVERYTHING);
        }
        let odd = (0..ports).map(|n| PortElement { profile, protocol: 6, port: 2 * n + 1 });
        tables.ports.extend(odd);
        tables
    }

    /// One port less for 250 pods that allow 8,000: two profiles are compared, once.
    #[test]
    fn two_profiles_are_compared_once_however_many_rows_have_them() {
        let before = pods_with_ports(250, 8000, ProfileId(ProfileId::FIRST));
        let after = pods_with_ports(250, 7999, ProfileId(ProfileId::FIRST + 1));
        let delta = TablesDelta::between(&before, &after);
        assert_eq!(delta.allow_in.len(), 250);
        let state = TableState::new(before);
        let transition = Transition::new(&state, &delta);
        let profiles = Profiles::new(&state, &delta);
        let mut effects = Effects { transition: &transition, profiles };
        let (_, pairs) = effects.of_rows(Effect::default());
        assert_eq!(pairs.ingress, Effect::NARROWS);
        assert_eq!(pairs.egress, Effect::default());
        assert_eq!(effects.profiles.comparisons(), 1);
        let direct = Strategy::Direct { grace_first: false, egress_narrows: false };
        assert_eq!(Strategy::choose(&transition), direct);
    }
}
