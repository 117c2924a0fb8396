//! Builds objects and connections in one line, for tests written by hand.
//!
//! Selectors and labels are written as for kubectl: `app=web,tier notin (a,b),!canary`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{
    Connection, ContainerPort, DnsPolicy, Family, IpBlock, Isolation, Labels, Namespace,
    Namespaces, Node, Operator, Peer, Peers, Phase, Pod, Policy, PolicyKey, PolicyRule, PortMatch,
    PortSpec, Ports, Protocol, Requirement, Selector,
};
use crate::snapshot::{Change, Snapshot};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|e| panic!("{text:?} is no address: {e}"))
}

fn split_name(name: &str) -> (Arc<str>, Arc<str>) {
    let (namespace, name) =
        name.split_once('/').unwrap_or_else(|| panic!("{name:?} is not namespace/name"));
    (namespace.into(), name.into())
}

/// Labels such as `app=web,tier=front`. An empty text means no labels.
pub fn labels(text: &str) -> Arc<Labels> {
    let pairs = text
        .split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("{pair:?} is not key=value")));
    Arc::new(pairs.collect())
}

/// A selector: `app=web`, `app!=web`, `app in (a,b)`, `app notin (a,b)`, `app` or `!app`, joined by commas. An empty text
/// selects everything.
pub fn selector(text: &str) -> Selector {
    let mut requirements = Vec::new();
    let mut depth = 0;
    for part in text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    }) {
        if !part.trim().is_empty() {
            requirements.push(requirement(part.trim()));
        }
    }
    Selector { requirements }
}

fn requirement(text: &str) -> Requirement {
    let values = |list: &str| -> Vec<Arc<str>> {
        let list = list.trim().trim_start_matches('(').trim_end_matches(')');
        list.split(',').map(|value| Arc::from(value.trim())).collect()
    };
    let (key, operator) = if let Some((key, list)) = text.split_once(" notin ") {
        (key, Operator::NotIn(values(list)))
    } else if let Some((key, list)) = text.split_once(" in ") {
        (key, Operator::In(values(list)))
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Operator::NotIn(values(value)))
    } else if let Some((key, value)) = text.split_once('=') {
        (key, Operator::In(values(value)))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Operator::DoesNotExist)
    } else {
        (text, Operator::Exists)
    };
    Requirement { key: key.trim().into(), operator }
}

/// A namespace with these labels. The snapshot adds `kubernetes.io/metadata.name`.
pub fn namespace(name: &str, text: &str) -> Namespace {
    Namespace { name: name.into(), labels: labels(text), lint_ignore: None }
}

impl From<Namespace> for Change {
    fn from(namespace: Namespace) -> Self {
        Self::ApplyNamespace(namespace)
    }
}

pub fn node(name: &str, addresses: &[&str]) -> Node {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    Node { name: name.into(), addresses, pod_ranges: Vec::new() }
}

impl From<Node> for Change {
    fn from(node: Node) -> Self {
        Self::ApplyNode(node)
    }
}

/// A running pod `namespace/name` without address, labels or node.
pub fn pod(name: &str) -> Pod {
    let (namespace, name) = split_name(name);
    Pod {
        namespace,
        name,
        uid: None,
        labels: Arc::default(),
        node: None,
        addresses: [].into_iter().collect(),
        host_ips: [].into_iter().collect(),
        host_network: false,
        phase: Phase::Running,
        started: None,
        containers_gone: false,
        ports: Arc::new([]),
        dns_policy: DnsPolicy::default(),
        lint_ignore: None,
        allowed_sources: None,
    }
}

/// Each method returns the pod with one property changed.
impl Pod {
    #[must_use]
    pub fn labelled(self, text: &str) -> Self {
        Self { labels: labels(text), ..self }
    }

    /// Adds an address. The first address of each family is used.
    #[must_use]
    pub fn ip(self, address: &str) -> Self {
        Self { addresses: self.addresses.iter().chain([ip(address)]).collect(), ..self }
    }

    #[must_use]
    pub fn on(self, node: &str) -> Self {
        Self { node: Some(node.into()), ..self }
    }

    #[must_use]
    pub fn with_uid(self, uid: &str) -> Self {
        Self { uid: Some(uid.into()), ..self }
    }

    #[must_use]
    pub fn on_host_network(self) -> Self {
        Self { host_network: true, ..self }
    }

    #[must_use]
    pub fn in_phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// `started` is in seconds since the Unix epoch.
    #[must_use]
    pub fn started_at(self, started: i64) -> Self {
        Self { started: Some(started), ..self }
    }

    #[must_use]
    pub fn without_containers(self) -> Self {
        Self { containers_gone: true, ..self }
    }

    /// Adds a named container port.
    #[must_use]
    pub fn port(self, name: &str, protocol: Protocol, port: u16) -> Self {
        let port = ContainerPort { name: Some(name.into()), protocol, port };
        Self { ports: self.ports.iter().cloned().chain([port]).collect(), ..self }
    }

    #[must_use]
    pub fn unnamed_port(self, protocol: Protocol, port: u16) -> Self {
        let port = ContainerPort { name: None, protocol, port };
        Self { ports: self.ports.iter().cloned().chain([port]).collect(), ..self }
    }

    /// Has the pod ask another resolver than the cluster's.
    #[must_use]
    pub fn with_other_dns(self) -> Self {
        Self { dns_policy: DnsPolicy::Other, ..self }
    }
}

impl From<Pod> for Change {
    fn from(pod: Pod) -> Self {
        Self::ApplyPod(pod)
    }
}

/// A policy `namespace/name` that selects every pod of its namespace and isolates in no direction yet.
pub fn policy(name: &str) -> Policy {
    let (namespace, name) = split_name(name);
    Policy {
        key: PolicyKey { namespace, name },
        subjects: Selector::everything(),
        isolates: Isolation::default(),
        ingress: Vec::new(),
        egress: Vec::new(),
        fault: None,
        lint_ignore: None,
    }
}

/// Each method returns the policy with one property changed.
impl Policy {
    #[must_use]
    pub fn select(self, subjects: &str) -> Self {
        Self { subjects: selector(subjects), ..self }
    }

    /// Adds `Ingress` to the `policyTypes`.
    #[must_use]
    pub fn isolate_ingress(mut self) -> Self {
        self.isolates.ingress = true;
        self
    }

    #[must_use]
    pub fn isolate_egress(mut self) -> Self {
        self.isolates.egress = true;
        self
    }

    /// Adds an ingress rule, and isolates for ingress.
    #[must_use]
    pub fn allow_in(mut self, rule: PolicyRule) -> Self {
        self.ingress.push(rule);
        self.isolate_ingress()
    }

    #[must_use]
    pub fn allow_out(mut self, rule: PolicyRule) -> Self {
        self.egress.push(rule);
        self.isolate_egress()
    }
}

impl From<Policy> for Change {
    fn from(policy: Policy) -> Self {
        Self::ApplyPolicy(policy)
    }
}

/// A rule that allows everyone on every port: `- {}`.
pub fn rule() -> PolicyRule {
    PolicyRule { peers: Peers::Everyone, ports: Ports::Every }
}

/// Each method returns the rule with one more peer or port. The first peer restricts a rule for everyone to that peer, and
/// likewise the first port.
impl PolicyRule {
    #[must_use]
    pub fn peer(mut self, peer: Peer) -> Self {
        match &mut self.peers {
            Peers::Everyone => self.peers = Peers::AnyOf(vec![peer]),
            Peers::AnyOf(peers) => peers.push(peer),
        }
        self
    }

    /// Adds a `podSelector` without `namespaceSelector`: pods of the policy's own namespace.
    #[must_use]
    pub fn pods(self, pods: &str) -> Self {
        self.peer(Peer::Pods { namespaces: Namespaces::Own, pods: selector(pods) })
    }

    /// Adds a `namespaceSelector` and a `podSelector` in one entry.
    #[must_use]
    pub fn pods_in(self, namespaces: &str, pods: &str) -> Self {
        let namespaces = Namespaces::Selected(selector(namespaces));
        self.peer(Peer::Pods { namespaces, pods: selector(pods) })
    }

    #[must_use]
    pub fn block(self, cidr: &str, except: &[&str]) -> Self {
        let net = |text: &str| -> ipnet::IpNet {
            text.parse().unwrap_or_else(|e| panic!("{text:?} is no CIDR: {e}"))
        };
        let block =
            IpBlock { cidr: net(cidr), except: except.iter().map(|text| net(text)).collect() };
        self.peer(Peer::Block(block))
    }

    #[must_use]
    pub fn port(mut self, protocol: Protocol, port: PortSpec) -> Self {
        let port = PortMatch { protocol, port };
        match &mut self.ports {
            Ports::Every => self.ports = Ports::AnyOf(vec![port]),
            Ports::AnyOf(ports) => ports.push(port),
        }
        self
    }

    #[must_use]
    pub fn tcp(self, port: u16) -> Self {
        self.range(Protocol::Tcp, port, port)
    }

    #[must_use]
    pub fn udp(self, port: u16) -> Self {
        self.range(Protocol::Udp, port, port)
    }

    #[must_use]
    pub fn range(self, protocol: Protocol, first: u16, last: u16) -> Self {
        self.port(protocol, PortSpec::Range { first, last })
    }

    #[must_use]
    pub fn any_port(self, protocol: Protocol) -> Self {
        self.port(protocol, PortSpec::Any)
    }

    #[must_use]
    pub fn named(self, protocol: Protocol, name: &str) -> Self {
        self.port(protocol, PortSpec::Named(name.into()))
    }
}

/// A connection such as `web/a -> db/b tcp 5432`, `10.0.0.1 -> web/a icmp` or `web/a -> db/b v6 udp 53`.
///
/// Each end is an address, or the name of a pod that has one. Names stand for IPv4 addresses unless the text contains `v6`.
/// Protocols are tcp, udp, sctp, icmp, icmpv6, or a number.
pub fn connection(snapshot: &Snapshot, text: &str) -> Connection {
    let words: Vec<&str> = text.split_whitespace().collect();
    let v6 = words.contains(&"v6");
    let family = if v6 { Family::V6 } else { Family::V4 };
    let rest: Vec<&str> = words.into_iter().filter(|word| *word != "v6").collect();
    let (from, to, protocol, port) = match rest[..] {
        [from, "->", to, protocol] => (from, to, protocol, 0),
        [from, "->", to, protocol, port] => {
            (from, to, protocol, port.parse().unwrap_or_else(|e| panic!("{text:?}: port: {e}")))
        }
        _ => panic!("{text:?} is not `FROM -> TO [v6] PROTOCOL [PORT]`"),
    };
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        "icmp" => 1,
        "icmpv6" => 58,
        number => number.parse().unwrap_or_else(|e| panic!("{text:?}: protocol: {e}")),
    };
    let end = |text| address(snapshot, text, family);
    Connection { from: end(from), to: end(to), protocol, port }
}

fn address(snapshot: &Snapshot, end: &str, family: Family) -> IpAddr {
    let Some((namespace, name)) = end.split_once('/') else { return ip(end) };
    let pod = snapshot.pod_named(namespace, name).unwrap_or_else(|| panic!("no pod {end}"));
    pod.addresses.get(family).unwrap_or_else(|| panic!("{end} has no {family:?} address"))
}
