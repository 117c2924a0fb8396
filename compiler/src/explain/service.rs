//! The backends behind a Service's address, as kube-proxy translates it before policy is judged.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::end::ObjectName;
use crate::model::{
    Endpoint, EndpointPort, EndpointSlice, Family, Labels, Pod, Protocol, Service, ServicePort,
    TargetPort,
};
use crate::snapshot::Snapshot;

/// A port as it is asked for: its number, or the name that it has in the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortQuery<'a> {
    Number(u16),
    Name(&'a str),
}

/// What a connection to a Service's address becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    pub service: ObjectName,
    /// The Service's address that the client uses.
    pub address: IpAddr,
    /// The Service's port, in host byte order.
    pub port: u16,
    /// Not empty; sorted. Any of them may get the connection.
    pub backends: Vec<Backend>,
}

/// Where a connection may go: an address of the Service's family, and a port in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    pub address: IpAddr,
    pub port: u16,
}

/// Why a Service's address leads nowhere. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// Only ports of TCP, UDP and SCTP are translated.
    NoPorts { service: ObjectName, address: IpAddr },
    /// The Service has no such port. `ports` lists those that it has, as `TCP 443 (https)`.
    NoSuchPort {
        service: ObjectName,
        address: IpAddr,
        protocol: Protocol,
        asked: String,
        ports: Vec<String>,
    },
    /// No EndpointSlice of it has an endpoint that serves, and no pod matches its selector.
    NoBackend { service: ObjectName, address: IpAddr, why: &'static str },
    /// The same of a Service without an address.
    NoEndpoint { service: ObjectName, why: &'static str },
    /// A Service without an address has no such port.
    PortUnknown { service: ObjectName, protocol: Protocol, asked: String, ports: Vec<String> },
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPorts { service, address } => write!(
                f,
                "{address} is an address of Service {service}, which passes on TCP, UDP and SCTP only: give one of its ports, or \
                 the address of a backend"
            ),
            Self::NoSuchPort { service, address, protocol, asked, ports } => write!(
                f,
                "{address} is an address of Service {service}, which has no {protocol} port {asked}; it has {}",
                if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
            ),
            Self::NoBackend { service, address, why } => {
                write!(
                    f,
                    "{address} is an address of Service {service}, and nothing is behind it: {why}"
                )
            }
            Self::NoEndpoint { service, why } => {
                write!(f, "nothing is behind the Service {service}: {why}")
            }
            Self::PortUnknown { service, protocol, asked, ports } => write!(
                f,
                "the Service {service} has no {protocol} port {asked}; it has {}",
                if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
            ),
        }
    }
}

/// Translates a connection to a Service's address. `None` where the address is no Service's, or also a pod's or a node's and
/// no Service has the port: then it is not translated.
///
/// # Errors
///
/// `ServiceError` where the address is a Service's alone, and such a connection gets nowhere.
pub fn translate(
    snapshot: &Snapshot,
    address: IpAddr,
    protocol: u8,
    port: Option<PortQuery<'_>>,
) -> Option<Result<Translation, ServiceError>> {
    let services: Vec<&Service> = snapshot.services_at(address).collect();
    let first = *services.first()?;
    let protocol = Protocol::from_number(protocol);
    if let (Some(protocol), Some(port)) = (protocol, port) {
        for service in &services {
            if let Some(port) = offered(service, protocol, port) {
                return Some(backends(snapshot, service, port, address));
            }
        }
    }
    if snapshot.owner(address).is_some() || snapshot.nodes_at(address).next().is_some() {
        return None;
    }
    let service = named(first);
    Some(Err(match (protocol, port) {
        (Some(protocol), Some(asked)) => {
            let asked = shown(asked);
            let ports = services.iter().flat_map(|service| &service.ports).map(show).collect();
            ServiceError::NoSuchPort { service, address, protocol, asked, ports }
        }
        (None, _) | (_, None) => ServiceError::NoPorts { service, address },
    }))
}

/// Where connections to the name of a Service without an address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub service: ObjectName,
    /// The Service's port, where it is translated to that of a backend.
    pub port: Option<u16>,
    /// Of the family; sorted. Port 0 where the protocol has none.
    pub backends: Vec<Backend>,
}

/// Where connections to the name of a Service without an address go. The DNS gives clients of a headless Service the addresses of
/// its endpoints, and their port is not translated. A Service that is not headless gets its address when it is applied, and its
/// port is translated then.
///
/// # Errors
///
/// `ServiceError` where nothing is behind the Service in either family, or it has no such port.
pub fn by_name(
    snapshot: &Snapshot,
    service: &Service,
    protocol: u8,
    port: Option<PortQuery<'_>>,
    family: Family,
) -> Result<Named, ServiceError> {
    let own_port = own_port(service, protocol, port)?;
    let slices: Vec<&EndpointSlice> = snapshot.endpoint_slices_of(service).collect();
    let all = endpoint_addresses(snapshot, service, &slices);
    if all.is_empty() {
        let why = match (&service.selector, slices.is_empty()) {
            (_, false) => NOTHING_SERVES,
            (Some(_), true) => "no pod matches its selector and has an address",
            (None, true) => NO_SELECTOR,
        };
        return Err(ServiceError::NoEndpoint { service: named(service), why });
    }
    let mut backends = match (own_port, &service.selector) {
        (Some(port), Some(selector)) if slices.is_empty() => {
            of_pods(snapshot, service, selector, port, family)
        }
        (Some(port), _) => of_slices(&slices, port, family),
        (None, _) => {
            let port = match port {
                Some(PortQuery::Number(number)) => number,
                Some(PortQuery::Name(_)) | None => 0,
            };
            let of_family = all.into_iter().filter(|address| Family::of(*address) == family);
            of_family.map(|address| Backend { address, port }).collect()
        }
    };
    backends.sort_unstable();
    backends.dedup();
    let port = own_port.filter(|_| !service.is_headless).map(|port| port.port);
    Ok(Named { service: named(service), port, backends })
}

/// The port of the Service that is asked for. Of a headless Service, a number is the endpoints' own.
fn own_port<'s>(
    service: &'s Service,
    protocol: u8,
    asked: Option<PortQuery<'_>>,
) -> Result<Option<&'s ServicePort>, ServiceError> {
    let asked = match (Protocol::from_number(protocol), asked) {
        (Some(_), Some(PortQuery::Number(_))) if service.is_headless => None,
        (Some(protocol), Some(asked)) => Some((protocol, asked)),
        (None, _) | (_, None) => None,
    };
    let Some((protocol, asked)) = asked else { return Ok(None) };
    let found = offered(service, protocol, asked);
    let missing = || ServiceError::PortUnknown {
        service: named(service),
        protocol,
        asked: shown(asked),
        ports: service.ports.iter().map(show).collect(),
    };
    found.map(Some).ok_or_else(missing)
}

fn shown(asked: PortQuery<'_>) -> String {
    match asked {
        PortQuery::Number(number) => number.to_string(),
        PortQuery::Name(name) => format!("named {name}"),
    }
}

/// The addresses of the endpoints that serve, of both families; without EndpointSlices those of the pods that the selector matches.
fn endpoint_addresses(
    snapshot: &Snapshot,
    service: &Service,
    slices: &[&EndpointSlice],
) -> Vec<IpAddr> {
    if slices.is_empty() {
        let Some(selector) = &service.selector else { return Vec::new() };
        let pods = behind(snapshot, service, selector);
        return pods.flat_map(|pod| pod.addresses.iter()).collect();
    }
    let serving = |accepts: fn(&Endpoint) -> bool| -> Vec<IpAddr> {
        let all = slices.iter().flat_map(|slice| &slice.endpoints);
        let accepted = all.filter(|endpoint| accepts(endpoint));
        accepted.filter_map(|endpoint| endpoint.addresses.first().copied()).collect()
    };
    let ready = serving(|endpoint| endpoint.conditions.ready);
    if !ready.is_empty() {
        return ready;
    }
    serving(|endpoint| endpoint.conditions.serving && endpoint.conditions.terminating)
}

const NOTHING_SERVES: &str =
    "none of its endpoints serves (see the conditions in its EndpointSlices)";
const NO_SELECTOR: &str = "it has no selector, and none of its EndpointSlices is in the manifests (add them to the input)";

fn named(service: &Service) -> ObjectName {
    ObjectName { namespace: Arc::clone(&service.namespace), name: Arc::clone(&service.name) }
}

fn show(port: &ServicePort) -> String {
    match &port.name {
        Some(name) => format!("{} {} ({name})", port.protocol, port.port),
        None => format!("{} {}", port.protocol, port.port),
    }
}

fn offered<'s>(
    service: &'s Service,
    protocol: Protocol,
    asked: PortQuery<'_>,
) -> Option<&'s ServicePort> {
    service.ports.iter().find(|port| {
        port.protocol == protocol
            && match asked {
                PortQuery::Number(number) => port.port == number,
                PortQuery::Name(name) => port.name.as_deref() == Some(name),
            }
    })
}

fn backends(
    snapshot: &Snapshot,
    service: &Service,
    port: &ServicePort,
    address: IpAddr,
) -> Result<Translation, ServiceError> {
    let family = Family::of(address);
    let slices: Vec<&EndpointSlice> = snapshot.endpoint_slices_of(service).collect();
    let (mut backends, why) = match &service.selector {
        _ if !slices.is_empty() => (of_slices(&slices, port, family), NOTHING_SERVES),
        Some(selector) => (
            of_pods(snapshot, service, selector, port, family),
            "no pod matches its selector and has the port",
        ),
        None => (Vec::new(), NO_SELECTOR),
    };
    backends.sort_unstable();
    backends.dedup();
    let service = named(service);
    if backends.is_empty() {
        return Err(ServiceError::NoBackend { service, address, why });
    }
    Ok(Translation { service, address, port: port.port, backends })
}

/// The endpoints that are ready; where none is, those that still serve while they end, as kube-proxy has it.
fn of_slices(slices: &[&EndpointSlice], port: &ServicePort, family: Family) -> Vec<Backend> {
    let serving = |accepts: fn(&Endpoint) -> bool| -> Vec<Backend> {
        let of_slice = |slice: &&EndpointSlice| {
            let numbers: Vec<u16> =
                slice.ports.iter().filter_map(|own| number(own, port)).collect();
            let addresses = slice.endpoints.iter().filter(|endpoint| accepts(endpoint));
            // Further addresses of an endpoint are not used (`Endpoint.addresses`).
            let addresses = addresses.filter_map(|endpoint| endpoint.addresses.first().copied());
            let addresses = addresses.filter(|address| Family::of(*address) == family);
            let each = |address| numbers.iter().map(move |&port| Backend { address, port });
            addresses.flat_map(each).collect::<Vec<_>>()
        };
        slices.iter().flat_map(of_slice).collect()
    };
    let ready = serving(|endpoint| endpoint.conditions.ready);
    if !ready.is_empty() {
        return ready;
    }
    serving(|endpoint| endpoint.conditions.serving && endpoint.conditions.terminating)
}

/// The number that a slice's port stands for, if it is the Service's port. The two are matched by name; a Service with one
/// port may leave the name out.
pub(super) fn number(own: &EndpointPort, port: &ServicePort) -> Option<u16> {
    let name = |name: &Option<Arc<str>>| name.clone().filter(|name| !name.is_empty());
    let same = own.protocol == port.protocol && name(&own.name) == name(&port.name);
    same.then(|| own.port.unwrap_or(port.port))
}

/// The pods that match the selector, where no EndpointSlice says better. Whether they are ready is not known.
fn of_pods(
    snapshot: &Snapshot,
    service: &Service,
    selector: &Labels,
    port: &ServicePort,
    family: Family,
) -> Vec<Backend> {
    let backend = |pod: &Pod| {
        let address = pod.addresses.get(family)?;
        let port = match &port.target {
            TargetPort::Number(number) => *number,
            TargetPort::Named(name) => pod.named_ports(name, port.protocol).next()?,
        };
        Some(Backend { address, port })
    };
    behind(snapshot, service, selector).filter_map(backend).collect()
}

fn behind<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    selector: &'s Labels,
) -> impl Iterator<Item = &'s Pod> {
    snapshot.pods().filter(move |pod| {
        pod.namespace == service.namespace
            && (pod.has_identity() || pod.is_host())
            && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    })
}
