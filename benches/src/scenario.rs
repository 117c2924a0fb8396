//! A cluster of a shape, a size and a seed, with connections whose verdict the oracle knows and edits that turn one.
//!
//! Everything is a function of the arguments: two contenders that are given the same scenario are given the same cluster.
//! One node is looked at. Its pods are local; the node judges for them and for nobody else.

mod edits;
mod flows;
mod referee;
mod shape;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use palisade_compiler::compile::Locality;
use palisade_compiler::model::{NAMESPACE_NAME_LABEL, Namespace, Node, Pod, Policy, Verdict};
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{Rng, namespace};

pub use crate::inject::Flow;
pub use edits::{Edit, EditKind};
pub use flows::Selected;
pub use shape::ScenarioShape;
use shape::WithAddresses;

/// Pods of one node: the default of the kubelet.
pub const LOCAL_PODS: usize = 110;
/// Namespaces that the pods of the node are of, at most.
const HOMES: usize = 20;
/// Apps of one namespace; an app's pods share their labels.
const APPS: usize = 5;
/// Namespaces that share a `team` label.
const TEAM: usize = 5;
/// The namespace that no policy is of.
const UNPOLICED: &str = "unpoliced";
/// One pod of so many is of that namespace.
const UNPOLICED_EVERY: usize = 11;

/// One cluster of a shape, a size and a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub shape: ScenarioShape,
    pub policies: usize,
    pub pods: usize,
    pub seed: u64,
    /// Whether every pod has an IPv6 address too.
    pub dual_stack: bool,
}

impl Scenario {
    /// A cluster of IPv4 alone. With fewer than some 40 pods there is little to try.
    pub fn new(shape: ScenarioShape, policies: usize, pods: usize, seed: u64) -> Self {
        Self { shape, policies, pods, seed, dual_stack: false }
    }

    /// The same cluster with an IPv6 address beside each IPv4 address, and IPv6 blocks beside IPv4 blocks.
    #[must_use]
    pub fn dual_stack(self) -> Self {
        Self { dual_stack: true, ..self }
    }

    /// `apps/1000-policies/10000-pods`, as results are filed.
    pub fn name(&self) -> String {
        let stack = if self.dual_stack { "/dual-stack" } else { "" };
        format!("{}/{}-policies/{}-pods{stack}", self.shape.name(), self.policies, self.pods)
    }

    /// The node whose rules are programmed.
    pub fn node() -> Arc<str> {
        Arc::from("node-0")
    }

    pub fn locality(&self) -> Locality {
        Locality::Node(Self::node())
    }

    /// How many pods are on that node: the first ones.
    pub fn local_pods(&self) -> usize {
        LOCAL_PODS.min(self.pods / 2)
    }

    /// Namespaces that policies are of: one for every hundred pods.
    pub(crate) fn namespaces(&self) -> usize {
        (self.pods / 100).max(2)
    }

    /// The nodes that pods are on, with addresses of their own (RFC 2544 and 5180): also the one that edits bring pods to. They are
    /// no part of what contenders are given, since no policy is about them; an engine finds its own pods by its node's address.
    pub fn nodes(&self) -> Vec<Node> {
        let last = u16::try_from(self.newcomers()).unwrap_or(u16::MAX - 1);
        let node = |n: u16| {
            let v4 = IpAddr::V4(Ipv4Addr::from(0xc612_0000 + u32::from(n) + 1));
            let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, n + 1));
            let v6 = self.dual_stack.then_some(v6);
            Node {
                name: format!("node-{n}").into(),
                addresses: std::iter::once(v4).chain(v6).collect(),
            }
        };
        (0..=last).map(node).collect()
    }

    /// The number of a node that no pod is on.
    fn newcomers(&self) -> usize {
        2 + self.pods / LOCAL_PODS
    }

    /// Everything, in the order namespaces, pods, policies. Equal strings and label sets are held once, as whoever reads
    /// manifests holds them: else the objects' memory would be most of what a process has after a load.
    pub fn changes(&self) -> Vec<Change> {
        let snapshot = self.snapshot();
        let namespaces = snapshot.namespaces().cloned().map(Change::ApplyNamespace);
        let pods = snapshot.pods().cloned().map(Change::ApplyPod);
        let policies = snapshot.policies().map(|policy| Change::ApplyPolicy((**policy).clone()));
        namespaces.chain(pods).chain(policies).collect()
    }

    pub fn snapshot(&self) -> Snapshot {
        let spaces = (0..self.namespaces()).map(|n| self.namespace(n));
        let unpoliced = Change::ApplyNamespace(named(UNPOLICED, "none"));
        let pods = (0..self.pods).map(|i| Change::ApplyPod(self.pod(i)));
        let policies = (0..self.policies).map(|k| Change::ApplyPolicy(self.policy(k)));
        let mut snapshot = Snapshot::new();
        let all = spaces.chain([unpoliced]).chain(pods).chain(policies);
        all.for_each(|change| snapshot.apply(change));
        snapshot
    }

    /// The namespace number `n`.
    fn namespace(&self, n: usize) -> Change {
        Change::ApplyNamespace(named(&format!("ns-{n}"), &team(n)))
    }

    /// The pod number `i`: the first are local. Namespace and app are drawn, so that nothing lines up with the numbers.
    pub fn pod(&self, i: usize) -> Pod {
        let mut rng = Rng::new(self.seed ^ (i as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let local = i < self.local_pods();
        let spaces = self.namespaces();
        let space = match (local, self.shape) {
            (true, ScenarioShape::OpenToNamespaces) => 0,
            (true, _) => rng.below(spaces.min(HOMES)),
            (false, _) => rng.below(spaces),
        };
        let app = rng.below(APPS);
        let space = if i % UNPOLICED_EVERY == UNPOLICED_EVERY - 1 {
            UNPOLICED.to_owned()
        } else {
            format!("ns-{space}")
        };
        self.pod_of(&format!("{space}/app-{app}-{i:06}"), app, self.place(i))
    }

    /// Node and place on it of the pod number `i`.
    fn place(&self, i: usize) -> (usize, usize) {
        match i.checked_sub(self.local_pods()) {
            None => (0, i),
            Some(remote) => (1 + remote / LOCAL_PODS, remote % LOCAL_PODS),
        }
    }

    /// The pod number whose address it is.
    fn number_at(&self, address: IpAddr) -> Option<usize> {
        let (node, slot) = place_of(address)?;
        let on_node = if node == 0 { self.local_pods() } else { LOCAL_PODS };
        let i = if node == 0 { slot } else { self.local_pods() + (node - 1) * LOCAL_PODS + slot };
        (slot < on_node && i < self.pods).then_some(i)
    }

    fn pod_of(&self, name: &str, app: usize, (node, slot): (usize, usize)) -> Pod {
        shape::pod_of_app(name, app).on(&format!("node-{node}")).with_addresses(addresses(
            node,
            slot,
            self.dual_stack,
        ))
    }

    /// The policy number `k`: policies go round the namespaces, and in each round its apps.
    pub fn policy(&self, k: usize) -> Policy {
        shape::policy_of(self, k)
    }

    /// Connections with that verdict, all different, spread over policies, pods and families; each is judged by the oracle.
    /// Fewer than `count` only where the cluster has no more that are found.
    pub fn flows(&self, count: usize, allowed: bool) -> Vec<Flow> {
        let verdict = if allowed { Verdict::Allow } else { Verdict::Deny };
        flows::Sampler::new(self).sample(None, verdict, count)
    }

    /// Likewise, of connections that a policy isolates at both ends, at one, or at none (which are all allowed).
    pub fn flows_selected(&self, selected: Selected, count: usize, verdict: Verdict) -> Vec<Flow> {
        flows::Sampler::new(self).sample(Some(selected), verdict, count)
    }

    /// Edits to make one after another, without end. Each turns the verdict of its probe, and what undoes it follows, so that
    /// the cluster stays the size it is. Only sorts that turn a verdict in this shape are there.
    pub fn edits(&self) -> impl Iterator<Item = Edit> + use<> {
        edits::all(self).into_iter().cycle()
    }
}

/// A namespace with the label that bears its name, as the API server hands it out, and its team's.
fn named(name: &str, team: &str) -> Namespace {
    namespace(name, &format!("{NAMESPACE_NAME_LABEL}={name},team={team}"))
}

fn team(namespace: usize) -> String {
    format!("team-{}", namespace / TEAM)
}

/// Node and place on it of a pod's address, the reverse of `addresses`.
fn place_of(address: IpAddr) -> Option<(usize, usize)> {
    match address {
        IpAddr::V4(v4) => {
            let number = u32::from(v4).checked_sub(0x0a00_0002)? as usize;
            Some((number / 256, number % 256))
        }
        IpAddr::V6(v6) => {
            let [0xfd00, 0, 0, node, 0, 0, 0, slot] = v6.segments() else { return None };
            Some((usize::from(node), usize::from(slot).checked_sub(2)?))
        }
    }
}

/// `10.node.node.slot` and `fd00::node:0:0:0:slot`.
fn addresses(node: usize, slot: usize, dual_stack: bool) -> impl Iterator<Item = IpAddr> {
    let number = u32::try_from(node * 256 + slot + 2).unwrap_or(u32::MAX);
    let v4 = IpAddr::V4(Ipv4Addr::from(0x0a00_0000_u32.saturating_add(number)));
    let (node, slot) = (node as u16, slot as u16 + 2);
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, node, 0, 0, 0, slot));
    std::iter::once(v4).chain(dual_stack.then_some(v6))
}
