//! Which groups each subject's address is in, and the sets of subjects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::capacity::Capacity;
use super::groups::Groups;
use super::ids::{GroupId, PodGroups, at};
use crate::model::{Direction, Family};
use crate::program::delta::{Edits, record};
use crate::program::{Tables, TablesDelta};

/// The groups of the addresses that have some.
#[derive(Debug, Default)]
pub(super) struct Members {
    groups: BTreeMap<IpAddr, PodGroups>,
}

/// What moving addresses between groups changed in one family.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Addresses whose rows must be written anew.
    pub(super) subjects: BTreeSet<IpAddr>,
    /// Groups that got their first member in the family, or lost the last.
    pub(super) groups: BTreeSet<GroupId>,
}

/// One family's tables while addresses move.
pub(super) struct Moving<'a> {
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

    /// Moves an address from the groups it is in to others, and in or out of the sets of subjects.
    pub(super) fn set(
        &mut self,
        address: IpAddr,
        wanted: PodGroups,
        moving: Moving<'_>,
        moves: &mut Moves,
    ) {
        let old = self.groups.get(&address).copied().unwrap_or([None, None]);
        if old == wanted {
            return;
        }
        let family = Family::of(address);
        let Moving { groups, capacity, tables, delta } = moving;
        moves.subjects.insert(address);
        let mut is_subject = false;
        for ((direction, from), to) in Direction::ALL.into_iter().zip(old).zip(wanted) {
            let to = to.filter(|&id| groups.get(id).is_some_and(|g| g.isolates(family)));
            if from != to {
                for (id, joins) in [(from, false), (to, true)] {
                    let Some(id) = id else { continue };
                    if change(groups, capacity, id, address, joins) {
                        moves.groups.insert(id);
                    }
                }
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
    }
}

/// Makes an address a member of a group, or no member; true if it is the first, or was the last.
fn change(
    groups: &mut Groups,
    capacity: &mut Capacity,
    id: GroupId,
    address: IpAddr,
    joins: bool,
) -> bool {
    let family = Family::of(address);
    let Some(group) = groups.get_mut(id) else { return false };
    let rows = group.column(family).len();
    let direction = group.key.direction;
    let Some(members) = group.members.get_mut(at(family)) else { return false };
    if joins {
        if members.insert(address) {
            capacity.count_rows(direction, 0, rows);
        }
        members.len() == 1
    } else {
        if members.remove(&address) {
            capacity.count_rows(direction, rows, 0);
        }
        members.is_empty()
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
