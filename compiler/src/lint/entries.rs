//! The entries of `from` and `to` that select pods, with the place of each.

use super::words::peer_field;
use crate::model::{Direction, Namespaces, Peer, Peers, Policy, Selector};

#[derive(Debug, Clone, Copy)]
pub(super) struct PodEntry<'p> {
    direction: Direction,
    /// Its rule's place in the direction, and its own in the rule.
    rule: usize,
    at: usize,
    pub(super) namespaces: &'p Namespaces,
    pub(super) pods: &'p Selector,
    /// The entries of its rule, of which it is one.
    pub(super) peers: &'p [Peer],
}

impl PodEntry<'_> {
    /// `spec.ingress[0].from[1]`
    pub(super) fn field(&self) -> String {
        peer_field(self.direction, self.rule, self.at)
    }
}

pub(super) fn pod_entries(policy: &Policy) -> impl Iterator<Item = PodEntry<'_>> {
    let rules = Direction::ALL.into_iter().flat_map(|direction| {
        policy.rules(direction).iter().enumerate().map(move |(at, rule)| (direction, at, rule))
    });
    rules.flat_map(|(direction, rule, each)| {
        let peers = match &each.peers {
            Peers::AnyOf(peers) => peers.as_slice(),
            Peers::Everyone => &[],
        };
        peers.iter().enumerate().filter_map(move |(at, peer)| match peer {
            Peer::Pods { namespaces, pods } => {
                Some(PodEntry { direction, rule, at, namespaces, pods, peers })
            }
            Peer::Block(_) => None,
        })
    })
}
