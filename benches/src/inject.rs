//! Injects packets as if they were received on an interface. They are forwarded through the rules under test, counted after
//! them, and timed inside the kernel.
//!
//! ```text
//! frames -> fresh or kept -> prerouting, conntrack -> forward: the rules under test, then our counter -> sink
//! ```
//!
//! With [`Method::LiveFrames`] one system call (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18) creates the
//! frames in the kernel and passes them to the network stack in batches of 64, as the driver of a network card does. Each
//! batch is processed completely on one CPU before the next. An XDP program writes the headers and takes the time between
//! batches. If that is not possible, [`Method::PacketSocket`] sends each frame with a packet socket through a veth. Its
//! times are taken with a clock in user space and include the system calls, so figures of the two methods must not be
//! compared.
//!
//! The rules under test must judge in the forward hook before priority 500, or in an earlier hook. They must not change the
//! table `inet palisade_inject`: without it, measuring fails with an error.

mod frame;
mod live;
mod observe;
mod packet_socket;
mod route;
mod sink;

use std::fmt;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use palisade_compiler::model::Connection;
use palisade_lab::{LabError, Namespace};
use thiserror::Error;

use frame::{Frame, Step};
use live::LiveFrames;
pub use observe::{Observation, Observed, Until};
use packet_socket::PacketSocket;
use route::Ingress;
use sink::Sink;

/// A connection whose packets are sent. For ICMP, `source_port` is the identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub from: IpAddr,
    pub to: IpAddr,
    /// TCP, UDP, ICMP, ICMPv6, or SCTP (first packets only).
    pub protocol: u8,
    pub source_port: u16,
    pub port: u16,
}

impl Flow {
    /// The fields that policies look at.
    pub fn connection(&self) -> Connection {
        let Self { from, to, protocol, port, .. } = *self;
        Connection { from, to, protocol, port }
    }
}

/// The state of the connection when its packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Every packet is the first of its connection. It is dropped after the rules under test and our counter, before
    /// conntrack would keep its entry.
    New,
    /// Every packet has the original direction of a connection that was answered before.
    Established,
}

/// How packets are injected and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Packets are created, received and timed in the kernel.
    LiveFrames,
    /// Packets are sent from user space one by one and timed there. Each packet costs more, and the times vary more.
    PacketSocket,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LiveFrames => "live XDP frames",
            Self::PacketSocket => "packet socket",
        })
    }
}

/// The result of one round of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The number of packets that were received. All of them were timed.
    pub packets: u64,
    /// The number of packets that were counted after the rules.
    pub arrived: u64,
    /// The time from the receipt of the first packet until all packets were processed.
    pub nanoseconds: u64,
    /// The time of each batch of [`BATCH`] packets, in nanoseconds. The sum is the whole time.
    pub batches: Vec<u64>,
}

impl Round {
    /// Nanoseconds for each packet, in the median batch. The median leaves out batches during which the CPU did something
    /// else.
    #[allow(clippy::cast_precision_loss, reason = "a batch takes far less than 2^52 ns")]
    pub fn per_packet(&self) -> f64 {
        let mut batches = self.batches.clone();
        batches.sort_unstable();
        batches.get(batches.len() / 2).copied().unwrap_or_default() as f64 / f64::from(BATCH)
    }
}

/// The greatest number of flows in one round.
pub const MAX_FLOWS: usize = 16_384;
/// The greatest number of packets in one round.
pub const MAX_PACKETS: u32 = 1 << 20;
/// The number of packets in a batch, as in one poll of a driver (NAPI_POLL_WEIGHT). A round is a multiple of it.
pub const BATCH: u32 = 64;

#[derive(Debug, Error)]
pub enum InjectError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("no packets can be created for {flow:?}: {why}")]
    Flow { flow: Box<Flow>, why: &'static str },
    #[error("a round has 1 to {MAX_FLOWS} flows, {0} were given")]
    FlowCount(usize),
    #[error("a round has 1 to {MAX_PACKETS} packets, {0} were asked for")]
    PacketCount(u32),
    /// The connections could not be opened under the present rules, so none is established.
    #[error(
        "{arrived} of {packets} packets that open the connections arrived ({step}), so the connections are not established"
    )]
    NotEstablished { step: &'static str, packets: u64, arrived: u64 },
    /// The rules under test removed the counter of arrivals.
    #[error("the table inet palisade_inject is missing: the rules under test must not remove it")]
    SinkGone,
    /// Nothing was measured, because not all packets were received.
    #[error("{came_in} of {packets} packets were received")]
    Lost { packets: u64, came_in: u64 },
}

impl InjectError {
    fn io(what: impl Into<String>, source: io::Error) -> Self {
        LabError::io(what, source).into()
    }

    fn errno(what: impl Into<String>, errno: Errno) -> Self {
        LabError::of_errno(what, errno).into()
    }
}

/// How a router sends packets.
#[derive(Debug)]
enum Injector {
    Live(LiveFrames),
    Socket,
}

/// A network namespace that forwards everything from its ingress interfaces to a sink. The kernel removes it when this
/// value is dropped.
#[derive(Debug)]
pub struct Router {
    namespace: Namespace,
    sink: Sink,
    socket: PacketSocket,
    injector: Injector,
    /// Why the method is not live frames.
    fallback: Option<String>,
}

impl Router {
    /// Creates a router whose only rule is our counter, at the end of the forward hook. The router uses live frames if they
    /// work, and the packet socket otherwise.
    ///
    /// # Errors
    /// `Lab`: without privileges, if the kernel has no veth, nf_tables or conntrack, or if `ip`, `tc` or `nft` is missing.
    pub fn new() -> Result<Self, InjectError> {
        let mut router = Self::with_packet_socket()?;
        match router.try_live_frames() {
            Ok(live) => {
                router.injector = Injector::Live(live);
                router.fallback = None;
            }
            Err(error) => router.fallback = Some(error.to_string()),
        }
        Ok(router)
    }

    /// Creates a router that uses the packet socket, whatever the kernel supports.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_packet_socket() -> Result<Self, InjectError> {
        let namespace = Namespace::new()?;
        for family in ["ipv4", "ipv6"] {
            namespace.set(&format!("{family}/conf/all/forwarding"), "1")?;
        }
        let (sink, socket) = namespace.run(|| {
            route::set_up()?;
            Ok::<_, InjectError>((Sink::new()?, PacketSocket::new()?))
        })??;
        let fallback = Some("the packet socket was asked for".to_owned());
        Ok(Self { namespace, sink, socket, injector: Injector::Socket, fallback })
    }

    /// Loads the XDP program, and checks that a packet of it arrives.
    fn try_live_frames(&self) -> Result<LiveFrames, InjectError> {
        let live = LiveFrames::new()?;
        let frames = [frame::trial()?];
        let before = self.sink.arrived()?;
        self.namespace.run(|| live.send(&frames, Ingress::Fresh, BATCH))??;
        let (packets, came_in) = (u64::from(BATCH), self.sink.arrived()?.saturating_sub(before));
        if came_in != packets {
            return Err(InjectError::Lost { packets, came_in });
        }
        Ok(live)
    }

    /// Runs `work` on a thread in the router's namespace. This is how rules are loaded. Sockets that are opened there stay
    /// in the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, InjectError> {
        Ok(self.namespace.run(work)?)
    }

    /// The indexes of the interfaces at which packets are injected, in every router.
    pub fn interfaces() -> Vec<u32> {
        Ingress::ALL.map(Ingress::index).into()
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn method(&self) -> Method {
        match self.injector {
            Injector::Live(_) => Method::LiveFrames,
            Injector::Socket => Method::PacketSocket,
        }
    }

    /// Why the method is not live frames.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Sends packets of the flows in turn and times them. `packets` is rounded up to a multiple of [`BATCH`]. Conntrack is
    /// flushed before, and every flow sends a packet before the timing begins.
    ///
    /// The caller must check that the expected number of packets arrived.
    ///
    /// # Errors
    /// `NotEstablished` if the rules do not let the connections be opened; `SinkGone`; `Lost`.
    pub fn measure(
        &mut self,
        flows: &[Flow],
        stage: Stage,
        packets: u32,
    ) -> Result<Round, InjectError> {
        if flows.is_empty() || flows.len() > MAX_FLOWS {
            return Err(InjectError::FlowCount(flows.len()));
        }
        if packets == 0 || packets > MAX_PACKETS {
            return Err(InjectError::PacketCount(packets));
        }
        let router: &Self = self;
        router.namespace.run(|| {
            router.sink.forget_connections()?;
            let ingress = match stage {
                Stage::New => {
                    router.send(flows, Step::First, Ingress::Fresh)?;
                    Ingress::Fresh
                }
                Stage::Established => {
                    router.establish(flows)?;
                    Ingress::Kept
                }
            };
            let step = if stage == Stage::New { Step::First } else { Step::Later };
            let frames = frame::of_flows(flows, step)?;
            router.round(&frames, ingress, packets.next_multiple_of(BATCH))
        })?
    }

    /// Opens each connection and answers its first packet.
    fn establish(&self, flows: &[Flow]) -> Result<(), InjectError> {
        for step in [Step::First, Step::Answer, Step::Later] {
            let Round { packets, arrived, .. } = self.send(flows, step, Ingress::Kept)?;
            if packets != arrived {
                return Err(InjectError::NotEstablished { step: step.name(), packets, arrived });
            }
        }
        Ok(())
    }

    /// Sends one packet of each flow.
    fn send(&self, flows: &[Flow], step: Step, ingress: Ingress) -> Result<Round, InjectError> {
        let frames = frame::of_flows(flows, step)?;
        let packets = u32::try_from(flows.len()).unwrap_or(u32::MAX).next_multiple_of(BATCH);
        self.round(&frames, ingress, packets)
    }

    fn round(
        &self,
        frames: &[Frame],
        ingress: Ingress,
        packets: u32,
    ) -> Result<Round, InjectError> {
        let before = self.sink.arrived()?;
        let batches = match &self.injector {
            Injector::Live(live) => live.send(frames, ingress, packets)?,
            Injector::Socket => self.socket.send(frames, ingress, packets)?,
        };
        let arrived = self.sink.arrived()?.saturating_sub(before);
        Ok(Round { packets: packets.into(), arrived, nanoseconds: batches.iter().sum(), batches })
    }
}

/// The numbers below `count` in the order for a round. Each round begins with the next number, so that no measurement
/// always follows the same other one.
pub fn rotation(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (n + round) % count.max(1))
}
