//! What the planner knows about the table of one family: its contents, which of them are garbage, and what packets under
//! way may have read.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, Tables,
};

use super::garbage::{Garbage, row_direction};
use super::ids::TransitionalIds;
use super::step::{Action, Change, Schedule};
use super::window::Window;
use crate::contents::{self, first_port, rows, subjects};
use crate::transaction::Element;

#[derive(Debug, Clone)]
pub(super) struct TableState {
    /// The contents of the kernel after the steps that were returned so far.
    pub(super) kernel: Tables,
    pub(super) garbage: Garbage,
    /// For each class, the number of elements of `class` and `cidr` that have it.
    members: HashMap<ClassId, usize>,
    /// For each profile, the number of rows in the kernel that have it.
    named: HashMap<ProfileId, usize>,
    /// For each profile, the number of garbage rows that have it.
    named_by_garbage: HashMap<ProfileId, usize>,
    pub(super) window: Window,
    pub(super) ids: TransitionalIds,
}

/// Increments or decrements a count. A count of zero takes no memory.
fn bump<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, more: bool) {
    if more {
        *counts.entry(key).or_insert(0) += 1;
    } else if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl TableState {
    pub(super) fn new(kernel: Tables) -> Self {
        let (mut members, mut named) = (HashMap::new(), HashMap::new());
        for &class in kernel.class.values().chain(kernel.cidr.values()) {
            bump(&mut members, class, true);
        }
        for &profile in kernel.allow_in.values().chain(kernel.allow_out.values()) {
            bump(&mut named, profile, true);
        }
        Self {
            ids: TransitionalIds::beyond(&kernel),
            kernel,
            garbage: Garbage::default(),
            members,
            named,
            named_by_garbage: HashMap::new(),
            window: Window::default(),
        }
    }

    /// The contents of the program: those of the kernel without the garbage.
    pub(super) fn program(&self) -> Tables {
        let mut tables = self.kernel.clone();
        self.garbage.take_out_of(&mut tables);
        tables
    }

    fn members(&self, class: ClassId) -> usize {
        self.members.get(&class).copied().unwrap_or(0)
    }

    /// The number of elements with the class if `more` are added (or removed, if negative).
    pub(super) fn members_after(&self, class: ClassId, more: isize) -> isize {
        isize::try_from(self.members(class)).unwrap_or(isize::MAX).saturating_add(more)
    }

    /// Whether the lookup of some address may return the class. No element has the class 0:0, but there always are
    /// addresses without an element.
    pub(super) fn is_inhabited(&self, class: ClassId) -> bool {
        class == ClassId::UNKNOWN || self.members(class) > 0
    }

    fn named(&self, profile: ProfileId) -> usize {
        self.named.get(&profile).copied().unwrap_or(0)
    }

    /// The number of rows of the program that have the profile.
    pub(super) fn named_by_program(&self, profile: ProfileId) -> usize {
        self.named(profile) - self.named_by_garbage.get(&profile).copied().unwrap_or(0)
    }

    /// Whether no packet under way can have read the profile.
    pub(super) fn is_unread(&self, profile: ProfileId) -> bool {
        self.named(profile) == 0 && !self.window.unnamed.contains(&profile)
    }

    pub(super) fn is_subject(&self, direction: Direction, address: IpAddr) -> bool {
        subjects(&self.kernel, direction).contains(&address)
    }

    /// The row of the program.
    pub(super) fn row(&self, direction: Direction, subject: IpAddr, class: ClassId) -> ProfileId {
        if self.garbage.has_row(direction, subject, class) {
            return ProfileId::NOTHING;
        }
        let row = rows(&self.kernel, direction).get(&(subject, class));
        row.copied().unwrap_or(ProfileId::NOTHING)
    }

    /// The profile of the class in the program: its row, or the base of the subject if there is no row.
    pub(super) fn profile(
        &self,
        direction: Direction,
        subject: IpAddr,
        class: ClassId,
    ) -> ProfileId {
        match self.row(direction, subject, class) {
            ProfileId::NOTHING => self.row(direction, subject, ClassId::UNKNOWN),
            row => row,
        }
    }

    /// The profile that lookups in the kernel return, garbage included.
    pub(super) fn readable_profile(
        &self,
        direction: Direction,
        subject: IpAddr,
        class: ClassId,
    ) -> ProfileId {
        let rows = rows(&self.kernel, direction);
        let row = rows.get(&(subject, class)).or_else(|| rows.get(&(subject, ClassId::UNKNOWN)));
        row.copied().unwrap_or(ProfileId::NOTHING)
    }

    /// Whether a packet under way may read the base although there is a row for it: because its class has no row of the
    /// subject, or because it missed a row that was added since.
    pub(super) fn may_miss_rows(&self, direction: Direction, subject: IpAddr) -> bool {
        let rows = rows(&self.kernel, direction);
        let misses =
            |class: &ClassId| *class == ClassId::UNKNOWN || !rows.contains_key(&(subject, *class));
        self.window.left.iter().any(misses) || self.window.has_new_rows(direction, subject)
    }

    /// The elements of `ports` that the program has for a profile.
    pub(super) fn ports(&self, profile: ProfileId) -> impl Iterator<Item = PortElement> {
        let ports = self.kernel.ports.range(first_port(profile)..);
        let ours = ports.take_while(move |e| e.profile == profile).copied();
        ours.filter(|e| !self.garbage.ports.contains(e))
    }

    /// The elements of `port_ranges` that the program has for a profile.
    pub(super) fn port_ranges(&self, profile: ProfileId) -> impl Iterator<Item = PortRangeElement> {
        let first = PortRangeElement { profile, protocol: 0, first: 0, last: 0 };
        let ranges = self.kernel.port_ranges.range(first..);
        let ours = ranges.take_while(move |e| e.profile == profile).copied();
        ours.filter(|e| !self.garbage.port_ranges.contains(e))
    }

    /// The class that a lookup of the address in the kernel returns.
    pub(super) fn class_of(&self, address: IpAddr) -> ClassId {
        contents::class_of(&self.kernel, address)
    }

    /// The atoms that overlap the range, with their classes.
    pub(super) fn atoms_over(&self, range: AddressRange) -> Vec<(AddressRange, ClassId)> {
        let before = self.kernel.cidr.range(..range).next_back();
        let after = self.kernel.cidr.range(range..).take_while(|(r, _)| r.first <= range.last);
        let before = before.into_iter().filter(|(r, _)| r.last >= range.first);
        before.chain(after).map(|(&r, &c)| (r, c)).collect()
    }

    /// Updates the state as if the schedule had been carried out.
    pub(super) fn advance(&mut self, schedule: &Schedule) {
        for action in &schedule.actions {
            match action {
                Action::Together(changes) => self.apply(changes),
                Action::ClassesLeft(classes) => self.window.left.extend(classes),
                Action::Grace => self.window = Window::default(),
                Action::NextTransaction => {}
                Action::EgressNarrowed => self.window.egress_narrowed = true,
                Action::Discard(set, element) => self.mark_garbage(*set, *element, true),
                Action::Keep(set, element) => self.mark_garbage(*set, *element, false),
            }
        }
    }

    /// Records that all garbage was removed right after a grace period. Nothing led to it before that, so no packet depends
    /// on the profiles of its rows.
    pub(super) fn forget_unnamed(&mut self) {
        self.window.unnamed.clear();
    }

    fn mark_garbage(&mut self, set: SetName, element: Element, garbage: bool) {
        if self.garbage.mark(set, element, garbage)
            && let Element::Row(_, _, profile) = element
        {
            bump(&mut self.named_by_garbage, profile, garbage);
        }
    }

    fn apply(&mut self, changes: &[Change]) {
        let mut gone: BTreeSet<IpAddr> = BTreeSet::new();
        let mut changed: BTreeSet<(IpAddr, ClassId)> = BTreeSet::new();
        for &change in changes {
            match change {
                Change::Remove(set, element) => {
                    if let Element::Class(address, _) = element {
                        gone.insert(address);
                    }
                    if let Element::Row(subject, class, _) = element {
                        changed.insert((subject, class));
                    }
                    self.remove(set, element);
                }
                Change::Add(set, element) => {
                    if let Element::Row(subject, class, _) = element
                        && class != ClassId::UNKNOWN
                        && !changed.contains(&(subject, class))
                        && (self.is_inhabited(class) || self.window.left.contains(&class))
                    {
                        self.window.note_new_row(row_direction(set), subject);
                    }
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
                self.window.note_subject(subject_direction(set), address, true);
            }
            Element::Range(_)
            | Element::Bridge(_)
            | Element::Interface(_)
            | Element::Source(..)
            | Element::Target(..)
            | Element::Service(_)
            | Element::Mac(_)
            | Element::PortMac(..)
            | Element::Hairpin(_)
            | Element::Port(_)
            | Element::PortRange(_)
            | Element::Tuple(_)
            | Element::CatchAll => {}
        }
    }

    fn remove(&mut self, set: SetName, element: Element) {
        self.mark_garbage(set, element, false);
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
                self.window.note_subject(subject_direction(set), address, false);
            }
            Element::Range(_)
            | Element::Bridge(_)
            | Element::Interface(_)
            | Element::Source(..)
            | Element::Target(..)
            | Element::Service(_)
            | Element::Mac(_)
            | Element::PortMac(..)
            | Element::Hairpin(_)
            | Element::Port(_)
            | Element::PortRange(_)
            | Element::Tuple(_)
            | Element::CatchAll => {}
        }
    }
}

const fn subject_direction(set: SetName) -> Direction {
    if matches!(set, SetName::LocalOut) { Direction::Egress } else { Direction::Ingress }
}
