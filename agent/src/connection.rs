//! Connections as people name them -> connections as they are judged.

use std::net::IpAddr;
use std::str::FromStr;

use palisade_compiler::model::{Connection, Family, Protocol};
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
            return Ok(Self::Address(address));
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

/// The addresses of an end, in order of preference.
fn addresses(snapshot: &Snapshot, endpoint: &Endpoint) -> Result<Vec<IpAddr>, String> {
    match endpoint {
        Endpoint::Address(address) => Ok(vec![*address]),
        Endpoint::Pod { namespace, name } => {
            let pod = snapshot
                .pod_named(namespace, name)
                .ok_or_else(|| format!("there is no pod {namespace}/{name} in the manifests"))?;
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

/// `protocol` is a name, in any case, or an IANA number. Of two pods with addresses of both families the IPv4 ones are taken.
pub fn resolve(
    snapshot: &Snapshot,
    from: &Endpoint,
    to: &Endpoint,
    protocol: &str,
    port: Option<u16>,
) -> Result<Connection, String> {
    let (sources, destinations) = (addresses(snapshot, from)?, addresses(snapshot, to)?);
    let pair = sources.iter().find_map(|from| {
        let same_family = |to: &&IpAddr| Family::of(**to) == Family::of(*from);
        destinations.iter().find(same_family).map(|to| (*from, *to))
    });
    let Some((from, to)) = pair else {
        return Err("the two ends have no address of the same family".into());
    };
    let protocol = protocol_number(protocol, Family::of(to))?;
    let port = match (Protocol::from_number(protocol), port) {
        (Some(_), Some(port)) => port,
        (Some(protocol), None) => return Err(format!("port: {protocol} needs one")),
        (None, None) => 0,
        (None, Some(_)) => {
            return Err("port: only TCP, UDP and SCTP have ports; leave it out".into());
        }
    };
    Ok(Connection { from, to, protocol, port })
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
