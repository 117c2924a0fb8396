//! What a cluster means to NetworkPolicy: namespaces, nodes, pods and policies, valid by construction.
//!
//! `parse` turns what was written into these types; everything after it relies on their invariants.
//! Strings are shared (`Arc<str>`), so that a snapshot can hold each one once.

mod allowed_sources;
mod lint_ignore;
mod per_family;
mod service;
mod uid;
mod workload;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

pub use allowed_sources::{AllowedSources, MAX_ALLOWED_SOURCES};
pub use lint_ignore::{LintIgnore, MAX_IGNORED_CODES};
pub use per_family::PerFamily;
pub use service::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, SERVICE_NAME_LABEL, Service,
    ServiceKind, ServicePort, TargetPort,
};
pub use uid::Uid;
pub use workload::{Workload, WorkloadKind};

/// An address family. NetworkPolicy never crosses it: an IPv4 block matches no IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A direction of policy, always seen from the subject: the selected pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// A protocol that a NetworkPolicy port can name (`NetworkPolicyPort.protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The IANA protocol number, as in the IPv4 `protocol` field.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with that IANA number; `None` for all that NetworkPolicy cannot name.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl From<Protocol> for u8 {
    fn from(protocol: Protocol) -> Self {
        protocol.number()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A set of labels: sorted by key, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The last value given for a key wins.
impl<K: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let sorted: std::collections::BTreeMap<Arc<str>, Arc<str>> =
            pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self(sorted.into_iter().collect())
    }
}

/// A label selector (`metav1.LabelSelector`): the conjunction of its requirements, so that none selects all.
/// `matchLabels` are `In` with one value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

impl Selector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    pub key: Arc<str>,
    pub operator: Operator,
}

/// The operators of `metav1.LabelSelectorRequirement`. Value lists are not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    In(Vec<Arc<str>>),
    /// Also matches where the key is absent.
    NotIn(Vec<Arc<str>>),
    Exists,
    DoesNotExist,
}

impl Requirement {
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.contains(v)),
            Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// A namespace. Its labels always hold `kubernetes.io/metadata.name`, as the API server sees to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace {
    pub name: Arc<str>,
    pub labels: Arc<Labels>,
    /// No verdict depends on it.
    pub lint_ignore: Option<Arc<LintIgnore>>,
}

/// The label that every namespace carries, with its own name as the value.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A node: whose addresses are the host end of its own pods' traffic, which is never judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub name: Arc<str>,
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`: the ranges that the addresses of its pods are taken from, where the cluster assigns them by node.
    pub pod_ranges: Vec<IpNet>,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Pending,
    Unknown,
    Running,
    Succeeded,
    Failed,
}

/// A port that a container declares. Policies find those with a name; the others say what the pod serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    pub name: Option<Arc<str>>,
    pub protocol: Protocol,
    /// 1-65535, host byte order.
    pub port: u16,
}

/// `spec.dnsPolicy`: whose resolver the pod asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DnsPolicy {
    /// The cluster's: `ClusterFirst`, `ClusterFirstWithHostNet`, or missing.
    #[default]
    Cluster,
    /// Another one: the node's (`Default`), or what `dnsConfig` says (`None`).
    Other,
}

/// At most one address of each family (`status.podIPs`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodAddresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl PodAddresses {
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    pub fn get(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

impl FromIterator<IpAddr> for PodAddresses {
    /// The first of each family is kept.
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut found = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(v4) => _ = found.v4.get_or_insert(v4),
                IpAddr::V6(v6) => _ = found.v6.get_or_insert(v6),
            }
        }
        found
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pod {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Option<Uid>,
    pub labels: Arc<Labels>,
    /// `spec.nodeName`: the node the pod is bound to.
    pub node: Option<Arc<str>>,
    pub addresses: PodAddresses,
    /// `status.hostIPs`: addresses of the node that the pod runs on, also where there is no object of that node.
    pub host_ips: PodAddresses,
    pub host_network: bool,
    pub phase: Phase,
    /// `status.startTime`, in seconds since the Unix epoch.
    pub started: Option<i64>,
    /// `metadata.deletionTimestamp` is set and every container has terminated.
    pub containers_gone: bool,
    /// Ports of containers and of restartable init containers.
    pub ports: Arc<[ContainerPort]>,
    /// No verdict depends on it.
    pub dns_policy: DnsPolicy,
    /// No verdict depends on it.
    pub lint_ignore: Option<Arc<LintIgnore>>,
    /// No verdict depends on it; the source guard does.
    pub allowed_sources: Option<Arc<AllowedSources>>,
}

impl Pod {
    /// Whether the pod's addresses are its own: it has not ended, its containers are not gone, and it
    /// is not on the host's network. A terminating pod keeps its identity until its containers are gone.
    pub fn has_identity(&self) -> bool {
        !self.host_network && !self.has_ended()
    }

    /// Whether the pod is on its host's network and has not ended: its addresses are the node's.
    pub fn is_host(&self) -> bool {
        self.host_network && !self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.containers_gone || matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Which of two pods with one address owns it: the greater. By phase (running first), then by
    /// start time (the later), then by name so that the answer is never left open.
    pub fn precedence(&self) -> impl Ord + use<'_> {
        (self.phase == Phase::Running, self.started, &self.namespace, &self.name)
    }

    /// The numbers behind a port name and protocol: every container port of that name.
    pub fn named_ports(&self, name: &str, protocol: Protocol) -> impl Iterator<Item = u16> {
        self.ports
            .iter()
            .filter(move |p| p.name.as_deref() == Some(name) && p.protocol == protocol)
            .map(|p| p.port)
    }
}

/// The name of a policy, as in messages: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A NetworkPolicy, with `policyTypes` resolved. A policy with wrong fields is one without rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policy {
    pub key: PolicyKey,
    /// `spec.podSelector`: the subjects, in the policy's namespace.
    pub subjects: Selector,
    pub isolates: Isolation,
    pub ingress: Vec<PolicyRule>,
    pub egress: Vec<PolicyRule>,
    /// Why the policy has no rules, if it is because some of its fields are wrong: the first error.
    pub fault: Option<Arc<str>>,
    /// No verdict depends on it.
    pub lint_ignore: Option<Arc<LintIgnore>>,
}

impl Policy {
    pub fn rules(&self, direction: Direction) -> &[PolicyRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// The directions in which a policy isolates its subjects (`spec.policyTypes`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isolation {
    pub ingress: bool,
    pub egress: bool,
}

impl Isolation {
    pub fn in_direction(self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// One allowance: these peers on these ports (a product, not a zip).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRule {
    pub peers: Peers,
    pub ports: Ports,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peers {
    /// `from`/`to` empty or missing: every address, also outside the cluster.
    Everyone,
    /// Not empty.
    AnyOf(Vec<Peer>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    Pods { namespaces: Namespaces, pods: Selector },
    Block(IpBlock),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespaces {
    /// No `namespaceSelector`: the policy's own namespace.
    Own,
    Selected(Selector),
}

/// `ipBlock`: the addresses of `cidr` but for those of `except`, which narrow this block only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// Host bits are zero.
    pub cidr: IpNet,
    /// Each lies inside `cidr`; they may overlap.
    pub except: Vec<IpNet>,
}

impl IpBlock {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(&address) && !self.except.iter().any(|e| e.contains(&address))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// `ports` empty or missing: every port and every protocol.
    Every,
    /// Not empty.
    AnyOf(Vec<PortMatch>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortMatch {
    pub protocol: Protocol,
    pub port: PortSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortSpec {
    /// `port` missing: every port of the protocol.
    Any,
    /// `first <= last`, both included; a single port has them equal.
    Range { first: u16, last: u16 },
    /// Resolved on the pod that is connected to.
    Named(Arc<str>),
}

/// What is judged: the first packet of a connection as the forward path sees it, after DNAT and before SNAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    pub from: IpAddr,
    pub to: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port in host byte order; 0 where the protocol has none.
    pub port: u16,
}

/// Allow or deny, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Allow,
    Deny,
}

impl Verdict {
    pub fn and(self, other: Self) -> Self {
        if self == Self::Allow { other } else { Self::Deny }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}
