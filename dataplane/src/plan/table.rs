//! What the planner knows of one family's table: its contents, what in it waits for removal, and what packets that are
//! under way may have read.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, Tables,
};

use super::schedule::{Item, Schedule};
use crate::contents::{self, first_port, rows, subjects};
use crate::transaction::Element;

/// One element comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add(SetName, Element),
    Remove(SetName, Element),
}

/// What was read before by packets that are still under way, as far as it bears on what may change: everything since
/// the last grace period.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Classes that some address left: their rows stay as they are.
    pub(super) left: BTreeSet<ClassId>,
    /// Addresses that got an element in `class`: the atoms over them stay as they are.
    pub(super) appeared: BTreeSet<IpAddr>,
    /// Former subjects of a direction: their rows stay as they are, and nothing moves.
    pub(super) released: [BTreeSet<IpAddr>; 2],
    /// Profiles that some row named: their contents stay as they are.
    pub(super) unnamed: BTreeSet<ProfileId>,
    /// A subject, or a bridge that carries some, was added: what every later lookup decides may narrow, not widen.
    pub(super) isolated: bool,
    /// Egress narrowed between subjects: ingress between subjects may not widen.
    pub(super) egress_narrowed: bool,
}

/// Elements that the kernel has and the program does not: without meaning, but perhaps still read.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    pub(super) rows: [BTreeSet<(ClassId, IpAddr)>; 2],
    pub(super) rows_by_subject: [BTreeSet<(IpAddr, ClassId)>; 2],
    pub(super) hairpin: BTreeSet<IpAddr>,
    pub(super) ports: BTreeSet<PortElement>,
    pub(super) port_ranges: BTreeSet<PortRangeElement>,
}

/// Transitional ids of one table, handed out in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    pub(super) class: u32,
    pub(super) profile: u32,
}

impl Ids {
    pub(super) fn take_class(&mut self) -> ClassId {
        let id = self.class;
        self.class = if id + 1 < ClassId::PASSING_END { id + 1 } else { ClassId::PASSING };
        ClassId(id)
    }

    pub(super) fn take_profile(&mut self) -> ProfileId {
        let id = self.profile;
        self.profile = if id + 1 < ProfileId::PASSING_END { id + 1 } else { ProfileId::PASSING };
        ProfileId(id)
    }
}

#[derive(Debug)]
pub(super) struct Table {
    /// What the kernel has, or will have after the steps that were handed out.
    pub(super) kernel: Tables,
    pub(super) garbage: Garbage,
    /// Elements of `class` and `cidr` that have the class.
    members: HashMap<ClassId, usize>,
    /// Rows in the kernel that name the profile, and those of them that are garbage.
    named: HashMap<ProfileId, usize>,
    named_by_garbage: HashMap<ProfileId, usize>,
    pub(super) window: Window,
    pub(super) ids: Ids,
}

pub(super) const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl Garbage {
    pub(super) fn len(&self) -> usize {
        self.rows.iter().map(BTreeSet::len).sum::<usize>()
            + self.hairpin.len()
            + self.ports.len()
            + self.port_ranges.len()
    }

    pub(super) fn has_row(&self, direction: Direction, subject: IpAddr, class: ClassId) -> bool {
        self.rows_by_subject
            .get(index(direction))
            .is_some_and(|rows| rows.contains(&(subject, class)))
    }

    /// Subjects with a garbage row of the class.
    pub(super) fn rows_of_class(&self, direction: Direction, class: ClassId) -> Vec<IpAddr> {
        let Some(rows) = self.rows.get(index(direction)) else { return Vec::new() };
        let from = (class, IpAddr::from([0; 4]));
        rows.range(from..).take_while(|(c, _)| *c == class).map(|&(_, subject)| subject).collect()
    }

    pub(super) fn rows_of_subject(&self, direction: Direction, subject: IpAddr) -> Vec<ClassId> {
        let Some(rows) = self.rows_by_subject.get(index(direction)) else { return Vec::new() };
        let from = (subject, ClassId::UNKNOWN);
        rows.range(from..).take_while(|(s, _)| *s == subject).map(|&(_, class)| class).collect()
    }

    pub(super) fn ports_of(&self, profile: ProfileId) -> Vec<PortElement> {
        self.ports
            .range(first_port(profile)..)
            .take_while(|e| e.profile == profile)
            .copied()
            .collect()
    }

    pub(super) fn ranges_of(&self, profile: ProfileId) -> Vec<PortRangeElement> {
        let first = PortRangeElement { profile, protocol: 0, first: 0, last: 0 };
        self.port_ranges.range(first..).take_while(|e| e.profile == profile).copied().collect()
    }

    /// Whether the element is garbage.
    pub(super) fn has(&self, set: SetName, element: Element) -> bool {
        match element {
            Element::Row(subject, class, _) => self.has_row(row_direction(set), subject, class),
            Element::Hairpin(address) => self.hairpin.contains(&address),
            Element::Port(port) => self.ports.contains(&port),
            Element::PortRange(range) => self.port_ranges.contains(&range),
            Element::Address(_)
            | Element::Bridge(_)
            | Element::Class(..)
            | Element::Cidr(..)
            | Element::CatchAll => false,
        }
    }
}

const fn row_direction(set: SetName) -> Direction {
    if matches!(set, SetName::AllowIn) { Direction::Ingress } else { Direction::Egress }
}

fn bump<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, more: bool) {
    if more {
        *counts.entry(key).or_insert(0) += 1;
    } else if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl Table {
    pub(super) fn new(kernel: Tables) -> Self {
        let mut table = Self {
            kernel: Tables::default(),
            garbage: Garbage::default(),
            members: HashMap::new(),
            named: HashMap::new(),
            named_by_garbage: HashMap::new(),
            window: Window::default(),
            ids: Ids { class: ClassId::PASSING, profile: ProfileId::PASSING },
        };
        for &class in kernel.class.values().chain(kernel.cidr.values()) {
            bump(&mut table.members, class, true);
        }
        for (&(_, class), &profile) in kernel.allow_in.iter().chain(&kernel.allow_out) {
            bump(&mut table.named, profile, true);
            table.past_class(class);
        }
        let classes: Vec<ClassId> = table.members.keys().copied().collect();
        classes.into_iter().for_each(|class| table.past_class(class));
        let listed = kernel.ports.iter().map(|e| e.profile);
        for profile in listed.chain(kernel.port_ranges.iter().map(|e| e.profile)) {
            if (ProfileId::PASSING..ProfileId::PASSING_END - 1).contains(&profile.0) {
                table.ids.profile = table.ids.profile.max(profile.0 + 1);
            }
        }
        table.kernel = kernel;
        table
    }

    /// Transitional ids that a predecessor left in the kernel are not handed out.
    fn past_class(&mut self, class: ClassId) {
        if (ClassId::PASSING..ClassId::PASSING_END - 1).contains(&class.0) {
            self.ids.class = self.ids.class.max(class.0 + 1);
        }
    }

    /// The program's own contents: the kernel's without the garbage.
    pub(super) fn program(&self) -> Tables {
        let mut tables = self.kernel.clone();
        for (rows, garbage) in [&mut tables.allow_in, &mut tables.allow_out]
            .into_iter()
            .zip(&self.garbage.rows_by_subject)
        {
            rows.retain(|key, _| !garbage.contains(key));
        }
        tables.hairpin.retain(|address| !self.garbage.hairpin.contains(address));
        tables.ports.retain(|port| !self.garbage.ports.contains(port));
        tables.port_ranges.retain(|range| !self.garbage.port_ranges.contains(range));
        tables
    }

    pub(super) fn members(&self, class: ClassId) -> usize {
        self.members.get(&class).copied().unwrap_or(0)
    }

    /// Whether a lookup of some address may yield the class: no element says 0:0, but there always are addresses that
    /// are in none.
    pub(super) fn inhabited(&self, class: ClassId) -> bool {
        class == ClassId::UNKNOWN || self.members(class) > 0
    }

    pub(super) fn named(&self, profile: ProfileId) -> usize {
        self.named.get(&profile).copied().unwrap_or(0)
    }

    /// Rows of the program that name the profile.
    pub(super) fn named_by_program(&self, profile: ProfileId) -> usize {
        self.named(profile) - self.named_by_garbage.get(&profile).copied().unwrap_or(0)
    }

    /// Whether no packet can be on its way with the profile.
    pub(super) fn unread(&self, profile: ProfileId) -> bool {
        self.named(profile) == 0 && !self.window.unnamed.contains(&profile)
    }

    pub(super) fn is_subject(&self, direction: Direction, address: IpAddr) -> bool {
        subjects(&self.kernel, direction).contains(&address)
    }

    pub(super) fn released(&self, direction: Direction, address: IpAddr) -> bool {
        self.window.released.get(index(direction)).is_some_and(|gone| gone.contains(&address))
    }

    /// The program's row.
    pub(super) fn row(&self, direction: Direction, subject: IpAddr, class: ClassId) -> ProfileId {
        if self.garbage.has_row(direction, subject, class) {
            return ProfileId::NOTHING;
        }
        let row = rows(&self.kernel, direction).get(&(subject, class));
        row.copied().unwrap_or(ProfileId::NOTHING)
    }

    /// The program's `ports` and `port_ranges` of a profile.
    pub(super) fn listed(
        &self,
        profile: ProfileId,
    ) -> (BTreeSet<PortElement>, BTreeSet<PortRangeElement>) {
        let ports = self.kernel.ports.range(first_port(profile)..);
        let first = PortRangeElement { profile, protocol: 0, first: 0, last: 0 };
        let ranges = self.kernel.port_ranges.range(first..);
        (
            ports
                .take_while(|e| e.profile == profile)
                .filter(|e| !self.garbage.ports.contains(e))
                .copied()
                .collect(),
            ranges
                .take_while(|e| e.profile == profile)
                .filter(|e| !self.garbage.port_ranges.contains(e))
                .copied()
                .collect(),
        )
    }

    pub(super) fn class_of(&self, address: IpAddr) -> ClassId {
        contents::class_of(&self.kernel, address)
    }

    /// Notes what a schedule does.
    pub(super) fn advance(&mut self, schedule: &Schedule) {
        for item in &schedule.items {
            match item {
                Item::Piece(changes) => self.apply(changes),
                Item::Left(classes) => self.window.left.extend(classes),
                Item::Grace => self.window = Window::default(),
                Item::Barrier => {}
                Item::EgressNarrowed => self.window.egress_narrowed = true,
                Item::Discard(set, element) => self.discard(*set, *element, true),
                Item::Keep(set, element) => self.discard(*set, *element, false),
            }
        }
    }

    fn discard(&mut self, set: SetName, element: Element, garbage: bool) {
        fn note<T: Ord>(set: &mut BTreeSet<T>, key: T, garbage: bool) {
            if garbage { _ = set.insert(key) } else { _ = set.remove(&key) }
        }
        match element {
            Element::Row(subject, class, profile) => {
                if self.garbage.has(set, element) == garbage {
                    return;
                }
                let at = index(row_direction(set));
                bump(&mut self.named_by_garbage, profile, garbage);
                if let Some(rows) = self.garbage.rows.get_mut(at) {
                    note(rows, (class, subject), garbage);
                }
                if let Some(rows) = self.garbage.rows_by_subject.get_mut(at) {
                    note(rows, (subject, class), garbage);
                }
            }
            Element::Hairpin(address) => note(&mut self.garbage.hairpin, address, garbage),
            Element::Port(port) => note(&mut self.garbage.ports, port, garbage),
            Element::PortRange(range) => note(&mut self.garbage.port_ranges, range, garbage),
            Element::Address(_)
            | Element::Bridge(_)
            | Element::Class(..)
            | Element::Cidr(..)
            | Element::CatchAll => {}
        }
    }

    fn apply(&mut self, changes: &[Change]) {
        let mut gone: BTreeSet<IpAddr> = BTreeSet::new();
        for &change in changes {
            match change {
                Change::Remove(set, element) => {
                    if let Element::Class(address, _) = element {
                        gone.insert(address);
                    }
                    self.remove(set, element);
                }
                Change::Add(set, element) => {
                    if let Element::Class(address, _) = element
                        && !gone.contains(&address)
                    {
                        self.window.appeared.insert(address);
                    }
                    self.add(set, element);
                }
            }
        }
    }

    fn add(&mut self, set: SetName, element: Element) {
        self.kernel.insert(set, element);
        match element {
            Element::Class(_, class) | Element::Cidr(_, class) => {
                bump(&mut self.members, class, true);
            }
            Element::Row(_, _, profile) => bump(&mut self.named, profile, true),
            Element::Address(address) => {
                self.window.isolated = true;
                if let Some(gone) = self.window.released.get_mut(subject_index(set)) {
                    gone.remove(&address);
                }
            }
            Element::Bridge(_)
            | Element::Hairpin(_)
            | Element::Port(_)
            | Element::PortRange(_)
            | Element::CatchAll => {}
        }
    }

    fn remove(&mut self, set: SetName, element: Element) {
        self.discard(set, element, false);
        self.kernel.remove(set, element);
        match element {
            Element::Class(_, class) | Element::Cidr(_, class) => {
                bump(&mut self.members, class, false);
            }
            Element::Row(_, _, profile) => {
                bump(&mut self.named, profile, false);
                self.window.unnamed.insert(profile);
            }
            Element::Address(address) => {
                if let Some(gone) = self.window.released.get_mut(subject_index(set)) {
                    gone.insert(address);
                }
            }
            Element::Bridge(_)
            | Element::Hairpin(_)
            | Element::Port(_)
            | Element::PortRange(_)
            | Element::CatchAll => {}
        }
    }

    /// The class of the atoms as they are, by range.
    pub(super) fn atoms_over(&self, range: AddressRange) -> Vec<(AddressRange, ClassId)> {
        let before = self.kernel.cidr.range(..range).next_back();
        let after = self.kernel.cidr.range(range..).take_while(|(r, _)| r.first <= range.last);
        before
            .into_iter()
            .filter(|(r, _)| r.last >= range.first)
            .chain(after)
            .map(|(&r, &c)| (r, c))
            .collect()
    }
}

const fn subject_index(set: SetName) -> usize {
    match set {
        SetName::LocalOut => index(Direction::Egress),
        SetName::LocalIn
        | SetName::Hairpin
        | SetName::Bridges
        | SetName::Class
        | SetName::Cidr
        | SetName::AllowIn
        | SetName::AllowOut
        | SetName::Ports
        | SetName::PortRanges => index(Direction::Ingress),
    }
}
