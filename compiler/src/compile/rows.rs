//! The matrix (group x class) -> profile, and its lowering to rows (subject, class) -> profile.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::net::IpAddr;
use std::sync::Arc;

use super::classes::{ClassEdits, Classes};
use super::groups::{Column, Group, GroupId, Groups, at};
use super::peers::{Item, PeerSetId};
use super::ports::Profiles;
use super::room::Room;
use super::subjects::PodGroups;
use crate::model::{Direction, Family};
use crate::program::delta::{Edits, record};
use crate::program::{ClassId, PortSet, ProfileId, Tables, TablesDelta};

/// One family's tables while a batch is applied.
pub(super) struct Lowering<'a> {
    pub(super) family: Family,
    pub(super) groups: &'a mut Groups,
    pub(super) classes: &'a Classes,
    pub(super) profiles: &'a mut Profiles,
    pub(super) room: &'a mut Room,
    pub(super) tables: &'a mut Tables,
    pub(super) delta: &'a mut TablesDelta,
}

impl Lowering<'_> {
    /// Brings the columns of all groups in use up to date with the classes, and the rows of their members with them.
    pub(super) fn update_columns(&mut self, fresh: &BTreeSet<GroupId>, edits: &ClassEdits) {
        let mut cells: BTreeSet<(GroupId, ClassId)> = BTreeSet::new();
        let open = self.groups.open(self.family).clone();
        for &class in &edits.come {
            let signature = self.classes.signature(class);
            let users = signature.into_iter().flat_map(|items| self.users(items));
            cells.extend(users.chain(open.iter().copied()).map(|group| (group, class)));
        }
        for (&class, old) in &edits.resigned {
            let new = self.classes.signature(class);
            let changed = symmetric_difference(old, new.map_or(&[], |new| new));
            cells.extend(self.users(&changed).map(|group| (group, class)));
        }
        for (&class, old) in &edits.gone {
            let users = self.users(old).chain(open.iter().copied());
            cells.extend(users.map(|group| (group, class)));
        }
        for &group in fresh {
            cells.extend(self.whole_column(group).into_iter().map(|class| (group, class)));
        }
        for (group, class) in cells {
            self.update_cell(group, class);
        }
    }

    fn users<'b>(&'b self, items: &'b [Item]) -> impl Iterator<Item = GroupId> + 'b {
        items.iter().flat_map(|item| self.groups.users(item.set))
    }

    /// The classes for which the group may allow something.
    fn whole_column(&self, id: GroupId) -> BTreeSet<ClassId> {
        let Some(group) = self.groups.get(id) else { return BTreeSet::new() };
        if !group.isolates(self.family) {
            return BTreeSet::new();
        }
        if group.base(self.family).is_nothing() {
            group.sets().flat_map(|set: PeerSetId| self.classes.in_set(set)).collect()
        } else {
            self.classes.ids().chain([ClassId::UNKNOWN]).collect()
        }
    }

    fn update_cell(&mut self, id: GroupId, class: ClassId) {
        let (family, place) = (self.family, at(self.family));
        let Some(group) = self.groups.get_mut(id) else { return };
        if !group.isolates(family) {
            return;
        }
        let content: Option<Arc<PortSet>> = if class == ClassId::UNKNOWN {
            Some(Arc::clone(group.base(family)))
        } else {
            self.classes.signature(class).map(|signature| group.profile(signature, family))
        };
        let members = group.members.get(place).map_or(0, BTreeSet::len);
        let Some(column) = group.columns.get_mut(place) else { return };
        let (rows, _) = rows_of(group.key.direction, self.tables, self.delta);
        let fits = column.contains_key(&class) || self.room.takes_entry(rows.len(), members);
        let after = content.filter(|content| !content.is_nothing()).map(|content| {
            let (bounds, profiles) = (&self.room.bounds, &mut self.profiles);
            fits.then(|| profiles.acquire(&content, family, bounds, self.tables, self.delta))
                .flatten()
        });
        if after == Some(None) {
            self.room.note_group(id);
        }
        let after = after.flatten().unwrap_or(ProfileId::NOTHING);
        let entries = column.len();
        let before = match after {
            ProfileId::NOTHING => column.remove(&class),
            _ => column.insert(class, after),
        };
        self.room.note_entries(entries, column.len());
        if let Some(before) = before {
            self.profiles.release(before, family);
        }
        let after = (after != ProfileId::NOTHING).then_some(after);
        if before == after {
            return;
        }
        let (rows, edits) = rows_of(group.key.direction, self.tables, self.delta);
        for &member in group.members.get(place).into_iter().flatten() {
            write_row(rows, edits, (member, class), after);
        }
    }

    /// Moves an address from the groups its rows are written for to others. Also for one that had no room for its rows.
    pub(super) fn relower(&mut self, address: IpAddr, from: PodGroups, to: PodGroups) {
        let (mut is_subject, mut lacks) = (false, false);
        for ((direction, from), to) in Direction::ALL.into_iter().zip(from).zip(to) {
            let isolates =
                to.and_then(|id| self.groups.get(id)).filter(|g| g.isolates(self.family));
            let isolated = isolates.is_some();
            is_subject |= isolated;
            let subjects = match direction {
                Direction::Ingress => (&mut self.tables.local_in, &mut self.delta.local_in),
                Direction::Egress => (&mut self.tables.local_out, &mut self.delta.local_out),
            };
            write_member(subjects.0, subjects.1, address, isolated);
            lacks |= !self.move_rows(direction, address, from, to);
        }
        write_member(&mut self.tables.hairpin, &mut self.delta.hairpin, address, is_subject);
        self.room.note_subject(address, lacks);
    }

    /// Writes a subject's rows of one direction anew; without any, and false, if there is no room for them.
    fn move_rows(
        &mut self,
        direction: Direction,
        address: IpAddr,
        from: Option<GroupId>,
        to: Option<GroupId>,
    ) -> bool {
        let family = at(self.family);
        let is_member = |group: &&Group| {
            group.members.get(family).is_some_and(|members| members.contains(&address))
        };
        let written = from.and_then(|id| self.groups.get(id)).filter(is_member);
        if from == to && (written.is_some() || to.is_none()) {
            return true;
        }
        let wanted = to.and_then(|id| self.groups.get(id));
        let empty = Column::new();
        let before = written.and_then(|group| group.column(self.family)).unwrap_or(&empty);
        let mut after = wanted.and_then(|group| group.column(self.family)).unwrap_or(&empty);
        let (rows, edits) = rows_of(direction, self.tables, self.delta);
        let fits = self.room.takes_rows(rows.len(), after.len().saturating_sub(before.len()));
        if !fits {
            after = &empty;
        }
        for (class, after) in column_changes(before, after) {
            write_row(rows, edits, (address, class), after);
        }
        if let Some(group) = from.and_then(|id| self.groups.get_mut(id)) {
            group.members.get_mut(family).map(|members| members.remove(&address));
        }
        if let Some(group) = to.filter(|_| fits).and_then(|id| self.groups.get_mut(id)) {
            group.members.get_mut(family).map(|members| members.insert(address));
        }
        fits
    }
}

fn symmetric_difference(a: &[Item], b: &[Item]) -> Vec<Item> {
    let a: BTreeSet<&Item> = a.iter().collect();
    let b: BTreeSet<&Item> = b.iter().collect();
    a.symmetric_difference(&b).map(|item| (*item).clone()).collect()
}

type Rows = BTreeMap<(IpAddr, ClassId), ProfileId>;
type RowEdits = Edits<(IpAddr, ClassId), ProfileId>;

fn rows_of<'a>(
    direction: Direction,
    tables: &'a mut Tables,
    delta: &'a mut TablesDelta,
) -> (&'a mut Rows, &'a mut RowEdits) {
    match direction {
        Direction::Ingress => (&mut tables.allow_in, &mut delta.allow_in),
        Direction::Egress => (&mut tables.allow_out, &mut delta.allow_out),
    }
}

fn write_row(
    rows: &mut Rows,
    edits: &mut RowEdits,
    key: (IpAddr, ClassId),
    after: Option<ProfileId>,
) {
    let before = match after {
        Some(profile) => rows.insert(key, profile),
        None => rows.remove(&key),
    };
    record(edits, key, before, after);
}

fn write_member(
    members: &mut BTreeSet<IpAddr>,
    edits: &mut Edits<IpAddr>,
    address: IpAddr,
    is_member: bool,
) {
    let was = if is_member { !members.insert(address) } else { members.remove(&address) };
    record(edits, address, was.then_some(()), is_member.then_some(()));
}

/// Where two columns differ, with what the second has there.
fn column_changes(from: &Column, to: &Column) -> Vec<(ClassId, Option<ProfileId>)> {
    let mut changes = Vec::new();
    let mut from = from.iter().map(|(&c, &p)| (c, p)).peekable();
    let mut to = to.iter().map(|(&c, &p)| (c, p)).peekable();
    while let Some((class, before, after)) = next_of_either(&mut from, &mut to) {
        if before != after {
            changes.push((class, after));
        }
    }
    changes
}

fn next_of_either(
    from: &mut Peekable<impl Iterator<Item = (ClassId, ProfileId)>>,
    to: &mut Peekable<impl Iterator<Item = (ClassId, ProfileId)>>,
) -> Option<(ClassId, Option<ProfileId>, Option<ProfileId>)> {
    let class = match (from.peek(), to.peek()) {
        (Some((a, _)), Some((b, _))) => *a.min(b),
        (Some((class, _)), None) | (None, Some((class, _))) => *class,
        (None, None) => return None,
    };
    let before = from.next_if(|(c, _)| *c == class).map(|(_, profile)| profile);
    let after = to.next_if(|(c, _)| *c == class).map(|(_, profile)| profile);
    Some((class, before, after))
}
