//! Connections as people name them -> connections as they are judged.

use std::fmt;
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
