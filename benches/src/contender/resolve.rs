//! Resolves policies to pods and blocks, as engines do that program one policy after another.
//!
//! Port names are resolved too: a rule with a name becomes one rule for each number that the name has. (Addresses of blocks
//! have no port names.)

use std::collections::BTreeMap;
use std::rc::Rc;

use palisade_compiler::model::{
    Direction, Family, IpBlock, Isolation, Namespaces, Peer, Peers, Pod, Policy, PolicyKey,
    PolicyRule, PortMatch, PortSpec, Ports, Protocol, Selector,
};
use palisade_compiler::snapshot::Snapshot;

use crate::scenario::Scenario;

/// Which policies and subjects are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Policies that select a pod of the node, and of their subjects only the pods of the node.
    Node,
    /// All policies and pods of the cluster.
    Cluster,
}

/// Pods, with a number that identifies the selector or other origin of the set, whichever pods it contains at present.
#[derive(Debug, Clone)]
pub(super) struct PodSet<'a> {
    pub(super) id: u64,
    pub(super) pods: Rc<[&'a Pod]>,
}

#[derive(Debug, Clone)]
pub(super) enum ResolvedPeers<'a> {
    Everyone,
    Some { pods: Vec<PodSet<'a>>, blocks: Vec<&'a IpBlock> },
}

/// A range of ports, both ends included. 0-65535 means every port of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortRange {
    pub(super) protocol: Protocol,
    pub(super) first: u16,
    pub(super) last: u16,
}

#[derive(Debug, Clone)]
pub(super) enum ResolvedPorts {
    Every,
    Ranges(Vec<PortRange>),
}

/// What a policy allows: a product of subjects, peers and ports.
#[derive(Debug, Clone)]
pub(super) struct ResolvedRule<'a> {
    pub(super) direction: Direction,
    pub(super) subjects: PodSet<'a>,
    pub(super) peers: ResolvedPeers<'a>,
    pub(super) ports: ResolvedPorts,
}

#[derive(Debug, Clone)]
pub(super) struct ResolvedPolicy<'a> {
    pub(super) key: &'a PolicyKey,
    /// Identifies the policy in names of chains.
    pub(super) id: u64,
    pub(super) isolates: Isolation,
    pub(super) subjects: PodSet<'a>,
    pub(super) rules: Vec<ResolvedRule<'a>>,
}

impl ResolvedPolicy<'_> {
    pub(super) fn rules(&self, direction: Direction) -> impl Iterator<Item = &ResolvedRule<'_>> {
        self.rules.iter().filter(move |rule| rule.direction == direction)
    }
}

/// The policies of a cluster, resolved for one node.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    /// The pods of the node.
    pub(super) local: Vec<&'a Pod>,
    /// Sorted by name.
    pub(super) policies: Vec<ResolvedPolicy<'a>>,
}

impl<'a> Resolved<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, scope: Scope) -> Self {
        let mut resolver = Resolver::new(snapshot, scope);
        let local = resolver.all.pods.iter().filter(|pod| is_local(pod)).copied().collect();
        let policies = snapshot.policies().filter_map(|policy| resolver.policy(policy)).collect();
        Self { local, policies }
    }

    /// For each local pod, the policies that isolate it in a direction, as indexes in `policies`.
    pub(super) fn isolating(&self, direction: Direction) -> Vec<(&'a Pod, Vec<usize>)> {
        let mut by_pod: BTreeMap<*const Pod, Vec<usize>> = BTreeMap::new();
        for (at, policy) in self.policies.iter().enumerate() {
            if policy.isolates.in_direction(direction) {
                for pod in policy.subjects.pods.iter().filter(|pod| is_local(pod)) {
                    by_pod.entry(std::ptr::from_ref(*pod)).or_default().push(at);
                }
            }
        }
        let take = |pod: &&'a Pod| Some((*pod, by_pod.remove(&std::ptr::from_ref(*pod))?));
        self.local.iter().filter_map(take).collect()
    }
}

fn is_local(pod: &Pod) -> bool {
    pod.node == Some(Scenario::node())
}

/// FNV-1a. It gives the same names on every machine.
pub(super) fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What selects pods: a namespace selector or the name of a namespace, and a pod selector.
type Naming<'a> = (Option<&'a Selector>, Option<&'a str>, &'a Selector);

struct Resolver<'a> {
    snapshot: &'a Snapshot,
    scope: Scope,
    all: PodSet<'a>,
    by_namespace: BTreeMap<&'a str, Vec<&'a Pod>>,
    known: BTreeMap<Naming<'a>, PodSet<'a>>,
}

impl<'a> Resolver<'a> {
    fn new(snapshot: &'a Snapshot, scope: Scope) -> Self {
        let mut all: Vec<&'a Pod> = snapshot.pods().filter(|pod| pod.has_identity()).collect();
        all.sort_unstable_by_key(|pod| pod.addresses);
        let mut by_namespace: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for &pod in &all {
            by_namespace.entry(&pod.namespace).or_default().push(pod);
        }
        let all = PodSet { id: hash("all"), pods: all.into() };
        Self { snapshot, scope, all, by_namespace, known: BTreeMap::new() }
    }

    fn policy(&mut self, policy: &'a Policy) -> Option<ResolvedPolicy<'a>> {
        let mut subjects = self.named((None, Some(&policy.key.namespace), &policy.subjects));
        if self.scope == Scope::Node {
            let local = subjects.pods.iter().filter(|pod| is_local(pod)).copied();
            subjects =
                PodSet { id: hash(&format!("local {}", subjects.id)), pods: local.collect() };
            if subjects.pods.is_empty() {
                return None;
            }
        }
        let mut rules = Vec::new();
        for direction in Direction::ALL {
            if policy.isolates.in_direction(direction) {
                for rule in policy.rules(direction) {
                    self.rule(policy, direction, rule, &subjects, &mut rules);
                }
            }
        }
        let id = hash(&policy.key.to_string());
        Some(ResolvedPolicy { key: &policy.key, id, isolates: policy.isolates, subjects, rules })
    }

    fn rule(
        &mut self,
        policy: &'a Policy,
        direction: Direction,
        rule: &'a PolicyRule,
        subjects: &PodSet<'a>,
        rules: &mut Vec<ResolvedRule<'a>>,
    ) {
        let peers = self.peers(policy, &rule.peers);
        let mut push = |subjects: &PodSet<'a>, peers: ResolvedPeers<'a>, ports| {
            rules.push(ResolvedRule { direction, subjects: subjects.clone(), peers, ports });
        };
        let Ports::AnyOf(ports) = &rule.ports else {
            push(subjects, peers, ResolvedPorts::Every);
            return;
        };
        let ranges: Vec<PortRange> = ports.iter().filter_map(range).collect();
        if !ranges.is_empty() {
            push(subjects, peers.clone(), ResolvedPorts::Ranges(ranges));
        }
        for PortMatch { protocol, port } in ports {
            let PortSpec::Named(name) = port else { continue };
            let one = |port: u16| {
                ResolvedPorts::Ranges(vec![PortRange {
                    protocol: *protocol,
                    first: port,
                    last: port,
                }])
            };
            if direction == Direction::Ingress {
                for (port, having) in by_port(subjects, name, *protocol) {
                    push(&having, peers.clone(), one(port));
                }
                continue;
            }
            let everyone = [self.all.clone()];
            let sets = match &peers {
                ResolvedPeers::Everyone => everyone.as_slice(),
                ResolvedPeers::Some { pods, .. } => pods,
            };
            for (port, having) in sets.iter().flat_map(|set| by_port(set, name, *protocol)) {
                let peers = ResolvedPeers::Some { pods: vec![having], blocks: Vec::new() };
                push(subjects, peers, one(port));
            }
        }
    }

    fn peers(&mut self, policy: &'a Policy, peers: &'a Peers) -> ResolvedPeers<'a> {
        let Peers::AnyOf(peers) = peers else { return ResolvedPeers::Everyone };
        let (mut sets, mut blocks) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                Peer::Block(block) => blocks.push(block),
                Peer::Pods { namespaces: Namespaces::Own, pods } => {
                    sets.push(self.named((None, Some(&policy.key.namespace), pods)));
                }
                Peer::Pods { namespaces: Namespaces::Selected(selector), pods } => {
                    sets.push(self.named((Some(selector), None, pods)));
                }
            }
        }
        ResolvedPeers::Some { pods: sets, blocks }
    }

    fn named(&mut self, naming: Naming<'a>) -> PodSet<'a> {
        if let Some(known) = self.known.get(&naming) {
            return known.clone();
        }
        let (selector, name, pods) = naming;
        let names: Vec<&'a str> = match (selector, name) {
            (Some(selector), _) => {
                let namespaces = self.snapshot.namespaces();
                let named = namespaces.filter(|namespace| selector.matches(&namespace.labels));
                named.map(|namespace| &*namespace.name).collect()
            }
            (None, name) => name.into_iter().collect(),
        };
        let inside = names.iter().filter_map(|name| self.by_namespace.get(name)).flatten();
        let matching = inside.filter(|pod| pods.matches(&pod.labels)).copied().collect();
        let set = PodSet { id: hash(&format!("{naming:?}")), pods: matching };
        self.known.insert(naming, set.clone());
        set
    }
}

fn range(port: &PortMatch) -> Option<PortRange> {
    let (first, last) = match port.port {
        PortSpec::Any => (0, u16::MAX),
        PortSpec::Range { first, last } => (first, last),
        PortSpec::Named(_) => return None,
    };
    Some(PortRange { protocol: port.protocol, first, last })
}

/// The pods of a set that have a port of this name, by its number.
fn by_port<'a>(set: &PodSet<'a>, name: &str, protocol: Protocol) -> Vec<(u16, PodSet<'a>)> {
    let mut by_port: BTreeMap<u16, Vec<&'a Pod>> = BTreeMap::new();
    for &pod in set.pods.iter() {
        for port in pod.named_ports(name, protocol) {
            by_port.entry(port).or_default().push(pod);
        }
    }
    let having = |(port, pods): (u16, Vec<&'a Pod>)| {
        let id = hash(&format!("{} {protocol} {name} {port}", set.id));
        (port, PodSet { id, pods: pods.into() })
    };
    by_port.into_iter().map(having).collect()
}

/// The pods' addresses in one family.
pub(super) fn addresses(pods: &[&Pod], family: Family) -> impl Iterator<Item = std::net::IpAddr> {
    pods.iter().filter_map(move |pod| pod.addresses.get(family))
}
