//! Progress of work on a ruleset: its times, and reports once it takes longer than a second and then at intervals.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use palisade_dataplane::ruleset::{Actual, Features, Ruleset, RulesetError, TableName};
use palisade_dataplane::transaction::{Op, Transaction};

/// Work shorter than this shows no progress.
pub const QUIET: Duration = Duration::from_secs(1);
/// How often the progress of long work is logged.
pub const LOG_EVERY: Duration = Duration::from_secs(5);

/// Says when to report progress.
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    reported: Option<Instant>,
}

impl Pace {
    pub const fn new(every: Duration) -> Self {
        Self { every, reported: None }
    }

    /// Whether to report progress now, of work that began at `since`.
    pub fn is_due(&mut self, since: Instant, now: Instant) -> bool {
        let next = self.reported.map_or(since, |reported| reported + self.every);
        let due = now >= next.max(since + QUIET);
        if due {
            self.reported = Some(now);
        }
        due
    }

    pub const fn has_reported(&self) -> bool {
        self.reported.is_some()
    }
}

/// What a ruleset did.
#[derive(Debug, Clone, Copy)]
pub enum Done {
    /// A transaction was committed. So many elements were since the work began.
    Commit { began: Instant, elements: u64, took: Duration },
    /// A grace period passed.
    Grace { took: Duration },
}

/// Called after each commit and grace period.
pub type Observer = Box<dyn FnMut(Done)>;

/// A ruleset whose work is observed.
pub struct ObservedRuleset<R> {
    ruleset: R,
    observer: Observer,
    since: Cell<Instant>,
    elements: Cell<u64>,
    kernel_time: Cell<Duration>,
}

impl<R> ObservedRuleset<R> {
    pub fn new(ruleset: R, observer: impl FnMut(Done) + 'static) -> Self {
        let (since, elements) = (Cell::new(Instant::now()), Cell::new(0));
        let kernel_time = Cell::default();
        Self { ruleset, observer: Box::new(observer), since, elements, kernel_time }
    }

    /// What is done from now on is other work.
    pub fn begin(&self) {
        self.since.set(Instant::now());
        self.elements.set(0);
        self.kernel_time.set(Duration::ZERO);
    }

    /// The time since the work began, and how much of it was spent waiting for the kernel.
    pub fn times(&self) -> (Duration, Duration) {
        (self.since.get().elapsed(), self.kernel_time.get())
    }

    fn timed<T>(&mut self, work: impl FnOnce(&mut R) -> T) -> (T, Duration) {
        let began = Instant::now();
        let result = work(&mut self.ruleset);
        let took = began.elapsed();
        self.kernel_time.set(self.kernel_time.get() + took);
        (result, took)
    }
}

impl<R: fmt::Debug> fmt::Debug for ObservedRuleset<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObservedRuleset").field(&self.ruleset).finish()
    }
}

impl<R: Ruleset> Ruleset for ObservedRuleset<R> {
    fn features(&self) -> Features {
        self.ruleset.features()
    }

    fn port(&self) -> u32 {
        self.ruleset.port()
    }

    fn reopen(&mut self) -> Result<(), RulesetError> {
        self.ruleset.reopen()
    }

    fn read(&mut self, table: TableName) -> Result<Actual, RulesetError> {
        self.timed(|ruleset| ruleset.read(table)).0
    }

    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        let (result, took) = self.timed(|ruleset| ruleset.commit(table, transaction));
        result?;
        let ops = transaction.ops.iter();
        let elements = ops.filter(|op| matches!(op.op, Op::Add(..) | Op::Remove(..))).count();
        self.elements.set(self.elements.get() + elements as u64);
        let (began, elements) = (self.since.get(), self.elements.get());
        (self.observer)(Done::Commit { began, elements, took });
        Ok(())
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        let (result, took) = self.timed(R::grace);
        (self.observer)(Done::Grace { took });
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_shows_no_progress_and_long_work_does_at_intervals() {
        let mut pace = Pace::new(Duration::from_secs(5));
        let start = Instant::now();
        let mut due = |since: u64, now: u64| {
            let at = |tenths| start + Duration::from_millis(100 * tenths);
            pace.is_due(at(since), at(now))
        };
        assert!(!due(0, 0) && !due(0, 9));
        assert!(due(0, 10));
        assert!(!due(0, 11) && !due(0, 59));
        assert!(due(0, 60));
        // Other work is new work, but does not make the log faster.
        assert!(!due(70, 79) && !due(70, 109));
        assert!(due(70, 110));
    }
}
