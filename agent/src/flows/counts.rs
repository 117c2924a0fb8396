//! What became of the packets that were denied: seen, or lost, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Counted since the agent began. `denied` is `seen`, `lost.not_logged` and `lost.socket` together; the first of
/// these two is what is left of `denied`, so the sum is exact once packets stop for a second or two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCounts {
    /// Whether the agent reads the kernel's log of denied packets.
    pub is_listening: bool,
    /// How often it began to.
    #[serde(default)]
    pub begun: u64,
    /// Why not, if it does not; it tries again.
    pub failure: Option<String>,
    /// Packets that the rules denied, by their counters.
    pub denied: u64,
    /// Packets of these that were read.
    pub seen: u64,
    /// Packets seen whose headers cannot be read.
    pub unreadable: u64,
    /// Packets that rules of others copied to the same group; not counted otherwise.
    pub foreign: u64,
    /// Flows that are stored.
    pub stored: usize,
    /// Flows whose verdict no revision in force gave.
    pub divergences: u64,
    /// Readers at this moment.
    pub readers: usize,
    /// Kubernetes Events about denied connections that were written, and that were left out: too many, or the server refused them.
    #[serde(default)]
    pub events_written: u64,
    #[serde(default)]
    pub events_left_out: u64,
    pub lost: FlowLosses,
    #[serde(default)]
    pub allowed: AllowedCounts,
    /// The log that `--flow-log` names, if it does.
    #[serde(default)]
    pub flow_log: Option<FlowLogCounts>,
}

/// What became of the lines of the flow log. Counted since the agent began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLogCounts {
    /// The file, or `standard output`.
    pub destination: String,
    pub state: FlowLogState,
    /// What the last attempt met, if it failed; it is tried again.
    pub failure: Option<String>,
    /// Lines that were written.
    pub written: u64,
    /// Flows that found no room while lines could not be written, or could not when the agent ended.
    pub lost: u64,
    /// Flows that wait to be written.
    pub waiting: usize,
    /// Times that a file was full, and another was begun.
    pub rotations: u64,
}

/// How writing goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowLogState {
    #[default]
    Writing,
    /// The directory is missing. It is not made: what should be mounted there would be written over.
    NoDirectory,
    DiskFull,
    ReadOnly,
    NotPermitted,
    /// Standard output is a pipe without a reader.
    NobodyReads,
    Failing,
}

impl fmt::Display for FlowLogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writing => "writing",
            Self::NoDirectory => "its directory is missing",
            Self::DiskFull => "the disk is full",
            Self::ReadOnly => "the file system is read-only",
            Self::NotPermitted => "not permitted",
            Self::NobodyReads => "nobody reads",
            Self::Failing => "it fails",
        })
    }
}

/// What became of connections that were allowed: heard of, or lost, and where. Counted since the agent began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedCounts {
    /// Whether the kernel tells the agent of connections.
    pub is_listening: bool,
    /// How often it began to.
    #[serde(default)]
    pub begun: u64,
    /// Why not, if it does not; it is tried again.
    pub failure: Option<String>,
    /// Settings of the host that the agent turned on, to know what connections carry.
    pub turned_on: Vec<String>,
    /// Settings that are off and could not be turned on, and why.
    pub off: Vec<String>,
    /// Connections that began, of all that the host tracks.
    pub opened: u64,
    pub ended: u64,
    /// Of `opened`, those that have no pod of this node at an end.
    pub elsewhere: u64,
    /// Flows that are stored.
    pub stored: usize,
    pub lost: AllowedLosses,
}

/// What is missing in the stream of allowed connections. A connection that began and ended between an overflow and the dump
/// that repairs it is not counted anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedLosses {
    /// Times that the socket had no room.
    pub overflows: u64,
    /// Connections whose beginning was lost there, and which are counted as `opened` nevertheless, since a dump or their end
    /// made them known.
    pub repaired: u64,
    /// Connections whose end was lost: what they carried is not known.
    pub ends: u64,
    /// Connections that waited to be judged, and found no room.
    pub queue: u64,
    /// Flows that were forgotten for the sake of later ones.
    pub forgotten: u64,
}

/// What is missing in the stream of flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLosses {
    /// Packets denied that the kernel did not log for the agent: beyond the rules' rate, or while it was not listening.
    pub not_logged: u64,
    /// Packets that the kernel logged and that found no room in the socket.
    pub socket: u64,
    /// Times that the socket had no room.
    pub overflows: u64,
    /// Packets seen that waited to be judged, and found no room.
    pub queue: u64,
    /// Flows that were forgotten for the sake of later ones.
    pub forgotten: u64,
    /// Lines that readers were too slow for.
    pub readers: u64,
    /// Readers that were dropped, since they took nothing for long.
    pub dropped_readers: u64,
}
