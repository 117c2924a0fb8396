//! Clusters of a given size and shape, which the benches compile and change. The same arguments always give the same
//! cluster.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use palisade_compiler::compile::Locality;
use palisade_compiler::model::{NAMESPACE_NAME_LABEL, Namespace, Pod, Policy, Protocol};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{namespace, pod, policy, rule};

/// The number of pods on one node.
pub const PODS_PER_NODE: usize = 110;
/// The number of apps in a namespace. The pods of an app have the same labels.
const APPS: usize = 5;

/// What is special about a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each app has policies with peers by label in its own namespace or another, numbered and named ports, and a block.
    Apps,
    /// In the namespace of every local pod, one policy allows 10,000 CIDRs.
    Blocks,
    /// 250 local pods, each of which allows every namespace, by name, on its own ports.
    EveryNamespace,
    /// Selectors on labels that are different for every pod or for every ReplicaSet.
    Names,
    /// Selectors with `NotIn` and `Exists`.
    Negations,
    /// Egress to a port name that has a different number on every pod of an app.
    NamedPorts,
}

impl Shape {
    pub const ALL: [Self; 6] = [
        Self::Apps,
        Self::Blocks,
        Self::EveryNamespace,
        Self::Names,
        Self::Negations,
        Self::NamedPorts,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Blocks => "10000-cidrs-in-a-rule",
            Self::EveryNamespace => "250-pods-allow-every-namespace",
            Self::Names => "pod-name-and-template-hash",
            Self::Negations => "notin-and-exists",
            Self::NamedPorts => "named-ports-differ",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Universe {
    pub pods: usize,
    pub policies: usize,
    pub namespaces: usize,
    pub shape: Shape,
}

impl Universe {
    /// One namespace for every hundred pods.
    pub fn new(pods: usize, policies: usize, shape: Shape) -> Self {
        Self { pods, policies, namespaces: (pods / 100).max(1), shape }
    }

    /// The node whose program is compiled.
    pub fn node() -> Arc<str> {
        Arc::from("node-0")
    }

    pub fn locality() -> Locality {
        Locality::Node(Self::node())
    }

    fn local_pods(&self) -> usize {
        if self.shape == Shape::EveryNamespace { 250 } else { PODS_PER_NODE }
    }

    /// The distance between the numbers of local pods. It is odd, so that local pods are in many namespaces.
    fn stride(&self) -> usize {
        (self.pods / self.local_pods()).max(1) | 1
    }

    /// Whether the pod is on the node whose program is compiled.
    pub fn is_local(&self, i: usize) -> bool {
        i.is_multiple_of(self.stride()) && i / self.stride() < self.local_pods()
    }

    /// The number, among all pods, of the local pod with number `n`.
    pub fn local(&self, n: usize) -> usize {
        n % self.local_pods() * self.stride() % self.pods
    }

    fn place(&self, i: usize) -> (usize, usize) {
        (i % self.namespaces, i / self.namespaces % APPS)
    }

    /// The pod with number `i` when it is created.
    pub fn pod(&self, i: usize) -> Pod {
        let (space, app) = self.place(i);
        self.pod_of_app(i, space, app)
    }

    /// The same pod with the labels of the next app.
    pub fn relabelled(&self, i: usize) -> Pod {
        let (space, app) = self.place(i);
        self.pod_of_app(i, space, (app + 1) % APPS)
    }

    fn pod_of_app(&self, i: usize, space: usize, app: usize) -> Pod {
        let name = format!("app-{app}-{i:06}");
        let mut labels =
            format!("app=app-{app},tier=tier-{},pod-template-hash=h{space}x{app}", app % 2);
        if self.shape == Shape::Names {
            labels.push_str(&format!(",statefulset.kubernetes.io/pod-name={name}"));
        }
        let node = if self.is_local(i) { "node-0".into() } else { format!("node-{}", 1 + i % 909) };
        let number = u32::try_from(i).unwrap_or(u32::MAX);
        let port = match self.shape {
            Shape::NamedPorts => 8000 + u16::try_from(i % 1000).unwrap_or(0),
            _ => 8080,
        };
        pod(&format!("ns-{space}/{name}"))
            .labelled(&labels)
            .on(&node)
            .ip(&Ipv4Addr::from(0x0a00_0001 + number).to_string())
            .port("http", Protocol::Tcp, port)
    }

    pub fn delete(&self, i: usize) -> Change {
        let pod = self.pod(i);
        Change::DeletePod { namespace: pod.namespace, name: pod.name, uid: None }
    }

    /// The policy with number `k`. Policies are distributed over the namespaces in turn, and then over their apps.
    pub fn policy(&self, k: usize) -> Policy {
        if self.shape == Shape::EveryNamespace {
            return self.open_to_each_namespace(k);
        }
        let (space, app) = (k % self.namespaces, k / self.namespaces % APPS);
        let other = (app + 1) % APPS;
        let named = policy(&format!("ns-{space}/policy-{k}")).select(&format!("app=app-{app}"));
        match (self.shape, k / self.namespaces / APPS % 2) {
            (Shape::Apps, 0) => named
                .isolate_ingress()
                .allow_in(rule().pods(&format!("app=app-{other}")).tcp(8080))
                .allow_in(
                    rule()
                        .pods_in(&format!("team=team-{}", k % 20), &format!("app=app-{other}"))
                        .tcp(9090),
                ),
            (Shape::Apps, _) => named
                .isolate_egress()
                .allow_out(rule().pods(&format!("app=app-{other}")).named(Protocol::Tcp, "http"))
                .allow_out(rule().block(&format!("192.168.{}.0/24", k % 200), &[]).tcp(443)),
            (Shape::Blocks | Shape::EveryNamespace, _) => {
                named.isolate_ingress().allow_in(many_blocks())
            }
            (Shape::Names, 0) => named.isolate_ingress().allow_in(
                rule()
                    .pods(&format!("statefulset.kubernetes.io/pod-name=app-{other}-{k:06}"))
                    .tcp(8080),
            ),
            (Shape::Names, _) => named
                .isolate_ingress()
                .allow_in(rule().pods(&format!("pod-template-hash=h{space}x{other}")).tcp(8080)),
            (Shape::Negations, 0) => named
                .isolate_ingress()
                .allow_in(rule().pods_in("", &format!("app notin (app-{other})")).tcp(8080)),
            (Shape::Negations, _) => {
                named.isolate_ingress().allow_in(rule().pods_in("team", "tier").tcp(9090))
            }
            (Shape::NamedPorts, _) => named.isolate_egress().allow_out(
                rule().pods_in("", &format!("app=app-{other}")).named(Protocol::Tcp, "http"),
            ),
        }
    }

    /// The numbers of the policies in the namespace and for the app of a local pod.
    pub fn policies_of_local_pods(&self) -> Vec<usize> {
        let places: BTreeSet<_> =
            (0..self.local_pods()).map(|n| self.place(self.local(n))).collect();
        (0..self.policies).filter(|&k| places.contains(&self.place(k))).collect()
    }

    /// A policy of the local pod with number `k`, with a rule for every namespace.
    fn open_to_each_namespace(&self, k: usize) -> Policy {
        let (space, _) = self.place(self.local(k));
        let port = 1000 + u16::try_from(k % 20_000).unwrap_or(0);
        let named = policy(&format!("ns-{space}/policy-{k}")).isolate_ingress();
        (0..self.namespaces).fold(named, |policy, n| {
            let one = format!("{NAMESPACE_NAME_LABEL}=ns-{n}");
            policy.allow_in(rule().pods_in(&one, "").tcp(port))
        })
    }

    /// A policy in a local pod's namespace that allows one port to all pods of all namespaces.
    pub fn everywhere_open(&self) -> Policy {
        policy("ns-0/open").isolate_ingress().allow_in(rule().pods_in("", "").tcp(7777))
    }

    pub fn namespace(&self, n: usize) -> Namespace {
        namespace(&format!("ns-{n}"), &format!("team=team-{}", n % 20))
    }

    /// All objects: namespaces, then pods, then policies.
    pub fn changes(&self) -> Vec<Change> {
        let spaces = (0..self.namespaces).map(|n| Change::ApplyNamespace(self.namespace(n)));
        let pods = (0..self.pods).map(|i| Change::ApplyPod(self.pod(i)));
        let policies = (0..self.policies).map(|k| Change::ApplyPolicy(self.policy(k)));
        spaces.chain(pods).chain(policies).collect()
    }
}

fn many_blocks() -> palisade_compiler::model::PolicyRule {
    (0..10_000_u32).fold(rule().tcp(443), |rule, i| {
        rule.block(&format!("{}/28", Ipv4Addr::from(0xac10_0000 + i * 64)), &[])
    })
}
