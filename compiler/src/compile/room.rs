//! How much the tables of one family may hold, and who goes without when they would hold more.
//!
//! Who goes without is isolated all the same, and allowed less than the policies say, never more: a bound closes. Which
//! rows are left out depends on the order in which they came; that some are is told (`Warning::NoRoom`), and they are
//! tried again when nothing else is to be done.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::groups::GroupId;

/// What one family's tables hold at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of one direction; and as many entries of the matrix behind the rows, of both directions.
    pub rows: usize,
    /// Elements of `ports`.
    pub ports: usize,
    /// Elements of `port_ranges`, an interval set that is slow to change when it is large.
    pub port_ranges: usize,
}

/// Rows of one family and direction: some 300 MB of kernel memory.
pub const MAX_ROWS: usize = 4_194_304;
/// Single ports of all profiles of one family: some 300 MB of kernel memory.
pub const MAX_PORTS: usize = 4_194_304;
/// Port ranges of all profiles of one family.
pub const MAX_PORT_RANGES: usize = 16_384;

impl Default for Bounds {
    fn default() -> Self {
        Self { rows: MAX_ROWS, ports: MAX_PORTS, port_ranges: MAX_PORT_RANGES }
    }
}

#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) bounds: Bounds,
    /// Entries of the columns of all groups.
    entries: usize,
    /// Groups whose columns lack an entry, and subjects that lack rows which their group's column has.
    groups: BTreeSet<GroupId>,
    subjects: BTreeSet<IpAddr>,
    /// Whether something changed since they were last tried.
    is_due: bool,
}

impl Room {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Whether a column may get one more entry, which makes a row for each of so many members.
    pub(super) fn takes_entry(&self, rows: usize, members: usize) -> bool {
        self.entries < self.bounds.rows && self.takes_rows(rows, members)
    }

    pub(super) fn takes_rows(&self, rows: usize, more: usize) -> bool {
        rows.saturating_add(more) <= self.bounds.rows
    }

    /// A column has an entry more, or fewer.
    pub(super) fn note_entries(&mut self, before: usize, after: usize) {
        self.entries = self.entries + after - before;
    }

    pub(super) fn note_group(&mut self, group: GroupId) {
        self.groups.insert(group);
    }

    pub(super) fn note_subject(&mut self, subject: IpAddr, lacks: bool) {
        if lacks {
            self.subjects.insert(subject);
        } else if !self.subjects.is_empty() {
            self.subjects.remove(&subject);
        }
    }

    pub(super) fn forget_group(&mut self, group: GroupId) {
        self.groups.remove(&group);
    }

    pub(super) fn lacks(&self, subject: IpAddr) -> bool {
        self.subjects.contains(&subject)
    }

    /// Groups and subjects that go without.
    pub(super) fn lacking(&self) -> (usize, usize) {
        (self.groups.len(), self.subjects.len())
    }

    /// The input changed: there may be room now.
    pub(super) fn note_change(&mut self) {
        self.is_due = !self.groups.is_empty() || !self.subjects.is_empty();
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Who is to be tried again.
    pub(super) fn take_due(&mut self) -> (BTreeSet<GroupId>, Vec<IpAddr>) {
        if !std::mem::take(&mut self.is_due) {
            return Default::default();
        }
        (std::mem::take(&mut self.groups), self.subjects.iter().copied().collect())
    }
}
