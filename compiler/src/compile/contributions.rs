//! What one policy, or the node of its subjects, adds to what the subjects are allowed: peers, and the ports that they may
//! reach.
//!
//! It is worked out once for each policy, direction and resolution of the port names, and shared by all groups that the policy
//! is part of. A group that differs from another by one policy is made without a look at the rules of the others.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::ids::{PeerSetId, PolicyId, PortName};
use super::peer_sets::PeerSets;
use super::peers::PeerSetKey;
use super::policies::{Policies, port_names};
use crate::model::{Direction, Policy, PolicyRule, PortSpec, Ports};
use crate::program::{PortRange, PortSet};

/// Port names and the numbers that they stand for on a pod, sorted by name. Names that stand for nothing are left out.
pub(super) type ResolvedPorts = Vec<(PortName, Vec<u16>)>;

/// The peers of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Everyone,
    Set(PeerSetId),
    /// The set's items carry the ports themselves.
    Named(PeerSetId),
}

impl Source {
    pub(super) fn set(self) -> Option<PeerSetId> {
        match self {
            Self::Everyone => None,
            Self::Set(set) | Self::Named(set) => Some(set),
        }
    }
}

#[derive(Debug)]
pub(super) struct Contribution {
    /// The rule's place in its policy and direction.
    pub(super) rule: usize,
    pub(super) source: Source,
    pub(super) ports: Arc<PortSet>,
}

/// The policy, the direction, and what the policy's port names stand for on the subjects.
type Key = (PolicyId, Direction, ResolvedPorts);

/// All contributions of a policy in one direction, or that of the subjects' own node.
#[derive(Debug)]
pub(super) struct PolicyContributions {
    /// `None` for that of a node.
    key: Option<Key>,
    pub(super) list: Vec<Contribution>,
}

impl PolicyContributions {
    /// Traffic between a pod and its own node is always allowed: everything, with these addresses. A packet to an address on
    /// one of the node's interfaces never meets the rules; one to an address elsewhere, as an external one that a router
    /// translates, does. What is acquired must be released.
    pub(super) fn of_node(addresses: &[IpAddr], sets: &mut PeerSets) -> Arc<Self> {
        let source = Source::Set(sets.acquire(PeerSetKey::of_addresses(addresses)));
        let contribution = Contribution { rule: 0, source, ports: Arc::new(PortSet::everything()) };
        Arc::new(Self { key: None, list: vec![contribution] })
    }

    /// `None` for that of a node.
    pub(super) fn policy(&self) -> Option<PolicyId> {
        self.key.as_ref().map(|(policy, _, _)| *policy)
    }
}

/// The contributions in use, each once.
#[derive(Debug, Default)]
pub(super) struct Contributions {
    by_key: HashMap<Key, Arc<PolicyContributions>>,
}

impl Contributions {
    /// A policy's contributions where `ports` says what port names stand for on the subjects. `None` if there is no such
    /// policy any more. What is acquired must be released.
    pub(super) fn acquire(
        &mut self,
        id: PolicyId,
        direction: Direction,
        ports: &ResolvedPorts,
        policies: &Policies,
        sets: &mut PeerSets,
    ) -> Option<Arc<PolicyContributions>> {
        let indexed = policies.get(id)?;
        let own_ports = match direction {
            Direction::Ingress => {
                let is_own = |name: &PortName| indexed.ingress_names.binary_search(name).is_ok();
                ports.iter().filter(|(name, _)| is_own(name)).cloned().collect()
            }
            // Egress looks names up on the peer: the items of peer sets carry the ports.
            Direction::Egress => Vec::new(),
        };
        let key = (id, direction, own_ports);
        if let Some(made) = self.by_key.get(&key) {
            return Some(Arc::clone(made));
        }
        let list = contributions(&indexed.policy, direction, &key.2, sets);
        let made = Arc::new(PolicyContributions { key: Some(key.clone()), list });
        self.by_key.insert(key, Arc::clone(&made));
        Some(made)
    }

    /// With the last use, the peer sets are released too.
    pub(super) fn release(&mut self, used: Arc<PolicyContributions>, sets: &mut PeerSets) {
        if let Some(key) = &used.key {
            // One reference is the index's, the other the caller's.
            if Arc::strong_count(&used) > 2 {
                return;
            }
            self.by_key.remove(key);
        }
        used.list.iter().filter_map(|c| c.source.set()).for_each(|set| sets.release(set));
    }
}

fn contributions(
    policy: &Policy,
    direction: Direction,
    ports: &ResolvedPorts,
    sets: &mut PeerSets,
) -> Vec<Contribution> {
    let own = &policy.key.namespace;
    let mut list = Vec::new();
    for (place, rule) in policy.rules(direction).iter().enumerate() {
        let mut contribute = |source, ports| {
            list.push(Contribution { rule: place, source, ports: Arc::new(ports) });
        };
        let numbered = numbered(rule, ports);
        if !numbered.is_nothing() {
            let source = match PeerSetKey::of(&rule.peers, own, Vec::new()) {
                Some(peers) => Source::Set(sets.acquire(peers)),
                None => Source::Everyone,
            };
            contribute(source, numbered);
        }
        let names = match direction {
            Direction::Ingress => Vec::new(),
            Direction::Egress => port_names(rule),
        };
        if !names.is_empty()
            && let Some(peers) = PeerSetKey::of(&rule.peers, own, names)
        {
            contribute(Source::Named(sets.acquire(peers)), PortSet::nothing());
        }
    }
    list.shrink_to_fit();
    list
}

/// The ports of a rule that are numbers, and of its names those that are resolved.
fn numbered(rule: &PolicyRule, resolved: &ResolvedPorts) -> PortSet {
    let Ports::AnyOf(matches) = &rule.ports else { return PortSet::everything() };
    let mut ranges = Vec::new();
    for m in matches {
        match &m.port {
            PortSpec::Any => ranges.push(PortRange::new(m.protocol, 0, u16::MAX)),
            PortSpec::Range { first, last } => {
                ranges.push(PortRange::new(m.protocol, *first, *last));
            }
            PortSpec::Named(name) => {
                let of_name = resolved.iter().filter(|((p, n), _)| *p == m.protocol && n == name);
                let numbers = of_name.flat_map(|(_, numbers)| numbers);
                ranges.extend(numbers.map(|&port| PortRange::new(m.protocol, port, port)));
            }
        }
    }
    ranges.into_iter().collect()
}
