//! When to try again what failed.

use std::time::{Duration, Instant};

/// Each failure in a row doubles the wait, up to a bound.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0, retry_at: None }
    }

    /// When to try again; `None` if nothing failed since the last success.
    pub(crate) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.retry_at = Some(now + self.first.saturating_mul(doubled).min(self.most));
        self.failures = self.failures.saturating_add(1);
    }

    /// Tries at once what did not fail but must be done again.
    pub(crate) fn retry_now(&mut self, now: Instant) {
        self.retry_at = Some(now);
    }

    pub(crate) fn succeeded(&mut self) {
        (self.failures, self.retry_at) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_begin_anew_after_a_success() {
        let seconds = Duration::from_secs;
        let (now, mut backoff) = (Instant::now(), Backoff::new(seconds(1), seconds(10)));
        let wait = |backoff: &mut Backoff| {
            backoff.failed(now);
            backoff.retry_at().map(|at| (at - now).as_secs())
        };
        let waits: Vec<_> = (0..6).map(|_| wait(&mut backoff)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10].map(Some));
        (0..100).for_each(|_| assert_eq!(wait(&mut backoff), Some(10)));
        backoff.succeeded();
        assert_eq!(backoff.retry_at(), None);
        assert_eq!(wait(&mut backoff), Some(1));
    }
}
