//! Reads IP packets that arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::{DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, SCTP, TCP, UDP};

/// An IP packet that came in at a machine's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub from: IpAddr,
    pub to: IpAddr,
    /// The upper-layer protocol, after any extension headers.
    pub protocol: u8,
    /// 0 where the protocol has no ports.
    pub source_port: u16,
    pub port: u16,
    /// The id that was passed to `Packet::first`. Other packets have arbitrary bytes in its place.
    pub id: u32,
    /// The bytes after the IP and extension headers.
    pub body: Vec<u8>,
}

impl Arrival {
    /// Parses an IP packet. Returns `None` if the bytes are no IP packet, and for fragments other than the first, which
    /// have no ports.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::read_v4(bytes),
            6 => Self::read_v6(bytes),
            _ => None,
        }
    }

    fn read_v4(bytes: &[u8]) -> Option<Self> {
        let header = usize::from(bytes.first()? & 0xf) * 4;
        let total = usize::from(short(bytes, 2)?);
        if short(bytes, 6)? & 0x1fff != 0 {
            return None;
        }
        let from: Ipv4Addr = (*bytes.get(12..)?.first_chunk::<4>()?).into();
        let to: Ipv4Addr = (*bytes.get(16..)?.first_chunk::<4>()?).into();
        Self::read_body(from.into(), to.into(), *bytes.get(9)?, bytes.get(header..total)?)
    }

    fn read_v6(bytes: &[u8]) -> Option<Self> {
        let from: Ipv6Addr = (*bytes.get(8..)?.first_chunk::<16>()?).into();
        let to: Ipv6Addr = (*bytes.get(24..)?.first_chunk::<16>()?).into();
        let mut next = *bytes.get(6)?;
        let mut rest = bytes.get(40..40 + usize::from(short(bytes, 4)?))?;
        loop {
            let size = match next {
                HOP_BY_HOP | DESTINATION_OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
                FRAGMENT if short(rest, 2)? >> 3 == 0 => 8,
                FRAGMENT => return None,
                _ => return Self::read_body(from.into(), to.into(), next, rest),
            };
            next = *rest.first()?;
            rest = rest.get(size..)?;
        }
    }

    fn read_body(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> Option<Self> {
        let ports = || Some((short(body, 0)?, short(body, 2)?));
        let id_at = match protocol {
            UDP | ICMP | ICMPV6 => 8,
            SCTP => 16,
            _ => 4,
        };
        let (source_port, port) = match protocol {
            TCP | UDP | SCTP => ports()?,
            _ => (0, 0),
        };
        let id =
            body.get(id_at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b));
        Some(Self { from, to, protocol, source_port, port, id, body: body.to_vec() })
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use palisade_compiler::model::Connection;

    use super::*;
    use crate::packet::{GRE, Packet};

    fn addresses() -> [(IpAddr, IpAddr); 2] {
        let v4 = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        [v4, ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())]
    }

    #[test]
    fn a_packet_that_was_built_is_read_back() {
        for (from, to) in addresses() {
            let icmp = if from.is_ipv4() { ICMP } else { ICMPV6 };
            for protocol in [TCP, UDP, SCTP, icmp, GRE, 99] {
                let port = if matches!(protocol, TCP | UDP | SCTP) { 443 } else { 0 };
                let connection = Connection { from, to, protocol, port };
                let read = Arrival::read(&Packet::first(&connection, 4000, 0xdead_beef).bytes());
                let read = read.expect("readable");
                assert_eq!(
                    (read.from, read.to, read.protocol, read.port, read.id),
                    (from, to, protocol, port, 0xdead_beef)
                );
            }
        }
    }

    #[test]
    fn only_a_first_fragment_has_ports() {
        for (from, to) in addresses() {
            let packet = Packet::udp(from, to, 4000, 53, &[7; 40]);
            let parts = packet.fragments(16, 9);
            assert_eq!(parts.len(), 3);
            assert_eq!(Arrival::read(&parts[0]).map(|a| a.port), Some(53));
            assert_eq!(Arrival::read(&parts[1]), None);
        }
    }

    #[test]
    fn the_protocol_behind_extension_headers_is_read() {
        let [_, (from, to)] = addresses();
        let packet = Packet::udp(from, to, 4000, 53, &[7; 4])
            .with_extension(HOP_BY_HOP, vec![1, 4, 0, 0, 0, 0])
            .with_extension(DESTINATION_OPTIONS, vec![1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let read = Arrival::read(&packet.bytes()).expect("readable");
        assert_eq!((read.protocol, read.port), (UDP, 53));
    }
}
