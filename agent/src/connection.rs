//! Connections as people name them -> connections as they are judged.

mod near;
mod port;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use palisade_compiler::explain::{Backend, ObjectName, PortQuery, Translation, by_name, translate};
use palisade_compiler::model::{Connection, Family, Pod, Protocol, Service, ServiceKind};
use palisade_compiler::snapshot::Snapshot;

pub use port::Port;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Pod {
        namespace: String,
        name: String,
    },
    /// A pod's name without its namespace: no pod is meant by it, but one can be suggested.
    BareName(String),
    Address(IpAddr),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            // A mapped address goes over the wire as the IPv4 one, so that other policies judge it.
            let mapped = match address {
                IpAddr::V6(v6) => v6.to_ipv4_mapped(),
                IpAddr::V4(_) => None,
            };
            return match mapped {
                Some(v4) => Err(format!("{text} is an IPv4-mapped IPv6 address; write {v4}")),
                None => Ok(Self::Address(address)),
            };
        }
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self::Pod { namespace: namespace.into(), name: name.into() })
            }
            None if is_pod_name(text) => Ok(Self::BareName(text.into())),
            Some(_) | None => Err(format!("{text:?} is neither namespace/pod nor an address")),
        }
    }
}

/// Something that a pod may be called, and no address that is miswritten.
fn is_pod_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    text.bytes().all(fits) && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// The inverse of `from_str`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::BareName(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A connection as it is asked about. Ends are `namespace/pod` or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub from: String,
    pub to: String,
    /// A name, in any case, or an IANA number.
    pub protocol: String,
    pub port: Option<Port>,
}

/// A connection that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// After destination NAT, as the rules see it.
    pub connection: Connection,
    /// The Service whose address was given, if it was one.
    pub service: Option<ServiceHop>,
}

/// The Service's address and port that a client connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHop {
    pub service: ObjectName,
    /// `None` for a Service without an address: clients of a headless one use the endpoints' own.
    pub address: Option<IpAddr>,
    /// 0 for protocols without ports.
    pub port: u16,
}

/// What a Service's address, protocol and port lead to; `None` for what is no Service's.
type Translated = Option<Result<Translation, String>>;

/// Finds the connections that questions mean. It remembers what Services lead to, so that many questions about one cost one
/// look at the pods.
#[derive(Debug)]
pub struct Resolver<'a> {
    snapshot: &'a Snapshot,
    translated: HashMap<(IpAddr, u8, Option<String>), Translated>,
}

/// An end: its addresses, and the pod, if it was given by name.
struct Resolved<'a> {
    addresses: Vec<IpAddr>,
    pod: Option<&'a Pod>,
}

impl<'a> Resolver<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, translated: HashMap::new() }
    }

    /// The connections that are meant: for each family in which both ends have an address, each number that the port's name
    /// stands for, and each backend of a Service.
    ///
    /// # Errors
    ///
    /// What is wrong with the question, and what to write instead.
    pub fn resolve(&mut self, question: &Question) -> Result<Vec<Meant>, String> {
        let from: Endpoint = question.from.parse().map_err(|error| format!("from: {error}"))?;
        let to: Endpoint = question.to.parse().map_err(|error| format!("to: {error}"))?;
        let sources = self.end(&from)?;
        let service = self.service_named(&to);
        if let Some(service) = service.filter(|service| service.cluster_ips.is_empty()) {
            return self.behind_name(&sources, service, question);
        }
        let destinations = match service {
            Some(service) => Resolved { addresses: service.cluster_ips.clone(), pod: None },
            None => self.end(&to)?,
        };
        let mut meant = Vec::new();
        for family in Family::ALL {
            let of_family = |address: &&IpAddr| Family::of(**address) == family;
            let source = sources.addresses.iter().find(of_family);
            let destination = destinations.addresses.iter().find(of_family);
            let (Some(&from), Some(&to)) = (source, destination) else { continue };
            let protocol = protocol_number(&question.protocol, family)?;
            let target = (to, destinations.pod);
            let (backends, service) = self.targets(target, protocol, question.port.as_ref())?;
            for Backend { address, port } in backends {
                let connection = Connection { from, to: address, protocol, port };
                meant.push(Meant { connection, service: service.clone() });
            }
        }
        if meant.is_empty() {
            return Err(format!("{from} and {to} have no address of the same family"));
        }
        Ok(meant)
    }

    /// The Service of that name, where there is no such pod and the Service has backends of its own.
    fn service_named(&self, endpoint: &Endpoint) -> Option<&'a Service> {
        let Endpoint::Pod { namespace, name } = endpoint else { return None };
        if self.snapshot.pod_named(namespace, name).is_some() {
            return None;
        }
        let service = self.snapshot.service(namespace, name)?;
        (service.kind != ServiceKind::ExternalName).then_some(service)
    }

    /// Connections to the name of a Service without an address: a headless one, or one of a manifest that was not applied yet.
    fn behind_name(
        &self,
        sources: &Resolved<'a>,
        service: &Service,
        question: &Question,
    ) -> Result<Vec<Meant>, String> {
        let mut meant = Vec::new();
        for from in &sources.addresses {
            let family = Family::of(*from);
            let protocol = protocol_number(&question.protocol, family)?;
            let port = needed_port(protocol, question.port.as_ref())?;
            let found = by_name(self.snapshot, service, protocol, port.map(query), family);
            let found = found.map_err(|error| error.to_string())?;
            for Backend { address, port: number } in found.backends {
                let connection = Connection { from: *from, to: address, protocol, port: number };
                let hop = ServiceHop {
                    service: found.service.clone(),
                    address: None,
                    port: found.port.unwrap_or(number),
                };
                meant.push(Meant { connection, service: Some(hop) });
            }
        }
        if meant.is_empty() {
            return Err(format!(
                "no endpoint of the Service {}/{} has an address of the same family as {}",
                service.namespace, service.name, question.from
            ));
        }
        Ok(meant)
    }

    fn end(&self, endpoint: &Endpoint) -> Result<Resolved<'a>, String> {
        let (namespace, name) = match endpoint {
            Endpoint::Address(address) => {
                return Ok(Resolved { addresses: vec![*address], pod: None });
            }
            Endpoint::BareName(name) => {
                let remedy = near::of_bare_name(self.snapshot, name);
                return Err(format!("{name:?} does not say which namespace; {remedy}"));
            }
            Endpoint::Pod { namespace, name } => (namespace, name),
        };
        let pod = self.snapshot.pod_named(namespace, name).ok_or_else(|| {
            let remedy = near::of_name(self.snapshot, namespace, name);
            format!("there is no pod {namespace}/{name} in the manifests; {remedy}")
        })?;
        if !pod.has_identity() && !pod.is_host() {
            return Err(format!(
                "pod {namespace}/{name} has ended, and its address is no longer its own; give the address if that is meant"
            ));
        }
        let addresses: Vec<IpAddr> = pod.addresses.iter().collect();
        if addresses.is_empty() {
            return Err(format!(
                "pod {namespace}/{name} has no address: give it one in status.podIPs"
            ));
        }
        Ok(Resolved { addresses, pod: Some(pod) })
    }

    /// Where a connection to the address goes, and by which Service.
    fn targets(
        &mut self,
        (address, pod): (IpAddr, Option<&Pod>),
        protocol: u8,
        port: Option<&Port>,
    ) -> Result<(Vec<Backend>, Option<ServiceHop>), String> {
        if pod.is_none()
            && let Some(translation) = self.translate(address, protocol, port)
        {
            let Translation { service, address, port, backends } = translation?;
            return Ok((backends, Some(ServiceHop { service, address: Some(address), port })));
        }
        let pod = pod.or_else(|| self.snapshot.owner(address));
        let ports = numbers(protocol, port, address, pod)?;
        Ok((ports.into_iter().map(|port| Backend { address, port }).collect(), None))
    }

    fn translate(&mut self, address: IpAddr, protocol: u8, port: Option<&Port>) -> Translated {
        self.snapshot.services_at(address).next()?;
        let key = (address, protocol, port.map(ToString::to_string));
        let snapshot = self.snapshot;
        let translated = self.translated.entry(key).or_insert_with(|| {
            let translated = translate(snapshot, address, protocol, port.map(query))?;
            Some(translated.map_err(|error| error.to_string()))
        });
        translated.clone()
    }
}

fn query(port: &Port) -> PortQuery<'_> {
    match port {
        Port::Number(number) => PortQuery::Number(*number),
        Port::Name(name) => PortQuery::Name(name),
    }
}

/// The port as it is asked for, which protocols with ports need and others do not have.
fn needed_port(protocol: u8, port: Option<&Port>) -> Result<Option<&Port>, String> {
    match (Protocol::from_number(protocol), port) {
        (Some(_), Some(port)) => Ok(Some(port)),
        (Some(protocol), None) => Err(format!(
            "port: {protocol} needs one: add --port NUMBER (in a line of eval, \"port\":NUMBER)"
        )),
        (None, None) => Ok(None),
        (None, Some(_)) => Err("port: only TCP, UDP and SCTP have ports; leave it out".into()),
    }
}

/// The numbers of the port; a name is looked up on the pod that is connected to, and may stand for several.
fn numbers(
    protocol: u8,
    port: Option<&Port>,
    address: IpAddr,
    pod: Option<&Pod>,
) -> Result<Vec<u16>, String> {
    let port = needed_port(protocol, port)?;
    let (Some(protocol), Some(port)) = (Protocol::from_number(protocol), port) else {
        return Ok(vec![0]);
    };
    let name = match port {
        Port::Number(number) => return Ok(vec![*number]),
        Port::Name(name) => name,
    };
    let Some(pod) = pod else {
        return Err(format!(
            "port: {name:?} is a name, which is looked up on a pod, and {address} is no pod's address; give the number"
        ));
    };
    let mut numbers: Vec<u16> = pod.named_ports(name, protocol).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if !numbers.is_empty() {
        return Ok(numbers);
    }
    let own: Vec<String> = pod
        .ports
        .iter()
        .filter_map(|port| {
            Some(format!("{} ({} {})", port.name.as_ref()?, port.protocol, port.port))
        })
        .collect();
    let has = if own.is_empty() { "no named ports".to_owned() } else { own.join(", ") };
    Err(format!(
        "port: pod {}/{} has no {protocol} port named {name:?}; it has {has}",
        pod.namespace, pod.name
    ))
}

/// The name of a protocol, as in messages.
pub fn protocol_name(protocol: u8) -> String {
    match (Protocol::from_number(protocol), protocol) {
        (Some(protocol), _) => protocol.to_string(),
        (None, 1) => "ICMP".to_owned(),
        (None, 58) => "ICMPv6".to_owned(),
        (None, number) => format!("protocol {number}"),
    }
}

fn protocol_number(name: &str, family: Family) -> Result<u8, String> {
    match name.to_ascii_uppercase().as_str() {
        "TCP" => Ok(6),
        "UDP" => Ok(17),
        "SCTP" => Ok(132),
        "ICMP" | "ICMPV6" => Ok(if family == Family::V4 { 1 } else { 58 }),
        _ => name.parse().map_err(|_not_a_number| {
            format!("protocol: {name:?} is none of TCP, UDP, SCTP, ICMP, or a number 0-255")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It would else be told what becomes of an address that no packet bears.
    #[test]
    fn an_ipv4_mapped_address_is_refused_with_the_one_that_is_meant() {
        for text in ["::ffff:10.0.0.1", "::FFFF:a00:1"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.ends_with("write 10.0.0.1"), "{error}");
        }
        for text in ["10.0.0.1", "fd00::1", "::10.0.0.1", "64:ff9b::10.0.0.1"] {
            assert_eq!(text.parse(), Ok(Endpoint::Address(text.parse().unwrap())));
        }
    }
}
