//! What the loop and the worker hand to each other.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use palisade_dataplane::netlink::conntrack::Entry;

use super::{Pass, Scope};

/// Entries that wait to be judged at most; the worker reads no further meanwhile.
const MAX_CANDIDATES: usize = 8192;
/// Passes that wait to be reported at most; the loop takes them whenever it is woken, and one that finds no room is added to
/// the last one.
const MAX_PASSES: usize = 16;

/// The loop is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended;

#[derive(Debug, Default)]
struct State {
    /// What the next pass must look at, and since when.
    wanted: Option<(Scope, Instant)>,
    candidates: VecDeque<Entry>,
    /// Some are with the loop.
    is_judging: bool,
    forbidden: Vec<Entry>,
    passes: Vec<Pass>,
    ended: bool,
}

pub(super) struct Exchange {
    state: Mutex<State>,
    /// For the worker: something is wanted, was judged, or the loop is gone.
    changed: Condvar,
    /// For the loop.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Exchange {
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), wake: Box::new(wake) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the queues whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn want(&self, scope: Scope, since: Instant) {
        self.state().want(scope, since);
        self.changed.notify_one();
    }

    pub(super) fn has_candidates(&self) -> bool {
        !self.state().candidates.is_empty()
    }

    /// Some entries to judge; `judged` must follow.
    pub(super) fn take_candidates(&self, most: usize) -> Vec<Entry> {
        let mut state = self.state();
        let count = state.candidates.len().min(most);
        state.is_judging = count > 0;
        state.candidates.drain(..count).collect()
    }

    /// Those of the taken entries that must be deleted.
    pub(super) fn judged(&self, forbidden: Vec<Entry>) {
        let mut state = self.state();
        state.is_judging = false;
        state.forbidden.extend(forbidden);
        self.changed.notify_one();
    }

    pub(super) fn take_passes(&self) -> Vec<Pass> {
        std::mem::take(&mut self.state().passes)
    }

    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_one();
    }

    /// Waits until something is wanted, at the earliest until `not_before`.
    pub(super) fn await_wanted(&self, not_before: Instant) -> Result<(Scope, Instant), Ended> {
        let mut state = self.state();
        loop {
            if state.ended {
                return Err(Ended);
            }
            let left = not_before.saturating_duration_since(Instant::now());
            if left.is_zero()
                && let Some(wanted) = state.wanted.take()
            {
                return Ok(wanted);
            }
            state = if left.is_zero() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Hands entries over to be judged, once there is room, or takes what was judged meanwhile: returns what must be
    /// deleted, and leaves entries that found no room.
    pub(super) fn offer(&self, entries: &mut Vec<Entry>) -> Result<Vec<Entry>, Ended> {
        let mut state = self.state();
        loop {
            if state.ended {
                return Err(Ended);
            }
            let room = MAX_CANDIDATES.saturating_sub(state.candidates.len()).min(entries.len());
            if room > 0 || entries.is_empty() || !state.forbidden.is_empty() {
                let is_first = state.candidates.is_empty() && room > 0;
                state.candidates.extend(entries.drain(..room));
                let forbidden = std::mem::take(&mut state.forbidden);
                drop(state);
                if is_first {
                    (self.wake)();
                }
                return Ok(forbidden);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for what must be deleted; `None` once all entries that were handed over are judged.
    pub(super) fn await_judged(&self) -> Result<Option<Vec<Entry>>, Ended> {
        let mut state = self.state();
        loop {
            if state.ended {
                return Err(Ended);
            }
            if !state.forbidden.is_empty() {
                return Ok(Some(std::mem::take(&mut state.forbidden)));
            }
            if state.candidates.is_empty() && !state.is_judging {
                return Ok(None);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A scope that must be looked at again, because a pass of it failed. What waited to be judged for it is forgotten.
    pub(super) fn want_again(&self, scope: Scope, since: Instant) {
        let mut state = self.state();
        state.candidates.clear();
        state.want(scope, since);
    }

    pub(super) fn report(&self, pass: Pass) {
        let mut state = self.state();
        let is_full = state.passes.len() >= MAX_PASSES;
        match state.passes.last_mut().filter(|_| is_full) {
            Some(last) => last.add(pass),
            None => state.passes.push(pass),
        }
        drop(state);
        (self.wake)();
    }
}

impl State {
    fn want(&mut self, scope: Scope, since: Instant) {
        match &mut self.wanted {
            Some((wanted, first)) => {
                wanted.extend(scope);
                *first = since.min(*first);
            }
            none => *none = Some((scope, since)),
        }
    }
}

impl Pass {
    fn add(&mut self, later: Self) {
        self.listed += later.listed;
        self.judged += later.judged;
        self.cut += later.cut;
        self.flushed += later.flushed;
        (self.took, self.failure) = (later.took, later.failure);
    }
}
