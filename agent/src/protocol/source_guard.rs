//! The part of the status that is about the source guard.

use serde::{Deserialize, Serialize};

/// Which packets of local pods are dropped because their source is not their pod's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceGuard {
    pub mode: SourceGuardMode,
    /// The interfaces that are guarded.
    pub interfaces: usize,
    /// Of these, those that lead to no pod that is known yet.
    pub unidentified_interfaces: usize,
    /// Pairs of interface and address that are accepted.
    pub sources: usize,
    /// Addresses of local pods whose interfaces are not known, and not guarded.
    pub unlocated: usize,
    /// Addresses that are routed to pods that do not have them by their manifests. Packets from them are dropped.
    pub unnamed: usize,
    /// What is not guarded, and what is dropped though it may be meant: a sentence for each reason.
    pub notes: Vec<String>,
    /// Packets that were dropped since the rules were last loaded.
    pub dropped: u64,
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
