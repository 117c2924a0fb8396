//! Others' changes of our tables: noticed by events, and put right at once, but not without bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use palisade_dataplane::netlink::TableWatch;

use crate::backoff::Backoff;
use crate::metrics::{EventSource, Metrics};

/// How long to wait after a change was put right until the next one is: at first, and at most. Somebody who keeps changing the
/// tables must not keep the agent busy.
const PACE_FIRST: Duration = Duration::from_millis(100);
const PACE_MOST: Duration = Duration::from_secs(10);
/// After so many changes in a row, it is an alarm.
const ALARM_AFTER: u32 = 5;
/// How long nobody must have changed anything for a row to end.
const ROW_ENDS_AFTER: Duration = Duration::from_secs(30);
/// How long events gather before the loop is woken: what one command does comes in several.
const GATHER_FOR: Duration = Duration::from_millis(2);
/// How long to wait before the events are listened to again after a failure.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Hears from the kernel that somebody else changed our tables, and paces what is done about it.
#[derive(Debug)]
pub(super) struct Healing {
    changed: Arc<AtomicBool>,
    own_port: Arc<AtomicU32>,
    pace: Backoff,
    last: Option<Instant>,
    in_a_row: u32,
}

impl Healing {
    /// Listens in the network namespace of this thread, on a thread of its own that lasts as long as the process. Where that fails,
    /// changes are found by the comparison of every minute.
    pub(super) fn start(own_port: u32, wake: impl Fn() + Send + 'static, metrics: Metrics) -> Self {
        let healing = Self {
            changed: Arc::default(),
            own_port: Arc::new(AtomicU32::new(own_port)),
            pace: Backoff::new(PACE_FIRST, PACE_MOST),
            last: None,
            in_a_row: 0,
        };
        let (changed, port) = (Arc::clone(&healing.changed), Arc::clone(&healing.own_port));
        let listen = move || listen(&changed, &port, &wake, &metrics);
        if let Err(error) = thread::Builder::new().name("tables".into()).spawn(listen) {
            tracing::warn!(%error, "changes of the tables by others are noticed late");
        }
        healing
    }

    /// The netlink port by which the agent itself changes the tables.
    pub(super) fn set_own_port(&self, port: u32) {
        self.own_port.store(port, Ordering::Relaxed);
    }

    /// When the tables must be compared, if somebody changed them since the last call.
    pub(super) fn take_changed(&mut self, now: Instant) -> Option<Instant> {
        let is_changed = self.changed.swap(false, Ordering::Acquire);
        is_changed.then(|| self.pace.retry_at().map_or(now, |at| at.max(now)))
    }

    /// The tables were other than they should be, and are put right.
    pub(super) fn healed(&mut self, now: Instant) {
        if self.last.is_none_or(|last| now.duration_since(last) > ROW_ENDS_AFTER) {
            self.in_a_row = 0;
            self.pace.succeeded();
        }
        self.last = Some(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.pace.failed(now);
        if self.in_a_row == ALARM_AFTER {
            tracing::error!(
                times = self.in_a_row,
                "somebody keeps changing Palisade's tables: they are put right less and less often, at least every {} s; find \
                 who does it (nft monitor), or let the agent own its tables where the kernel can (Linux 6.9)",
                PACE_MOST.as_secs()
            );
        }
    }
}

fn listen(changed: &AtomicBool, own_port: &AtomicU32, wake: &impl Fn(), metrics: &Metrics) {
    loop {
        let port = own_port.load(Ordering::Relaxed);
        let result = TableWatch::open(port).and_then(|mut watch| {
            while own_port.load(Ordering::Relaxed) == port {
                if watch.wait()? {
                    metrics.lost_events(EventSource::Nftables);
                }
                thread::sleep(GATHER_FOR);
                changed.store(true, Ordering::Release);
                wake();
            }
            Ok(())
        });
        if let Err(error) = result {
            tracing::warn!(%error, "changes of the tables by others are noticed late");
            // What happened meanwhile was not heard.
            changed.store(true, Ordering::Release);
            thread::sleep(REOPEN_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healing() -> Healing {
        Healing {
            changed: Arc::default(),
            own_port: Arc::default(),
            pace: Backoff::new(PACE_FIRST, PACE_MOST),
            last: None,
            in_a_row: 0,
        }
    }

    #[test]
    fn the_first_change_is_put_right_at_once_and_a_storm_ever_more_slowly() {
        let (mut healing, mut now) = (healing(), Instant::now());
        assert_eq!(healing.take_changed(now), None);
        let mut waits = Vec::new();
        for _ in 0..10 {
            healing.changed.store(true, Ordering::Release);
            let at = healing.take_changed(now).unwrap();
            waits.push((at - now).as_millis());
            now = at;
            healing.healed(now);
        }
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        now += ROW_ENDS_AFTER + PACE_MOST;
        healing.changed.store(true, Ordering::Release);
        assert_eq!(healing.take_changed(now), Some(now));
    }
}
