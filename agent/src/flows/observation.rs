//! What was seen of a denied packet, and the question to the loop about it.

use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::model::{Connection, Direction};
use palisade_dataplane::netlink::nflog::PacketHeader;

use super::allowed::{AllowedConnection, SideJudgement};
use super::flow::{FlowVerdict, NamedJudgement};

/// A first packet that the kernel denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The direction whose rules denied it.
    pub direction: Direction,
    pub header: PacketHeader,
    /// When the packet came, where the kernel noted it; else when it was read.
    pub at: Instant,
    pub time: Timestamp,
}

/// A time that the kernel noted is not older when it is read: the clock was set meanwhile.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The moment that the kernel noted, by both clocks; now, where it noted none.
pub(super) fn moment(noted: Option<SystemTime>) -> (Instant, Timestamp) {
    let (at, time) = (Instant::now(), Timestamp::now());
    let known = noted.and_then(|noted| {
        let age = SystemTime::now().duration_since(noted).ok().filter(|age| *age <= MAX_AGE)?;
        Some((at.checked_sub(age)?, Timestamp::try_from(noted).ok()?))
    });
    known.unwrap_or((at, time))
}

/// What repeats have in common. A client's port is not part of it: each attempt has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub verdict: FlowVerdict,
    pub direction: Direction,
    pub connection: Connection,
    /// What the client connected to, where a Service translated it and that is known.
    pub service: Option<(IpAddr, u16)>,
}

impl Observation {
    pub fn key(&self) -> FlowKey {
        FlowKey {
            verdict: FlowVerdict::Deny,
            direction: self.direction,
            connection: self.header.connection(),
            service: None,
        }
    }
}

/// What the loop should judge.
#[derive(Debug)]
pub enum Batch {
    Denied {
        observations: Vec<Observation>,
        answer: Sender<Judged<NamedJudgement>>,
    },
    /// Each is judged at those of its ends that are pods of this node.
    Allowed {
        connections: Vec<AllowedConnection>,
        answer: Sender<Judged<Vec<SideJudgement>>>,
    },
}

/// The loop's answer to a batch.
#[derive(Debug)]
pub enum Judged<T> {
    /// A judgement of each, in order, and how long that took the loop.
    Each { judgements: Vec<T>, took: Duration },
    /// Nothing is enforced yet that could be judged by: ask again.
    NotYet,
}
