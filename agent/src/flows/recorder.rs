//! Has the loop judge what was seen, and keeps it: on a thread of its own, which may wait for the loop.

use std::collections::HashSet;
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
use super::store::FlowStore;
use crate::inbox::{Ended, Sender};
use crate::published_status::PublishedStatus;

/// Packets that wait to be judged at most; later ones are counted as lost.
const MAX_WAITING: usize = 1024;
/// Packets that the loop judges in a row.
pub(super) const MAX_BATCH: usize = 32;
/// How many times as long as the loop took for a batch it is left alone.
const PAUSES: u32 = 9;
/// Beyond so many that wait to be judged, the loop is left alone for as long as it took only.
const MANY_WAITING: usize = 1024;
const MAX_PAUSE: Duration = Duration::from_secs(1);
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

/// How long the loop is left alone after a batch that took so long, while so many wait: half of the time where they are many.
pub(super) fn rest_after(took: Duration, waiting: usize) -> Duration {
    let pauses = if waiting > MANY_WAITING { 1 } else { PAUSES };
    (took * pauses).min(MAX_PAUSE)
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
    let (queue, observations) = sync_channel(MAX_WAITING);
    let store = status.flows.clone();
    let counters = Counters::begin();
    let (waiting, count_at) = (Vec::new(), Instant::now());
    let asker = Asker { inbox, turn: Arc::default() };
    allowed::spawn(asker.clone(), status.clone(), event_buffer)?;
    let recorder = Recorder { asker, status, observations, waiting, counters, count_at };
    thread::Builder::new().name("denied".into()).spawn(move || listen(&store, &queue))?;
    thread::Builder::new().name("flows".into()).spawn(move || recorder.run())?;
    Ok(())
}

struct Recorder {
    asker: Asker,
    status: PublishedStatus,
    observations: Receiver<Observation>,
    /// Seen and not judged, in order.
    waiting: Vec<Observation>,
    counters: Counters,
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
                    self.waiting.push(observation);
                    self.waiting.extend(self.observations.try_iter().take(MAX_WAITING));
                    self.count_at = self.count_at.min(Instant::now() + COUNT_SOON);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while !self.waiting.is_empty() {
                if self.judge() == Err(Ended) {
                    return;
                }
            }
            next = self.keep_up();
        }
    }

    /// Merges repeats, and has a batch of the others judged.
    fn judge(&mut self) -> Result<(), Ended> {
        let revision = self.status.look(|at| at.status.enforced_revision);
        let store = self.status.flows.clone();
        let metrics = &self.status.metrics;
        self.waiting.retain(|observation| {
            let is_repeat = store.repeat(observation, revision);
            if is_repeat {
                metrics.recorded(FlowVerdict::Deny, observation.at.elapsed());
            }
            !is_repeat
        });
        let batch = self.next_batch();
        if batch.is_empty() {
            return Ok(());
        }
        match self.ask(batch.clone())? {
            Judged::NotYet => {
                // Those that wait stay in order.
                self.waiting.splice(..0, batch);
                thread::sleep(ASK_AGAIN_AFTER);
            }
            Judged::Each { judgements, took } => {
                for (observation, judged) in batch.iter().zip(judgements) {
                    store.put(observation, judged);
                    self.status.metrics.recorded(FlowVerdict::Deny, observation.at.elapsed());
                }
                // What comes meanwhile waits in the queue.
                thread::sleep(rest_after(took, self.waiting.len()));
            }
        }
        Ok(())
    }

    /// Takes the first packets that wait, one of each flow.
    fn next_batch(&mut self) -> Vec<Observation> {
        let mut keys = HashSet::new();
        let mut batch = Vec::new();
        self.waiting.retain(|observation| {
            let is_taken = batch.len() < MAX_BATCH && keys.insert(observation.key());
            if is_taken {
                batch.push(*observation);
            }
            !is_taken
        });
        batch
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
        due.map_or(self.count_at, |due| due.min(self.count_at))
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
