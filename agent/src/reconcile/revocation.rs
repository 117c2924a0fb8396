//! Live connections after a commit: those that the program forbids now are cut, and those of an address that left its pod
//! are flushed.
//!
//! ```text
//! loop:    commit --want--> . . . . . . . judge, in slices, revoke answers --> report
//!                  |                       ^          |             ^
//! worker:          +-> grace period -> dump entries   +-> delete ---+
//! ```
//!
//! The kernel is waited for by a thread of its own, so that no change waits for it; the program stays with the loop. The
//! order matters: a packet that the program before the commit allowed may add its entry until the grace period is over, so
//! only a dump that begins after it lists them all. What is wanted while a pass is under way has its own pass afterwards.

mod exchange;
mod revoked_tuples;
mod scope;
mod worker;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use palisade_compiler::model::Connection;
use palisade_compiler::program::Program;
use palisade_compiler::snapshot::Snapshot;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::DenyCounters;
use palisade_dataplane::netlink::conntrack::Entry;

use exchange::Exchange;
use revoked_tuples::MAX_TUPLES;
pub(super) use revoked_tuples::RevokedTuples;
pub(super) use scope::Scope;

/// Entries that are judged at a time; one takes about a microsecond.
const SLICE: usize = 4096;
/// Pairs of ends that are told apart for the log.
const MAX_PAIRS: usize = 1000;
/// Pairs of ends that the log names.
const MAX_NAMED: usize = 3;

/// One look at the connections of a scope.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    /// Entries that the kernel listed.
    pub(super) listed: usize,
    /// Of these, those that were judged.
    pub(super) judged: usize,
    /// Connections that were cut because the program forbids them.
    pub(super) cut: usize,
    /// Connections that were deleted because an end of theirs left its pod.
    pub(super) flushed: usize,
    /// From the commit to the end.
    pub(super) took: Duration,
    /// Why it is not complete; it is tried again.
    pub(super) failure: Option<String>,
}

/// The ends of forbidden connections.
#[derive(Debug)]
struct Pair {
    /// `namespace/name` of a pod, or the address, of the end that opened them and of the other.
    names: [String; 2],
    count: usize,
}

/// The loop's side.
#[derive(Debug)]
pub(super) struct Revocation {
    exchange: Arc<Exchange>,
    /// Between whom connections were forbidden since the last pass.
    pairs: BTreeMap<[IpAddr; 2], Pair>,
    /// Connections of pairs beyond `MAX_PAIRS`.
    unnamed: usize,
    revoked: RevokedTuples,
    /// Of `revoked`, how many losses were logged.
    lost: u64,
}

impl Revocation {
    /// Starts the worker in the network namespace of the calling thread; `wake` is called when the loop has something to do.
    /// `found` are the facts that a predecessor left in the tables.
    pub(super) fn start(wake: impl Fn() + Send + Sync + 'static, found: &HostFacts) -> Self {
        let exchange = Arc::new(Exchange::new(wake));
        let worker = Arc::clone(&exchange);
        let spawned =
            thread::Builder::new().name("revocation".into()).spawn(move || worker::run(&worker));
        if let Err(error) = spawned {
            let failure = Some(format!("no thread: {error}"));
            exchange.report(Pass { failure, ..Pass::default() });
        }
        let revoked = RevokedTuples::adopting(found, Instant::now());
        Self { exchange, pairs: BTreeMap::new(), unnamed: 0, revoked, lost: 0 }
    }

    /// Has the connections of the scope looked at, for the sake of a commit that the kernel just acknowledged.
    pub(super) fn want(&self, scope: Scope) {
        if !scope.is_empty() {
            self.exchange.want(scope, Instant::now());
        }
    }

    /// Whether connections wait to be judged.
    pub(super) fn has_candidates(&self) -> bool {
        self.exchange.has_candidates()
    }

    /// Judges some of the connections that wait, by the program that is in force; returns those that it forbids. `cut` must follow.
    pub(super) fn judge(&mut self, program: &Program, snapshot: &Snapshot) -> Vec<Entry> {
        let mut entries = self.exchange.take_candidates(SLICE);
        entries.retain(|entry| {
            let live = entry.live();
            let is_forbidden = live.is_forbidden(program);
            if is_forbidden {
                self.name(&live.connection, snapshot);
            }
            is_forbidden
        });
        entries
    }

    /// Has connections deleted.
    pub(super) fn cut(&mut self, forbidden: Vec<Entry>) {
        self.exchange.judged(forbidden);
    }

    /// What must not be sent, lest connections that were cut begin anew.
    pub(super) fn tuples(&self) -> &RevokedTuples {
        &self.revoked
    }

    /// What the tables must hold for the sake of connections that were cut.
    pub(super) fn facts(&self) -> &HostFacts {
        self.revoked.facts()
    }

    /// Notes what must not be sent once these connections are cut; whether the tables must hold more than before.
    pub(super) fn revoke_answers(&mut self, forbidden: &[Entry], now: Instant) -> bool {
        let is_new = self.revoked.revoke(forbidden, now);
        if self.revoked.lost() > self.lost {
            let count = self.revoked.lost() - self.lost;
            tracing::warn!(
                "of {count} connections that were cut, the answering end may open them anew: more than {MAX_TUPLES} are not remembered"
            );
            self.lost = self.revoked.lost();
        }
        is_new
    }

    /// Forgets what is no longer needed of it; whether the tables must hold less than before.
    pub(super) fn review_answers(&mut self, program: &Program, now: Instant) -> bool {
        // Where the kernel does not tell, all count as used.
        let dropped = DenyCounters::read().map_or(u64::MAX, |counters| counters.revoked.packets);
        self.revoked.review(program, dropped, now)
    }

    fn name(&mut self, connection: &Connection, snapshot: &Snapshot) {
        let ends = [connection.from, connection.to];
        if let Some(pair) = self.pairs.get_mut(&ends) {
            pair.count += 1;
        } else if self.pairs.len() < MAX_PAIRS {
            let name = |address| match snapshot.owner(address) {
                Some(pod) => format!("{}/{}", pod.namespace, pod.name),
                None => address.to_string(),
            };
            self.pairs.insert(ends, Pair { names: ends.map(name), count: 1 });
        } else {
            self.unnamed += 1;
        }
    }

    /// The passes that ended since the last call. What they did is logged.
    pub(super) fn take_passes(&mut self) -> Vec<Pass> {
        let passes = self.exchange.take_passes();
        for pass in &passes {
            self.log(pass);
        }
        passes
    }

    fn log(&mut self, pass: &Pass) {
        let millis = pass.took.as_millis();
        if pass.cut > 0 {
            let pairs = self.describe();
            tracing::info!(
                judged = pass.judged,
                "cut {} connections that policies forbid now, in {millis} ms: {pairs}",
                pass.cut
            );
        }
        if pass.flushed > 0 {
            tracing::info!(
                "flushed {} connections of addresses that left their pods, in {millis} ms",
                pass.flushed
            );
        }
        if let Some(failure) = &pass.failure {
            tracing::warn!(
                "connections that policies may forbid now go on: {failure}; trying again"
            );
        }
    }

    /// `x/a -> x/b (12), x/a -> x/c (1) and 2 more`; starts counting anew.
    fn describe(&mut self) -> String {
        let mut pairs: Vec<Pair> = std::mem::take(&mut self.pairs).into_values().collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        let others = pairs.len().saturating_sub(MAX_NAMED) + std::mem::take(&mut self.unnamed);
        let named = pairs.into_iter().take(MAX_NAMED);
        let named: Vec<_> = named
            .map(|Pair { names: [from, to], count }| format!("{from} -> {to} ({count})"))
            .collect();
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        named.join(", ") + &more
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        self.exchange.end();
    }
}
