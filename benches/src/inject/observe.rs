//! Sends first packets one by one, and waits for the outcome of each: which verdict holds when, and how long a packet
//! takes.

use std::sync::{OnceLock, mpsc};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use palisade_lab::pin_to_current_cpu;

use super::frame::{self, Frame, Step};
use super::{Flow, InjectError, MAX_FLOWS, Router};

/// The outcome of a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    pub sent: Instant,
    /// The time until it had arrived or was dropped. It is an upper bound, because it includes a marker that is sent after
    /// the packet as proof.
    pub took: Duration,
    pub arrived: bool,
}

/// What packets showed while some work was done.
#[derive(Debug, Clone)]
pub struct Observed<T> {
    /// What the work returned.
    pub value: T,
    pub began: Instant,
    pub ended: Instant,
    /// In the order of sending. The first ones were sent before the work began, and at least the last one after its end.
    pub observations: Vec<Observation>,
}

impl<T> Observed<T> {
    /// The time from the beginning of the work until the first packet arrived (or was dropped, if `arrives` is false) after
    /// which all packets did. It is an upper bound. Zero if that was so before the work began, `None` if it was not so at
    /// the end.
    pub fn enforced(&self, arrives: bool) -> Option<Duration> {
        let last_wrong =
            self.observations.iter().rposition(|observation| observation.arrived != arrives);
        let Some(last_wrong) = last_wrong else { return Some(Duration::ZERO) };
        let first_right = self.observations.get(last_wrong + 1)?;
        let through = first_right.sent + first_right.took;
        Some(through.saturating_duration_since(self.began))
    }
}

/// When to stop sending packets after the work has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After this time.
    Passed(Duration),
    /// When all packets had the outcome `arrives` during the time `without_break`, but at the latest after `patience`. The
    /// pauses between the packets leave the CPU to the process that does the work, so the result is accurate to a
    /// millisecond.
    Holds { arrives: bool, without_break: Duration, patience: Duration },
}

impl Until {
    /// `since` is the time at which the first of the latest packets with equal outcomes was sent. `arrived` is that
    /// outcome.
    fn is_over(self, ended: Instant, arrived: bool, since: Instant) -> bool {
        match self {
            Self::Passed(after) => ended.elapsed() >= after,
            Self::Holds { arrives, without_break, patience } => {
                let holds = arrived == arrives && since.elapsed() >= without_break;
                holds || ended.elapsed() >= patience
            }
        }
    }
}

/// The pause between packets, where they are not sent directly one after the other.
const SEND_INTERVAL: Duration = Duration::from_millis(1);
/// The number of packets before the work begins. They warm up the caches.
const WARM_UP: usize = 64;
/// The greatest number of packets, enough for some minutes.
const MAX_OBSERVATIONS: usize = 20_000_000;

impl Router {
    /// Sends the first packet of each flow. Returns whether it arrived, in the order given. Uses the packet socket,
    /// whatever the method. A packet that did not arrive is proved to have been dropped.
    ///
    /// # Errors
    /// `SinkGone`; `Flow`.
    pub fn probe(&mut self, flows: &[Flow]) -> Result<Vec<bool>, InjectError> {
        if flows.len() > MAX_FLOWS {
            return Err(InjectError::FlowCount(flows.len()));
        }
        let router: &Self = self;
        router.sink.forget_connections()?;
        let frames = frame::of_flows(flows, Step::First)?;
        let probe = || {
            pin_to_current_cpu()?;
            let mut count = router.sink.arrived()?;
            frames
                .iter()
                .map(|frame| Ok(router.send_and_observe(frame, &mut count)?.arrived))
                .collect()
        };
        router.namespace.run(probe)?
    }

    /// Runs `work` on a thread in the router's namespace. Meanwhile, first packets of the flow are sent one after the
    /// other, from before the work begins until some time after its end. Uses the packet socket, whatever the method.
    ///
    /// # Errors
    /// As `probe`.
    /// As `probe`.
    pub fn observe<T: Send>(
        &mut self,
        flow: &Flow,
        until: Until,
        work: impl FnOnce() -> T + Send,
    ) -> Result<Observed<T>, InjectError> {
        let router: &Self = self;
        router.sink.forget_connections()?;
        let frame = frame::of_flows(&[*flow], Step::First)?.into_iter().next().unwrap_or_default();
        let end = OnceLock::new();
        let (warm, warmed) = mpsc::channel();
        std::thread::scope(|scope| {
            let end = &end;
            let sender_thread =
                scope.spawn(move || router.observe_until(&frame, until, end, &warm));
            // An error means that the other thread has ended. Joining it gives the reason.
            let _ = warmed.recv();
            let timed = router.namespace.run(|| {
                let began = Instant::now();
                let value = work();
                (value, began, Instant::now())
            });
            end.get_or_init(Instant::now);
            let observations = join(sender_thread)?;
            let (value, began, ended) = timed?;
            Ok(Observed { value, began, ended, observations })
        })
    }

    fn observe_until(
        &self,
        frame: &Frame,
        until: Until,
        end: &OnceLock<Instant>,
        warm: &mpsc::Sender<()>,
    ) -> Result<Vec<Observation>, InjectError> {
        pin_to_current_cpu()?;
        let mut count = self.sink.arrived()?;
        let mut observations: Vec<Observation> = Vec::with_capacity(1 << 16);
        let mut first_of_equal: Option<Observation> = None;
        while observations.len() < MAX_OBSERVATIONS {
            let observation = self.send_and_observe(frame, &mut count)?;
            let first = first_of_equal
                .filter(|first| first.arrived == observation.arrived)
                .unwrap_or(observation);
            first_of_equal = Some(first);
            observations.push(observation);
            if observations.len() == WARM_UP {
                let _ = warm.send(());
            }
            if end.get().is_some_and(|end| until.is_over(*end, first.arrived, first.sent)) {
                break;
            }
            if matches!(until, Until::Holds { .. }) {
                std::thread::sleep(SEND_INTERVAL);
            }
        }
        observations.push(self.send_and_observe(frame, &mut count)?);
        Ok(observations)
    }

    /// Sends a frame and waits for its outcome. `count` is the number of arrivals so far.
    fn send_and_observe(&self, frame: &Frame, count: &mut u64) -> Result<Observation, InjectError> {
        let sent = Instant::now();
        self.socket.send_and_wait(frame)?;
        let took = sent.elapsed();
        let now = self.sink.arrived()?;
        let before = std::mem::replace(count, now);
        Ok(Observation { sent, took, arrived: now > before })
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforced_is_when_the_last_wrong_verdict_was_behind() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let observed = |verdicts: &[bool]| {
            let observation = |(n, &arrived): (usize, &bool)| Observation {
                sent: at(n as u64 * 10),
                took: Duration::from_millis(1),
                arrived,
            };
            let observations = verdicts.iter().enumerate().map(observation).collect();
            Observed { value: (), began: at(15), ended: at(25), observations }
        };
        let ms = Duration::from_millis;
        // The packets were sent at 0, 10, 20, 30 and 40 ms, and the work began at 15 ms.
        assert_eq!(observed(&[false, false, false, true, true]).enforced(true), Some(ms(16)));
        assert_eq!(observed(&[false, false, true, false, true]).enforced(true), Some(ms(26)));
        assert_eq!(observed(&[true, true, false, false, false]).enforced(false), Some(ms(6)));
        assert_eq!(observed(&[true, true, true, true, true]).enforced(true), Some(ms(0)));
        assert_eq!(observed(&[false, true, true, true, true]).enforced(true), Some(ms(0)));
        assert_eq!(observed(&[true, true, true, true, false]).enforced(true), None);
    }
}
