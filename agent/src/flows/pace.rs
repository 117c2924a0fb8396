//! How much of the loop's time judging takes: how much is judged in a row, and for how long the loop is left alone then.

use std::time::Duration;

/// What is judged in a row at first, and at most.
const FIRST_BATCH: usize = 32;
const MAX_BATCH: usize = 256;
/// What a batch should take the loop: what else comes to it waits for so long.
const BATCH_TIME: Duration = Duration::from_millis(5);
/// How many times as long as the loop took for a batch it is left alone.
const RESTS: u32 = 9;
/// At most so long, also where the loop took long because it had no processor: what is new is seen within a tenth of a second.
const MAX_REST: Duration = Duration::from_millis(50);
/// Beyond so many that wait to be judged, the next batch follows at once: what else comes to the loop it takes before each batch.
const MANY_WAITING: usize = 256;

#[derive(Debug)]
pub(super) struct Pace {
    batch: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: FIRST_BATCH }
    }
}

impl Pace {
    /// How many should be judged in a row.
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// Notes how long the loop took for so many. Returns how long to leave it alone, while so many wait.
    pub(super) fn rest_after(&mut self, judged: usize, took: Duration, waiting: usize) -> Duration {
        let each = took.as_nanos() / (judged.max(1) as u128);
        let fits = usize::try_from(BATCH_TIME.as_nanos() / each.max(1)).unwrap_or(MAX_BATCH);
        self.batch = fits.clamp(1, self.batch * 2).min(MAX_BATCH);
        let rests = if waiting > MANY_WAITING { 0 } else { RESTS };
        (took * rests).min(MAX_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quickly_judged_is_judged_in_larger_batches_and_what_is_not_in_smaller_ones() {
        let mut pace = Pace::default();
        let micros = Duration::from_micros;
        assert_eq!(pace.rest_after(32, micros(100), 0), micros(900));
        assert_eq!(pace.batch(), 64);
        for _ in 0..9 {
            pace.rest_after(pace.batch(), micros(100), 0);
        }
        assert_eq!(pace.batch(), MAX_BATCH);
        pace.rest_after(MAX_BATCH, Duration::from_millis(51), 0);
        assert_eq!(pace.batch(), 25);
        pace.rest_after(25, Duration::from_secs(60), 0);
        assert_eq!(pace.batch(), 1);
        pace.rest_after(1, Duration::ZERO, 0);
        assert_eq!(pace.batch(), 2);
    }

    #[test]
    fn the_loop_is_left_alone_for_longer_than_it_took_unless_many_wait_and_never_for_long() {
        let mut pace = Pace::default();
        let took = Duration::from_millis(2);
        assert_eq!(pace.rest_after(32, took, MANY_WAITING), 9 * took);
        assert_eq!(pace.rest_after(32, took, MANY_WAITING + 1), Duration::ZERO);
        assert_eq!(pace.rest_after(32, Duration::from_secs(1), 0), MAX_REST);
    }
}
