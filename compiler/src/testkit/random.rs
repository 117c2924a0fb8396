//! Random objects of every kind, including unusual ones, and random edits of a cluster.
//!
//! Names, labels, addresses, blocks and ports come from small pools, so that objects select each other, blocks overlap and
//! contain pods, and pods have each other's addresses.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::rng::Rng;
use crate::model::{
    ContainerPort, DnsPolicy, IpBlock, Isolation, Labels, NAMESPACE_NAME_LABEL, Namespace,
    Namespaces, Node, Operator, Peer, Peers, Phase, Pod, Policy, PolicyKey, PolicyRule, PortMatch,
    PortSpec, Ports, Protocol, Requirement, Selector,
};
use crate::snapshot::{Change, ObjectKind, Snapshot};

/// The last one is used by pods and policies but never declared.
const NAMESPACES: [&str; 5] = ["a", "b", "c", "d", "e"];
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Internal addresses, routed external addresses, and one that a pod may have too.
const NODE_ADDRESSES: [&str; 8] = [
    "192.168.0.1",
    "192.168.0.2",
    "192.168.0.3",
    "fd00:f::1",
    "fd00:f::2",
    "203.0.113.1",
    "203.0.113.2",
    "10.0.0.1",
];
const POD_NAMES: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const POD_LABELS: [(&str, &[&str]); 3] =
    [("app", &["web", "db", ""]), ("tier", &["front", "back"]), ("canary", &["yes"])];
const NAMESPACE_LABELS: [(&str, &[&str]); 2] = [("team", &["x", "y"]), ("env", &["prod", "test"])];
const V4: [&str; 9] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.8",
    "10.0.1.0",
    "10.255.255.255",
    "172.16.0.1",
];
const V6: [&str; 7] =
    ["fd00::", "fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00::ffff", "2001:db8::1"];
const BLOCKS_V4: [&str; 20] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.0.0/23",
    "10.0.0.0/29",
    "10.0.0.0/30",
    "10.0.0.4/30",
    "10.0.0.2/31",
    "10.0.0.1/32",
    "10.0.0.2/32",
    "10.0.0.3/32",
    "192.168.0.0/16",
    "192.168.0.1/32",
    "0.0.0.0/32",
    "255.255.255.255/32",
    "203.0.113.0/24",
];
const BLOCKS_V6: [&str; 14] = [
    "::/0",
    "::/1",
    "8000::/1",
    "fd00::/8",
    "fd00::/64",
    "fd00::/126",
    "fd00::/127",
    "fd00::2/127",
    "fd00::1/128",
    "fd00::2/128",
    "::/128",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "2001:db8::/32",
    "fd00:f::/64",
];
const PORT_NAMES: [&str; 4] = ["http", "dns", "metrics", "nobody"];
const PORTS: [u16; 8] = [1, 53, 79, 80, 81, 443, 8080, 65535];
/// Adjacent, overlapping and nested ranges, ranges of 2, 255, 256 and 257 ports, and the whole range.
const RANGES: [(u16, u16); 14] = [
    (79, 80),
    (80, 81),
    (81, 90),
    (80, 443),
    (1, 79),
    (1000, 1254),
    (1000, 1255),
    (1000, 1256),
    (1255, 2000),
    (1257, 1300),
    (8000, 8080),
    (8080, 65535),
    (1, 65535),
    (65535, 65535),
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A small cluster: up to 4 namespaces, 3 nodes, 9 pods and 6 policies, in any order.
pub fn changes(rng: &mut Rng) -> Vec<Change> {
    let namespaces = 1 + rng.below(4);
    let mut changes = Vec::new();
    for name in &NAMESPACES[..namespaces] {
        // Some namespaces are not declared. They exist if `UndeclaredNamespaces::Implied` is set.
        if rng.chance(85) {
            changes.push(Change::ApplyNamespace(namespace(rng, name)));
        }
    }
    changes.extend(rng.many(0, 2, |rng| Change::ApplyNode(node(rng))));
    changes.extend(rng.many(1, 9, |rng| Change::ApplyPod(pod(rng, namespaces))));
    changes.extend(rng.many(1, 6, |rng| Change::ApplyPolicy(policy(rng, namespaces))));
    for at in (1..changes.len()).rev() {
        changes.swap(at, rng.below(at + 1));
    }
    changes
}

fn labels(rng: &mut Rng, pool: &[(&str, &[&str])]) -> Arc<Labels> {
    let chosen: Vec<_> = pool.iter().filter(|_| rng.chance(60)).copied().collect();
    Arc::new(chosen.into_iter().map(|(key, values)| (key, rng.pick(values))).collect())
}

fn namespace(rng: &mut Rng, name: &str) -> Namespace {
    Namespace { name: name.into(), labels: labels(rng, &NAMESPACE_LABELS), lint_ignore: None }
}

fn node(rng: &mut Rng) -> Node {
    let name = rng.pick(&NODES).into();
    let addresses = rng.many(0, 3, |rng| ip(rng.pick(&NODE_ADDRESSES)));
    Node { name, addresses, pod_ranges: Vec::new() }
}

fn namespace_name(rng: &mut Rng, namespaces: usize) -> Arc<str> {
    let undeclared = rng.chance(4);
    rng.pick(if undeclared { &NAMESPACES[4..] } else { &NAMESPACES[..namespaces] }).into()
}

fn pod(rng: &mut Rng, namespaces: usize) -> Pod {
    let host_network = rng.chance(8);
    let mut addresses = Vec::new();
    // Most pods have one address of each family or only IPv4. Some have only IPv6 or no address yet.
    match rng.below(10) {
        0 => {}
        1 | 2 => addresses.push(ip(rng.pick(&V6))),
        3..=6 => addresses.push(ip(rng.pick(&V4))),
        _ => addresses.extend([ip(rng.pick(&V4)), ip(rng.pick(&V6))]),
    }
    if host_network && rng.chance(70) {
        addresses = vec![ip(rng.pick(&NODE_ADDRESSES))];
    }
    let host_ips = if rng.chance(25) {
        rng.many(1, 2, |rng| ip(rng.pick(&NODE_ADDRESSES)))
    } else {
        Vec::new()
    };
    Pod {
        namespace: namespace_name(rng, namespaces),
        name: rng.pick(&POD_NAMES).into(),
        uid: rng.chance(70).then(|| rng.pick(&["u1", "u2", "u3"]).into()),
        labels: labels(rng, &POD_LABELS),
        node: rng.chance(85).then(|| rng.pick(&NODES).into()),
        addresses: addresses.into_iter().collect(),
        host_ips: host_ips.into_iter().collect(),
        host_network,
        phase: match rng.below(20) {
            0 => Phase::Succeeded,
            1 => Phase::Failed,
            2 => Phase::Pending,
            3 => Phase::Unknown,
            _ => Phase::Running,
        },
        started: rng.chance(60).then(|| rng.below(3) as i64),
        containers_gone: rng.chance(4),
        ports: rng.many(0, 3, named_port).into(),
        dns_policy: DnsPolicy::default(),
        lint_ignore: None,
        allowed_sources: None,
    }
}

fn named_port(rng: &mut Rng) -> ContainerPort {
    ContainerPort {
        name: Some(rng.pick(&PORT_NAMES[..3]).into()),
        protocol: protocol(rng),
        port: rng.pick(&PORTS),
    }
}

fn protocol(rng: &mut Rng) -> Protocol {
    rng.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn policy(rng: &mut Rng, namespaces: usize) -> Policy {
    let namespace = namespace_name(rng, namespaces);
    let name = rng.pick(&["q0", "q1", "q2", "q3"]).into();
    let isolates = match rng.below(20) {
        0 => Isolation::default(),
        1..=8 => Isolation { ingress: true, egress: true },
        9..=14 => Isolation { ingress: true, egress: false },
        _ => Isolation { ingress: false, egress: true },
    };
    Policy {
        key: PolicyKey { namespace, name },
        subjects: selector(rng, &POD_LABELS),
        isolates,
        ingress: rng.many(0, 3, rule),
        egress: rng.many(0, 3, rule),
        fault: None,
        lint_ignore: None,
    }
}

fn selector(rng: &mut Rng, pool: &[(&str, &[&str])]) -> Selector {
    let requirements = if rng.chance(25) { 0 } else { 1 + rng.below(2) };
    Selector { requirements: (0..requirements).map(|_| requirement(rng, pool)).collect() }
}

fn requirement(rng: &mut Rng, pool: &[(&str, &[&str])]) -> Requirement {
    let (key, values) = rng.pick(pool);
    let key = if rng.chance(5) { "nokey" } else { key };
    let some = |rng: &mut Rng| {
        rng.many(1, 2, |rng| if rng.chance(8) { "other" } else { rng.pick(values) }.into())
    };
    let operator = match rng.below(10) {
        0..=4 => Operator::In(some(rng)),
        5 | 6 => Operator::NotIn(some(rng)),
        7 | 8 => Operator::Exists,
        _ => Operator::DoesNotExist,
    };
    Requirement { key: key.into(), operator }
}

fn rule(rng: &mut Rng) -> PolicyRule {
    let peers = if rng.chance(15) { Peers::Everyone } else { Peers::AnyOf(rng.many(1, 3, peer)) };
    let ports = if rng.chance(30) { Ports::Every } else { Ports::AnyOf(rng.many(1, 3, port)) };
    PolicyRule { peers, ports }
}

fn peer(rng: &mut Rng) -> Peer {
    if rng.chance(45) {
        return Peer::Block(block(rng));
    }
    let namespaces = match rng.below(10) {
        0..=3 => Namespaces::Own,
        4 => Namespaces::Selected(Selector::everything()),
        5 => {
            let names = rng.many(1, 2, |rng| rng.pick(&NAMESPACES).into());
            let key = NAMESPACE_NAME_LABEL.into();
            let requirement = Requirement { key, operator: Operator::In(names) };
            Namespaces::Selected(Selector { requirements: vec![requirement] })
        }
        _ => Namespaces::Selected(selector(rng, &NAMESPACE_LABELS)),
    };
    Peer::Pods { namespaces, pods: selector(rng, &POD_LABELS) }
}

fn block(rng: &mut Rng) -> IpBlock {
    let pool: &[&str] = if rng.chance(65) { &BLOCKS_V4 } else { &BLOCKS_V6 };
    let net = |text: &str| -> IpNet { text.parse::<IpNet>().unwrap().trunc() };
    let cidr = net(rng.pick(pool));
    let inside: Vec<IpNet> =
        pool.iter().map(|text| net(text)).filter(|e| cidr.contains(e)).collect();
    let except = if rng.chance(50) { rng.many(1, 3, |rng| rng.pick(&inside)) } else { Vec::new() };
    IpBlock { cidr, except }
}

fn port(rng: &mut Rng) -> PortMatch {
    let port = match rng.below(10) {
        0 => PortSpec::Any,
        1..=3 => {
            let port = rng.pick(&PORTS);
            PortSpec::Range { first: port, last: port }
        }
        4..=6 => {
            let (first, last) = rng.pick(&RANGES);
            PortSpec::Range { first, last }
        }
        _ => PortSpec::Named(rng.pick(&PORT_NAMES).into()),
    };
    PortMatch { protocol: protocol(rng), port }
}

/// A random edit: an object is added, removed, or changed in one property. Sometimes all objects of a kind are listed
/// again, which takes several changes.
pub fn random_edit(rng: &mut Rng, snapshot: &Snapshot) -> Vec<Change> {
    let kind = rng.below(20);
    if kind == 19 { reset(rng, snapshot) } else { vec![random_change(rng, snapshot, kind)] }
}

fn random_change(rng: &mut Rng, snapshot: &Snapshot, kind: usize) -> Change {
    match kind {
        0 => Change::ApplyNamespace({
            let name = rng.pick(&NAMESPACES);
            namespace(rng, name)
        }),
        1 => Change::DeleteNamespace(rng.pick(&NAMESPACES).into()),
        2 => Change::ApplyNode(node(rng)),
        3 => Change::DeleteNode(rng.pick(&NODES).into()),
        4..=6 => Change::ApplyPod(pod(rng, 4)),
        7..=10 => changed_pod(rng, snapshot),
        11 | 12 => deleted_pod(rng, snapshot),
        13 | 14 => Change::ApplyPolicy(policy(rng, 4)),
        15 | 16 => changed_policy(rng, snapshot),
        _ => deleted_policy(rng, snapshot),
    }
}

/// The pods in an order that depends only on the snapshot's contents, not on its history.
fn pods(snapshot: &Snapshot) -> Vec<&Pod> {
    let mut pods: Vec<&Pod> = snapshot.pods().collect();
    pods.sort_by_key(|pod| (&pod.namespace, &pod.name));
    pods
}

fn changed_pod(rng: &mut Rng, snapshot: &Snapshot) -> Change {
    let pods = pods(snapshot);
    let fresh = pod(rng, 4);
    if pods.is_empty() {
        return Change::ApplyPod(fresh);
    }
    let mut pod = rng.pick(&pods).clone();
    match rng.below(8) {
        0 | 1 => pod.labels = fresh.labels,
        2 | 3 => pod.addresses = fresh.addresses,
        4 => pod.ports = fresh.ports,
        5 => pod.phase = fresh.phase,
        6 => pod.containers_gone = !pod.containers_gone,
        _ => {
            (pod.uid, pod.started) = (fresh.uid, fresh.started);
            (pod.node, pod.host_ips) = (fresh.node, fresh.host_ips);
        }
    }
    Change::ApplyPod(pod)
}

fn deleted_pod(rng: &mut Rng, snapshot: &Snapshot) -> Change {
    let pods = pods(snapshot);
    let uid = match rng.below(3) {
        0 => None,
        _ => Some(rng.pick(&["u1", "u2", "u3"]).into()),
    };
    let Some((namespace, name)) = (!pods.is_empty()).then(|| {
        let pod = rng.pick(&pods);
        (Arc::clone(&pod.namespace), Arc::clone(&pod.name))
    }) else {
        return Change::DeletePod { namespace: "a".into(), name: "p0".into(), uid };
    };
    Change::DeletePod { namespace, name, uid }
}

fn changed_policy(rng: &mut Rng, snapshot: &Snapshot) -> Change {
    let policies: Vec<_> = snapshot.policies().collect();
    let fresh = policy(rng, 4);
    if policies.is_empty() {
        return Change::ApplyPolicy(fresh);
    }
    let mut policy = policies[rng.below(policies.len())].as_ref().clone();
    match rng.below(6) {
        0 => policy.subjects = fresh.subjects,
        1 => policy.isolates = fresh.isolates,
        2 => policy.ingress = fresh.ingress,
        3 => policy.egress = fresh.egress,
        4 => policy.ingress.push(rule(rng)),
        _ => _ = policy.egress.pop(),
    }
    Change::ApplyPolicy(policy)
}

fn deleted_policy(rng: &mut Rng, snapshot: &Snapshot) -> Change {
    let keys: Vec<_> = snapshot.policies().map(|policy| &policy.key).collect();
    if keys.is_empty() {
        return Change::ApplyPolicy(policy(rng, 4));
    }
    Change::DeletePolicy(rng.pick(&keys).clone())
}

/// Lists the objects of a kind again: most of those that exist, and a new one.
fn reset(rng: &mut Rng, snapshot: &Snapshot) -> Vec<Change> {
    let kinds = [ObjectKind::Namespace, ObjectKind::Node, ObjectKind::Pod, ObjectKind::Policy];
    let kind = kinds[rng.below(4)];
    let mut listed: Vec<Change> = match kind {
        ObjectKind::Namespace => {
            snapshot.namespaces().cloned().map(Change::ApplyNamespace).collect()
        }
        ObjectKind::Node => snapshot.nodes().cloned().map(Change::ApplyNode).collect(),
        ObjectKind::Pod => pods(snapshot).into_iter().cloned().map(Change::ApplyPod).collect(),
        ObjectKind::Policy => {
            let policies = snapshot.policies().map(|policy| policy.as_ref().clone());
            policies.map(Change::ApplyPolicy).collect()
        }
        ObjectKind::Service | ObjectKind::EndpointSlice => Vec::new(),
    };
    listed.retain(|_| rng.chance(80));
    match kind {
        ObjectKind::Namespace | ObjectKind::Service | ObjectKind::EndpointSlice => {}
        ObjectKind::Node => listed.push(Change::ApplyNode(node(rng))),
        ObjectKind::Pod => listed.push(Change::ApplyPod(pod(rng, 4))),
        ObjectKind::Policy => listed.push(Change::ApplyPolicy(policy(rng, 4))),
    }
    relist(kind, listed)
}

/// Lists the objects of a kind again: objects that `listed` does not contain are removed.
pub fn relist(kind: ObjectKind, listed: impl IntoIterator<Item = Change>) -> Vec<Change> {
    let begin = std::iter::once(Change::BeginReset(kind));
    begin.chain(listed).chain([Change::EndReset(kind)]).collect()
}
