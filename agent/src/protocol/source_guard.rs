//! The part of the status that is about the source guard.

use serde::{Deserialize, Serialize};

/// Which packets of local pods are dropped because their source is not their pod's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceGuard {
    pub mode: SourceGuardMode,
    /// The interfaces that are guarded.
    pub interfaces: usize,
    /// The bridge ports that are guarded.
    pub ports: usize,
    /// Of the interfaces, those that lead to no pod that is known yet.
    pub unidentified_interfaces: usize,
    /// Bridge ports that lead to a pod that is not known yet, or to somebody else: by them nobody sends as a pod that is known.
    pub unidentified_ports: usize,
    /// Pairs of interface or port and address that are accepted.
    pub sources: usize,
    /// Addresses of local pods whose interfaces are not known, and not guarded.
    pub unlocated: usize,
    /// Addresses of pods' interfaces that the pods do not have by their manifests. Packets from them are dropped.
    pub unnamed: usize,
    /// Addresses of pods on the interfaces of others. Packets from them are dropped.
    pub disputed: usize,
    /// What is not guarded, and what is dropped though it may be meant: a sentence for each reason.
    pub notes: Vec<String>,
    /// Packets that were dropped since the rules were last loaded.
    pub dropped: u64,
    /// Packets of an overlay network from pods to nodes that were dropped since the rules were last loaded.
    pub encapsulated: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceGuardMode {
    /// Every packet.
    #[default]
    All,
    /// The first packet of each connection.
    First,
    Off,
}
