//! The changes that the kernel took lately.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_compiler::program::Delta;
use palisade_compiler::wording::{counted, listed};

/// For how long a revision is kept. The last one is kept in any case.
const KEEP_FOR: Duration = Duration::from_secs(30);
/// Revisions that are kept at most.
const MAX_REVISIONS: usize = 1024;
/// Elements of all deltas that are kept at most; a delta beyond is dropped, and its revision kept.
const MAX_ELEMENTS: usize = 65_536;

/// One change that the kernel holds.
#[derive(Debug, Clone)]
pub struct Revision {
    pub number: u64,
    /// When the kernel acknowledged it.
    pub committed: Instant,
    /// The first of the objects that changed, in words, and how many did.
    pub objects: Vec<String>,
    pub object_count: usize,
    /// What changed in the program; `None` if that is too much to keep.
    pub delta: Option<Delta>,
    pub element_count: usize,
    /// From the event of the source to the acknowledgement.
    pub took: Duration,
}

/// What changed, in words: `objects` describe the first of `count` objects that changed. None are described where a server listed
/// all of them.
pub fn named(objects: &[String], count: usize) -> String {
    match (objects, count) {
        ([], 0) => "the program".to_owned(),
        ([], count) => counted(count, "object"),
        (objects, count) => listed(objects, count),
    }
}

/// Shared by the loop, which writes it, and by its readers. Bounded in time, in revisions and in elements.
#[derive(Debug, Clone, Default)]
pub struct RevisionLog(Arc<Mutex<Revisions>>);

impl RevisionLog {
    pub fn push(&self, revision: Revision) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(revision);
    }

    /// Notes elements that changed without any change of objects, so that no verdict changed: they belong to the last revision,
    /// and its delta leads from before it to what the program holds now.
    pub fn extend_last(&self, delta: &Delta) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_last(delta);
    }

    /// Those that the kernel acknowledged at that moment or later, the last first.
    pub fn since(&self, moment: Instant) -> Vec<Arc<Revision>> {
        let revisions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_later = |revision: &&Arc<Revision>| revision.committed >= moment;
        revisions.revisions.iter().rev().take_while(is_later).cloned().collect()
    }

    /// The latest ones, the last first.
    pub fn latest(&self, most: usize) -> Vec<Arc<Revision>> {
        let revisions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        revisions.revisions.iter().rev().take(most).cloned().collect()
    }
}

#[derive(Debug, Default)]
struct Revisions {
    revisions: VecDeque<Arc<Revision>>,
    /// Of all deltas.
    elements: usize,
}

impl Revisions {
    fn push(&mut self, mut revision: Revision) {
        if revision.element_count > MAX_ELEMENTS {
            revision.delta = None;
        }
        let now = revision.committed;
        self.elements += kept_elements(&revision);
        self.revisions.push_back(Arc::new(revision));
        while self.revisions.len() > 1 && self.is_over(now) {
            let Some(oldest) = self.revisions.pop_front() else { break };
            self.elements -= kept_elements(&oldest);
        }
    }

    fn extend_last(&mut self, delta: &Delta) {
        let Some(last) = self.revisions.back_mut() else { return };
        self.elements -= kept_elements(last);
        let last = Arc::make_mut(last);
        if let Some(kept) = &mut last.delta {
            kept.then(delta.clone());
            last.element_count = kept.len();
            if last.element_count > MAX_ELEMENTS {
                last.delta = None;
            }
        }
        self.elements += kept_elements(last);
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_old =
            |oldest: &Arc<Revision>| now.saturating_duration_since(oldest.committed) > KEEP_FOR;
        self.revisions.len() > MAX_REVISIONS
            || self.elements > MAX_ELEMENTS
            || self.revisions.front().is_some_and(is_old)
    }
}

fn kept_elements(revision: &Revision) -> usize {
    if revision.delta.is_some() { revision.element_count } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(number: u64, committed: Instant, element_count: usize) -> Revision {
        Revision {
            number,
            committed,
            objects: Vec::new(),
            object_count: 1,
            delta: Some(Delta::default()),
            element_count,
            took: Duration::ZERO,
        }
    }

    fn numbers(log: &Revisions) -> Vec<u64> {
        log.revisions.iter().map(|revision| revision.number).collect()
    }

    #[test]
    fn a_change_is_named_by_its_objects_or_by_their_number() {
        let names = ["Pod x/a added".to_owned(), "Pod x/b added".to_owned()];
        assert_eq!(named(&names, 2), "Pod x/a added, Pod x/b added");
        assert_eq!(named(&names[..1], 23), "Pod x/a added and 22 more");
        assert_eq!(
            [named(&[], 0), named(&[], 1), named(&[], 19)],
            ["the program", "1 object", "19 objects"]
        );
    }

    #[test]
    fn old_revisions_go_and_the_last_one_stays() {
        let (start, mut log) = (Instant::now(), Revisions::default());
        for number in 0..3 {
            log.push(revision(number, start + KEEP_FOR / 2 * number as u32, 1));
        }
        assert_eq!(numbers(&log), [0, 1, 2]);
        log.push(revision(3, start + KEEP_FOR * 2, 1));
        assert_eq!(numbers(&log), [2, 3]);
        log.push(revision(4, start + KEEP_FOR * 9, 1));
        assert_eq!((numbers(&log), log.elements), (vec![4], 1));
    }

    #[test]
    fn revisions_and_elements_are_bounded() {
        let (now, mut log) = (Instant::now(), Revisions::default());
        (0..2 * MAX_REVISIONS as u64).for_each(|number| log.push(revision(number, now, 0)));
        assert_eq!(log.revisions.len(), MAX_REVISIONS);
        log.push(revision(1, now, MAX_ELEMENTS));
        log.push(revision(2, now, 1));
        assert_eq!((numbers(&log), log.elements), (vec![2], 1));
        log.push(revision(3, now, MAX_ELEMENTS + 1));
        assert_eq!((numbers(&log), log.elements), (vec![2, 3], 1));
        assert!(log.revisions.back().is_some_and(|last| last.delta.is_none()));
    }

    #[test]
    fn revisions_since_a_moment_come_the_last_first() {
        let (start, log) = (Instant::now(), RevisionLog::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        (0..4).for_each(|number| log.push(revision(number, at(number), 1)));
        let since = |moment| log.since(moment).iter().map(|r| r.number).collect::<Vec<_>>();
        assert_eq!(since(at(2)), [3, 2]);
        assert_eq!(since(at(4)), [0; 0]);
        assert_eq!(since(start), [3, 2, 1, 0]);
    }

    #[test]
    fn elements_that_change_without_objects_belong_to_the_last_revision() {
        use palisade_compiler::program::delta::Edit;

        let mut log = Revisions::default();
        let mut tidied = Delta::default();
        let address = "10.0.0.1".parse().unwrap();
        tidied.v4.local_in.insert(address, Edit { before: None, after: Some(()) });
        log.extend_last(&tidied);
        assert!(log.revisions.is_empty());
        log.push(revision(1, Instant::now(), 0));
        log.extend_last(&tidied);
        let last = log.revisions.back().unwrap();
        assert_eq!((last.delta.as_ref(), log.elements), (Some(&tidied), 1));
    }
}
