//! Turns the matrix into rows (subject, class) -> profile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::capacity::Capacity;
use super::groups::Groups;
use super::matrix::Entries;
use super::members::Members;
use crate::model::{Direction, Family};
use crate::program::delta::{Edit, Edits};
use crate::program::{ClassId, ProfileId, Tables, TablesDelta};

type Row = (IpAddr, ClassId);
type Rows = BTreeMap<Row, ProfileId>;
type RowEdits = Vec<(Row, Edit<ProfileId>)>;

/// What the rows of one family are computed from.
pub(super) struct Lowering<'a> {
    pub(super) family: Family,
    pub(super) groups: &'a Groups,
    pub(super) members: &'a Members,
    pub(super) capacity: &'a Capacity,
}

impl Lowering<'_> {
    /// Writes all rows of these subjects. For each of the entries, also writes the row of every other member of its group.
    ///
    /// Each row is written at most once, so that all edits of a batch can be added together.
    pub(super) fn write(
        &self,
        direction: Direction,
        subjects: &BTreeSet<IpAddr>,
        entries: &Entries,
        tables: &mut Tables,
        delta: &mut TablesDelta,
    ) {
        let (rows, edits) = match direction {
            Direction::Ingress => (&mut tables.allow_in, &mut delta.allow_in),
            Direction::Egress => (&mut tables.allow_out, &mut delta.allow_out),
        };
        let mut list = RowEdits::new();
        for &subject in subjects {
            self.write_subject(direction, subject, rows, &mut list);
        }
        for &(id, class) in entries {
            let Some(group) = self.groups.get(id) else { continue };
            if group.key.direction != direction {
                continue;
            }
            let entry = group.column(self.family).get(&class).copied();
            let after = entry.filter(|&profile| self.capacity.may_use(group, profile));
            let others = group.members(self.family).iter().filter(|s| !subjects.contains(*s));
            for &subject in others.filter(|&&s| self.capacity.has_rows(s, direction)) {
                let before = match after {
                    Some(profile) => rows.insert((subject, class), profile),
                    None => rows.remove(&(subject, class)),
                };
                note(&mut list, (subject, class), before, after);
            }
        }
        list.sort_unstable_by_key(|(row, _)| *row);
        merge(edits, list);
    }

    fn write_subject(
        &self,
        direction: Direction,
        subject: IpAddr,
        rows: &mut Rows,
        edits: &mut RowEdits,
    ) {
        let group = self.members.group_of(subject, direction).and_then(|id| self.groups.get(id));
        let group = group.filter(|group| {
            group.isolates(self.family) && self.capacity.has_rows(subject, direction)
        });
        let wanted = group.into_iter().flat_map(|g| self.capacity.usable_entries(g, self.family));
        let mut wanted = wanted.peekable();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let all = (subject, ClassId(0))..=(subject, ClassId(u32::MAX));
        for (&(_, class), profile) in rows.range_mut(all) {
            while let Some(missing) = wanted.next_if(|(wanted, _)| *wanted < class) {
                added.push(missing);
            }
            let before = *profile;
            match wanted.next_if(|(wanted, _)| *wanted == class) {
                Some((_, after)) => {
                    *profile = after;
                    note(edits, (subject, class), Some(before), Some(after));
                }
                None => {
                    removed.push(class);
                    note(edits, (subject, class), Some(before), None);
                }
            }
        }
        added.extend(wanted);
        for class in removed {
            rows.remove(&(subject, class));
        }
        for (class, profile) in added {
            rows.insert((subject, class), profile);
            note(edits, (subject, class), None, Some(profile));
        }
    }
}

fn note(edits: &mut RowEdits, row: Row, before: Option<ProfileId>, after: Option<ProfileId>) {
    if before != after {
        edits.push((row, Edit { before, after }));
    }
}

/// Adds a list of edits, sorted by row, none of whose rows was edited before. Building a tree from sorted items is fast.
fn merge(edits: &mut Edits<Row, ProfileId>, list: RowEdits) {
    let mut list: Edits<Row, ProfileId> = list.into_iter().collect();
    if edits.is_empty() {
        *edits = list;
    } else {
        edits.append(&mut list);
    }
}
