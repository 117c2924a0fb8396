//! The flows seen lately, and those who read them: one writer, many readers.
//!
//! A reader has a queue of its own, which holds only flows that its filter takes. The writer never waits: what finds no room in
//! a queue is counted, and the reader is told how much it missed.

pub(super) mod allowed;
mod flow_log;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade_compiler::model::Protocol;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::counts::FlowCounts;
use super::filter::Filter;
use super::flow::{Flow, FlowVerdict, NamedJudgement, Traffic};
use super::hits::HitCounters;
use super::observation::{FlowKey, Observation};
use super::ring::Ring;
use crate::explanation::family_name;

pub use flow_log::MAX_LOG_QUEUED;

/// Flows that are kept of denied packets, and so many of allowed connections.
pub const MAX_FLOWS: usize = 4096;
/// Flows that are kept whose verdict no revision in force gave: others do not make them go.
pub const MAX_DIVERGENCES: usize = 256;
/// Readers at a time.
pub const MAX_READERS: usize = 16;
/// Flows that wait for a reader at most.
pub const MAX_QUEUED: usize = 256;
/// How often readers are given a flow that repeats; the first time at once.
const REPEAT_EVERY: Duration = Duration::from_secs(1);

/// Shared by the recorder, which writes it, and by its readers.
#[derive(Debug, Clone, Default)]
pub struct FlowStore {
    state: Arc<Mutex<State>>,
    pub hits: HitCounters,
}

#[derive(Debug)]
struct State {
    flows: Ring,
    allowed: Ring,
    divergences: Ring,
    next_id: u64,
    /// Flows that were seen again and not given to readers since, with the moment at which they will be.
    due: VecDeque<(Instant, FlowKey)>,
    /// The keys in `due`.
    awaited: HashSet<FlowKey>,
    readers: Vec<Reader>,
    /// The flow log, which is no reader among them.
    log: Option<Reader>,
    counts: FlowCounts,
}

impl Default for State {
    fn default() -> Self {
        Self {
            flows: Ring::new(MAX_FLOWS),
            allowed: Ring::new(MAX_FLOWS),
            divergences: Ring::new(MAX_DIVERGENCES),
            next_id: 1,
            due: VecDeque::new(),
            awaited: HashSet::new(),
            readers: Vec::new(),
            log: None,
            counts: FlowCounts::default(),
        }
    }
}

#[derive(Debug)]
struct Reader {
    filter: Filter,
    queue: Sender<Arc<Flow>>,
    missed: Arc<AtomicU64>,
}

/// What a reader gets.
#[derive(Debug)]
pub struct Subscription {
    /// Flows seen before, the one seen last at the end.
    pub latest: Vec<Arc<Flow>>,
    queue: Receiver<Arc<Flow>>,
    missed: Arc<AtomicU64>,
}

impl Subscription {
    /// Waits for the next flow; `None` if there will be none.
    pub async fn next(&mut self) -> Option<Arc<Flow>> {
        self.queue.recv().await
    }

    /// As `next`, for a thread of its own.
    pub fn next_blocking(&mut self) -> Option<Arc<Flow>> {
        self.queue.blocking_recv()
    }

    /// How many flows were left out since the last call, because the queue was full.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl FlowStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `last` flows that the filter takes, and the later ones; `None` where there are `MAX_READERS`.
    pub fn subscribe(&self, last: usize, filter: Filter) -> Option<Subscription> {
        let (sender, queue) = channel(MAX_QUEUED);
        let missed = Arc::new(AtomicU64::new(0));
        let mut state = self.state();
        state.readers.retain(|reader| !reader.queue.is_closed());
        if state.readers.len() >= MAX_READERS {
            return None;
        }
        let latest = state.latest(last, &filter);
        state.readers.push(Reader { filter, queue: sender, missed: Arc::clone(&missed) });
        Some(Subscription { latest, queue, missed })
    }

    /// The `last` flows that the filter takes, the one seen last at the end.
    pub fn latest(&self, last: usize, filter: &Filter) -> Vec<Arc<Flow>> {
        self.state().latest(last, filter)
    }

    pub fn counts(&self) -> FlowCounts {
        let state = self.state();
        let readers = state.readers.iter().filter(|reader| !reader.queue.is_closed()).count();
        let stored = state.flows.len() + state.divergences.len();
        let mut counts = FlowCounts { readers, stored, ..state.counts.clone() };
        counts.allowed.stored = state.allowed.len();
        if let (Some(log), Some(reader)) = (&mut counts.flow_log, &state.log) {
            log.waiting = reader.queue.max_capacity() - reader.queue.capacity();
        }
        counts
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut FlowCounts)) {
        change(&mut self.state().counts);
    }

    /// An Event about a denied connection was written, or left out.
    pub fn count_event(&self, is_written: bool) {
        self.count(|counts| match is_written {
            true => counts.events_written += 1,
            false => counts.events_left_out += 1,
        });
    }

    /// A reader was dropped, since it took nothing for long.
    pub fn dropped_reader(&self) {
        self.count(|counts| counts.lost.dropped_readers += 1);
    }

    /// Whether there is a flow of this kind, at whatever revision it was judged.
    pub(super) fn knows(&self, key: &FlowKey) -> bool {
        let state = self.state();
        [&state.flows, &state.divergences].into_iter().any(|ring| ring.get(key).is_some())
    }

    /// Notes a repeat of a flow that was judged at this revision; false if there is none.
    pub(super) fn repeat(&self, observation: &Observation, revision: u64) -> bool {
        let key = observation.key();
        let mut state = self.state();
        let is_known = |ring: &&mut Ring| {
            ring.get(&key).is_some_and(|flow| flow.judgement.revision == Some(revision))
        };
        let State { flows, divergences, .. } = &mut *state;
        let ring = [flows, divergences].into_iter().find(is_known);
        let is_repeat = ring.map(|ring| {
            ring.touch(&key, |flow| {
                seen_again(flow, observation);
                self.hits.count(flow, observation.time);
            });
        });
        if is_repeat.is_some() {
            state.emit_later(key, observation.at);
        }
        is_repeat.is_some()
    }

    /// Notes a flow that was judged anew. What repeats have in common it keeps from before.
    pub(super) fn put(&self, observation: &Observation, judged: NamedJudgement) {
        let key = observation.key();
        let mut state = self.state();
        let id = state.next_id;
        let State { flows, divergences, counts, .. } = &mut *state;
        let is_divergence = judged.judgement.divergence.is_some();
        let ring = if is_divergence { divergences } else { flows };
        let known = ring.get(&key).cloned();
        let mut flow = flow(observation, judged, id);
        if let Some(known) = &known {
            (flow.id, flow.count) = (known.id, known.count + 1);
            flow.first_seen.clone_from(&known.first_seen);
        }
        let is_new = known.is_none_or(|known| known.judgement != flow.judgement);
        self.hits.count(&flow, observation.time);
        counts.lost.forgotten += ring.insert(key, flow.clone());
        counts.divergences += u64::from(is_divergence && is_new);
        state.next_id += 1;
        if is_new {
            state.emit(&Arc::new(flow));
        } else {
            state.emit_later(key, observation.at);
        }
    }

    /// Gives readers the repeats that are due; returns when the next ones are.
    pub(super) fn emit_due(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        loop {
            let &(due, key) = state.due.front()?;
            if due > now {
                return Some(due);
            }
            state.due.pop_front();
            state.awaited.remove(&key);
            let found = [&state.flows, &state.allowed, &state.divergences]
                .map(|ring| ring.get(&key).cloned());
            let latest = found.into_iter().flatten().max_by(|a, b| a.last_seen.cmp(&b.last_seen));
            if let Some(flow) = latest {
                state.emit(&flow);
            }
        }
    }
}

impl State {
    fn latest(&self, last: usize, filter: &Filter) -> Vec<Arc<Flow>> {
        let of = |ring: &Ring| {
            let wanted = ring.latest().filter(|flow| filter.takes(flow));
            wanted.take(last).cloned().collect::<Vec<_>>()
        };
        let mut latest = [of(&self.flows), of(&self.allowed), of(&self.divergences)].concat();
        latest.sort_by(|a, b| b.last_seen.cmp(&a.last_seen));
        latest.truncate(last);
        latest.reverse();
        latest
    }

    /// Has a repeat given to readers after `REPEAT_EVERY`, together with those that come until then.
    fn emit_later(&mut self, key: FlowKey, now: Instant) {
        if self.awaited.insert(key) {
            self.due.push_back((now + REPEAT_EVERY, key));
        }
    }

    fn emit(&mut self, flow: &Arc<Flow>) {
        let Self { readers, log, counts, .. } = self;
        if let Some(reader) = log.as_ref().filter(|reader| reader.filter.takes(flow))
            && reader.queue.try_send(Arc::clone(flow)).is_err()
        {
            reader.missed.fetch_add(1, Ordering::Relaxed);
            counts.flow_log.iter_mut().for_each(|log| log.lost += 1);
        }
        readers.retain(|reader| {
            if !reader.filter.takes(flow) {
                return !reader.queue.is_closed();
            }
            match reader.queue.try_send(Arc::clone(flow)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    reader.missed.fetch_add(1, Ordering::Relaxed);
                    counts.lost.readers += 1;
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
    }
}

fn seen_again(flow: &mut Flow, observation: &Observation) {
    flow.count += 1;
    flow.last_seen = observation.time.to_string();
}

fn flow(observation: &Observation, judged: NamedJudgement, id: u64) -> Flow {
    let connection = observation.header.connection();
    let time = observation.time.to_string();
    Flow {
        id,
        verdict: FlowVerdict::Deny,
        direction: observation.direction.into(),
        first_seen: time.clone(),
        last_seen: time,
        count: 1,
        family: family_name(&connection).to_owned(),
        from: judged.from,
        to: judged.to,
        protocol: connection.protocol,
        port: Protocol::from_number(connection.protocol).map(|_| connection.port),
        service: None,
        inferred_services: judged.services.inferred,
        traffic: Traffic::default(),
        judgement: judged.judgement,
    }
}

#[cfg(test)]
mod tests;
