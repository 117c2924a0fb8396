//! One delta of one table -> changes and grace periods, in an order in which every packet sees each decision as it was
//! or as it will be.
//!
//! | part | what | why there |
//! |---|---|---|
//! | 1 | contents of profiles that no packet reads; new ranges in a transaction before | a row must find its ports |
//! | 2 | rows of classes that nobody left | whoever enters finds them |
//! | 3 | subjects out; grace if anything moves | a packet inside their walk must not meet classes that they have no rows for |
//! | 4 | changes of class: atoms, then addresses | all at once per address |
//! | 5 | grace, atoms over addresses that just got an element of their own | a packet may have missed that element |
//! | 6 | subjects in | their rows are there |
//! | 7 | grace, rows of classes that somebody left | a packet may hold the class with the address that left it |
//! | 8 | grace, hairpins of subjects out | a packet may have been denied by the rows before |
//! | - | what nothing leads to any more stays, as garbage | packets may hold it; the next grace serves all of it |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_compiler::model::Direction;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, PortElement, PortRangeElement, ProfileId};

use super::shift::{Component, RowEdit, Shift, subject_edits};
use super::table::Change;
use crate::contents::{rows_set, subjects_set};
use crate::transaction::Element;

#[derive(Debug, Clone)]
pub(super) enum Item {
    /// Changes of one transaction.
    Piece(Vec<Change>),
    /// What follows is in a later transaction than what stands before.
    Barrier,
    Grace,
    /// Some address left these classes.
    Left(BTreeSet<ClassId>),
    EgressNarrowed,
    /// The element is garbage from now on, or not any more.
    Discard(SetName, Element),
    Keep(SetName, Element),
}

impl Item {
    fn adds(&self) -> bool {
        matches!(self, Self::Piece(changes) if matches!(changes.first(), Some(Change::Add(..))))
    }
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) items: Vec<Item>,
}

impl Schedule {
    pub(super) fn is_empty(&self) -> bool {
        !self.items.iter().any(|item| matches!(item, Item::Piece(_)))
    }

    fn piece(&mut self, changes: Vec<Change>) {
        self.items.push(Item::Piece(changes));
    }

    fn add(&mut self, set: SetName, element: Element) {
        self.piece(vec![Change::Add(set, element)]);
    }

    fn remove(&mut self, set: SetName, element: Element) {
        self.piece(vec![Change::Remove(set, element)]);
    }
}

/// When a row may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Never,
    Early,
    AfterGrace,
    Late,
}

#[derive(Debug)]
struct Scheduler<'s, 'a> {
    shift: &'s Shift<'a>,
    grace_first: bool,
    contents: Vec<Item>,
    ranges: Vec<Item>,
    early: Vec<Item>,
    late: Vec<Item>,
    last: Vec<Item>,
    notes: Vec<Item>,
}

pub(super) fn schedule(shift: &Shift<'_>, grace_first: bool) -> Schedule {
    let mut scheduler = Scheduler {
        shift,
        grace_first,
        contents: Vec::new(),
        ranges: Vec::new(),
        early: Vec::new(),
        late: Vec::new(),
        last: Vec::new(),
        notes: Vec::new(),
    };
    scheduler.rows();
    scheduler.profiles();
    scheduler.hairpins();
    scheduler.compose()
}

impl Scheduler<'_, '_> {
    fn rows(&mut self) {
        for edit in self.shift.row_edits() {
            let set = rows_set(edit.direction);
            let element = |profile| Element::Row(edit.subject, edit.class, profile);
            if edit.from == edit.to {
                if let Some(profile) = edit.to {
                    self.notes.push(Item::Keep(set, element(profile)));
                }
                continue;
            }
            let gone = edit.from.map(|profile| Change::Remove(set, element(profile)));
            let come = edit.to.map(|profile| Change::Add(set, element(profile)));
            let piece = Item::Piece(gone.into_iter().chain(come).collect());
            match self.when(&edit) {
                When::Never => {
                    if let Some(profile) = edit.from {
                        self.notes.push(Item::Discard(set, element(profile)));
                    }
                }
                When::Early => self.early.push(piece),
                When::AfterGrace => {
                    self.grace_first = true;
                    self.early.push(piece);
                }
                When::Late => self.late.push(piece),
            }
        }
    }

    fn when(&self, edit: &RowEdit) -> When {
        let shift = self.shift;
        let window = &shift.table.window;
        if shift.inert_after(edit) {
            When::Never
        } else if !shift.readable(edit) {
            When::Early
        } else if !shift.subject_before(edit.direction, edit.subject) {
            When::AfterGrace
        } else if !shift.subject_after(edit.direction, edit.subject)
            || shift.left.contains(&edit.class)
        {
            When::Late
        } else if !window.left.contains(&edit.class) {
            When::Early
        } else if shift.entered.contains(&edit.class) {
            When::AfterGrace
        } else {
            When::Late
        }
    }

    fn profiles(&mut self) {
        let shift = self.shift;
        let kernel = &shift.table.kernel;
        for (&port, edit) in &shift.delta.ports {
            let has = kernel.ports.contains(&port);
            let (set, element) = (SetName::Ports, Element::Port(port));
            self.content(port.profile, set, element, has, edit.after.is_some());
        }
        for (&range, edit) in &shift.delta.port_ranges {
            let has = kernel.port_ranges.contains(&range);
            let (set, element) = (SetName::PortRanges, Element::PortRange(range));
            self.content(range.profile, set, element, has, edit.after.is_some());
        }
        for profile in self.revived_profiles() {
            for port in self.revived_ports(profile) {
                self.content(profile, SetName::Ports, Element::Port(port), true, false);
            }
            for range in self.revived_ranges(profile) {
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
            (true, true) => return self.notes.push(Item::Keep(set, element)),
            (true, false) if self.shift.named_after(profile) <= 0 => {
                return self.notes.push(Item::Discard(set, element));
            }
            (true, false) | (false, true) => {}
        }
        self.grace_first |= !self.shift.table.unread(profile);
        let list = if set == SetName::PortRanges { &mut self.ranges } else { &mut self.contents };
        let change = if wanted { Change::Add(set, element) } else { Change::Remove(set, element) };
        list.push(Item::Piece(vec![change]));
    }

    /// Profiles that get rows again while the kernel has old contents of theirs.
    fn revived_profiles(&self) -> BTreeSet<ProfileId> {
        let delta = self.shift.delta;
        let rows = delta.allow_in.values().chain(delta.allow_out.values());
        rows.filter_map(|edit| edit.after)
            .filter(|&profile| self.shift.table.named_by_program(profile) == 0)
            .collect()
    }

    fn revived_ports(&self, profile: ProfileId) -> Vec<PortElement> {
        let mut ports = self.shift.table.garbage.ports_of(profile);
        ports.retain(|port| !self.shift.delta.ports.contains_key(port));
        ports
    }

    fn revived_ranges(&self, profile: ProfileId) -> Vec<PortRangeElement> {
        let mut ranges = self.shift.table.garbage.ranges_of(profile);
        ranges.retain(|range| !self.shift.delta.port_ranges.contains_key(range));
        ranges
    }

    fn hairpins(&mut self) {
        let shift = self.shift;
        for (&address, edit) in &shift.delta.hairpin {
            let element = Element::Hairpin(address);
            let has = shift.table.kernel.hairpin.contains(&address);
            match (has, edit.after.is_some()) {
                (false, false) => {}
                (true, true) => self.notes.push(Item::Keep(SetName::Hairpin, element)),
                (false, true) => {
                    let change = Change::Add(SetName::Hairpin, element);
                    self.early.push(Item::Piece(vec![change]));
                }
                (true, false) if self.is_subject_after(address) => {
                    let change = Change::Remove(SetName::Hairpin, element);
                    self.last.push(Item::Piece(vec![change]));
                }
                (true, false) => self.notes.push(Item::Discard(SetName::Hairpin, element)),
            }
        }
        let isolated: BTreeSet<IpAddr> =
            Direction::ALL.into_iter().flat_map(|direction| shift.isolated(direction)).collect();
        for address in isolated {
            if shift.table.garbage.hairpin.contains(&address)
                && !shift.delta.hairpin.contains_key(&address)
            {
                self.grace_first |=
                    Direction::ALL.into_iter().any(|d| shift.table.released(d, address));
                let change = Change::Remove(SetName::Hairpin, Element::Hairpin(address));
                self.early.push(Item::Piece(vec![change]));
            }
        }
    }

    fn is_subject_after(&self, address: IpAddr) -> bool {
        Direction::ALL.into_iter().any(|direction| self.shift.subject_after(direction, address))
    }

    fn compose(mut self) -> Schedule {
        let shift = self.shift;
        let moves = !shift.ways.is_empty();
        let released = shift.table.window.released.iter().any(|gone| !gone.is_empty());
        let mut schedule = Schedule::default();
        if self.grace_first || (released && moves) {
            schedule.items.push(Item::Grace);
        }
        if !self.ranges.is_empty() {
            // What goes stands before what comes: ranges may overlap.
            self.ranges.sort_by_key(Item::adds);
            schedule.items.append(&mut self.ranges);
            schedule.items.push(Item::Barrier);
        }
        schedule.items.append(&mut self.contents);
        schedule.items.append(&mut self.early);
        let releases = self.releases(&mut schedule);
        if releases && moves {
            schedule.items.push(Item::Grace);
        }
        self.moves(&mut schedule);
        self.isolations(&mut schedule);
        if !self.late.is_empty() {
            schedule.items.push(Item::Grace);
            schedule.items.append(&mut self.late);
        }
        if !self.last.is_empty() {
            schedule.items.push(Item::Grace);
            schedule.items.append(&mut self.last);
        }
        schedule.items.append(&mut self.notes);
        schedule
    }

    /// Subjects out; whether there were subjects.
    fn releases(&self, schedule: &mut Schedule) -> bool {
        let mut any = false;
        for direction in Direction::ALL {
            for (&address, edit) in subject_edits(self.shift.delta, direction) {
                if edit.after.is_none() && self.shift.subject_before(direction, address) {
                    schedule.remove(subjects_set(direction), Element::Address(address));
                    any = true;
                }
            }
        }
        any
    }

    fn isolations(&self, schedule: &mut Schedule) {
        for direction in Direction::ALL {
            for address in self.shift.isolated(direction) {
                schedule.add(subjects_set(direction), Element::Address(address));
            }
        }
    }

    fn moves(&self, schedule: &mut Schedule) {
        let shift = self.shift;
        let appeared = self.appeared();
        let waits = |component: &Component| {
            component
                .hull
                .is_some_and(|hull| appeared.range(hull.first..=hull.last).next().is_some())
        };
        let (waiting, ready): (Vec<&Component>, Vec<&Component>) =
            shift.components.iter().partition(|component| waits(component));
        let (back, now): (BTreeMap<IpAddr, _>, BTreeMap<IpAddr, _>) = shift
            .delta
            .class
            .iter()
            .map(|(&a, e)| (a, e.after))
            .partition(|(address, after)| after.is_none() && covered(&waiting, *address));
        let ways = |schedule: &mut Schedule| {
            if !shift.left.is_empty() {
                schedule.items.push(Item::Left(shift.left.clone()));
            }
        };
        self.atoms(schedule, &ready);
        self.classes(schedule, &now);
        ways(schedule);
        if !waiting.is_empty() {
            schedule.items.push(Item::Grace);
            self.atoms(schedule, &waiting);
            self.classes(schedule, &back);
            ways(schedule);
        }
    }

    /// Addresses that a packet under way may have missed in `class` and that it will find there from now on.
    fn appeared(&self) -> BTreeSet<IpAddr> {
        let kernel = &self.shift.table.kernel.class;
        let edits = self.shift.delta.class.iter();
        let new = edits.filter(|(a, e)| e.after.is_some() && !kernel.contains_key(*a));
        let before = if self.grace_first { None } else { Some(&self.shift.table.window.appeared) };
        new.map(|(&address, _)| address).chain(before.into_iter().flatten().copied()).collect()
    }

    fn atoms(&self, schedule: &mut Schedule, components: &[&Component]) {
        for component in components {
            let element = |&(range, class): &(_, _)| Element::Cidr(range, class);
            let gone = component.removed.iter().map(element);
            let come = component.added.iter().map(element);
            let changes = gone
                .map(|e| Change::Remove(SetName::Cidr, e))
                .chain(come.map(|e| Change::Add(SetName::Cidr, e)));
            schedule.piece(changes.collect());
        }
    }

    fn classes(&self, schedule: &mut Schedule, edits: &BTreeMap<IpAddr, Option<ClassId>>) {
        for (&address, &after) in edits {
            let before = self.shift.table.kernel.class.get(&address).copied();
            if before != after {
                let element = |class| Element::Class(address, class);
                let gone = before.map(|c| Change::Remove(SetName::Class, element(c)));
                let come = after.map(|c| Change::Add(SetName::Class, element(c)));
                schedule.piece(gone.into_iter().chain(come).collect());
            }
        }
    }
}

/// Whether one of these components, which stand in order, lies over the address.
fn covered(components: &[&Component], address: IpAddr) -> bool {
    let begins = |c: &&Component| c.hull.is_some_and(|hull| hull.first <= address);
    let next = components.partition_point(begins);
    let last = next.checked_sub(1).and_then(|at| components.get(at));
    last.and_then(|c| c.hull).is_some_and(|hull| hull.contains(address))
}
