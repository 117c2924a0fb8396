//! What was seen of a denied packet, and the question to the loop about it.

use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

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
    /// When it was read, which is some moments after the kernel judged it.
    pub at: Instant,
    /// When the packet came, where the kernel noted it; else when it was read.
    pub time: Timestamp,
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
