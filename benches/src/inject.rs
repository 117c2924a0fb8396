//! Packets injected as if received on an interface, forwarded through the rules under test, counted behind them, and
//! timed inside the kernel.
//!
//! ```text
//! frames -> fresh or kept -> prerouting, conntrack -> forward: the rules under test, then our count -> sink
//! ```
//!
//! With [`Method::LiveFrames`] one system call (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18) makes the
//! frames in the kernel and hands them to the stack in batches of 64, as a network card's driver does; all of their way
//! is worked off on one CPU before the next batch. An XDP program writes the headers and takes the time between batches.
//! Where that is not possible, [`Method::PacketSocket`] sends each frame by a packet socket through a veth, and the time is
//! that of a clock in user space, system calls included: figures of the two methods must not be compared.
//!
//! Rules under test judge in the forward hook before priority 500, or in an earlier hook. They must leave the table
//! `inet palisade_inject` alone: without it, measuring is an error.

mod frame;
mod live;
mod packet_socket;
mod route;
mod sink;
mod watch;

use std::fmt;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use palisade_compiler::model::Connection;
use palisade_lab::tool::ToolError;
use palisade_lab::{LabError, Namespace};
use thiserror::Error;

use frame::{Frame, Step};
use live::LiveFrames;
use packet_socket::PacketSocket;
use route::Ingress;
use sink::Sink;
pub use watch::{Sighting, Until, Watch};

/// A connection to send packets of. ICMP has `source_port` for its identifier.
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
    /// What policies judge it by.
    pub fn connection(&self) -> Connection {
        let Self { from, to, protocol, port, .. } = *self;
        Connection { from, to, protocol, port }
    }
}

/// Where in a connection's life its packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Every packet is the first of its connection: it is dropped behind the rules and our count, before conntrack
    /// would keep its entry.
    New,
    /// Every packet goes in the original direction of a connection that was answered before.
    Established,
}

/// How packets come in, and what times them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Made, received and timed in the kernel.
    LiveFrames,
    /// Sent from user space one by one and timed there: dearer for every packet, and noisier.
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

/// What one round of packets took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Packets that came in, all of them timed.
    pub packets: u64,
    /// Those that were counted behind the rules.
    pub arrived: u64,
    /// From the first packet's coming in until all had gone their way.
    pub nanoseconds: u64,
    /// Nanoseconds of each batch of [`BATCH`] packets; together they are all.
    pub batches: Vec<u64>,
}

impl Round {
    /// Nanoseconds a packet in the median batch: what the packets cost, and not what else the CPU did meanwhile.
    #[allow(clippy::cast_precision_loss, reason = "a batch takes far less than 2^52 ns")]
    pub fn per_packet(&self) -> f64 {
        let mut batches = self.batches.clone();
        batches.sort_unstable();
        batches.get(batches.len() / 2).copied().unwrap_or_default() as f64 / f64::from(BATCH)
    }
}

/// The most flows of one round.
pub const MAX_FLOWS: usize = 16_384;
/// The most packets of one round.
pub const MAX_PACKETS: u32 = 1 << 20;
/// Packets come in batches of so many, as from a driver's poll (NAPI_POLL_WEIGHT); a round is a multiple of it.
pub const BATCH: u32 = 64;

#[derive(Debug, Error)]
pub enum InjectError {
    #[error(transparent)]
    Namespace(#[from] LabError),
    #[error("not permitted: {what} (run as root, with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF)")]
    NotPermitted { what: String },
    #[error("this kernel lacks {what}")]
    Missing { what: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// A program that sets up the router failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("no packets can be made of {flow:?}: {why}")]
    Flow { flow: Box<Flow>, why: &'static str },
    #[error("a round has 1 to {MAX_FLOWS} flows, {0} were given")]
    FlowCount(usize),
    #[error("a round has 1 to {MAX_PACKETS} packets, {0} were asked for")]
    PacketCount(u32),
    /// The connections could not be made under the present rules, so none is established.
    #[error(
        "{arrived} of {packets} packets that open the connections arrived ({step}): none can be called established"
    )]
    NotEstablished { step: &'static str, packets: u64, arrived: u64 },
    /// The rules under test removed what counts arrivals.
    #[error("the table inet palisade_inject is gone: the rules under test must leave it alone")]
    SinkGone,
    /// Nothing was learnt: not all packets came in.
    #[error("{came_in} of {packets} packets came in")]
    Lost { packets: u64, came_in: u64 },
}

impl InjectError {
    fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Self::NotPermitted { what },
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT) => {
                Self::Missing { what }
            }
            _ => Self::Io { what, source },
        }
    }

    fn errno(what: impl Into<String>, errno: Errno) -> Self {
        Self::io(what, errno.into())
    }
}

/// What a router sends packets by.
#[derive(Debug)]
enum Injector {
    Live(LiveFrames),
    Socket,
}

/// A network namespace that forwards everything from its ingress interfaces to a sink. All of it ends with this value.
#[derive(Debug)]
pub struct Router {
    namespace: Namespace,
    sink: Sink,
    socket: PacketSocket,
    injector: Injector,
    /// Why it is not live frames.
    fallback: Option<String>,
}

impl Router {
    /// A router without any rules but our count, which is at the end of the forward hook. Live frames are tried, and
    /// the packet socket is what is left where they fail.
    ///
    /// # Errors
    /// `NotPermitted`; `Missing` where the kernel has no veth, nf_tables or conntrack; `Tool` where `ip` or `nft`
    /// is missing.
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

    /// The same, but with the packet socket on any kernel.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_packet_socket() -> Result<Self, InjectError> {
        let namespace = Namespace::new()?;
        let (sink, socket) = namespace.run(|| {
            route::set_up()?;
            Ok::<_, InjectError>((Sink::new()?, PacketSocket::new()?))
        })??;
        let fallback = Some("the packet socket was asked for".to_owned());
        Ok(Self { namespace, sink, socket, injector: Injector::Socket, fallback })
    }

    /// Loads the program and sees a packet arrive by it.
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

    /// Runs `work` on a thread in the router's namespace: rules are loaded so. Sockets made there stay in it.
    ///
    /// # Errors
    /// Where the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, InjectError> {
        Ok(self.namespace.run(work)?)
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

    /// Sends packets of the flows round robin and times them; `packets` is rounded up to a multiple of [`BATCH`].
    /// Conntrack is flushed before, and every flow has sent a packet before the timing begins.
    ///
    /// Whether as many arrived as should is for the caller to check.
    ///
    /// # Errors
    /// `NotEstablished` where the rules do not let the connections be opened; `SinkGone`; `Lost`.
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

    /// Opens and answers each connection.
    fn establish(&self, flows: &[Flow]) -> Result<(), InjectError> {
        for step in [Step::First, Step::Answer, Step::Later] {
            let Round { packets, arrived, .. } = self.send(flows, step, Ingress::Kept)?;
            if packets != arrived {
                return Err(InjectError::NotEstablished { step: step.name(), packets, arrived });
            }
        }
        Ok(())
    }

    /// One packet of each flow.
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

/// The numbers below `count` in the order of round `round`: each round begins one further, so that none is always
/// measured behind the same other.
pub fn rotation(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (n + round) % count.max(1))
}
