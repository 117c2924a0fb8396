//! First packets sent all at once, and which of them arrived.
//!
//! A denial is proved, never waited for. After its probes a pair of machines gets a marker: a packet between two
//! addresses that no policy knows, on the same links. The sending thread stays on one CPU. A veth hands a packet to the
//! backlog of the CPU that sends it, and the backlog is worked off in order, each packet to its end (forwarding, rules
//! and the next link's backlog) before the next. So when the marker has arrived, whatever was sent before it has
//! arrived or was dropped; nothing is still under way. (Neighbours are known, so nothing waits for them either.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrIn, SockaddrIn6, recvmsg, sendto, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;
use palisade_compiler::model::Connection;

use super::packet::{Arrival, Packet, UDP};
use super::{Lab, LabError, Machine};

/// What became of a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    Allowed,
    Denied,
}

/// A packet to send from a machine (by its number in `Lab::machines`), and the machine at which it would arrive.
#[derive(Debug, Clone)]
pub struct Shot {
    pub from: usize,
    pub to: usize,
    /// From the IP header on.
    pub packet: Vec<u8>,
}

/// How long a marker may take; it is a matter of microseconds, so this only bounds a failure.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Packets sent before arrivals are read again: a socket's buffer holds many times that.
const BURST: usize = 256;
/// Receive buffer of a machine's packet socket, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Destination port of markers.
const MARKER_PORT: u16 = 9;

/// A machine's raw sockets: they stay in its namespace, and any thread may use them.
#[derive(Debug)]
pub(super) struct Station {
    raw_v4: OwnedFd,
    raw_v6: OwnedFd,
    /// Sees every packet that comes in at the machine's interfaces.
    packets: OwnedFd,
}

impl Station {
    /// To be called inside the machine's namespace.
    pub(super) fn new() -> Result<Self, LabError> {
        let open = |what: &str, family, kind, protocol| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(family, kind, flags, protocol).map_err(|errno| LabError::of_errno(what, errno))
        };
        // IPPROTO_RAW: the header comes with each packet (raw(7)).
        let raw = |family| open("a raw socket", family, SockType::Raw, SockProtocol::Raw);
        let (family, all) = (AddressFamily::Packet, SockProtocol::EthAll);
        let packets = open("a packet socket", family, SockType::Datagram, all)?;
        let failed = |errno| LabError::of_errno("set up a packet socket", errno);
        setsockopt(&packets, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(failed)?;
        setsockopt(&packets, sockopt::RxqOvfl, &1).map_err(failed)?;
        Ok(Self { raw_v4: raw(AddressFamily::Inet)?, raw_v6: raw(AddressFamily::Inet6)?, packets })
    }

    /// Sends a packet as it is, from its IP header on; its destination is in it.
    pub(super) fn send(&self, packet: &[u8]) -> Result<(), LabError> {
        let sent = match destination(packet) {
            Some(IpAddr::V4(to)) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(self.raw_v4.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
            Some(IpAddr::V6(to)) => {
                let scope =
                    if to.is_unicast_link_local() || to.is_multicast() { super::ETH0 } else { 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope));
                sendto(self.raw_v6.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
            None => Err(Errno::EINVAL),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(errno) => Err(LabError::of_errno("send a raw packet", errno)),
        }
    }

    /// Reads what came in since, into `arrivals`; returns the packets that the socket has lost in its life.
    pub(super) fn drain(&self, arrivals: &mut Vec<Arrival>) -> Result<u32, LabError> {
        let mut buffer = [0; 2048];
        let mut lost = 0;
        loop {
            let mut space = nix::cmsg_space!(u32);
            let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
            let fd = self.packets.as_raw_fd();
            let length =
                match recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut space), MsgFlags::empty()) {
                    Ok(message) => {
                        for control in message.cmsgs().into_iter().flatten() {
                            if let ControlMessageOwned::RxqOvfl(count) = control {
                                lost = lost.max(count);
                            }
                        }
                        let outgoing = nix::libc::PACKET_OUTGOING;
                        let came_in = message.address.is_some_and(|a| a.pkttype() != outgoing);
                        if came_in { message.bytes } else { 0 }
                    }
                    Err(Errno::EAGAIN) => return Ok(lost),
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(LabError::of_errno("read a packet socket", errno)),
                };
            arrivals.extend(buffer.get(..length).and_then(Arrival::read));
        }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// Source ports and ids differ from probe to probe, so that each is the first packet of a connection of its own. The
/// number of probes of a process, counted up.
static PROBES: AtomicU32 = AtomicU32::new(0);

/// A new (source port, id). The port is none below 1024, and repeats after some 60,000.
pub(super) fn next_probe() -> (u16, u32) {
    let count = PROBES.fetch_add(1, Ordering::Relaxed);
    // In the high bits, so that an id is no likely number of other traffic.
    (1024 + (count % 60_000) as u16, count ^ 0xa5a5_0000)
}

/// Keeps the calling thread on the CPU where it is: what it sends from now on stays in order.
pub(super) fn stay_on_this_cpu() -> Result<(), LabError> {
    let failed = |errno| LabError::of_errno("keep a thread on its CPU", errno);
    let mut here = CpuSet::new();
    here.set(sched_getcpu().map_err(failed)?).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &here).map_err(failed)
}

/// What arrived where, of one round of sending.
#[derive(Debug)]
pub(super) struct Round<'a> {
    lab: &'a Lab,
    /// For each machine.
    arrivals: Vec<Vec<Arrival>>,
    lost_before: Vec<u32>,
    lost: Vec<u32>,
    pairs: BTreeSet<(usize, usize)>,
}

impl<'a> Round<'a> {
    /// To be used on a thread that stays on one CPU. What came in before is forgotten.
    pub(super) fn new(lab: &'a Lab) -> Result<Self, LabError> {
        let none = || vec![0; lab.machines.len()];
        let arrivals = lab.machines.iter().map(|_| Vec::new()).collect();
        let mut round =
            Self { lab, arrivals, lost_before: none(), lost: none(), pairs: BTreeSet::new() };
        round.drain()?;
        round.arrivals.iter_mut().for_each(Vec::clear);
        round.lost_before.clone_from(&round.lost);
        Ok(round)
    }

    /// Notes that packets went from one machine to another, so that a marker follows them.
    pub(super) fn sent(&mut self, from: usize, to: usize) {
        self.pairs.insert((from, to));
    }

    pub(super) fn drain(&mut self) -> Result<(), LabError> {
        let places = self.arrivals.iter_mut().zip(&mut self.lost);
        for (machine, (arrivals, lost)) in self.lab.machines.iter().zip(places) {
            *lost = machine.station.drain(arrivals)?.max(*lost);
        }
        Ok(())
    }

    /// Sends a marker after everything sent so far and waits until all have arrived; then everything else has arrived
    /// too, or never will.
    pub(super) fn settle(mut self) -> Result<Vec<Vec<Arrival>>, LabError> {
        let mut awaited = BTreeMap::new();
        for (from, to) in std::mem::take(&mut self.pairs) {
            let Some(id) = self.send_marker(from, to)? else { continue };
            awaited.insert(id, (from, to));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.drain()?;
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

    /// Waits until every link carries packets: the kernel lets a new link's first ones fall until it has noticed, in
    /// the background, that the link is up. A marker goes round all machines, each of its legs until it has arrived.
    pub(super) fn await_links(mut self) -> Result<(), LabError> {
        let count = self.lab.machines.len();
        let mut dark: BTreeSet<usize> = (0..count).collect();
        let deadline = Instant::now() + PATIENCE;
        while let Some(&first) = dark.first().filter(|_| count > 1) {
            for &from in &dark {
                self.send_marker(from, (from + 1) % count)?;
            }
            self.drain()?;
            let arrived =
                |to: usize| self.arrivals.get(to).is_some_and(|at| at.iter().any(is_marker));
            dark.retain(|from| !arrived((from + 1) % count));
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
        sender.station.send(&marker.bytes())?;
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

/// Markers go between marker addresses; a UDP probe to that port has an id that no marker awaits.
fn is_marker(arrival: &Arrival) -> bool {
    arrival.protocol == UDP && arrival.port == MARKER_PORT
}

impl Lab {
    /// Sends the first packet of each connection, each from the machine that has its source address, and says which
    /// arrived at the machine that has the destination address. In the order given. (Protocols without ports or an
    /// echo's id, such as 47, have one connection for each pair of addresses: once allowed, it is established both ways.)
    ///
    /// # Errors
    /// `NoPath` where a connection does not lead from a machine of the lab to another; `MarkerLost` or `Overrun` if
    /// nothing was proved.
    pub fn probe(&self, connections: &[Connection]) -> Result<Vec<Seen>, LabError> {
        let mut probes = Vec::with_capacity(connections.len());
        let mut shots = Vec::with_capacity(connections.len());
        for connection in connections {
            let (from, to) = self.path(connection)?;
            let (source_port, id) = next_probe();
            let packet = Packet::first(connection, source_port, id).bytes();
            shots.push(Shot { from, to, packet });
            probes.push((to, connection, id));
        }
        let arrivals = self.exchange(&shots)?;
        let key = |a: &Arrival| (a.id, a.from, a.to, a.protocol, a.port);
        let arrived: Vec<BTreeSet<_>> =
            arrivals.iter().map(|at| at.iter().map(key).collect()).collect();
        let seen = probes.into_iter().map(|(to, c, id)| {
            let key = (id, c.from, c.to, c.protocol, c.port);
            let there = arrived.get(to).is_some_and(|at| at.contains(&key));
            if there { Seen::Allowed } else { Seen::Denied }
        });
        Ok(seen.collect())
    }

    /// Sends packets, and returns what arrived at each machine, markers included, when no packet is under way.
    ///
    /// # Errors
    /// As `probe`.
    pub fn exchange(&self, shots: &[Shot]) -> Result<Vec<Vec<Arrival>>, LabError> {
        self.on_one_cpu(|| {
            let mut round = Round::new(self)?;
            for burst in shots.chunks(BURST) {
                for shot in burst {
                    if let Some(machine) = self.machines.get(shot.from) {
                        machine.station.send(&shot.packet)?;
                        round.sent(shot.from, shot.to);
                    }
                }
                round.drain()?;
            }
            round.settle()
        })
    }

    /// Runs `work` on a thread that stays on one CPU and returns what arrived at each machine of what it sent between
    /// these pairs of machines (by number), by whatever sockets.
    ///
    /// # Errors
    /// As `probe`.
    pub fn observe(
        &self,
        pairs: &[(usize, usize)],
        work: impl FnOnce() -> Result<(), LabError> + Send,
    ) -> Result<Vec<Vec<Arrival>>, LabError> {
        self.on_one_cpu(|| {
            let mut round = Round::new(self)?;
            work()?;
            pairs.iter().for_each(|&(from, to)| round.sent(from, to));
            round.settle()
        })
    }

    /// The numbers of the machines that a connection leads from and to.
    pub(super) fn path(&self, connection: &Connection) -> Result<(usize, usize), LabError> {
        let Connection { from, to, .. } = *connection;
        match (self.by_address.get(&from), self.by_address.get(&to)) {
            (Some(&source), Some(&target)) if source != target => Ok((source, target)),
            _ => Err(LabError::NoPath { from, to }),
        }
    }

    /// Runs `work` on a thread that stays on one CPU.
    pub(super) fn on_one_cpu<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                stay_on_this_cpu()?;
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
