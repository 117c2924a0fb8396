//! What was seen of a denied packet, and the question to the loop about it.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::model::{Connection, Direction};
use palisade_dataplane::netlink::nflog::PacketHeader;

use super::flow::NamedJudgement;

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
    pub direction: Direction,
    pub connection: Connection,
}

impl Observation {
    pub fn key(&self) -> FlowKey {
        FlowKey { direction: self.direction, connection: self.header.connection() }
    }
}

/// Packets that the loop should judge.
#[derive(Debug)]
pub struct Batch {
    pub observations: Vec<Observation>,
    pub answer: Sender<Judged>,
}

/// The loop's answer to a batch.
#[derive(Debug)]
pub enum Judged {
    /// A judgement of each, in order, and how long that took the loop.
    Each { judgements: Vec<NamedJudgement>, took: Duration },
    /// Nothing is enforced yet that could be judged by: ask again.
    NotYet,
}
