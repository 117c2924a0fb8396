//! Has the loop judge what was seen, and keeps it: on a thread of its own, which may wait for the loop.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use palisade_dataplane::netlink::DenyCounters;

use super::allowed;
use super::flow::{FlowVerdict, NamedJudgement};
use super::listener::listen;
use super::observation::{Batch, Judged, Observation};
use super::pace::Pace;
use super::store::FlowStore;
use super::waiting::Waiting;
use crate::inbox::{Ended, Sender};
use crate::published_status::PublishedStatus;

/// Packets that wait for the recorder at most; later ones are counted as lost.
const MAX_QUEUED: usize = 1024;
/// How long to wait while nothing is enforced that packets could be judged by.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often the kernel's counters of denied packets are read while packets come, and otherwise.
const COUNT_SOON: Duration = Duration::from_secs(1);
const COUNT_LATE: Duration = Duration::from_secs(60);

/// Asks the loop, which has one batch at a time.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    inbox: Sender,
    turn: Arc<Mutex<()>>,
}

impl Asker {
    /// Has the loop judge the batch, whose answer comes by `judged`.
    pub(super) fn ask<T>(
        &self,
        batch: Batch,
        judged: &Receiver<Judged<T>>,
    ) -> Result<Judged<T>, Ended> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.inbox.judge(batch)?;
        judged.recv().map_err(|_dropped| Ended)
    }
}

/// Begins to record denied and allowed connections, in the network namespace of the calling thread; `event_buffer` is the room
/// for events of the latter, in bytes. The threads last as long as the process; without them all else goes on.
pub fn spawn(inbox: Sender, status: PublishedStatus, event_buffer: usize) {
    let spawned = try_spawn(inbox, status, event_buffer);
    if let Err(error) = spawned {
        tracing::warn!(%error, "connections are not shown by palisade observe");
    }
}

fn try_spawn(inbox: Sender, status: PublishedStatus, event_buffer: usize) -> io::Result<()> {
    let (queue, observations) = sync_channel(MAX_QUEUED);
    let store = status.flows.clone();
    let counters = Counters::begin();
    let (waiting, now) = (Waiting::default(), Instant::now());
    let asker = Asker { inbox, turn: Arc::default() };
    allowed::spawn(asker.clone(), status.clone(), event_buffer)?;
    let pace = Pace::default();
    let recorder = Recorder {
        asker,
        status,
        observations,
        waiting,
        pace,
        counters,
        ask_at: now,
        count_at: now,
    };
    thread::Builder::new().name("denied".into()).spawn(move || listen(&store, &queue))?;
    thread::Builder::new().name("flows".into()).spawn(move || recorder.run())?;
    Ok(())
}

struct Recorder {
    asker: Asker,
    status: PublishedStatus,
    observations: Receiver<Observation>,
    waiting: Waiting,
    pace: Pace,
    counters: Counters,
    /// When the loop is asked next, if anything waits.
    ask_at: Instant,
    /// When the kernel's counters are read next.
    count_at: Instant,
}

impl Recorder {
    /// Runs until the loop has ended.
    fn run(mut self) {
        let mut next = Instant::now();
        loop {
            match self.observations.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(observation) => {
                    self.take(observation);
                    // What came with it is judged with it.
                    for _ in 0..MAX_QUEUED {
                        let Ok(observation) = self.observations.try_recv() else { break };
                        self.take(observation);
                    }
                    self.count_at = self.count_at.min(Instant::now() + COUNT_SOON);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.ask_at <= Instant::now() && self.judge() == Err(Ended) {
                return;
            }
            next = self.keep_up();
        }
    }

    /// Merges a repeat at once, and has others wait.
    fn take(&mut self, observation: Observation) {
        let store = &self.status.flows;
        if self.repeats(&observation) {
            return;
        }
        let is_new = !store.knows(&observation.key());
        if !self.waiting.push(observation, is_new) {
            store.count(|counts| counts.lost.queue += 1);
        }
    }

    /// Whether it is a repeat of what was judged by what is in force, and so noted.
    fn repeats(&self, observation: &Observation) -> bool {
        let revision = self.status.look(|at| at.status.enforced_revision);
        let is_repeat = self.status.flows.repeat(observation, revision);
        if is_repeat {
            self.status.metrics.recorded(FlowVerdict::Deny, observation.at.elapsed());
        }
        is_repeat
    }

    /// Has a batch of those that wait judged.
    fn judge(&mut self) -> Result<(), Ended> {
        // What was judged since then has repeats among those that wait.
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|observation| !self.repeats(observation));
        let batch = waiting.next_batch(self.pace.batch());
        self.waiting = waiting;
        if batch.is_empty() {
            return Ok(());
        }
        match self.ask(batch.clone())? {
            Judged::NotYet => {
                self.waiting.put_back(batch);
                self.ask_at = Instant::now() + ASK_AGAIN_AFTER;
            }
            Judged::Each { judgements, took } => {
                for (observation, judged) in batch.iter().zip(judgements) {
                    self.status.flows.put(observation, judged);
                    self.status.metrics.recorded(FlowVerdict::Deny, observation.at.elapsed());
                }
                let rest = self.pace.rest_after(batch.len(), took, self.waiting.len());
                self.ask_at = Instant::now() + rest;
            }
        }
        Ok(())
    }

    fn ask(&self, observations: Vec<Observation>) -> Result<Judged<NamedJudgement>, Ended> {
        let (answer, judged) = channel();
        self.asker.ask(Batch::Denied { observations, answer }, &judged)
    }

    /// Gives readers what is due and counts what was not logged; returns when to do so again.
    fn keep_up(&mut self) -> Instant {
        let now = Instant::now();
        let due = self.status.flows.emit_due(now);
        if self.count_at <= now {
            let is_settled = self.counters.count(&self.status.flows);
            self.count_at = now + if is_settled { COUNT_LATE } else { COUNT_SOON };
        }
        let ask_at = (!self.waiting.is_empty()).then_some(self.ask_at);
        due.into_iter().chain(ask_at).fold(self.count_at, Instant::min)
    }
}

/// The kernel's counters of denied packets, which start from zero whenever the rules are loaded.
#[derive(Debug, Default)]
struct Counters {
    /// As they were read last, by direction.
    last: [u64; 2],
    /// Counted since the beginning.
    denied: u64,
}

impl Counters {
    fn begin() -> Self {
        Self { last: read_counters().unwrap_or_default(), denied: 0 }
    }

    /// Brings the count of packets that were not logged up to date; returns whether it is final as long as nothing is denied.
    ///
    /// What was counted before may still be on its way to the reader, so the counters of the last time are compared with what
    /// was seen by now.
    fn count(&mut self, store: &FlowStore) -> bool {
        let before = self.denied;
        if let Some(now) = read_counters() {
            self.take(now);
        }
        let denied = self.denied;
        store.count(|counts| {
            counts.denied = before;
            counts.lost.not_logged = before.saturating_sub(counts.seen + counts.lost.socket);
        });
        denied == before
    }

    fn take(&mut self, now: [u64; 2]) {
        for (last, now) in self.last.iter_mut().zip(now) {
            self.denied += now.checked_sub(*last).unwrap_or(now);
            *last = now;
        }
    }
}

fn read_counters() -> Option<[u64; 2]> {
    let counters = DenyCounters::read()
        .inspect_err(|error| tracing::debug!(%error, "denied packets cannot be counted"));
    counters.ok().map(|counters| [counters.ingress.packets, counters.egress.packets])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_begin_anew_are_added_to_what_was_counted() {
        let mut counters = Counters { last: [10, 0], denied: 0 };
        counters.take([15, 1]);
        assert_eq!(counters.denied, 6);
        counters.take([2, 1]);
        assert_eq!((counters.denied, counters.last), (8, [2, 1]));
    }
}
