//! Whether a delta can be carried out as it is, or must go by way of the meet of before and after.
//!
//! A packet's verdict is a conjunction of decisions, read in this order: on a bridge (facts of the host), egress, ingress. A
//! packet under way may see an earlier decision as it was and a later one as it is. While all that change for it narrow, or
//! all widen, that yields a verdict of before or after. It yields one of neither only if
//!
//! - the earlier decision narrows and, in the same window and not before, the later one widens; or
//! - the earlier decision widens, and the later one narrows in a later transaction.
//!
//! An address that becomes a subject and changes its class does both in one transaction (`Transition::bundled`), so for its
//! packets the second cannot happen, and the first only where it is more that others' ingress allows it than its own egress
//! does: elsewhere what a packet may see is the verdict of after. So a pod is born without a grace period.
//!
//! The rules about mid-stream packets are no part of this. What they decide matters only for connections whose entries were
//! deleted, and entries are deleted a grace period after the commit.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::{ClassId, ProfileId};

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
        if effects.isolation_opposes() {
            return Self::ByMeet;
        }
        let egress = effects.between_subjects(Direction::Egress);
        let ingress = effects.between_subjects(Direction::Ingress);
        if egress.opposes(ingress) {
            return Self::ByMeet;
        }
        let window = &transition.state.window;
        let grace_first = (window.guarded && effects.of_everything().widens)
            || (window.held && effects.of_unknown().widens)
            || (window.egress_narrowed && ingress.widens)
            || effects.widens_for_isolated();
        Self::Direct { grace_first, egress_narrows: egress.narrows }
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

impl Effects<'_, '_> {
    /// Whether some address becomes a subject, and for packets from or to it another decision changes the other way at the
    /// wrong time.
    fn isolation_opposes(&mut self) -> bool {
        let transition = self.transition;
        if !transition.unbundled.is_empty() {
            return true;
        }
        let sources: BTreeSet<IpAddr> = transition.isolated(Direction::Egress).collect();
        let destinations: BTreeSet<IpAddr> = transition.isolated(Direction::Ingress).collect();
        let releases = |direction| {
            subject_edits(transition.delta, direction).values().any(|edit| edit.after.is_none())
        };
        (!destinations.is_empty()
            && (releases(Direction::Egress)
                || self.of_rows(Direction::Egress, &destinations).widens))
            || (!sources.is_empty()
                && (self.of_rows(Direction::Ingress, &sources).widens
                    || self.ingress_exceeds_egress(&sources)))
    }

    /// Whether ingress widens for packets from addresses that became subjects of egress earlier in this window.
    fn widens_for_isolated(&mut self) -> bool {
        let transition = self.transition;
        let window = &transition.state.window;
        let isolated = window.isolated_out.iter().copied();
        let sources: BTreeSet<IpAddr> =
            isolated.filter(|&s| transition.is_subject_after(Direction::Egress, s)).collect();
        !sources.is_empty()
            && (self.of_rows(Direction::Ingress, &sources).widens
                || self.ingress_exceeds_egress(&sources))
    }

    /// Whether the change of class of one of these subjects of egress, or a release, widens some ingress for its packets beyond
    /// what its own egress allows afterwards.
    fn ingress_exceeds_egress(&mut self, sources: &BTreeSet<IpAddr>) -> bool {
        let transition = self.transition;
        let class = |&source: &IpAddr| {
            (transition.state.class_of(source), transition.class_after(source), source)
        };
        let sources: BTreeSet<(ClassId, ClassId, IpAddr)> = sources.iter().map(class).collect();
        for subject in transition.subjects(Direction::Ingress) {
            if !transition.is_subject_before(Direction::Ingress, subject) {
                continue;
            }
            let mut last = None;
            for &(from, to, source) in &sources {
                let (before, after) = match last {
                    Some((way, ingress)) if way == (from, to) => ingress,
                    _ => self.ingress(subject, from, to),
                };
                last = Some(((from, to), (before, after)));
                if self.profiles.effect(before, after).widens {
                    let to_subject = transition.class_after(subject);
                    let egress = transition.profile_after(Direction::Egress, source, to_subject);
                    if !self.profiles.is_within_after(after, egress) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// What a subject of ingress allows a source that changes its class so, before and after.
    fn ingress(&self, subject: IpAddr, from: ClassId, to: ClassId) -> (ProfileId, ProfileId) {
        let transition = self.transition;
        let before = transition.state.profile(Direction::Ingress, subject, from);
        let after = if transition.is_subject_after(Direction::Ingress, subject) {
            transition.profile_after(Direction::Ingress, subject, to)
        } else {
            ProfileId::EVERYTHING
        };
        (before, after)
    }

    /// What happens to decisions of the direction about packets whose other end was a subject of the other direction before.
    fn between_subjects(&mut self, direction: Direction) -> Effect {
        let transition = self.transition;
        let peers: BTreeSet<IpAddr> = transition.subjects_before(opposite(direction)).collect();
        if peers.is_empty() {
            return Effect::default();
        }
        let releases =
            subject_edits(transition.delta, direction).values().any(|edit| edit.after.is_none());
        let released = if releases { Effect::WIDENS } else { Effect::default() };
        let ways = ways_of(transition, &peers);
        released.and(self.of_rows(direction, &peers)).and(self.of_ways(direction, &ways))
    }

    /// What happens to decisions about addresses that no pod is known to have.
    fn of_unknown(&mut self) -> Effect {
        let transition = self.transition;
        let atoms = transition.atoms.iter().flat_map(|group| group.spans());
        let ways = atoms.map(|(_, from, to)| (from, to)).filter(|(from, to)| from != to).collect();
        let of_atoms: BTreeSet<ClassId> = transition.state.kernel.cidr.values().copied().collect();
        let is_unknown = |class| class == ClassId::UNKNOWN || of_atoms.contains(&class);
        Direction::ALL.into_iter().fold(Effect::default(), |effect, direction| {
            effect
                .and(self.of_row_edits(direction, |_, class| is_unknown(class)))
                .and(self.of_ways(direction, &ways))
        })
    }

    /// What happens to any decision.
    fn of_everything(&mut self) -> Effect {
        let transition = self.transition;
        let mut effect = Effect::default();
        for direction in Direction::ALL {
            for edit in subject_edits(transition.delta, direction).values() {
                let comes = edit.after.is_some();
                effect = effect.and(if comes { Effect::NARROWS } else { Effect::WIDENS });
            }
            effect = effect.and(self.of_row_edits(direction, |_, _| true));
            effect = effect.and(self.of_ways(direction, &transition.ways));
        }
        effect
    }

    /// What row edits do to decisions of the direction about these peers, in the classes that they have before or after.
    fn of_rows(&mut self, direction: Direction, peers: &BTreeSet<IpAddr>) -> Effect {
        let transition = self.transition;
        if row_edits(transition.delta, direction).is_empty() {
            return Effect::default();
        }
        let classes: BTreeSet<ClassId> = peers
            .iter()
            .flat_map(|&peer| [transition.state.class_of(peer), transition.class_after(peer)])
            .collect();
        self.of_row_edits(direction, |subject, class| match class {
            ClassId::UNKNOWN => {
                classes.iter().any(|&c| transition.is_of_base(direction, subject, c))
            }
            class => classes.contains(&class),
        })
    }

    /// What edits of rows, of those subjects and classes only, do to decisions.
    fn of_row_edits(
        &mut self,
        direction: Direction,
        counts: impl Fn(IpAddr, ClassId) -> bool,
    ) -> Effect {
        let transition = self.transition;
        let mut effect = Effect::default();
        for &(subject, class) in row_edits(transition.delta, direction).keys() {
            let is_judged = transition.is_subject_before(direction, subject)
                && transition.is_subject_after(direction, subject)
                && transition.state.is_inhabited(class)
                && transition.is_inhabited_after(class);
            if is_judged && counts(subject, class) {
                let before = transition.state.profile(direction, subject, class);
                let after = transition.profile_after(direction, subject, class);
                effect = effect.and(self.profiles.effect(before, after));
            }
        }
        effect
    }

    /// What changes of class do to decisions of the direction.
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

/// The ways in which these addresses change class.
fn ways_of(transition: &Transition<'_>, peers: &BTreeSet<IpAddr>) -> BTreeSet<(ClassId, ClassId)> {
    if transition.atoms.is_empty() {
        let moved = transition.moved.iter().filter(|(address, _)| peers.contains(address));
        return moved.map(|(_, &way)| way).collect();
    }
    let ways = peers.iter().map(|&a| (transition.state.class_of(a), transition.class_after(a)));
    ways.filter(|(from, to)| from != to).collect()
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
        assert_eq!(effects.between_subjects(Direction::Ingress), Effect::NARROWS);
        assert_eq!(effects.between_subjects(Direction::Egress), Effect::default());
        assert_eq!(effects.profiles.comparisons(), 1);
        let direct = Strategy::Direct { grace_first: false, egress_narrows: false };
        assert_eq!(Strategy::choose(&transition), direct);
    }
}
