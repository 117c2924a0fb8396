//! A cluster of a given shape, size and seed, with connections whose verdicts the oracle knows, and edits that change a
//! verdict.
//!
//! Everything depends only on the arguments, so contenders that are given the same scenario are given the same cluster.
//! Policies are enforced on one node. Its pods are local, and the node judges only for them.

mod edits;
mod flows;
mod node_oracle;
mod shape;
mod writes;

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
pub use writes::EditWrites;

/// The number of pods on a node. It is the default limit of the kubelet.
pub const LOCAL_PODS: usize = 110;
/// The greatest number of namespaces that the pods of the node belong to.
const MAX_LOCAL_NAMESPACES: usize = 20;
/// The number of apps in a namespace. The pods of an app have the same labels.
const APPS: usize = 5;
/// The number of namespaces with the same `team` label.
const TEAM: usize = 5;
/// The namespace that has no policies.
const UNPOLICED: &str = "unpoliced";
/// One in this many pods is in that namespace.
const UNPOLICED_EVERY: usize = 11;

/// A cluster of a shape, size and seed.
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
    /// A cluster with IPv4 only. With fewer than about 40 pods there is little to test.
    pub fn new(shape: ScenarioShape, policies: usize, pods: usize, seed: u64) -> Self {
        Self { shape, policies, pods, seed, dual_stack: false }
    }

    /// The same cluster with an IPv6 address for each IPv4 address, and IPv6 blocks in addition to IPv4 blocks.
    #[must_use]
    pub fn dual_stack(self) -> Self {
        Self { dual_stack: true, ..self }
    }

    /// The name under which results are stored, for example `apps/1000-policies/10000-pods`.
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

    /// The number of pods on that node. They are the first ones.
    pub fn local_pods(&self) -> usize {
        LOCAL_PODS.min(self.pods / 2)
    }

    /// The number of namespaces that have policies: one for every hundred pods.
    pub(crate) fn namespaces(&self) -> usize {
        (self.pods / 100).max(2)
    }

    /// The nodes of the pods, with addresses of RFC 2544 and RFC 5180, including the node of pods that edits add.
    /// Contenders are not given them, because no policy refers to nodes. An engine finds its pods by the address of its
    /// node.
    pub fn nodes(&self) -> Vec<Node> {
        let last = u16::try_from(self.empty_node()).unwrap_or(u16::MAX - 1);
        let node = |n: u16| Node {
            name: format!("node-{n}").into(),
            addresses: self.node_addresses(n),
            pod_ranges: Vec::new(),
        };
        (0..=last).map(node).collect()
    }

    fn node_addresses(&self, n: u16) -> Vec<IpAddr> {
        let v4 = IpAddr::V4(Ipv4Addr::from(0xc612_0001 + u32::from(n)));
        let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, n.saturating_add(1)));
        std::iter::once(v4).chain(self.dual_stack.then_some(v6)).collect()
    }

    /// The number of a node without pods. Pods that edits add are placed there.
    fn empty_node(&self) -> usize {
        2 + self.pods / LOCAL_PODS
    }

    /// All objects: namespaces, then pods, then policies. Equal strings and label sets are shared, as they are after
    /// reading manifests. Otherwise the objects would use most of the memory of a process after a load.
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

    /// The namespace with number `n`.
    fn namespace(&self, n: usize) -> Change {
        Change::ApplyNamespace(named(&format!("ns-{n}"), &team(n)))
    }

    /// The pod with number `i`. The first pods are local. Namespace and app are random, so that they are not correlated
    /// with the number.
    pub fn pod(&self, i: usize) -> Pod {
        let mut rng = Rng::new(self.seed ^ (i as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let local = i < self.local_pods();
        let spaces = self.namespaces();
        let space = match (local, self.shape) {
            (true, ScenarioShape::OpenToNamespaces) => 0,
            (true, _) => rng.below(spaces.min(MAX_LOCAL_NAMESPACES)),
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

    /// The node of the pod with number `i`, and its slot on the node.
    fn place(&self, i: usize) -> (usize, usize) {
        match i.checked_sub(self.local_pods()) {
            None => (0, i),
            Some(remote) => (1 + remote / LOCAL_PODS, remote % LOCAL_PODS),
        }
    }

    /// The number of the pod with this address.
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

    /// The policy with number `k`. Policies are distributed over the namespaces in turn, and then over their apps.
    pub fn policy(&self, k: usize) -> Policy {
        shape::policy_of(self, k)
    }

    /// Different connections with this verdict, spread over policies, pods and families. The oracle judges each of them.
    /// There are fewer than `count` only if no more are found in the cluster.
    pub fn flows(&self, count: usize, allowed: bool) -> Vec<Flow> {
        let verdict = if allowed { Verdict::Allow } else { Verdict::Deny };
        flows::Sampler::new(self).sample(None, verdict, count)
    }

    /// As `flows`, but only connections that are isolated by policies at both ends, at one, or at none (which are all
    /// allowed).
    pub fn flows_selected(&self, selected: Selected, count: usize, verdict: Verdict) -> Vec<Flow> {
        flows::Sampler::new(self).sample(Some(selected), verdict, count)
    }

    /// An endless sequence of edits, to be made one after another. Each changes the verdict on its probe and is followed by
    /// an edit that reverts it, so that the cluster keeps its size. Only kinds of edit that change a verdict in this shape
    /// are included.
    pub fn edits(&self) -> impl Iterator<Item = Edit> + use<> {
        edits::all(self).into_iter().cycle()
    }
}

/// A namespace with the label that contains its name, as the API server adds it, and the label of its team.
fn named(name: &str, team: &str) -> Namespace {
    namespace(name, &format!("{NAMESPACE_NAME_LABEL}={name},team={team}"))
}

fn team(namespace: usize) -> String {
    format!("team-{}", namespace / TEAM)
}

/// The node of a pod's address, and the slot on the node. The reverse of `addresses`.
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

/// The addresses `10.node.node.slot` and `fd00::node:0:0:0:slot`.
fn addresses(node: usize, slot: usize, dual_stack: bool) -> impl Iterator<Item = IpAddr> {
    let number = u32::try_from(node * 256 + slot + 2).unwrap_or(u32::MAX);
    let v4 = IpAddr::V4(Ipv4Addr::from(0x0a00_0000_u32.saturating_add(number)));
    let (node, slot) = (node as u16, slot as u16 + 2);
    let v6 = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, node, 0, 0, 0, slot));
    std::iter::once(v4).chain(dual_stack.then_some(v6))
}
