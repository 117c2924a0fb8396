//! Pods.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::lenient::Lenient;
use super::names::{self, PORT_NAME_RULE};
use super::object::labels;
use super::report::{Subject, Told};
use super::wire::{Container, ContainerPort, ContainerStatus, Metadata, PodSpec, PodStatus};
use crate::model::{Family, NamedPort, Phase, Pod, PodAddresses, Protocol, Uid};

/// A pod, if what decides on its identity can be read: labels, node, network and addresses (a pod that lost its address
/// by a slip would lose its isolation). Other wrong fields are left out of it: a wrong port, whose name then matches
/// nothing.
pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    (namespace, name): (Arc<str>, Arc<str>),
    metadata: Metadata,
    (spec, status): (Lenient<PodSpec>, Lenient<PodStatus>),
) -> Result<Pod, Told> {
    let labels = labels(subject, metadata.labels);
    let spec = subject.read(spec, "a map", || "spec".into()).map(Option::unwrap_or_default);
    let status = subject.read(status, "a map", || "status".into()).map(Option::unwrap_or_default);
    let (labels, spec, status) = (labels?, spec?, status?);

    let node = subject.read(spec.node_name, "a string", || "spec.nodeName".into());
    let host_network =
        subject.read(spec.host_network, "true or false", || "spec.hostNetwork".into());
    let (node, host_network) = (node?, host_network?.unwrap_or(false));
    let uid = subject.read(metadata.uid, "a string", || "metadata.uid".into()).ok().flatten();
    let terminating = !matches!(metadata.deletion_timestamp, Lenient::Missing | Lenient::Null);

    let containers = list(subject, spec.containers, "spec.containers");
    let restartable = restartable(subject, spec.init_containers);
    let statuses = Statuses {
        containers: list(subject, status.containers, "status.containerStatuses"),
        init: list(subject, status.init_containers, "status.initContainerStatuses"),
        ephemeral: list(subject, status.ephemeral_containers, "status.ephemeralContainerStatuses"),
    };
    let containers_gone = terminating && statuses.all_terminated(containers.len(), &restartable);
    let mut ports = Vec::new();
    for (path, container) in containers.into_iter().chain(restartable) {
        named_ports(subject, container, &path, &mut ports);
    }
    let addresses = addresses(subject, status.pod_ips, status.pod_ip)?;
    Ok(Pod {
        namespace,
        name,
        uid: uid.map(|uid| Uid::from(&*uid)),
        labels: Arc::new(labels),
        node: node.filter(|node| !node.is_empty()),
        addresses,
        host_ips: PodAddresses::default(),
        host_network,
        phase: phase(subject, status.phase),
        started: started(subject, status.start_time),
        containers_gone,
        ports: ports.into(),
    })
}

/// The items of a list that are maps, each with its path.
fn list<T>(
    subject: &mut Subject<'_, '_>,
    written: Lenient<Vec<Lenient<T>>>,
    field: &str,
) -> Vec<(String, T)> {
    let items = subject.read(written, "a list", || field.into()).ok().flatten().unwrap_or_default();
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let path = format!("{field}[{at}]");
        if let Ok(Some(item)) = subject.read(item, "a map", || path.clone()) {
            read.push((path, item));
        }
    }
    read
}

/// Init containers that run beside the others (`restartPolicy: Always`).
fn restartable(
    subject: &mut Subject<'_, '_>,
    written: Lenient<Vec<Lenient<Container>>>,
) -> Vec<(String, Container)> {
    let mut containers = list(subject, written, "spec.initContainers");
    containers.retain_mut(|(path, container)| {
        let policy = std::mem::take(&mut container.restart_policy);
        let policy = subject.read(policy, "a string", || format!("{path}.restartPolicy"));
        policy.ok().flatten().as_deref() == Some("Always")
    });
    containers
}

struct Statuses {
    containers: Vec<(String, ContainerStatus)>,
    init: Vec<(String, ContainerStatus)>,
    ephemeral: Vec<(String, ContainerStatus)>,
}

impl Statuses {
    /// Whether every container that ran beside others has ended. What has no status may yet run.
    fn all_terminated(&self, containers: usize, restartable: &[(String, Container)]) -> bool {
        let has_ended = |(_, status): &(String, ContainerStatus)| {
            status.state.as_known().is_some_and(|state| state.terminated.as_known().is_some())
        };
        let ended: BTreeSet<_> =
            self.init.iter().filter(|s| has_ended(s)).filter_map(|s| s.1.name.as_known()).collect();
        let side_has_ended = |(_, container): &(String, Container)| {
            container.name.as_known().is_some_and(|name| ended.contains(name))
        };
        !self.containers.is_empty()
            && self.containers.len() >= containers
            && self.containers.iter().all(has_ended)
            && self.ephemeral.iter().all(has_ended)
            && restartable.iter().all(side_has_ended)
    }
}

fn named_ports(
    subject: &mut Subject<'_, '_>,
    container: Container,
    path: &str,
    found: &mut Vec<NamedPort>,
) {
    for (path, port) in list(subject, container.ports, &format!("{path}.ports")) {
        if let Ok(Some(port)) = named_port(subject, port, &path) {
            found.push(port);
        }
    }
}

fn named_port(
    subject: &mut Subject<'_, '_>,
    written: ContainerPort,
    path: &str,
) -> Result<Option<NamedPort>, Told> {
    let Some(name) = subject.read(written.name, "a string", || format!("{path}.name"))? else {
        return Ok(None);
    };
    if !names::is_port_name(&name) {
        let message = format!("{name:?} is no port name; no rule will match it");
        return Err(subject.error(format!("{path}.name"), message, PORT_NAME_RULE));
    }
    let protocol = subject.read(written.protocol, "a string", || format!("{path}.protocol"))?;
    let protocol = match protocol.as_deref() {
        None => Protocol::Tcp,
        Some(given) => match protocol_named(given) {
            Some(protocol) => protocol,
            None => {
                let message = format!("{given:?} is no protocol of a container port");
                let remedy = "write TCP, UDP or SCTP";
                return Err(subject.error(format!("{path}.protocol"), message, remedy));
            }
        },
    };
    let field = || format!("{path}.containerPort");
    let number = subject.read(written.container_port, "a number", field)?;
    match number.and_then(port_number) {
        Some(port) => Ok(Some(NamedPort { name, protocol, port })),
        None => Err(subject.error(field(), "is no port number", "write a number from 1 to 65535")),
    }
}

pub(super) fn protocol_named(name: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == name)
}

pub(super) fn port_number(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|&port| port != 0)
}

fn phase(subject: &mut Subject<'_, '_>, written: Lenient<Arc<str>>) -> Phase {
    let field = || "status.phase".to_owned();
    match subject.read(written, "a string", field) {
        Err(Told) => Phase::Unknown,
        Ok(None) => Phase::Pending,
        Ok(Some(phase)) => match &*phase {
            "" | "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            "Unknown" => Phase::Unknown,
            _ => {
                let message = format!("{phase:?} is no phase; the pod keeps its addresses");
                subject.error(
                    field(),
                    message,
                    "write Pending, Running, Succeeded, Failed or Unknown",
                );
                Phase::Unknown
            }
        },
    }
}

fn started(subject: &mut Subject<'_, '_>, written: Lenient<Arc<str>>) -> Option<i64> {
    let field = || "status.startTime".to_owned();
    let text = subject.read(written, "a string", field).ok()??;
    let time = text.parse::<jiff::Timestamp>().ok();
    if time.is_none() {
        let message = format!("{text:?} is no time; the pod counts as started before all others");
        subject.error(field(), message, "write it as 2030-01-31T12:00:00Z (RFC 3339)");
    }
    time.map(jiff::Timestamp::as_second)
}

/// The first address of each family.
fn addresses(
    subject: &mut Subject<'_, '_>,
    pod_ips: Lenient<Vec<Lenient<super::wire::PodIp>>>,
    pod_ip: Lenient<Arc<str>>,
) -> Result<PodAddresses, Told> {
    let before = subject.errors;
    let mut written = Vec::new();
    for (path, item) in list(subject, pod_ips, "status.podIPs") {
        let field = format!("{path}.ip");
        match subject.read(item.ip, "a string", || field.clone()) {
            Ok(Some(text)) => written.push((field, text)),
            Ok(None) => _ = subject.error(field, "is missing", ADDRESS_REMEDY),
            Err(Told) => {}
        }
    }
    if written.is_empty()
        && let Ok(Some(text)) = subject.read(pod_ip, "a string", || "status.podIP".into())
        && !text.is_empty()
    {
        written.push(("status.podIP".to_owned(), text));
    }
    let mut found = PodAddresses::default();
    for (field, text) in written {
        let Ok(address) = address(subject, &text, &field) else { continue };
        if found.get(Family::of(address)).is_some_and(|first| first != address) {
            let message =
                format!("{address} is a second address of its family; the first one counts");
            subject.warn(field, message, "keep one IPv4 and one IPv6 address");
            continue;
        }
        found = found.iter().chain([address]).collect();
    }
    if subject.errors > before { Err(Told) } else { Ok(found) }
}

const ADDRESS_REMEDY: &str = "write the IPv4 or IPv6 address that the pod has";

/// An address that a pod can have: one that packets go to one host by. (The link-local ones of IPv4 count, since some
/// networks give them to pods and the kernel forwards them; those of IPv6 mean something on one link only.)
fn address(subject: &mut Subject<'_, '_>, text: &str, field: &str) -> Result<IpAddr, Told> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let message = format!("{text:?} is no IP address");
        return Err(subject.error(field, message, ADDRESS_REMEDY));
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let message = format!("{address} is an IPv4-mapped IPv6 address, which no pod can have");
        return Err(subject.error(field, message, format!("write {v4}")));
    }
    let of_v4 = |is: fn(&Ipv4Addr) -> bool| matches!(&address, IpAddr::V4(v4) if is(v4));
    let of_v6 = |is: fn(&Ipv6Addr) -> bool| matches!(&address, IpAddr::V6(v6) if is(v6));
    let kinds = [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (of_v4(Ipv4Addr::is_broadcast), "the broadcast address"),
        (of_v6(Ipv6Addr::is_unicast_link_local), "a link-local address"),
    ];
    let Some((_, kind)) = kinds.into_iter().find(|(is, _)| *is) else { return Ok(address) };
    let message = format!("{address} is {kind}, which no pod can have");
    Err(subject.error(field, message, ADDRESS_REMEDY))
}
