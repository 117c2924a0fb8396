//! A delta seen against a table: which addresses change class, and what the program says before and after.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::model::Direction;
use palisade_compiler::program::delta::Edits;
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, TablesDelta,
};

use super::table::Table;
use crate::contents::subjects;

/// Edited atoms that overlap, directly or through each other: they change in one transaction.
#[derive(Debug, Default)]
pub(super) struct Component {
    pub(super) hull: Option<AddressRange>,
    pub(super) removed: Vec<(AddressRange, ClassId)>,
    pub(super) added: Vec<(AddressRange, ClassId)>,
}

/// A row that the kernel is to change.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowEdit {
    pub(super) direction: Direction,
    pub(super) subject: IpAddr,
    pub(super) class: ClassId,
    pub(super) from: Option<ProfileId>,
    pub(super) to: Option<ProfileId>,
}

#[derive(Debug)]
pub(super) struct Shift<'a> {
    pub(super) table: &'a Table,
    pub(super) delta: &'a TablesDelta,
    pub(super) components: Vec<Component>,
    /// Addresses with an edit in `class` whose class changes.
    pub(super) moved: BTreeMap<IpAddr, (ClassId, ClassId)>,
    /// Every way in which some address changes class, whether by `class` or by `cidr`.
    pub(super) ways: BTreeSet<(ClassId, ClassId)>,
    pub(super) left: BTreeSet<ClassId>,
    pub(super) entered: BTreeSet<ClassId>,
    atoms_after: Vec<(AddressRange, ClassId)>,
    more_members: HashMap<ClassId, isize>,
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

impl<'a> Shift<'a> {
    pub(super) fn new(table: &'a Table, delta: &'a TablesDelta) -> Self {
        let mut shift = Self {
            table,
            delta,
            components: components(table, delta),
            moved: BTreeMap::new(),
            ways: BTreeSet::new(),
            left: BTreeSet::new(),
            entered: BTreeSet::new(),
            atoms_after: delta
                .cidr
                .iter()
                .filter_map(|(&range, edit)| Some((range, edit.after?)))
                .collect(),
            more_members: HashMap::new(),
            more_named: HashMap::new(),
        };
        for &address in delta.class.keys() {
            let (from, to) = (table.class_of(address), shift.class_after(address));
            if from != to {
                shift.moved.insert(address, (from, to));
                shift.ways.insert((from, to));
            }
        }
        for component in &shift.components {
            let spans = component.overlay();
            shift.ways.extend(spans.iter().map(|s| (s.1, s.2)).filter(|(from, to)| from != to));
        }
        shift.left = shift.ways.iter().map(|way| way.0).collect();
        shift.entered = shift.ways.iter().map(|way| way.1).collect();
        shift.count();
        shift
    }

    fn count(&mut self) {
        let mut note = |class: Option<ClassId>, by: isize| {
            if let Some(class) = class {
                *self.more_members.entry(class).or_insert(0) += by;
            }
        };
        for (address, edit) in &self.delta.class {
            note(self.table.kernel.class.get(address).copied(), -1);
            note(edit.after, 1);
        }
        for (range, edit) in &self.delta.cidr {
            note(self.table.kernel.cidr.get(range).copied(), -1);
            note(edit.after, 1);
        }
        for direction in Direction::ALL {
            for (&(subject, class), edit) in row_edits(self.delta, direction) {
                let before = self.table.row(direction, subject, class);
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
            None => self.table.kernel.class.get(&address).copied(),
        };
        stored.filter(|&c| c != ClassId::UNKNOWN).unwrap_or_else(|| self.cidr_after(address))
    }

    fn cidr_after(&self, address: IpAddr) -> ClassId {
        let next = self.atoms_after.partition_point(|(range, _)| range.first <= address);
        let edited = next.checked_sub(1).and_then(|at| self.atoms_after.get(at));
        if let Some(&(_, class)) = edited.filter(|(range, _)| range.contains(address)) {
            return class;
        }
        let over = self.table.atoms_over(AddressRange { first: address, last: address });
        over.first()
            .filter(|(range, _)| !self.delta.cidr.contains_key(range))
            .map_or(ClassId::UNKNOWN, |&(_, class)| class)
    }

    pub(super) fn subject_before(&self, direction: Direction, address: IpAddr) -> bool {
        self.table.is_subject(direction, address)
    }

    pub(super) fn subject_after(&self, direction: Direction, address: IpAddr) -> bool {
        match subject_edits(self.delta, direction).get(&address) {
            Some(edit) => edit.after.is_some(),
            None => self.table.is_subject(direction, address),
        }
    }

    /// The subjects of before and of after.
    pub(super) fn subjects(&self, direction: Direction) -> BTreeSet<IpAddr> {
        let edited = subject_edits(self.delta, direction).keys();
        subjects(&self.table.kernel, direction).iter().chain(edited).copied().collect()
    }

    pub(super) fn row_after(
        &self,
        direction: Direction,
        subject: IpAddr,
        class: ClassId,
    ) -> ProfileId {
        match row_edits(self.delta, direction).get(&(subject, class)) {
            Some(edit) => edit.after.unwrap_or(ProfileId::NOTHING),
            None => self.table.row(direction, subject, class),
        }
    }

    pub(super) fn inhabited_after(&self, class: ClassId) -> bool {
        let more = self.more_members.get(&class).copied().unwrap_or(0);
        let before = isize::try_from(self.table.members(class)).unwrap_or(isize::MAX);
        class == ClassId::UNKNOWN || before.saturating_add(more) > 0
    }

    /// Rows of the program that name the profile afterwards.
    pub(super) fn named_after(&self, profile: ProfileId) -> isize {
        let before = isize::try_from(self.table.named_by_program(profile)).unwrap_or(isize::MAX);
        before.saturating_add(self.more_named.get(&profile).copied().unwrap_or(0))
    }

    pub(super) fn listed_after(
        &self,
        profile: ProfileId,
    ) -> (BTreeSet<PortElement>, BTreeSet<PortRangeElement>) {
        let (mut ports, mut ranges) = self.table.listed(profile);
        for (&port, edit) in self.edited_ports(profile) {
            if edit { _ = ports.insert(port) } else { _ = ports.remove(&port) }
        }
        for (&range, edit) in self.edited_ranges(profile) {
            if edit { _ = ranges.insert(range) } else { _ = ranges.remove(&range) }
        }
        (ports, ranges)
    }

    pub(super) fn edited_ports(
        &self,
        profile: ProfileId,
    ) -> impl Iterator<Item = (&PortElement, bool)> {
        let first = crate::contents::first_port(profile);
        let edits = self.delta.ports.range(first..);
        edits.take_while(move |(e, _)| e.profile == profile).map(|(e, d)| (e, d.after.is_some()))
    }

    pub(super) fn edited_ranges(
        &self,
        profile: ProfileId,
    ) -> impl Iterator<Item = (&PortRangeElement, bool)> {
        let first = PortRangeElement { profile, protocol: 0, first: 0, last: 0 };
        let edits = self.delta.port_ranges.range(first..);
        edits.take_while(move |(e, _)| e.profile == profile).map(|(e, d)| (e, d.after.is_some()))
    }

    /// Profiles in use before whose contents the delta changes: only a repair does that, or an id given a new meaning.
    pub(super) fn rewritten(&self) -> BTreeSet<ProfileId> {
        let edited = self.delta.ports.iter().map(|(e, edit)| (e.profile, edit.after));
        let ranges = self.delta.port_ranges.iter().map(|(e, edit)| (e.profile, edit.after));
        edited
            .chain(ranges)
            .filter(|&(profile, after)| after.is_some() || self.named_after(profile) > 0)
            .map(|(profile, _)| profile)
            .filter(|&profile| self.table.named_by_program(profile) > 0)
            .collect()
    }

    /// Whether a row without a value afterwards has no meaning afterwards anyway.
    pub(super) fn inert_after(&self, edit: &RowEdit) -> bool {
        edit.to.is_none()
            && !(self.subject_after(edit.direction, edit.subject)
                && self.inhabited_after(edit.class))
    }

    /// Whether a packet that is under way may read the row as it is before the delta.
    pub(super) fn readable(&self, edit: &RowEdit) -> bool {
        let subject = self.subject_before(edit.direction, edit.subject)
            || self.table.released(edit.direction, edit.subject);
        subject
            && (self.table.inhabited(edit.class) || self.table.window.left.contains(&edit.class))
    }

    /// The rows that the kernel has otherwise than the program will, garbage that would get a meaning among them.
    pub(super) fn row_edits(&self) -> Vec<RowEdit> {
        let mut edits = Vec::new();
        for direction in Direction::ALL {
            let kernel = crate::contents::rows(&self.table.kernel, direction);
            let delta = row_edits(self.delta, direction);
            for (&(subject, class), edit) in delta {
                let from = kernel.get(&(subject, class)).copied();
                let to = edit.after;
                edits.push(RowEdit { direction, subject, class, from, to });
            }
            for (subject, class) in self.revived_rows(direction) {
                if !delta.contains_key(&(subject, class)) {
                    let from = kernel.get(&(subject, class)).copied();
                    edits.push(RowEdit { direction, subject, class, from, to: None });
                }
            }
        }
        edits
    }

    fn revived_rows(&self, direction: Direction) -> BTreeSet<(IpAddr, ClassId)> {
        let garbage = &self.table.garbage;
        let isolated = self.isolated(direction).flat_map(|subject| {
            garbage.rows_of_subject(direction, subject).into_iter().map(move |c| (subject, c))
        });
        let entered = self.entered.iter().flat_map(|&class| {
            garbage.rows_of_class(direction, class).into_iter().map(move |s| (s, class))
        });
        isolated
            .chain(entered)
            .filter(|&(s, c)| self.subject_after(direction, s) && self.inhabited_after(c))
            .collect()
    }

    pub(super) fn isolated(&self, direction: Direction) -> impl Iterator<Item = IpAddr> {
        let edits = subject_edits(self.delta, direction).iter();
        edits
            .filter(move |(a, e)| e.after.is_some() && !self.table.is_subject(direction, **a))
            .map(|(&address, _)| address)
    }
}

fn components(table: &Table, delta: &TablesDelta) -> Vec<Component> {
    let mut components: Vec<Component> = Vec::new();
    for (&range, edit) in &delta.cidr {
        let before = table.kernel.cidr.get(&range).copied();
        if before == edit.after {
            continue;
        }
        let overlaps =
            components.last().and_then(|c| c.hull).is_some_and(|hull| range.first <= hull.last);
        if !overlaps {
            components.push(Component::default());
        }
        if let Some(component) = components.last_mut() {
            let hull = component.hull.unwrap_or(range);
            let last = hull.last.max(range.last);
            component.hull = Some(AddressRange { first: hull.first, last });
            component.removed.extend(before.map(|class| (range, class)));
            component.added.extend(edit.after.map(|class| (range, class)));
        }
    }
    components
}

impl Component {
    /// The component cut where either side begins or ends: each span with its class before and after.
    pub(super) fn overlay(&self) -> Vec<(AddressRange, ClassId, ClassId)> {
        let Some(hull) = self.hull else { return Vec::new() };
        let mut starts = BTreeSet::new();
        for (range, _) in self.removed.iter().chain(&self.added) {
            starts.insert(bits(range.first));
            starts.extend(bits(range.last).checked_add(1));
        }
        let starts: Vec<u128> = starts.into_iter().filter(|&s| s <= bits(hull.last)).collect();
        let ends = starts.iter().skip(1).map(|s| s - 1).chain([bits(hull.last)]);
        let spans = starts.iter().zip(ends).map(|(&first, last)| {
            let first = address(hull.first, first);
            let range = AddressRange { first, last: address(hull.first, last) };
            (range, class_in(&self.removed, first), class_in(&self.added, first))
        });
        spans.collect()
    }
}

/// The class that sorted, disjoint ranges give an address.
fn class_in(ranges: &[(AddressRange, ClassId)], address: IpAddr) -> ClassId {
    let next = ranges.partition_point(|(range, _)| range.first <= address);
    next.checked_sub(1)
        .and_then(|at| ranges.get(at))
        .filter(|(range, _)| range.contains(address))
        .map_or(ClassId::UNKNOWN, |&(_, class)| class)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with these bits, of the family of `like`.
fn address(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}
