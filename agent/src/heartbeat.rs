//! Whether the loop still turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// By when the loop will next give a sign of life; shared by the loop and by those who look.
///
/// The loop renews it at every turn: before it waits, with the moment until which it waits at most; before it works, with
/// the moment at which it begins.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    origin: Instant,
    /// In milliseconds since `origin`.
    due: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Heartbeat {
    /// The first sign of life is due at that moment; there is none that was due before.
    pub fn since(origin: Instant) -> Self {
        Self { origin, due: Arc::default() }
    }

    /// The next sign of life comes at that moment, or later by as long as the work takes that begins then.
    pub fn expect_at(&self, due: Instant) {
        let millis = due.saturating_duration_since(self.origin).as_millis();
        self.due.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long a sign of life has been due.
    pub fn overdue(&self, now: Instant) -> Duration {
        let due = Duration::from_millis(self.due.load(Ordering::Relaxed));
        now.saturating_duration_since(self.origin).saturating_sub(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_delay_and_work_counts_from_its_beginning() {
        let heartbeat = Heartbeat::default();
        let at = |seconds| heartbeat.origin + Duration::from_secs(seconds);
        assert_eq!(heartbeat.overdue(at(7)), Duration::from_secs(7), "it never turned");
        heartbeat.expect_at(at(60));
        assert_eq!(heartbeat.overdue(at(59)), Duration::ZERO);
        heartbeat.expect_at(at(59));
        assert_eq!(heartbeat.overdue(at(64)), Duration::from_secs(5));
    }
}
