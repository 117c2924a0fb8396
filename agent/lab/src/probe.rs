//! First packets of connections, sent all at once, and which of them arrived.
//!
//! That a packet was dropped is proved, not concluded from a timeout. After its probes each pair of machines gets a marker: a packet
//! between two addresses that no policy names, over the same links. The sending thread stays on one CPU. A veth puts a packet into the
//! backlog of the CPU that sends it, and the kernel works the backlog off in order, each packet to its end (forwarding, rules
//! and the next link's backlog) before the next. So when the marker has arrived, every packet that was sent before it has
//! arrived or was dropped. Neighbours are entered beforehand, so no packet waits for an answer to a solicitation either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use palisade_compiler::model::{Connection, Verdict};

use crate::links::PATIENCE;
use crate::packet::{Arrival, Packet, UDP};
use crate::sockets::on_one_cpu;
use crate::{Lab, LabError, Machine};

/// A packet to send from a machine to another, each given by its number in `Lab::machines`.
#[derive(Debug, Clone)]
pub struct Transmission {
    pub from: usize,
    pub to: usize,
    /// From the IP header on.
    pub packet: Vec<u8>,
}

/// The number of packets that are sent before arrivals are read again. A socket's buffer holds many times as many.
const BURST: usize = 256;
/// The destination port of markers.
const MARKER_PORT: u16 = 9;

/// How many probes this process has made. Source ports and ids differ from probe to probe, so that each is the first packet of a
/// connection of its own.
static PROBES: AtomicU32 = AtomicU32::new(0);

/// A new pair of source port and id. Ports are not below 1024, and repeat after 60,000 probes.
pub(crate) fn next_probe() -> (u16, u32) {
    let count = PROBES.fetch_add(1, Ordering::Relaxed);
    // Other traffic, which has small numbers in this place, does not have these high bits.
    (1024 + (count % 60_000) as u16, count ^ 0xa5a5_0000)
}

/// One round of sending, and what arrived at each machine meanwhile.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    lab: &'a Lab,
    /// The packets that arrived, by machine number.
    arrivals: Vec<Vec<Arrival>>,
    lost_before: Vec<u32>,
    lost: Vec<u32>,
    pairs: BTreeSet<(usize, usize)>,
}

impl<'a> Round<'a> {
    /// Begins a round, and discards what came in before. Use it on a thread that stays on one CPU.
    pub(crate) fn new(lab: &'a Lab) -> Result<Self, LabError> {
        let none = || vec![0; lab.machines.len()];
        let arrivals = lab.machines.iter().map(|_| Vec::new()).collect();
        let mut round =
            Self { lab, arrivals, lost_before: none(), lost: none(), pairs: BTreeSet::new() };
        round.receive()?;
        round.arrivals.iter_mut().for_each(Vec::clear);
        round.lost_before.clone_from(&round.lost);
        Ok(round)
    }

    /// Records that packets were sent from one machine to another, so that `finish` sends a marker after them.
    pub(crate) fn sent(&mut self, from: usize, to: usize) {
        self.pairs.insert((from, to));
    }

    pub(crate) fn receive(&mut self) -> Result<(), LabError> {
        let places = self.arrivals.iter_mut().zip(&mut self.lost);
        for (machine, (arrivals, lost)) in self.lab.machines.iter().zip(places) {
            *lost = machine.sockets.receive(arrivals)?.max(*lost);
        }
        Ok(())
    }

    /// Sends the markers and waits until all of them have arrived. A packet of this round that has not arrived by then was dropped.
    pub(crate) fn finish(mut self) -> Result<Vec<Vec<Arrival>>, LabError> {
        let mut awaited = BTreeMap::new();
        for (from, to) in std::mem::take(&mut self.pairs) {
            let Some(id) = self.send_marker(from, to)? else { continue };
            awaited.insert(id, (from, to));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.receive()?;
            for marker in self.arrivals.iter().flatten().filter(|arrival| is_marker(arrival)) {
                awaited.remove(&marker.id);
            }
            let Some(&(from, to)) = awaited.values().next() else { break };
            if Instant::now() > deadline {
                return Err(self.marker_lost(from, to));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let counts = self.lost.iter().zip(&self.lost_before).map(|(now, before)| now - before);
        for (machine, lost) in self.lab.machines.iter().zip(counts) {
            if lost > 0 {
                return Err(LabError::Overrun { at: machine.name.clone(), lost });
            }
        }
        Ok(self.arrivals)
    }

    /// Waits until every link carries packets: the kernel drops the first packets of a new link until it has noticed, in
    /// the background, that the link is up. Each machine sends markers to the next one until one has arrived.
    pub(crate) fn await_links(mut self) -> Result<(), LabError> {
        let count = self.lab.machines.len();
        let mut waiting: BTreeSet<usize> = (0..count).collect();
        let deadline = Instant::now() + PATIENCE;
        while let Some(&first) = waiting.first().filter(|_| count > 1) {
            for &from in &waiting {
                self.send_marker(from, (from + 1) % count)?;
            }
            self.receive()?;
            let arrived =
                |to: usize| self.arrivals.get(to).is_some_and(|at| at.iter().any(is_marker));
            waiting.retain(|from| !arrived((from + 1) % count));
            if Instant::now() > deadline {
                return Err(self.marker_lost(first, (first + 1) % count));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Returns the marker's id.
    fn send_marker(&self, from: usize, to: usize) -> Result<Option<u32>, LabError> {
        let (Some(sender), Some(receiver)) = (self.machine(from), self.machine(to)) else {
            return Ok(None);
        };
        let (port, id) = next_probe();
        let (source, target) = (sender.marker.into(), receiver.marker.into());
        let marker = Packet::udp(source, target, port, MARKER_PORT, &id.to_be_bytes());
        sender.sockets.send(&marker.bytes())?;
        Ok(Some(id))
    }

    fn marker_lost(&self, from: usize, to: usize) -> LabError {
        let name = |number| self.machine(number).map_or_else(String::new, |m| m.name.clone());
        LabError::MarkerLost { from: name(from), to: name(to), seconds: PATIENCE.as_secs() }
    }

    fn machine(&self, number: usize) -> Option<&'a Machine> {
        self.lab.machines.get(number)
    }
}

/// A UDP probe to the markers' port is taken for one too, but no marker with its id is awaited.
fn is_marker(arrival: &Arrival) -> bool {
    arrival.protocol == UDP && arrival.port == MARKER_PORT
}

impl Lab {
    /// Sends the first packet of each connection from the machine that has its source address. Returns, in the order given, `Allow` for
    /// those that arrived at the machine with the destination address, and `Deny` for those that were dropped. (Protocols without ports and
    /// without an identifier, such as GRE, have one connection for each pair of addresses: once allowed, it is established in both directions.)
    ///
    /// # Errors
    /// `NoPath` where a connection does not lead from one machine of the lab to another; `MarkerLost` or `Overrun` if
    /// nothing was proved.
    pub fn probe(&self, connections: &[Connection]) -> Result<Vec<Verdict>, LabError> {
        let mut probes = Vec::with_capacity(connections.len());
        let mut transmissions = Vec::with_capacity(connections.len());
        for connection in connections {
            let (from, to) = self.path(connection)?;
            let (source_port, id) = next_probe();
            let packet = Packet::first(connection, source_port, id).bytes();
            transmissions.push(Transmission { from, to, packet });
            probes.push((to, connection, id));
        }
        let arrivals = self.exchange(&transmissions)?;
        let key = |a: &Arrival| (a.id, a.from, a.to, a.protocol, a.port);
        let arrived: Vec<BTreeSet<_>> =
            arrivals.iter().map(|at| at.iter().map(key).collect()).collect();
        let verdicts = probes.into_iter().map(|(to, c, id)| {
            let key = (id, c.from, c.to, c.protocol, c.port);
            let there = arrived.get(to).is_some_and(|at| at.contains(&key));
            if there { Verdict::Allow } else { Verdict::Deny }
        });
        Ok(verdicts.collect())
    }

    /// Sends packets, and returns what arrived at each machine, markers included, once no packet is under way any more.
    ///
    /// # Errors
    /// As `probe`.
    pub fn exchange(&self, transmissions: &[Transmission]) -> Result<Vec<Vec<Arrival>>, LabError> {
        on_one_cpu(|| {
            let mut round = Round::new(self)?;
            for burst in transmissions.chunks(BURST) {
                for transmission in burst {
                    if let Some(machine) = self.machines.get(transmission.from) {
                        machine.sockets.send(&transmission.packet)?;
                        round.sent(transmission.from, transmission.to);
                    }
                }
                round.receive()?;
            }
            round.finish()
        })
    }

    /// Runs `work` on a thread that stays on one CPU. Returns what arrived at each machine of what `work` sent, by whatever sockets,
    /// between these pairs of machines (by number).
    ///
    /// # Errors
    /// As `probe`.
    pub fn observe(
        &self,
        pairs: &[(usize, usize)],
        work: impl FnOnce() -> Result<(), LabError> + Send,
    ) -> Result<Vec<Vec<Arrival>>, LabError> {
        on_one_cpu(|| {
            let mut round = Round::new(self)?;
            work()?;
            pairs.iter().for_each(|&(from, to)| round.sent(from, to));
            round.finish()
        })
    }
}
