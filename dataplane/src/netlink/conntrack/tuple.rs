//! One direction of a tracked connection.

use std::net::IpAddr;

use super::super::wire::{self, Attribute, Attributes};

/// `enum ctattr_tuple`, `ctattr_ip`, `ctattr_l4proto` (linux/netfilter/nfnetlink_conntrack.h).
const IP: u16 = 1;
const PROTO: u16 = 2;
const ZONE: u16 = 3;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const ICMP_ID: u16 = 4;
const ICMP_TYPE: u16 = 5;
const ICMP_CODE: u16 = 6;
/// What the attributes of ICMPv6 are above those of ICMP.
const ICMPV6_ABOVE: u16 = 3;

/// What tells connections between the same two addresses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upper {
    /// Ports in host byte order. Of GRE, the keys of its two directions.
    Ports { source: u16, destination: u16 },
    /// The identifier, in host byte order, with type and code; of ICMP and ICMPv6.
    Icmp { id: u16, kind: u8, code: u8 },
    /// Nothing: one connection for each pair of addresses.
    None,
}

/// The addresses and ports of the packets of one direction, as connection tracking sees them come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    pub upper: Upper,
    /// The conntrack zone of this direction alone, if it is not the default one.
    pub zone: Option<u16>,
}

impl Tuple {
    /// The port that packets of this direction come from; `None` for protocols without ports.
    pub fn source_port(&self) -> Option<u16> {
        match self.upper {
            Upper::Ports { source, .. } => Some(source),
            Upper::Icmp { .. } | Upper::None => None,
        }
    }

    pub(in crate::netlink) fn read(attributes: Attributes<'_>) -> Option<Self> {
        let (mut ends, mut upper, mut zone) = (None, None, None);
        for attribute in attributes {
            match attribute.kind {
                IP => ends = read_ends(attribute.nested()),
                PROTO => upper = read_upper(attribute.nested()),
                ZONE => zone = attribute.be_u16(),
                _ => {}
            }
        }
        let (source, destination) = ends?;
        let (protocol, upper) = upper?;
        Some(Self { source, destination, protocol, upper, zone })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let ip = wire::open_nest(out, IP);
        put_source(out, self.source);
        put_destination(out, self.destination);
        wire::close_nest(out, ip);
        let proto = wire::open_nest(out, PROTO);
        wire::put(out, NUMBER, &[self.protocol]);
        match self.upper {
            Upper::Ports { source, destination } => {
                wire::put(out, SOURCE_PORT, &source.to_be_bytes());
                wire::put(out, DESTINATION_PORT, &destination.to_be_bytes());
            }
            Upper::Icmp { id, kind, code } => {
                let above = if self.source.is_ipv6() { ICMPV6_ABOVE } else { 0 };
                wire::put(out, ICMP_ID + above, &id.to_be_bytes());
                wire::put(out, ICMP_TYPE + above, &[kind]);
                wire::put(out, ICMP_CODE + above, &[code]);
            }
            Upper::None => {}
        }
        wire::close_nest(out, proto);
        if let Some(zone) = self.zone {
            wire::put(out, ZONE, &zone.to_be_bytes());
        }
    }
}

/// The nest of a tuple's addresses, with the source alone.
pub(super) fn put_source_only(out: &mut Vec<u8>, source: IpAddr) {
    let ip = wire::open_nest(out, IP);
    put_source(out, source);
    wire::close_nest(out, ip);
}

fn put_source(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => wire::put(out, V4_SOURCE, &address.octets()),
        IpAddr::V6(address) => wire::put(out, V6_SOURCE, &address.octets()),
    }
}

fn put_destination(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => wire::put(out, V4_DESTINATION, &address.octets()),
        IpAddr::V6(address) => wire::put(out, V6_DESTINATION, &address.octets()),
    }
}

fn read_ends(attributes: Attributes<'_>) -> Option<(IpAddr, IpAddr)> {
    let (mut source, mut destination) = (None, None);
    for attribute in attributes {
        match attribute.kind {
            V4_SOURCE | V6_SOURCE => source = address(attribute),
            V4_DESTINATION | V6_DESTINATION => destination = address(attribute),
            _ => {}
        }
    }
    source.zip(destination)
}

fn address(attribute: Attribute<'_>) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(attribute.value) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(attribute.value).ok().map(IpAddr::from)
}

fn read_upper(attributes: Attributes<'_>) -> Option<(u8, Upper)> {
    let (mut protocol, mut source, mut destination) = (None, None, None);
    let (mut id, mut kind, mut code) = (None, None, None);
    for attribute in attributes {
        let byte = || attribute.value.first().copied();
        match attribute.kind {
            NUMBER => protocol = byte(),
            SOURCE_PORT => source = attribute.be_u16(),
            DESTINATION_PORT => destination = attribute.be_u16(),
            other => {
                match other.checked_sub(ICMPV6_ABOVE).filter(|&k| k >= ICMP_ID).unwrap_or(other) {
                    ICMP_ID => id = attribute.be_u16(),
                    ICMP_TYPE => kind = byte(),
                    ICMP_CODE => code = byte(),
                    _ => {}
                }
            }
        }
    }
    let upper = match (source, destination, id, kind, code) {
        (Some(source), Some(destination), ..) => Upper::Ports { source, destination },
        (_, _, Some(id), Some(kind), Some(code)) => Upper::Icmp { id, kind, code },
        _ => Upper::None,
    };
    Some((protocol?, upper))
}
