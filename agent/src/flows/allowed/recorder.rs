//! Has the loop judge what was gathered, and keeps it: on a thread of its own, which may wait for the loop.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use palisade_compiler::model::{Connection, Direction};
use palisade_dataplane::netlink::{Delivery, delivery};

use super::tracker::{Gathered, MAX_GATHERED, Tally};
use super::{AllowedConnection, ConnectionKey, GATHER_FOR, Shared, SideJudgement, lock};
use crate::flows::flow::FlowVerdict;
use crate::flows::observation::{Batch, FlowKey, Judged};
use crate::flows::pace::Pace;
use crate::flows::recorder::{ASK_AGAIN_AFTER, Asker};
use crate::flows::store::allowed::Connections;
use crate::inbox::Ended;
use crate::published_status::PublishedStatus;

/// Kinds of connections of which it is known at which ends a pod of this node is.
const MAX_KNOWN: usize = 16_384;

/// Beyond so many kinds that are gathered, they are judged at once.
const MANY_GATHERED: usize = MAX_GATHERED / 8;

pub(super) struct Recorder {
    asker: Asker,
    status: PublishedStatus,
    gathered: Shared,
    pace: Pace,
    /// The revision by which `known` was judged.
    revision: u64,
    known: HashMap<ConnectionKey, Vec<Direction>>,
}

impl Recorder {
    pub(super) fn new(asker: Asker, status: PublishedStatus, gathered: Shared) -> Self {
        let pace = Pace::default();
        Self { asker, status, gathered, pace, revision: 0, known: HashMap::new() }
    }

    /// Runs until the loop or the listener has ended.
    pub(super) fn run(mut self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            // While many are there already, others are left out for want of room before long.
            if lock(&self.gathered).tallies.len() < MANY_GATHERED {
                thread::sleep(GATHER_FOR);
            }
            let tallies = {
                let mut gathered = lock(&self.gathered);
                let Gathered { tallies, .. } = &mut *gathered;
                std::mem::take(tallies)
            };
            if self.record(tallies.into_iter().collect()) == Err(Ended) {
                return;
            }
        }
    }

    fn record(&mut self, mut tallies: Vec<(ConnectionKey, Tally)>) -> Result<(), Ended> {
        self.look_at_revision();
        tallies.retain(|(key, tally)| !self.repeat(key, tally));
        let mut waiting = tallies.into_iter();
        loop {
            let batch: Vec<_> = waiting.by_ref().take(self.pace.batch()).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.judge(&batch, waiting.len())?;
        }
    }

    /// Has a batch judged, and leaves the loop alone for a while.
    fn judge(&mut self, batch: &[(ConnectionKey, Tally)], waiting: usize) -> Result<(), Ended> {
        loop {
            // Of kinds that differ, none repeats another; what was known does not count after a change.
            self.look_at_revision();
            match self.ask(batch)? {
                Judged::NotYet => thread::sleep(ASK_AGAIN_AFTER),
                Judged::Each { judgements, took } => {
                    for ((key, tally), sides) in batch.iter().zip(judgements) {
                        self.put(key, tally, sides);
                    }
                    thread::sleep(self.pace.rest_after(batch.len(), took, waiting));
                    return Ok(());
                }
            }
        }
    }

    fn look_at_revision(&mut self) {
        let revision = self.status.look(|at| at.status.enforced_revision);
        if revision != self.revision {
            self.known.clear();
            self.revision = revision;
        }
    }

    /// Adds to flows that were judged at this revision; false where the loop must be asked.
    fn repeat(&self, key: &ConnectionKey, tally: &Tally) -> bool {
        let (store, connections) = (&self.status.flows, connections(tally));
        if tally.opened == 0 {
            // What is not stored is no flow of a pod here, or was forgotten.
            for direction in Direction::ALL {
                store.add_traffic(&flow_key(key, direction), &connections);
            }
            return true;
        }
        let Some(directions) = self.known.get(key) else { return false };
        if !directions
            .iter()
            .all(|&direction| store.is_judged(&flow_key(key, direction), self.revision))
        {
            return false;
        }
        for &direction in directions {
            store.repeat_allowed(&flow_key(key, direction), &connections);
        }
        self.count(directions, tally);
        true
    }

    fn put(&mut self, key: &ConnectionKey, tally: &Tally, sides: Vec<SideJudgement>) {
        let directions: Vec<Direction> = sides.iter().map(|side| side.direction).collect();
        let connections = connections(tally);
        for mut side in sides {
            if side.is_denied
                && let Some(reason) = unforwarded(&key.connection)
            {
                let judgement = &mut side.judged.judgement;
                (judgement.divergence, judgement.reason) = (None, reason.to_owned());
            }
            let key = flow_key(key, side.direction);
            self.status.flows.put_allowed(key, &connections, side.judged);
        }
        self.count(&directions, tally);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(*key, directions);
    }

    /// Counts connections without a pod here, and how long it took to make flows of the others.
    fn count(&self, directions: &[Direction], tally: &Tally) {
        let PublishedStatus { flows, metrics, .. } = &self.status;
        if directions.is_empty() {
            flows.count(|counts| counts.allowed.elsewhere += tally.opened);
        } else if tally.opened > 0 {
            metrics.recorded(FlowVerdict::Allow, tally.at.elapsed());
        }
    }

    fn ask(&self, batch: &[(ConnectionKey, Tally)]) -> Result<Judged<Vec<SideJudgement>>, Ended> {
        let connection = |(key, tally): &(ConnectionKey, Tally)| AllowedConnection {
            live: tally.live,
            is_expected: tally.is_expected,
            service: key.service,
            at: tally.at,
        };
        let (answer, judged) = channel();
        let connections = batch.iter().map(connection).collect();
        self.asker.ask(Batch::Allowed { connections, answer }, &judged)
    }
}

/// Why no policy judges a connection that pods have with the host, which its forward hook does not see: the host's addresses are
/// more than those of its Node object, such as the one of a bridge that probes come from.
fn unforwarded(connection: &Connection) -> Option<&'static str> {
    // An address that cannot be looked up is no excuse.
    let goes = |address| delivery(address).unwrap_or(Delivery::Elsewhere);
    match (goes(connection.from), goes(connection.to)) {
        (Delivery::Host, _) | (_, Delivery::Host) => {
            Some("one end is this host itself, whose traffic with its pods no policy restricts")
        }
        (_, Delivery::Network) => {
            Some("it is broadcast or multicast to the host, which no policy restricts")
        }
        (Delivery::Network | Delivery::Elsewhere, Delivery::Elsewhere) => None,
    }
}

fn connections(tally: &Tally) -> Connections {
    let Tally { opened, first, last, at, traffic, .. } = *tally;
    Connections { opened, first, last, at, traffic }
}

fn flow_key(key: &ConnectionKey, direction: Direction) -> FlowKey {
    let ConnectionKey { connection, service } = *key;
    FlowKey { verdict: FlowVerdict::Allow, direction, connection, service }
}
