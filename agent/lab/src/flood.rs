//! First packets sent without a pause while rules are loaded, changed or replaced, to find out whether any got a wrong verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_compiler::model::Connection;

use crate::packet::Packet;
use crate::probe::{Round, next_probe};
use crate::sockets::pin_to_current_cpu;
use crate::{Lab, LabError};

/// How many first packets of a connection were sent, and how many of them arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FloodCount {
    pub sent: u64,
    pub arrived: u64,
    /// Rounds in which some of the connection's packets arrived and some did not.
    pub mixed_rounds: u64,
    /// Rounds with another outcome than the round before.
    pub changes: u64,
}

impl FloodCount {
    pub fn missing(&self) -> u64 {
        self.sent - self.arrived
    }
}

/// A thread that sends first packets of connections as fast as it can, round after round. A round ends with markers,
/// so that a packet that has not arrived by then was dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Stop,
    /// Rounds that have ended.
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Result<Vec<FloodCount>, LabError>>,
}

/// Stops the thread when it is dropped, as where a test panics.
#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// First packets of each connection in a round.
const PER_ROUND: usize = 16;

/// Connection tracking forgets unanswered connections soon, so that a long flood does not fill its table.
const SHORT_TIMEOUTS: [(&str, &str); 2] = [
    ("netfilter/nf_conntrack_udp_timeout", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_syn_sent", "1"),
];

impl Flood {
    /// Starts to send. The counts will be in the order of these connections.
    ///
    /// # Errors
    /// As `Lab::probe`.
    pub fn start(lab: &Arc<Lab>, connections: &[Connection]) -> Result<Self, LabError> {
        for (name, value) in SHORT_TIMEOUTS {
            lab.node().set(name, value)?;
        }
        for connection in connections {
            lab.path(connection)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (lab, connections) = (Arc::clone(lab), connections.to_vec());
        let stopped = Arc::clone(&stop);
        let rounds = Arc::new(AtomicU64::new(0));
        let ended = Arc::clone(&rounds);
        let thread = std::thread::spawn(move || {
            pin_to_current_cpu()?;
            let mut counts = vec![FloodCount::default(); connections.len()];
            let mut before = vec![None; connections.len()];
            while !stopped.load(Ordering::Relaxed) {
                let arrived = round(&lab, &connections)?;
                for ((count, before), arrived) in counts.iter_mut().zip(&mut before).zip(arrived) {
                    count.add(arrived, before);
                }
                ended.fetch_add(1, Ordering::Relaxed);
            }
            Ok(counts)
        });
        Ok(Self { stop: Stop(stop), rounds, thread })
    }

    /// Returns once a whole round was sent after this call, or the thread has ended.
    pub fn await_round(&self) {
        // The round that is under way may have begun before the call.
        let awaited = self.rounds.load(Ordering::Relaxed) + 2;
        while self.rounds.load(Ordering::Relaxed) < awaited && !self.thread.is_finished() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Stops after the present round and returns the counts.
    ///
    /// # Errors
    /// The error that ended the thread, if one did.
    pub fn stop(self) -> Result<Vec<FloodCount>, LabError> {
        drop(self.stop);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl FloodCount {
    fn add(&mut self, arrived: usize, before: &mut Option<usize>) {
        self.sent += PER_ROUND as u64;
        self.arrived += arrived as u64;
        self.mixed_rounds += u64::from(arrived != 0 && arrived != PER_ROUND);
        self.changes += u64::from(before.replace(arrived).is_some_and(|b| b != arrived));
    }
}

/// Sends one round, and returns how many packets of each connection arrived.
fn round(lab: &Lab, connections: &[Connection]) -> Result<Vec<usize>, LabError> {
    let mut round = Round::new(lab)?;
    let mut sent = BTreeMap::new();
    for _ in 0..PER_ROUND {
        for (index, connection) in connections.iter().enumerate() {
            let (from, to) = lab.path(connection)?;
            let (source_port, id) = next_probe();
            if let Some(machine) = lab.machines.get(from) {
                machine.sockets.send(&Packet::first(connection, source_port, id).bytes())?;
                round.sent(from, to);
                sent.insert(id, (to, index));
            }
        }
    }
    let arrivals = round.finish()?;
    let mut arrived = vec![0; connections.len()];
    for (machine, arrivals) in arrivals.iter().enumerate() {
        for arrival in arrivals {
            let Some(&(to, index)) = sent.get(&arrival.id) else { continue };
            let connection = connections.get(index);
            let same = |c: &Connection| {
                (c.from, c.to, c.protocol, c.port)
                    == (arrival.from, arrival.to, arrival.protocol, arrival.port)
            };
            if let (true, Some(count)) =
                (to == machine && connection.is_some_and(same), arrived.get_mut(index))
            {
                *count += 1;
                sent.remove(&arrival.id);
            }
        }
    }
    Ok(arrived)
}
