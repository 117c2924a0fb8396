//! A policy as it is now: whom it selects, what it allows, and what it has decided.

use std::sync::Arc;

use palisade_compiler::explain::{Needed, PortsOf};
use palisade_compiler::model::{
    Direction, Namespaces, Peer, Peers, Pod, Policy, PolicyKey, PolicyRule, Ports, Selector,
};
use palisade_compiler::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use crate::flows::flow::FlowDirection;
use crate::flows::hits::{HitCounters, PolicyDenials, RuleHits};
use crate::manifest::manifest;

/// Pods that are named; all are counted.
pub const MAX_NAMED: usize = 200;
/// Rules, and peers and ports of a rule, that are shown; the rest is counted.
pub const MAX_RULES: usize = 100;
pub const MAX_ENTRIES: usize = 50;
/// Pods that a peer is compared with, all peers together: the loop does nothing else meanwhile.
const MAX_COMPARISONS: usize = 400_000;
/// The longest manifest that is shown, in bytes.
const MAX_MANIFEST_BYTES: usize = 48 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The revision of the objects that it is made from.
    pub revision: u64,
    /// `namespace/name`
    pub policy: String,
    /// As kubectl writes it; empty for one that selects every pod.
    pub selector: String,
    /// The directions in which it isolates.
    pub isolates: Vec<FlowDirection>,
    /// Why it has no rules, if it is because some of its fields are wrong.
    pub fault: Option<String>,
    /// Pods that it selects, by name; at most `MAX_NAMED`.
    pub pods: Vec<String>,
    pub pod_count: usize,
    /// At most `MAX_RULES`.
    pub rules: Vec<RuleView>,
    pub further_rules: usize,
    pub denials: Vec<PolicyDenials>,
    /// The policy as YAML; `null` where it is too long, or its fields are wrong.
    pub manifest: Option<String>,
}

/// What a rule allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    pub direction: FlowDirection,
    /// Its place among the rules of the direction, from 0.
    pub rule: usize,
    /// Empty where it is for everyone; at most `MAX_ENTRIES`.
    pub peers: Vec<PeerView>,
    pub further_peers: usize,
    /// Empty where it is for every port; at most `MAX_ENTRIES`.
    pub ports: Vec<String>,
    pub further_ports: usize,
    /// `null` where it has allowed nothing since the agent began.
    pub hits: Option<RuleHits>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    pub text: String,
    /// How many pods it matches now; `null` of addresses, and where there are too many pods to compare.
    pub pods: Option<usize>,
}

/// A peer's selectors, with how many pods they match.
type Counted<'p> = (&'p Peer, usize);

impl PolicyView {
    /// `None` where there is no such policy. `hits` are added by `with_hits`.
    pub fn of(snapshot: &Snapshot, revision: u64, key: &PolicyKey) -> Option<Self> {
        let policy = snapshot.policy(key)?;
        let mut pods: Vec<&Pod> = subjects(snapshot, policy).collect();
        let pod_count = pods.len();
        pods.sort_unstable_by_key(|pod| &pod.name);
        pods.truncate(MAX_NAMED);
        let mut peers: Vec<Counted<'_>> = Direction::ALL
            .into_iter()
            .flat_map(|direction| policy.rules(direction))
            .flat_map(shown_peers)
            .map(|peer| (peer, 0))
            .collect();
        let is_counted = peers.len().saturating_mul(snapshot.pod_count()) <= MAX_COMPARISONS;
        if is_counted {
            count(snapshot, policy, &mut peers);
        }
        let mut counts = peers.into_iter();
        let mut rules = Vec::new();
        for direction in Direction::ALL {
            for (rule, each) in policy.rules(direction).iter().enumerate() {
                let peers = counts.by_ref().take(shown_peers(each).len());
                let peers = peers.map(|(peer, pods)| peer_view(peer, is_counted.then_some(pods)));
                rules.push(rule_view(direction, rule, each, peers.collect()));
            }
        }
        let further_rules = rules.len().saturating_sub(MAX_RULES);
        rules.truncate(MAX_RULES);
        let isolated = Direction::ALL.into_iter().filter(|it| policy.isolates.in_direction(*it));
        Some(Self {
            revision,
            policy: key.to_string(),
            selector: selector(&policy.subjects),
            isolates: isolated.map(FlowDirection::from).collect(),
            fault: policy.fault.as_deref().map(Into::into),
            pods: pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect(),
            pod_count,
            rules,
            further_rules,
            denials: Vec::new(),
            manifest: manifest(policy).filter(|text| text.len() <= MAX_MANIFEST_BYTES),
        })
    }

    /// With what it allowed and denied since the agent began.
    #[must_use]
    pub fn with_hits(mut self, hits: &HitCounters) -> Self {
        for found in hits.rules_of(&self.policy) {
            let mut rules = self.rules.iter_mut();
            if let Some(rule) =
                rules.find(|it| (it.direction, it.rule) == (found.direction, found.rule))
            {
                rule.hits = Some(found);
            }
        }
        self.denials = hits.denials_of(&self.policy);
        self
    }
}

fn subjects<'s>(snapshot: &'s Snapshot, policy: &'s Policy) -> impl Iterator<Item = &'s Pod> {
    snapshot.pods().filter(|pod| {
        pod.namespace == policy.key.namespace
            && pod.has_identity()
            && policy.subjects.matches(&pod.labels)
    })
}

fn shown_peers(rule: &PolicyRule) -> &[Peer] {
    match &rule.peers {
        Peers::Everyone => &[],
        Peers::AnyOf(peers) => peers.get(..MAX_ENTRIES).unwrap_or(peers),
    }
}

fn count(snapshot: &Snapshot, policy: &Policy, peers: &mut [Counted<'_>]) {
    for pod in snapshot.pods().filter(|pod| pod.has_identity()) {
        let Some(namespace) = snapshot.namespace(&pod.namespace) else { continue };
        for (peer, count) in peers.iter_mut() {
            let Peer::Pods { namespaces, pods } = *peer else { continue };
            let is_there = match namespaces {
                Namespaces::Own => pod.namespace == policy.key.namespace,
                Namespaces::Selected(selector) => selector.matches(&namespace.labels),
            };
            *count += usize::from(is_there && pods.matches(&pod.labels));
        }
    }
}

fn rule_view(
    direction: Direction,
    rule: usize,
    each: &PolicyRule,
    peers: Vec<PeerView>,
) -> RuleView {
    let all_peers = match &each.peers {
        Peers::Everyone => 0,
        Peers::AnyOf(all) => all.len(),
    };
    let all_ports = match &each.ports {
        Ports::Every => &[][..],
        Ports::AnyOf(ports) => ports,
    };
    let ports = all_ports.iter().take(MAX_ENTRIES);
    RuleView {
        direction: direction.into(),
        rule,
        further_peers: all_peers.saturating_sub(peers.len()),
        peers,
        ports: ports.map(|port| PortsOf(port.protocol, &port.port).to_string()).collect(),
        further_ports: all_ports.len().saturating_sub(MAX_ENTRIES),
        hits: None,
    }
}

fn peer_view(peer: &Peer, pods: Option<usize>) -> PeerView {
    match peer {
        Peer::Block(block) if block.except.is_empty() => {
            PeerView { text: format!("addresses of {}", block.cidr), pods: None }
        }
        Peer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            let text = format!("addresses of {} but for {}", block.cidr, except.join(", "));
            PeerView { text, pods: None }
        }
        Peer::Pods { namespaces, pods: labels } => {
            let labels = match labels.requirements.is_empty() {
                true => "every pod".to_owned(),
                false => format!("pods with {}", selector(labels)),
            };
            let place = match namespaces {
                Namespaces::Own => "its own namespace".to_owned(),
                Namespaces::Selected(all) if all.requirements.is_empty() => {
                    "every namespace".to_owned()
                }
                Namespaces::Selected(some) => format!("namespaces with {}", selector(some)),
            };
            PeerView { text: format!("{labels} of {place}"), pods }
        }
    }
}

/// As kubectl writes it; empty for the selector of everything.
fn selector(selector: &Selector) -> String {
    let needed = selector.requirements.iter().take(MAX_ENTRIES).map(|it| Needed(it).to_string());
    needed.collect::<Vec<_>>().join(", ")
}

/// A policy's name, as people write it.
///
/// # Errors
///
/// What to write instead: a sentence.
pub fn policy_key(text: &str) -> Result<PolicyKey, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(PolicyKey { namespace: Arc::from(namespace), name: Arc::from(name) })
        }
        _ => Err(format!("{text:?} is no policy's name; write namespace/name")),
    }
}
