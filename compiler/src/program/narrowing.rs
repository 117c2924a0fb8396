//! Whom a change of a program may allow less than before, so that connections under way need a second look.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::delta::Edits;
use super::{
    AddressRange, ClassId, Delta, PortElement, PortRangeElement, PortSet, ProfileId, Program,
    Tables, TablesDelta,
};
use crate::model::{Direction, Family};

/// Ranges of addresses that are told apart; beyond, every subject counts as narrowed.
pub const MAX_RANGES: usize = 64;
/// Addresses that are told apart; beyond, every subject counts as narrowed.
pub const MAX_ADDRESSES: usize = 4096;

/// The ends of connections that changes may have forbidden: each such connection has a subject for one end, and one of these
/// addresses for either. It may name more than that, never less.
///
/// What only widens is left out, and so is the most frequent change there is: a pod that comes, or moves to another class,
/// without being allowed less.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Every subject, whatever the fields below say.
    pub everyone: bool,
    pub addresses: BTreeSet<IpAddr>,
    pub ranges: BTreeSet<AddressRange>,
}

impl Narrowing {
    /// Every subject.
    pub fn everyone() -> Self {
        Self { everyone: true, ..Self::default() }
    }

    /// What a change does that led to the program `after`.
    pub fn of(delta: &Delta, after: &Program) -> Self {
        let mut narrowing = Self::default();
        for (family, delta) in delta.iter() {
            if !delta.is_empty() {
                TablesChange::new(family, delta, &after[family]).note(&mut narrowing);
            }
        }
        narrowing.bounded()
    }

    pub fn is_empty(&self) -> bool {
        !self.everyone && self.addresses.is_empty() && self.ranges.is_empty()
    }

    /// Adds another.
    pub fn extend(&mut self, other: Self) {
        self.everyone |= other.everyone;
        self.addresses.extend(other.addresses);
        self.ranges.extend(other.ranges);
        *self = std::mem::take(self).bounded();
    }

    fn bounded(mut self) -> Self {
        if self.everyone || self.addresses.len() > MAX_ADDRESSES || self.ranges.len() > MAX_RANGES {
            self = Self::everyone();
        }
        self
    }
}

/// The change of one family's tables, which both its states are read from.
struct TablesChange<'a> {
    family: Family,
    delta: &'a TablesDelta,
    after: &'a Tables,
    /// The atoms that are gone.
    gone: BTreeMap<AddressRange, ClassId>,
    /// Profiles that were compared: whether the second allows all that the first did.
    compared: HashMap<(ProfileId, ProfileId), bool>,
    /// Classes that were compared: whether some subject allows the second less than it did the first.
    moves: HashMap<(ClassId, ClassId), bool>,
}

impl<'a> TablesChange<'a> {
    fn new(family: Family, delta: &'a TablesDelta, after: &'a Tables) -> Self {
        let gone = delta.cidr.iter().filter_map(|(&range, edit)| Some((range, edit.before?)));
        Self {
            family,
            delta,
            after,
            gone: gone.collect(),
            compared: HashMap::new(),
            moves: HashMap::new(),
        }
    }

    fn note(&mut self, narrowing: &mut Narrowing) {
        self.note_isolated(narrowing);
        self.note_rows(narrowing);
        self.note_profiles(narrowing);
        self.note_classes(narrowing);
        self.note_atoms(narrowing);
    }

    fn isolated(&self, direction: Direction) -> (&'a BTreeSet<IpAddr>, &'a Edits<IpAddr>) {
        match direction {
            Direction::Ingress => (&self.after.local_in, &self.delta.local_in),
            Direction::Egress => (&self.after.local_out, &self.delta.local_out),
        }
    }

    fn rows(&self, direction: Direction) -> &'a Edits<(IpAddr, ClassId), ProfileId> {
        match direction {
            Direction::Ingress => &self.delta.allow_in,
            Direction::Egress => &self.delta.allow_out,
        }
    }

    fn note_isolated(&self, narrowing: &mut Narrowing) {
        for direction in Direction::ALL {
            let edits = self.isolated(direction).1.iter();
            let come = edits.filter(|(_, edit)| edit.after.is_some());
            narrowing.addresses.extend(come.map(|(&address, _)| address));
        }
        let is_subject =
            |address| Direction::ALL.into_iter().any(|d| self.isolated(d).0.contains(address));
        let hairpins = self.delta.hairpin.iter().filter(|(_, edit)| edit.after.is_none());
        let hairpins = hairpins.map(|(address, _)| address).filter(|address| is_subject(address));
        narrowing.addresses.extend(hairpins);
    }

    fn note_rows(&mut self, narrowing: &mut Narrowing) {
        for direction in Direction::ALL {
            let subjects = self.isolated(direction).0;
            for &(subject, class) in self.rows(direction).keys() {
                if !subjects.contains(&subject) || narrowing.addresses.contains(&subject) {
                    continue;
                }
                let before = self.profile_before(direction, subject, class);
                let now = self.after.profile_of(direction, subject, class);
                if !self.allows_as_much(before, now) {
                    narrowing.addresses.insert(subject);
                }
            }
        }
    }

    /// Profiles that lose ports and keep their rows: where tables are full, or an id was given away and taken up again.
    fn note_profiles(&self, narrowing: &mut Narrowing) {
        let ports = self.delta.ports.iter().filter(|(_, edit)| edit.after.is_none());
        let ranges = self.delta.port_ranges.iter().filter(|(_, edit)| edit.after.is_none());
        let lost: BTreeSet<ProfileId> = ports
            .map(|(port, _)| port.profile)
            .chain(ranges.map(|(range, _)| range.profile))
            .collect();
        if lost.is_empty() {
            return;
        }
        let rows = self.after.allow_in.iter().chain(&self.after.allow_out);
        let narrowed = rows.filter(|(_, profile)| lost.contains(profile));
        narrowing.addresses.extend(narrowed.map(|(&(subject, _), _)| subject));
    }

    fn note_classes(&mut self, narrowing: &mut Narrowing) {
        for (&address, edit) in &self.delta.class {
            let before = edit.before.unwrap_or_else(|| self.atom_before(address));
            let now = edit.after.unwrap_or_else(|| self.after.cidr_class_of(address));
            if self.narrows(before, now) {
                narrowing.addresses.insert(address);
            }
        }
    }

    fn note_atoms(&mut self, narrowing: &mut Narrowing) {
        for (&range, edit) in &self.delta.cidr {
            let before = edit.before.unwrap_or(ClassId::UNKNOWN);
            // Of an atom that comes, what another covered before is noted with that one.
            let mut now = BTreeSet::from([edit.after.unwrap_or(ClassId::UNKNOWN)]);
            if edit.after.is_none() {
                now.extend(self.classes_within(range));
            }
            if now.into_iter().any(|now| self.narrows(before, now)) {
                narrowing.ranges.insert(range);
            }
        }
    }

    /// The classes of the atoms that have addresses in the range.
    fn classes_within(&self, range: AddressRange) -> BTreeSet<ClassId> {
        let first = self.after.atom_over(range.first);
        let upper = AddressRange { first: range.last, last: highest(self.family) };
        let others = self.after.cidr.range(range..=upper).map(|(_, &class)| class);
        first.into_iter().chain(others).collect()
    }

    fn atom_before(&self, address: IpAddr) -> ClassId {
        let upper = AddressRange { first: address, last: highest(self.family) };
        let gone =
            self.gone.range(..=upper).next_back().filter(|(range, _)| range.contains(address));
        if let Some((_, &class)) = gone {
            return class;
        }
        let now = self.after.cidr.range(..=upper).next_back();
        match now.filter(|(range, _)| range.contains(address)) {
            Some((range, &class)) if !self.delta.cidr.contains_key(range) => class,
            Some(_) | None => ClassId::UNKNOWN,
        }
    }

    fn profile_before(&self, direction: Direction, subject: IpAddr, class: ClassId) -> ProfileId {
        let rows = match direction {
            Direction::Ingress => &self.after.allow_in,
            Direction::Egress => &self.after.allow_out,
        };
        let row = |class| match self.rows(direction).get(&(subject, class)) {
            Some(edit) => edit.before,
            None => rows.get(&(subject, class)).copied(),
        };
        row(class).or_else(|| row(ClassId::UNKNOWN)).unwrap_or(ProfileId::NOTHING)
    }

    /// Whether some subject allows the second class less than it did the first before.
    fn narrows(&mut self, before: ClassId, now: ClassId) -> bool {
        if let Some(&known) = self.moves.get(&(before, now)) {
            return known;
        }
        let narrows = Direction::ALL.into_iter().any(|direction| {
            self.isolated(direction).0.iter().any(|&subject| {
                let before = self.profile_before(direction, subject, before);
                let now = self.after.profile_of(direction, subject, now);
                !self.allows_as_much(before, now)
            })
        });
        self.moves.insert((before, now), narrows);
        narrows
    }

    /// Whether the second profile allows now all that the first did before.
    fn allows_as_much(&mut self, before: ProfileId, now: ProfileId) -> bool {
        if before.denies() || now == ProfileId::EVERYTHING {
            return true;
        }
        if now.denies() || before == ProfileId::EVERYTHING {
            return false;
        }
        if let Some(&known) = self.compared.get(&(before, now)) {
            return known;
        }
        let is_within = self.ports_before(before).is_within(&self.ports_now(now));
        self.compared.insert((before, now), is_within);
        is_within
    }

    fn ports_now(&self, profile: ProfileId) -> PortSet {
        let (ports, ranges) = elements_of(profile);
        let ports = self.after.ports.range(ports).copied();
        PortSet::of_profile(profile, ports, self.after.port_ranges.range(ranges).copied())
    }

    fn ports_before(&self, profile: ProfileId) -> PortSet {
        let (ports, ranges) = elements_of(profile);
        let (port_edits, range_edits) = (&self.delta.ports, &self.delta.port_ranges);
        let kept =
            self.after.ports.range(ports.clone()).filter(|port| !port_edits.contains_key(port));
        let gone = port_edits.range(ports).filter(|(_, edit)| edit.before.is_some());
        let ports = kept.chain(gone.map(|(port, _)| port)).copied();
        let kept = self.after.port_ranges.range(ranges.clone());
        let kept = kept.filter(|range| !range_edits.contains_key(range));
        let gone = range_edits.range(ranges).filter(|(_, edit)| edit.before.is_some());
        PortSet::of_profile(profile, ports, kept.chain(gone.map(|(range, _)| range)).copied())
    }
}

fn highest(family: Family) -> IpAddr {
    match family {
        Family::V4 => [0xff; 4].into(),
        Family::V6 => [0xff; 16].into(),
    }
}

type Bounds<T> = std::ops::RangeInclusive<T>;

/// Where a profile's elements are in `ports` and in `port_ranges`.
fn elements_of(profile: ProfileId) -> (Bounds<PortElement>, Bounds<PortRangeElement>) {
    let port = |protocol, port| PortElement { profile, protocol, port };
    let range = |protocol, port| PortRangeElement { profile, protocol, first: port, last: port };
    (port(0, 0)..=port(u8::MAX, u16::MAX), range(0, 0)..=range(u8::MAX, u16::MAX))
}
