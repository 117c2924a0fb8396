//! Connections as people name them -> connections as they are judged.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use palisade_compiler::model::{Connection, Family, Pod, Protocol};
use palisade_compiler::snapshot::Snapshot;

/// One end: `namespace/pod`, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Pod { namespace: String, name: String },
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
            _ => Err(format!("{text:?} is neither namespace/pod nor an address")),
        }
    }
}

/// The inverse of `from_str`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The addresses of an end.
fn addresses(snapshot: &Snapshot, endpoint: &Endpoint) -> Result<Vec<IpAddr>, String> {
    match endpoint {
        Endpoint::Address(address) => Ok(vec![*address]),
        Endpoint::Pod { namespace, name } => {
            let pod = snapshot.pod_named(namespace, name).ok_or_else(|| {
                let remedy = near(snapshot, namespace, name);
                format!("there is no pod {namespace}/{name} in the manifests; {remedy}")
            })?;
            let addresses: Vec<IpAddr> = pod.addresses.iter().collect();
            if addresses.is_empty() {
                return Err(format!(
                    "pod {namespace}/{name} has no address: give it one in status.podIPs"
                ));
            }
            Ok(addresses)
        }
    }
}

/// Names that are told where one is not there.
const MOST_NEAR: usize = 5;

/// Which pod may be meant: one of the same name elsewhere, or whose name begins alike (as a Deployment's do), or any of the
/// namespace.
fn near(snapshot: &Snapshot, namespace: &str, name: &str) -> String {
    let told = |pods: &mut dyn Iterator<Item = &Pod>| {
        let mut names: Vec<String> =
            pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        names.sort_unstable();
        names.truncate(MOST_NEAR);
        (!names.is_empty()).then(|| names.join(", "))
    };
    let here = |pod: &&Pod| *pod.namespace == *namespace;
    let stem: String = name.chars().take(3).collect();
    let alike = |pod: &&Pod| here(pod) && pod.name.starts_with(&stem);
    let same = |pod: &&Pod| *pod.name == *name;
    let prefixed = |pod: &&Pod| here(pod) && pod.name.starts_with(name);
    let meant = told(&mut snapshot.pods().filter(prefixed))
        .or_else(|| told(&mut snapshot.pods().filter(same)))
        .or_else(|| told(&mut snapshot.pods().filter(alike)));
    if let Some(names) = meant {
        return format!("did you mean {names}?");
    }
    match told(&mut snapshot.pods().filter(here)) {
        Some(names) => format!("the namespace has {names}, ..."),
        None => format!(
            "no pod there is in namespace {namespace}: name it as kubectl get pods -A lists it, or give an address"
        ),
    }
}

/// The connections that are meant: one for each family in which both ends have an address. `protocol` is a name, in any case,
/// or an IANA number.
pub fn resolve(
    snapshot: &Snapshot,
    from: &Endpoint,
    to: &Endpoint,
    protocol: &str,
    port: Option<u16>,
) -> Result<Vec<Connection>, String> {
    let (sources, destinations) = (addresses(snapshot, from)?, addresses(snapshot, to)?);
    let mut connections = Vec::new();
    for family in Family::ALL {
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        let ends = (sources.iter().find(of_family), destinations.iter().find(of_family));
        if let (Some(&from), Some(&to)) = ends {
            let protocol = protocol_number(protocol, family)?;
            let port = port_of(protocol, port)?;
            connections.push(Connection { from, to, protocol, port });
        }
    }
    if connections.is_empty() {
        return Err("the two ends have no address of the same family".into());
    }
    Ok(connections)
}

fn port_of(protocol: u8, port: Option<u16>) -> Result<u16, String> {
    match (Protocol::from_number(protocol), port) {
        (Some(_), Some(port)) => Ok(port),
        (Some(protocol), None) => Err(format!(
            "port: {protocol} needs one: add --port NUMBER (in a line of eval, \"port\":NUMBER)"
        )),
        (None, None) => Ok(0),
        (None, Some(_)) => Err("port: only TCP, UDP and SCTP have ports; leave it out".into()),
    }
}

/// The inverse of the names above.
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
