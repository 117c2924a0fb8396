//! Why one entry of a rule does not match: what it asks for, and what is there instead.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::end::{End, ObjectName, Owner};
use crate::model::{
    Connection, Family, IpBlock, Labels, Namespaces, Peer, Pod, PortMatch, PortSpec, Protocol,
    Requirement, Selector,
};
use crate::snapshot::Snapshot;

/// One thing in which a peer differs from an entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerDifference {
    /// The pod does not meet a requirement of the `podSelector`; `found` is the label's value on the pod.
    PodLabel { requirement: Requirement, pod: ObjectName, found: Option<Arc<str>> },
    /// The pod's namespace does not meet a requirement of the `namespaceSelector`.
    NamespaceLabel { requirement: Requirement, namespace: Arc<str>, found: Option<Arc<str>> },
    /// There is no `namespaceSelector`, so that the entry is for pods of the policy's own namespace.
    OtherNamespace { own: Arc<str>, pod: ObjectName },
    /// The pod's namespace was not read, so that its labels are unknown and no selector matches its pods.
    UnknownNamespace { pod: ObjectName },
    /// The entry selects pods, and the address is neither a pod's nor a node's.
    NotAPod { address: IpAddr },
    /// The entry selects pods, and the address is a node's. Selectors never match pods on the host's network.
    HostNetwork { host: End },
    /// The address is outside the `ipBlock`.
    Outside { address: IpAddr, cidr: IpNet },
    /// The address is inside the `ipBlock`, and inside one of its `except`.
    Excepted { address: IpAddr, cidr: IpNet, except: IpNet },
    /// The `ipBlock` is of the other address family.
    OtherFamily { address: IpAddr, cidr: IpNet },
}

/// What of a connection differs from an entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortDifference {
    /// The entry is for another protocol; `found` is the connection's IANA number. An entry of `ports` is always for one of
    /// TCP, UDP and SCTP.
    OtherProtocol { wanted: Protocol, ports: PortSpec, found: u8 },
    /// The protocol is right and the number is not; `first` and `last` are included.
    OtherPort { protocol: Protocol, first: u16, last: u16, found: u16 },
    /// The name stands for other numbers on the destination pod.
    NamedOther {
        protocol: Protocol,
        name: Arc<str>,
        pod: ObjectName,
        numbers: Vec<u16>,
        found: u16,
    },
    /// The destination pod has no port of that name and protocol.
    UnknownName { protocol: Protocol, name: Arc<str>, pod: ObjectName },
    /// The destination is no pod that a name could be looked up on.
    NameWithoutPod { name: Arc<str>, destination: End },
}

/// The peer of a rule, with what selectors look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerView<'a> {
    pub(super) end: &'a End,
    pod: Option<&'a Pod>,
    /// The labels of the pod's namespace.
    namespace: Option<&'a Labels>,
}

impl<'a> PeerView<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, end: &'a End) -> Self {
        let pod = snapshot.owner(end.address);
        let namespace = pod.and_then(|pod| snapshot.namespace(&pod.namespace));
        Self { end, pod, namespace: namespace.map(|namespace| &*namespace.labels) }
    }
}

/// What keeps the peer from matching the entry of a policy in the namespace `own`; nothing where it matches.
pub(super) fn of_peer(peer: PeerView<'_>, entry: &Peer, own: &Arc<str>) -> Vec<PeerDifference> {
    let (namespaces, selector) = match entry {
        Peer::Block(block) => return of_block(peer.end.address, block).into_iter().collect(),
        Peer::Pods { namespaces, pods } => (namespaces, pods),
    };
    let Some(pod) = peer.pod else {
        return vec![match &peer.end.owner {
            Owner::Host { .. } => PeerDifference::HostNetwork { host: peer.end.clone() },
            Owner::Pod(_) | Owner::Unknown => PeerDifference::NotAPod { address: peer.end.address },
        }];
    };
    let name = || ObjectName::of(pod);
    let mut differences = Vec::new();
    match (namespaces, peer.namespace) {
        (_, None) => differences.push(PeerDifference::UnknownNamespace { pod: name() }),
        (Namespaces::Own, Some(_)) if pod.namespace != *own => {
            differences.push(PeerDifference::OtherNamespace { own: Arc::clone(own), pod: name() });
        }
        (Namespaces::Own, Some(_)) => {}
        (Namespaces::Selected(selector), Some(labels)) => {
            differences.extend(unmet(selector, labels).map(|(requirement, found)| {
                let namespace = Arc::clone(&pod.namespace);
                PeerDifference::NamespaceLabel { requirement, namespace, found }
            }));
        }
    }
    differences.extend(
        unmet(selector, &pod.labels).map(|(requirement, found)| PeerDifference::PodLabel {
            requirement,
            pod: name(),
            found,
        }),
    );
    differences
}

/// The requirements that the labels do not meet, with the value that each label has.
fn unmet(
    selector: &Selector,
    labels: &Labels,
) -> impl Iterator<Item = (Requirement, Option<Arc<str>>)> {
    let unmet = selector.requirements.iter().filter(|requirement| !requirement.matches(labels));
    unmet.map(|requirement| (requirement.clone(), labels.get(&requirement.key).cloned()))
}

fn of_block(address: IpAddr, block: &IpBlock) -> Option<PeerDifference> {
    let cidr = block.cidr;
    if Family::of(cidr.addr()) != Family::of(address) {
        return Some(PeerDifference::OtherFamily { address, cidr });
    }
    if !cidr.contains(&address) {
        return Some(PeerDifference::Outside { address, cidr });
    }
    let except = block.except.iter().find(|except| except.contains(&address))?;
    Some(PeerDifference::Excepted { address, cidr, except: *except })
}

/// What keeps the connection to `destination` from matching an entry of `ports`; nothing where it matches.
pub(super) fn of_port(
    connection: &Connection,
    destination: PeerView<'_>,
    entry: &PortMatch,
) -> Option<PortDifference> {
    let PortMatch { protocol, port } = entry;
    let (protocol, found) = (*protocol, connection.port);
    if Protocol::from_number(connection.protocol) != Some(protocol) {
        let (ports, found) = (port.clone(), connection.protocol);
        return Some(PortDifference::OtherProtocol { wanted: protocol, ports, found });
    }
    let name = match port {
        PortSpec::Any => return None,
        PortSpec::Range { first, last } if (*first..=*last).contains(&found) => return None,
        &PortSpec::Range { first, last } => {
            return Some(PortDifference::OtherPort { protocol, first, last, found });
        }
        PortSpec::Named(name) => Arc::clone(name),
    };
    let Some(pod) = destination.pod else {
        return Some(PortDifference::NameWithoutPod { name, destination: destination.end.clone() });
    };
    let numbers: Vec<u16> = pod.named_ports(&name, protocol).collect();
    if numbers.contains(&found) {
        return None;
    }
    let pod = ObjectName::of(pod);
    Some(if numbers.is_empty() {
        PortDifference::UnknownName { protocol, name, pod }
    } else {
        PortDifference::NamedOther { protocol, name, pod, numbers, found }
    })
}
