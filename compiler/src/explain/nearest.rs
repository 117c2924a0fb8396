//! The nearest miss of a rule: of its entries, the one that differs least from a connection.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::difference::{self, PeerDifference, PeerView, PortDifference};
use crate::model::{Connection, Peer, Peers, PolicyRule, PortMatch, PortSpec, Ports};

/// What a rule would have needed to allow a connection that it does not allow. At least one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMiss {
    /// The rule's place in the policy's `ingress` or `egress`.
    pub rule: usize,
    /// The nearest entry of `from` or `to`; `None` where the peer matches.
    pub peers: Option<PeerMiss>,
    /// The nearest entry of `ports`; `None` where the port matches.
    pub ports: Option<PortMiss>,
}

/// An entry of `from` or `to` that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerMiss {
    /// Its place in the list.
    pub entry: usize,
    /// Not empty.
    pub differences: Vec<PeerDifference>,
    /// How many other entries the list has; none of them matches.
    pub others: usize,
}

/// An entry of `ports` that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMiss {
    /// Its place in the list.
    pub entry: usize,
    pub difference: PortDifference,
    /// How many other entries the list has; none of them matches.
    pub others: usize,
}

impl RuleMiss {
    /// How many things differ.
    pub(super) fn distance(&self) -> usize {
        let peers = self.peers.as_ref().map_or(0, |miss| miss.differences.len());
        peers + usize::from(self.ports.is_some())
    }
}

/// Where a list of peers or ports matches: everywhere because it is empty, or by the first entry that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    All,
    Entry(usize),
}

impl Match {
    pub(super) fn entry(self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Entry(at) => Some(at),
        }
    }
}

/// How a connection meets a rule: the entries that match, or the nearest that do not.
pub(super) struct Meeting {
    pub(super) peers: Result<Match, PeerMiss>,
    pub(super) ports: Result<Match, PortMiss>,
}

impl Meeting {
    /// How the connection meets the rule of a policy in the namespace `own`. `peer` is the end that the rule's `from` or
    /// `to` is about, `destination` the end that is connected to.
    pub(super) fn of(
        rule: &PolicyRule,
        own: &Arc<str>,
        connection: &Connection,
        peer: PeerView<'_>,
        destination: PeerView<'_>,
    ) -> Self {
        let peers = match &rule.peers {
            Peers::Everyone => Ok(Match::All),
            Peers::AnyOf(entries) => meet_peers(entries, own, peer),
        };
        let ports = match &rule.ports {
            Ports::Every => Ok(Match::All),
            Ports::AnyOf(entries) => meet_ports(entries, connection, destination),
        };
        Self { peers, ports }
    }

    pub(super) fn miss(self, rule: usize) -> RuleMiss {
        RuleMiss { rule, peers: self.peers.err(), ports: self.ports.err() }
    }
}

fn meet_peers(entries: &[Peer], own: &Arc<str>, peer: PeerView<'_>) -> Result<Match, PeerMiss> {
    let mut nearest: Option<(PeerRank, PeerMiss)> = None;
    for (entry, each) in entries.iter().enumerate() {
        let differences = difference::of_peer(peer, each, own);
        if differences.is_empty() {
            return Ok(Match::Entry(entry));
        }
        let rank = peer_rank(&differences, peer);
        if nearest.as_ref().is_none_or(|(least, _)| rank < *least) {
            let others = entries.len().saturating_sub(1);
            nearest = Some((rank, PeerMiss { entry, differences, others }));
        }
    }
    // A list of peers is never empty (`Peers::AnyOf`).
    nearest.map_or(Ok(Match::All), |(_, miss)| Err(miss))
}

/// Whether the entry is of the wrong kind for the peer (a selector for an address, a block for a pod), how many things
/// differ, and how far the address is from the block. The least is the nearest.
type PeerRank = (bool, usize, u8);

fn peer_rank(differences: &[PeerDifference], peer: PeerView<'_>) -> PeerRank {
    let is_pod = peer.end.pod().is_some();
    let (wrong_kind, distance) = match differences.first() {
        Some(PeerDifference::Excepted { .. }) => (false, 0),
        Some(PeerDifference::Outside { address, cidr }) => {
            (is_pod, u8::MAX - shared_bits(*address, *cidr))
        }
        Some(PeerDifference::OtherFamily { .. }) => (true, u8::MAX),
        Some(
            PeerDifference::PodLabel { .. }
            | PeerDifference::NamespaceLabel { .. }
            | PeerDifference::OtherNamespace { .. }
            | PeerDifference::UnknownNamespace { .. },
        ) => (false, 0),
        // The reason why a selector cannot match is worth more than a block far away.
        Some(PeerDifference::HostNetwork { .. }) => (false, 1),
        Some(PeerDifference::NotAPod { .. }) | None => (true, 0),
    };
    (wrong_kind, differences.len(), distance)
}

/// How many of the first bits of the address are those of the block, at most the block's own.
fn shared_bits(address: IpAddr, cidr: IpNet) -> u8 {
    let same = match (address, cidr.network()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    };
    u8::try_from(same).unwrap_or(u8::MAX).min(cidr.prefix_len())
}

fn meet_ports(
    entries: &[PortMatch],
    connection: &Connection,
    destination: PeerView<'_>,
) -> Result<Match, PortMiss> {
    let mut nearest: Option<(PortRank, PortMiss)> = None;
    for (entry, each) in entries.iter().enumerate() {
        let Some(difference) = difference::of_port(connection, destination, each) else {
            return Ok(Match::Entry(entry));
        };
        let rank = port_rank(&difference, connection.port);
        if nearest.as_ref().is_none_or(|(least, _)| rank < *least) {
            let others = entries.len().saturating_sub(1);
            nearest = Some((rank, PortMiss { entry, difference, others }));
        }
    }
    // A list of ports is never empty (`Ports::AnyOf`).
    nearest.map_or(Ok(Match::All), |(_, miss)| Err(miss))
}

/// What kind of difference it is, and how far the number is away. The least is the nearest.
type PortRank = (u8, u16);

fn port_rank(difference: &PortDifference, found: u16) -> PortRank {
    match difference {
        // The right port of another protocol: the protocol was forgotten, as it is for DNS.
        PortDifference::OtherProtocol { ports: PortSpec::Range { first, last }, .. }
            if (*first..=*last).contains(&found) =>
        {
            (0, 0)
        }
        PortDifference::OtherPort { first, last, .. } => {
            (1, first.abs_diff(found).min(last.abs_diff(found)))
        }
        PortDifference::NamedOther { numbers, .. } => {
            let distances = numbers.iter().map(|number| number.abs_diff(found));
            (1, distances.min().unwrap_or(u16::MAX))
        }
        PortDifference::UnknownName { .. } | PortDifference::NameWithoutPod { .. } => (2, 0),
        PortDifference::OtherProtocol { .. } => (3, 0),
    }
}
