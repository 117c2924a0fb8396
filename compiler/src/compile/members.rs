//! The groups of each subject's address, and the sets of subjects in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::capacity::Capacity;
use super::groups::Groups;
use super::ids::{GroupId, PodGroups};
use crate::model::{Direction, Family};
use crate::program::delta::{Edits, record};
use crate::program::{Tables, TablesDelta};

/// The groups of each address that is in at least one.
#[derive(Debug, Default)]
pub(super) struct Members {
    groups: BTreeMap<IpAddr, PodGroups>,
}

/// What changes in one family when an address joins or leaves a group.
pub(super) struct MemberTables<'a> {
    pub(super) groups: &'a mut Groups,
    pub(super) capacity: &'a mut Capacity,
    pub(super) tables: &'a mut Tables,
    pub(super) delta: &'a mut TablesDelta,
}

impl Members {
    /// The group of an address in a direction.
    pub(super) fn group_of(&self, address: IpAddr, direction: Direction) -> Option<GroupId> {
        let [ingress, egress] = *self.groups.get(&address)?;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    /// Moves an address from its groups to others, and into or out of the sets of subjects. Returns for each direction
    /// whether its group changed.
    pub(super) fn set(
        &mut self,
        address: IpAddr,
        wanted: PodGroups,
        tables: MemberTables<'_>,
    ) -> [bool; 2] {
        let old = self.groups.get(&address).copied().unwrap_or([None, None]);
        if old == wanted {
            return [false, false];
        }
        let family = Family::of(address);
        let MemberTables { groups, capacity, tables, delta } = tables;
        let mut is_subject = false;
        for ((direction, from), to) in Direction::ALL.into_iter().zip(old).zip(wanted) {
            let to = to.filter(|&id| groups.get(id).is_some_and(|g| g.isolates(family)));
            if from != to {
                from.into_iter().for_each(|id| change(groups, capacity, id, address, false));
                to.into_iter().for_each(|id| change(groups, capacity, id, address, true));
            }
            is_subject |= to.is_some();
            let subjects = match direction {
                Direction::Ingress => (&mut tables.local_in, &mut delta.local_in),
                Direction::Egress => (&mut tables.local_out, &mut delta.local_out),
            };
            write_member(subjects.0, subjects.1, address, to.is_some());
        }
        write_member(&mut tables.hairpin, &mut delta.hairpin, address, is_subject);
        match wanted {
            [None, None] => _ = self.groups.remove(&address),
            _ => _ = self.groups.insert(address, wanted),
        }
        let mut pairs = old.into_iter().zip(wanted);
        [false, true].map(|_| pairs.next().is_some_and(|(old, wanted)| old != wanted))
    }
}

/// Adds an address to a group, or removes it from the group.
fn change(groups: &mut Groups, capacity: &mut Capacity, id: GroupId, address: IpAddr, joins: bool) {
    let family = Family::of(address);
    let Some(group) = groups.get_mut(id) else { return };
    let (direction, rows) = (group.key.direction, group.column(family).len());
    let members = &mut group.members[family];
    if joins {
        if members.insert(address) {
            capacity.count_rows(direction, 0, rows);
        }
    } else if members.remove(&address) {
        capacity.count_rows(direction, rows, 0);
    }
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
