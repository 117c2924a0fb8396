//! Snapshot, connection -> decision, by the letter of the specification: slow, obvious, and what the compile is judged by.
//!
//! It shares the model and nothing else: no index, no owner table, no class. Every pod is judged, as if it were local.
//! IPv6 neighbour discovery is not its matter: that is a packet's property, not a connection's.

use std::net::IpAddr;

use crate::model::{
    Connection, Direction, Namespaces, Node, Peer, Peers, Phase, Pod, Policy, PolicyRule,
    PortMatch, PortSpec, Ports, Protocol, Selector,
};
use crate::snapshot::Snapshot;

pub use crate::decision::{Decision, DirectionDecision, Reason, RuleRef};

/// The verdict that the specification gives the connection.
pub fn decide(snapshot: &Snapshot, connection: &Connection) -> Decision {
    let egress = reason(snapshot, connection, Direction::Egress);
    let ingress = reason(snapshot, connection, Direction::Ingress);
    Decision::of(egress, ingress)
}

fn reason(snapshot: &Snapshot, connection: &Connection, direction: Direction) -> Reason {
    let (subject_address, peer_address) = match direction {
        Direction::Egress => (connection.from, connection.to),
        Direction::Ingress => (connection.to, connection.from),
    };
    let Some(subject) = pod_at(snapshot, subject_address) else { return Reason::NotAPod };
    if subject_address == peer_address {
        return Reason::Itself;
    }
    if is_own_node(snapshot, subject, peer_address) {
        return Reason::OwnNode;
    }
    let isolating: Vec<&Policy> = snapshot
        .policies()
        .map(AsRef::as_ref)
        .filter(|policy| policy.isolates.in_direction(direction) && selects(policy, subject))
        .collect();
    if isolating.is_empty() {
        return Reason::NotIsolated;
    }
    let mut by = Vec::new();
    for policy in &isolating {
        for (i, rule) in policy.rules(direction).iter().enumerate() {
            if rule_allows(snapshot, policy, rule, peer_address, connection) {
                by.push(RuleRef { policy: policy.key.clone(), direction, rule: i });
            }
        }
    }
    if by.is_empty() {
        let isolated_by = isolating.iter().map(|policy| policy.key.clone()).collect();
        return Reason::Denied { isolated_by };
    }
    Reason::Allowed { by }
}

/// The pod whose address it is: of those that have it, neither ended nor on the host's network, the one that takes
/// precedence.
fn pod_at(snapshot: &Snapshot, address: IpAddr) -> Option<&Pod> {
    snapshot
        .pods()
        .filter(|pod| pod.has_identity() && has_address(pod, address))
        .max_by(|a, b| a.precedence().cmp(&b.precedence()))
}

fn has_address(pod: &Pod, address: IpAddr) -> bool {
    pod.addresses.iter().any(|own| own == address)
}

/// Whether the address is one of the node that the pod is bound to: of the Node object, of a hostNetwork pod there, or of
/// `status.hostIPs` of a pod there.
fn is_own_node(snapshot: &Snapshot, pod: &Pod, address: IpAddr) -> bool {
    let Some(name) = &pod.node else { return false };
    let node_has = |node: &Node| node.name == *name && node.addresses.contains(&address);
    let pod_names = |other: &Pod| {
        other.node.as_ref() == Some(name)
            && !has_ended(other)
            && (other.host_ips.iter().any(|host| host == address)
                || other.host_network && has_address(other, address))
    };
    snapshot.nodes().any(node_has) || snapshot.pods().any(pod_names)
}

fn has_ended(pod: &Pod) -> bool {
    pod.containers_gone || matches!(pod.phase, Phase::Succeeded | Phase::Failed)
}

/// `spec.podSelector`, in the policy's namespace.
fn selects(policy: &Policy, pod: &Pod) -> bool {
    policy.key.namespace == pod.namespace && policy.subjects.matches(&pod.labels)
}

/// A rule allows what matches one of its peers and one of its ports: both, in any combination.
fn rule_allows(
    snapshot: &Snapshot,
    policy: &Policy,
    rule: &PolicyRule,
    peer_address: IpAddr,
    connection: &Connection,
) -> bool {
    let peer_matches = match &rule.peers {
        Peers::Everyone => true,
        Peers::AnyOf(peers) => {
            peers.iter().any(|peer| peer_matches(snapshot, policy, peer, peer_address))
        }
    };
    let ports_match = match &rule.ports {
        Ports::Every => true,
        Ports::AnyOf(ports) => {
            ports.iter().any(|port| port_matches(snapshot, port, peer_address, connection))
        }
    };
    peer_matches && ports_match
}

fn peer_matches(snapshot: &Snapshot, policy: &Policy, peer: &Peer, address: IpAddr) -> bool {
    match peer {
        Peer::Block(block) => block.contains(address),
        Peer::Pods { namespaces, pods } => {
            let Some(pod) = pod_at(snapshot, address) else { return false };
            pods.matches(&pod.labels)
                && match namespaces {
                    Namespaces::Own => {
                        pod.namespace == policy.key.namespace
                            && namespace_matches(snapshot, pod, &Selector::everything())
                    }
                    Namespaces::Selected(selector) => namespace_matches(snapshot, pod, selector),
                }
        }
    }
}

fn namespace_matches(snapshot: &Snapshot, pod: &Pod, selector: &Selector) -> bool {
    snapshot
        .namespaces()
        .any(|namespace| namespace.name == pod.namespace && selector.matches(&namespace.labels))
}

/// A port matches with its protocol; a name is looked up on the pod that is connected to, whatever the direction. A peer whose
/// namespace does not exist has no names.
fn port_matches(
    snapshot: &Snapshot,
    port: &PortMatch,
    peer_address: IpAddr,
    connection: &Connection,
) -> bool {
    Protocol::from_number(connection.protocol) == Some(port.protocol)
        && match &port.port {
            PortSpec::Any => true,
            PortSpec::Range { first, last } => {
                *first <= connection.port && connection.port <= *last
            }
            PortSpec::Named(name) => pod_at(snapshot, connection.to).is_some_and(|pod| {
                let is_known = connection.to != peer_address
                    || namespace_matches(snapshot, pod, &Selector::everything());
                let mut numbers = pod.named_ports(name, port.protocol);
                is_known && numbers.any(|number| number == connection.port)
            }),
        }
}
