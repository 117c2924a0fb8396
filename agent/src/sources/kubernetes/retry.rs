//! How long to wait before the next request, so that a fleet of agents neither hammers a server that fails nor comes back to it
//! at one moment.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// How long to wait after a failure: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// A watch that the server ends sooner, without an event, has failed.
const SHORT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self { backoff: Backoff::new(RETRY_FIRST, RETRY_MOST) }
    }
}

impl Retry {
    pub(super) fn succeeded(&mut self) {
        self.backoff.succeeded();
    }

    /// The pause after a failure: between a half and the whole of what the failures in a row ask for.
    pub(super) fn after_failure(&mut self) -> Duration {
        let now = Instant::now();
        self.backoff.failed(now);
        let wait = self.backoff.retry_at().map_or(RETRY_FIRST, |at| at - now);
        wait / 2 + jitter(wait / 2)
    }

    /// The pause after a watch that the server ended, as it does from time to time, after so long without anything in it.
    pub(super) fn after_silent_end(&mut self, lasted: Duration) -> Duration {
        if lasted < SHORT { self.after_failure() } else { Duration::ZERO }
    }
}

/// A random part of a time.
pub(super) fn jitter(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_are_never_without_chance() {
        let mut retry = Retry::default();
        let pauses: Vec<Duration> = (0..20).map(|_| retry.after_failure()).collect();
        let mut most = RETRY_FIRST;
        for pause in &pauses {
            assert!((most / 2..=most).contains(pause), "{pauses:?}");
            most = (most * 2).min(RETRY_MOST);
        }
        retry.succeeded();
        assert!(retry.after_silent_end(SHORT).is_zero());
        assert!(retry.after_silent_end(Duration::ZERO) <= RETRY_FIRST);
        assert!(retry.after_silent_end(Duration::ZERO) > RETRY_FIRST / 2);
    }
}
