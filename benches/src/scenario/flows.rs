//! Connections of a scenario: drawn from its policies, and judged by the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_compiler::model::{
    Direction, Family, IpBlock, Namespace, Namespaces, Peer, Peers, Pod, Policy, PolicyRule,
    PortMatch, PortSpec, Ports, Protocol, Verdict,
};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::Rng;

use super::node_oracle::NodeOracle;
use super::{Flow, Scenario, UNPOLICED, named};

/// At how many of its ends policies of the node apply to a connection: whether the local pods at its ends are isolated in
/// its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selected {
    None,
    One,
    Both,
}

impl Selected {
    pub const ALL: [Self; 3] = [Self::None, Self::One, Self::Both];

    pub(super) fn plus_one(self) -> Self {
        if self == Self::None { Self::One } else { Self::Both }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::One => "one",
            Self::Both => "both",
        }
    }
}

/// The number of draws for each wanted connection before the search is given up.
const DRAWS: usize = 100;
const MIN_DRAWS: usize = 20_000;
/// The smallest source port of an injected connection.
const FIRST_SOURCE_PORT: usize = 10_000;

/// A policy that selects local pods, with these pods.
struct Relevant {
    policy: Policy,
    subjects: Vec<Pod>,
}

/// Draws connections from the parts of a scenario.
pub(super) struct Sampler<'a> {
    scenario: &'a Scenario,
    node_oracle: NodeOracle<'a>,
    rng: Rng,
    local: Vec<Pod>,
    namespaces: Vec<Namespace>,
    members: BTreeMap<Arc<str>, Vec<usize>>,
    relevant: Vec<Relevant>,
    /// The numbers of pods by namespace and app, as far as they have been looked up.
    matching: BTreeMap<(String, Arc<str>), Vec<usize>>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let local: Vec<Pod> = (0..scenario.local_pods()).map(|i| scenario.pod(i)).collect();
        let mut members: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for i in 0..scenario.pods {
            members.entry(scenario.pod(i).namespace).or_default().push(i);
        }
        let spaces = (0..scenario.namespaces()).filter_map(|n| match scenario.namespace(n) {
            Change::ApplyNamespace(namespace) => Some(namespace),
            _ => None,
        });
        let namespaces = spaces.chain([named(UNPOLICED, "none")]).collect();
        let relevant = (0..scenario.policies).filter_map(|k| {
            let policy = scenario.policy(k);
            let selected = |pod: &&Pod| {
                pod.namespace == policy.key.namespace && policy.subjects.matches(&pod.labels)
            };
            let subjects: Vec<Pod> = local.iter().filter(selected).cloned().collect();
            (!subjects.is_empty()).then_some(Relevant { policy, subjects })
        });
        let relevant = relevant.collect();
        Self {
            scenario,
            node_oracle: NodeOracle::new(scenario),
            rng: Rng::new(scenario.seed ^ 0x5eed_0f10),
            local,
            namespaces,
            members,
            relevant,
            matching: BTreeMap::new(),
        }
    }

    pub(super) fn sample(
        &mut self,
        selected: Option<Selected>,
        verdict: Verdict,
        count: usize,
    ) -> Vec<Flow> {
        let mut found = BTreeSet::new();
        let mut flows = Vec::new();
        for _ in 0..(count * DRAWS).max(MIN_DRAWS) {
            if flows.len() == count {
                break;
            }
            let Some(flow) = self.draw(selected, verdict) else { continue };
            let judged = self.node_oracle.judge(&flow);
            let wanted = selected.is_none_or(|selected| selected == judged.selected);
            if judged.verdict == verdict && wanted && found.insert(flow) {
                flows.push(flow);
            }
        }
        flows
    }

    /// A connection that may have this verdict.
    fn draw(&mut self, selected: Option<Selected>, verdict: Verdict) -> Option<Flow> {
        let selected = selected.unwrap_or_else(|| self.rng.pick(&Selected::ALL));
        if selected == Selected::None {
            return self.unselected_flow();
        }
        let at = self.rng.below(self.relevant.len().max(1));
        let relevant = self.relevant.get(at)?;
        let (policy, subject) = (relevant.policy.clone(), pick(&mut self.rng, &relevant.subjects)?);
        let directions = Direction::ALL.map(|d| (d, policy.rules(d).len()));
        let (direction, rules) = self.rng.pick(&directions);
        let rule = match rules {
            // The policy allows nothing, so any connection is denied unless another policy allows it.
            0 => palisade_compiler::testkit::rule(),
            rules => policy.rules(direction).get(self.rng.below(rules))?.clone(),
        };
        let family = self.family();
        let near = subject.addresses.get(family)?;
        let both = selected == Selected::Both;
        let deny = verdict == Verdict::Deny;
        // A denied connection differs from an allowed one in its peer or its port.
        let (other_peer, other_port) = match (deny, self.rng.chance(50)) {
            (true, true) => (true, false),
            (true, false) => (false, true),
            (false, _) => (false, false),
        };
        let far = if other_peer { self.anyone(both) } else { self.peer(&policy, &rule, both) }?;
        let far = match far {
            End::Pod(pod) => pod.addresses.get(family)?,
            End::Block(block) => self.address_in(&block, family)?,
        };
        let (from, to) = match direction {
            Direction::Ingress => (far, near),
            Direction::Egress => (near, far),
        };
        if from == to {
            return None;
        }
        let (protocol, port) = self.port(&rule, to);
        let port = if other_port { self.any_port() } else { port };
        Some(self.flow(from, to, protocol, port))
    }

    /// A connection between a pod that no policy selects and any other.
    fn unselected_flow(&mut self) -> Option<Flow> {
        let unselected: Vec<Pod> =
            self.local.iter().filter(|pod| &*pod.namespace == UNPOLICED).cloned().collect();
        let (pod, family) = (pick(&mut self.rng, &unselected)?, self.family());
        let near = pod.addresses.get(family)?;
        let i = self.scenario.local_pods()
            + self.rng.below(self.scenario.pods - self.scenario.local_pods());
        let far = self.scenario.pod(i).addresses.get(family)?;
        let (from, to) = if self.rng.chance(50) { (near, far) } else { (far, near) };
        let port = self.any_port();
        Some(self.flow(from, to, Protocol::Tcp, port))
    }

    fn flow(&mut self, from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> Flow {
        let source_port = (FIRST_SOURCE_PORT + self.rng.below(50_000)) as u16;
        Flow { from, to, protocol: protocol.number(), source_port, port }
    }

    fn family(&mut self) -> Family {
        if self.scenario.dual_stack { self.rng.pick(&Family::ALL) } else { Family::V4 }
    }

    fn any_port(&mut self) -> u16 {
        1 + self.rng.below(65_535) as u16
    }

    /// Any pod, or any local pod if `local` is set.
    fn anyone(&mut self, local: bool) -> Option<End> {
        if local {
            return pick(&mut self.rng, &self.local).map(End::Pod);
        }
        Some(End::Pod(self.scenario.pod(self.rng.below(self.scenario.pods))))
    }

    /// A peer that the rule selects, which is a local pod if `local` is set.
    fn peer(&mut self, policy: &Policy, rule: &PolicyRule, local: bool) -> Option<End> {
        let Peers::AnyOf(peers) = &rule.peers else { return self.anyone(local) };
        let (namespaces, pods) = match peers.get(self.rng.below(peers.len()))? {
            Peer::Block(block) if !local => return Some(End::Block(block.clone())),
            Peer::Block(_) => return None,
            Peer::Pods { namespaces, pods } => (namespaces, pods),
        };
        let named = |namespace: &Namespace| match namespaces {
            Namespaces::Own => namespace.name == policy.key.namespace,
            Namespaces::Selected(selector) => selector.matches(&namespace.labels),
        };
        if local {
            let names: BTreeSet<_> =
                self.namespaces.iter().filter(|n| named(n)).map(|n| &n.name).collect();
            let is_peer = |pod: &&Pod| names.contains(&pod.namespace) && pods.matches(&pod.labels);
            let peers: Vec<Pod> = self.local.iter().filter(is_peer).cloned().collect();
            return pick(&mut self.rng, &peers).map(End::Pod);
        }
        let named: Vec<Arc<str>> =
            self.namespaces.iter().filter(|n| named(n)).map(|n| Arc::clone(&n.name)).collect();
        let name = pick(&mut self.rng, &named)?;
        let (scenario, members) = (self.scenario, self.members.get(&name)?);
        let key = (format!("{pods:?}"), name);
        let matching = self.matching.entry(key).or_insert_with(|| {
            let is_peer = |i: &&usize| pods.matches(&scenario.pod(**i).labels);
            members.iter().filter(is_peer).copied().collect()
        });
        pick(&mut self.rng, matching).map(|i| End::Pod(scenario.pod(i)))
    }

    /// An address in the block, or sometimes in one of its exceptions.
    fn address_in(&mut self, block: &IpBlock, family: Family) -> Option<IpAddr> {
        let net = match pick(&mut self.rng, &block.except) {
            Some(hole) if self.rng.chance(25) => hole,
            _ => block.cidr,
        };
        match (net, family) {
            (IpNet::V4(net), Family::V4) => {
                let hosts = u32::from(net.broadcast()) - u32::from(net.network());
                let offset = self.rng.below(hosts as usize + 1) as u32;
                Some(Ipv4Addr::from(u32::from(net.network()) + offset).into())
            }
            (IpNet::V6(net), Family::V6) => {
                let host = u128::from(self.rng.draw()) << 48 | u128::from(self.rng.draw());
                let host = host & u128::from(net.hostmask());
                Some(Ipv6Addr::from(u128::from(net.network()) | host).into())
            }
            _ => None,
        }
    }

    fn port(&mut self, rule: &PolicyRule, to: IpAddr) -> (Protocol, u16) {
        let Ports::AnyOf(ports) = &rule.ports else { return (Protocol::Tcp, self.any_port()) };
        let at = self.rng.below(ports.len());
        let Some(PortMatch { protocol, port }) = ports.get(at) else {
            return (Protocol::Tcp, self.any_port());
        };
        let number = match port {
            PortSpec::Any => self.any_port(),
            PortSpec::Range { first, last } => {
                first + self.rng.below(usize::from(last - first) + 1) as u16
            }
            PortSpec::Named(name) => {
                let pod = self.node_oracle.pod_at(to);
                let number = pod.as_ref().and_then(|pod| pod.named_ports(name, *protocol).next());
                number.unwrap_or_default()
            }
        };
        (*protocol, number)
    }
}

/// The other end of a connection.
enum End {
    Pod(Pod),
    Block(IpBlock),
}

fn pick<T: Clone>(rng: &mut Rng, pool: &[T]) -> Option<T> {
    if pool.is_empty() { None } else { pool.get(rng.below(pool.len())).cloned() }
}
