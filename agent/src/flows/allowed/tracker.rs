//! Which connections are open, and what repeats among those that began and ended.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::program::live::LiveConnection;
use palisade_dataplane::netlink::conntrack::{Accounting, Entry, Event};

use super::ConnectionKey;
use crate::flows::flow::Traffic;

/// Entries that are gathered at once at most. Connections of further ones are counted as lost.
pub(super) const MAX_GATHERED: usize = 8192;
/// Open connections whose identities are known at most: a kernel's usual bound of tracked connections. Of those beyond, a lost event
/// is not noticed.
pub(super) const MAX_OPEN: usize = 262_144;

/// Connections of one kind that began or ended since the recorder took the last ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub(super) live: LiveConnection,
    pub(super) is_expected: bool,
    pub(super) opened: u64,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) at: Instant,
    pub(super) traffic: Traffic,
}

#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) tallies: HashMap<ConnectionKey, Tally>,
    /// Connections whose beginning, and whose end, found no room in `tallies`.
    pub(super) left_out: u64,
    pub(super) ends_left_out: u64,
}

impl Gathered {
    /// The entry of the connection's kind, if there is one or room for one.
    fn tally(&mut self, entry: &Entry, now: (Instant, Timestamp)) -> Option<&mut Tally> {
        let key = ConnectionKey::of(entry);
        if self.tallies.len() >= MAX_GATHERED && !self.tallies.contains_key(&key) {
            return None;
        }
        let (at, time) = now;
        let tally = self.tallies.entry(key).or_insert_with(|| Tally {
            live: entry.live(),
            is_expected: entry.is_expected(),
            opened: 0,
            first: time,
            last: time,
            at,
            traffic: Traffic::default(),
        });
        Some(tally)
    }
}

/// What was heard so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) opened: u64,
    pub(super) ended: u64,
    /// Of `opened`, those whose beginning was lost, and which a dump or their end made known.
    pub(super) repaired: u64,
    /// Connections whose end was lost: they are open no more, and what they carried is not known.
    pub(super) lost_ends: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// The identities of open connections (`Entry::identity`).
    open: HashSet<u64>,
    /// Whether `open` holds every connection that is open.
    is_complete: bool,
    /// Those that ended while it was not complete.
    ended_early: HashSet<u64>,
    /// Those that the dump of a repair made known, and whose events may still come.
    by_dump: HashSet<u64>,
    pub(super) heard: Heard,
}

impl Tracker {
    pub(super) fn take(
        &mut self,
        event: &Event,
        now: (Instant, Timestamp),
        gathered: &mut Gathered,
    ) {
        match event {
            Event::Opened(entry, _) => {
                if self.by_dump.remove(&entry.identity()) {
                    // It was not lost, only late.
                    self.heard.repaired -= 1;
                } else if !self.open.contains(&entry.identity()) {
                    self.opened(entry, now, gathered);
                }
            }
            Event::Ended(entry, accounting) => self.ended(entry, *accounting, now, gathered),
        }
    }

    fn opened(&mut self, entry: &Entry, now: (Instant, Timestamp), gathered: &mut Gathered) {
        if self.open.len() < MAX_OPEN {
            self.open.insert(entry.identity());
        } else {
            self.is_complete = false;
        }
        self.count_opened(entry, now, gathered);
    }

    fn count_opened(&mut self, entry: &Entry, now: (Instant, Timestamp), gathered: &mut Gathered) {
        self.heard.opened += 1;
        match gathered.tally(entry, now) {
            Some(tally) => (tally.opened, tally.last) = (tally.opened + 1, tally.last.max(now.1)),
            None => gathered.left_out += 1,
        }
    }

    fn ended(
        &mut self,
        entry: &Entry,
        accounting: Accounting,
        now: (Instant, Timestamp),
        gathered: &mut Gathered,
    ) {
        if !self.open.remove(&entry.identity()) {
            if self.is_complete {
                // Its beginning was lost.
                self.heard.repaired += 1;
                self.count_opened(entry, now, gathered);
            } else if self.ended_early.len() < MAX_OPEN {
                self.ended_early.insert(entry.identity());
            }
        }
        self.heard.ended += 1;
        match gathered.tally(entry, now) {
            Some(tally) => tally.traffic.add(&Traffic::of(accounting)),
            None => gathered.ends_left_out += 1,
        }
    }

    /// From here on `open` is complete: these were open before anybody listened.
    pub(super) fn complete(&mut self, dumped: &[u64]) {
        let ended = std::mem::take(&mut self.ended_early);
        let room = MAX_OPEN.saturating_sub(self.open.len());
        self.is_complete = dumped.len() <= room;
        self.open.extend(dumped.iter().filter(|id| !ended.contains(id)).take(room));
    }

    /// The connections that are open by what was heard.
    pub(super) fn open(&self) -> HashSet<u64> {
        self.open.clone()
    }

    /// An entry of a dump, after events were lost.
    pub(super) fn found(
        &mut self,
        entry: &Entry,
        now: (Instant, Timestamp),
        gathered: &mut Gathered,
    ) {
        if self.is_complete && !self.open.contains(&entry.identity()) {
            self.heard.repaired += 1;
            self.by_dump.insert(entry.identity());
            self.opened(entry, now, gathered);
        }
    }

    /// A dump is over, and the events were read that came meanwhile. `before` were open when it began, as far as was known, and
    /// these it listed.
    pub(super) fn repaired(&mut self, before: &HashSet<u64>, listed: &HashSet<u64>) {
        self.by_dump.clear();
        for id in before.difference(listed) {
            // The end of those that ended meanwhile was heard.
            self.heard.lost_ends += u64::from(self.open.remove(id));
        }
    }

    /// Nothing is known any more: the socket was opened anew.
    pub(super) fn forget(&mut self) {
        *self = Self { heard: self.heard, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
