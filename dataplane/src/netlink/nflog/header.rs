//! The headers of a packet, as far as policies and rules look at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::model::{Connection, Protocol};
use palisade_compiler::program::eval::Packet;
use palisade_compiler::program::skeleton::{ICMP, ICMPV6, TCP};
use thiserror::Error;

/// Extension headers that the kernel passes over to find the protocol (`ipv6_ext_hdr`), but the fragment's and AH, whose
/// lengths are their own: hop-by-hop options, routing, destination options.
const OPTIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// Why a packet has no header that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    #[error("the packet ends within its IP header")]
    CutShort,
    #[error("IP version {0}")]
    Version(u8),
    #[error("an IPv4 header of {0} bytes")]
    Length(usize),
}

/// An IP header and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PacketHeader {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The IANA number of what follows IPv6 extension headers, as `meta l4proto` has it.
    pub protocol: u8,
    /// The TOS field (IPv4) or traffic class (IPv6).
    pub tos: u8,
    /// As it was in the hook.
    pub hop_limit: u8,
    pub upper: Upper,
}

/// What follows the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upper {
    /// Of TCP, UDP and SCTP, in host byte order; the flags are 0 without TCP.
    Ports { source: u16, destination: u16, tcp_flags: u8 },
    /// Of ICMP and ICMPv6.
    Icmp { kind: u8, code: u8 },
    /// Of a protocol that policies know no ports of.
    Other,
    /// A fragment that is not the first one has no header of its protocol.
    LaterFragment,
    /// The packet ends within the header, or the copy of it does.
    CutShort,
}

impl PacketHeader {
    /// Reads a packet from its IP header on. Only the first bytes of it may be there.
    ///
    /// # Errors
    ///
    /// Where the addresses cannot be known.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let &first = bytes.first().ok_or(HeaderError::CutShort)?;
        match first >> 4 {
            4 => ipv4(bytes, first),
            6 => ipv6(bytes),
            version => Err(HeaderError::Version(version)),
        }
    }

    /// The connection that the packet would open; port 0 where it has none.
    pub fn connection(&self) -> Connection {
        let port = match self.upper {
            Upper::Ports { destination, .. } => destination,
            Upper::Icmp { .. } | Upper::Other | Upper::LaterFragment | Upper::CutShort => 0,
        };
        let (from, to) = (self.source, self.destination);
        Connection { from, to, protocol: self.protocol, port }
    }

    /// The packet as a program judges it, taken to be new to connection tracking.
    pub fn packet(&self) -> Packet {
        let Self { tos, hop_limit, .. } = *self;
        let first = Packet { tos, hop_limit, ..Packet::first(self.connection()) };
        match self.upper {
            Upper::Ports { source, tcp_flags, .. } => {
                Packet { source_port: source, tcp_flags, ..first }
            }
            Upper::Icmp { kind, .. } => Packet { icmp_type: kind, ..first },
            Upper::Other | Upper::LaterFragment | Upper::CutShort => first,
        }
    }
}

fn ipv4(bytes: &[u8], first: u8) -> Result<PacketHeader, HeaderError> {
    let header = bytes.first_chunk::<20>().ok_or(HeaderError::CutShort)?;
    let length = usize::from(first & 0xf) * 4;
    if length < header.len() {
        return Err(HeaderError::Length(length));
    }
    let &[_, tos, _, _, _, _, f0, f1, hop_limit, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
        header;
    let is_later = u16::from_be_bytes([f0, f1]) & 0x1fff != 0;
    Ok(PacketHeader {
        source: Ipv4Addr::new(s0, s1, s2, s3).into(),
        destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol,
        tos,
        hop_limit,
        upper: if is_later { Upper::LaterFragment } else { upper(protocol, bytes.get(length..)) },
    })
}

fn ipv6(bytes: &[u8]) -> Result<PacketHeader, HeaderError> {
    let header = bytes.first_chunk::<40>().ok_or(HeaderError::CutShort)?;
    let &[v0, v1, _, _, _, _, next, hop_limit, ..] = header;
    let address = |at: usize| {
        let octets = header.get(at..at + 16).and_then(|octets| octets.try_into().ok());
        octets.map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()).ok_or(HeaderError::CutShort)
    };
    let (protocol, upper) = after_extensions(next, bytes.get(40..).unwrap_or_default());
    Ok(PacketHeader {
        source: address(8)?,
        destination: address(24)?,
        protocol,
        tos: v0 << 4 | v1 >> 4,
        hop_limit,
        upper,
    })
}

/// The protocol behind extension headers, and its header. An extension header that is cut short stands for the protocol.
fn after_extensions(mut protocol: u8, mut rest: &[u8]) -> (u8, Upper) {
    loop {
        let is_fragment = protocol == FRAGMENT;
        if !(is_fragment || protocol == AUTHENTICATION || OPTIONS.contains(&protocol)) {
            return (protocol, upper(protocol, Some(rest)));
        }
        let Some(&[next, length, f0, f1]) = rest.first_chunk::<4>() else {
            return (protocol, Upper::CutShort);
        };
        if is_fragment && u16::from_be_bytes([f0, f1]) & 0xfff8 != 0 {
            return (next, Upper::LaterFragment);
        }
        let length = match protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        let Some(behind) = rest.get(length..) else { return (protocol, Upper::CutShort) };
        (protocol, rest) = (next, behind);
    }
}

fn upper(protocol: u8, header: Option<&[u8]>) -> Upper {
    let header = header.unwrap_or_default();
    match protocol {
        ICMP | ICMPV6 => match header {
            &[kind, code, ..] => Upper::Icmp { kind, code },
            _ => Upper::CutShort,
        },
        _ if Protocol::from_number(protocol).is_none() => Upper::Other,
        _ => {
            let Some(&[s0, s1, d0, d1]) = header.first_chunk::<4>() else {
                return Upper::CutShort;
            };
            let (source, destination) =
                (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            let tcp_flags = match (protocol, header.get(13)) {
                (TCP, Some(&flags)) => flags,
                (TCP, None) => return Upper::CutShort,
                _ => 0,
            };
            Upper::Ports { source, destination, tcp_flags }
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_compiler::program::skeleton::TCP_SYN;

    use super::*;

    const UDP: u8 = 17;

    fn v4(protocol: u8, fragment: [u8; 2], options: usize, upper: &[u8]) -> Vec<u8> {
        let words = 5 + options as u8;
        let [f0, f1] = fragment;
        let mut packet = vec![0x40 | words, 0x08, 0, 0, 0, 0, f0, f1, 63, protocol, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(vec![1; options * 4]);
        packet.extend(upper);
        packet
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0x80, 0, 0, 0, 0, next, 63];
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(rest);
        packet
    }

    fn tcp() -> Vec<u8> {
        let mut segment = vec![0x9c, 0x40, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, TCP_SYN];
        segment.extend([0; 6]);
        segment
    }

    const SYN_TO_8080: Upper =
        Upper::Ports { source: 40_000, destination: 8080, tcp_flags: TCP_SYN };

    #[track_caller]
    fn read(bytes: &[u8]) -> (u8, Upper) {
        let header = PacketHeader::read(bytes).unwrap();
        assert_eq!((header.tos, header.hop_limit), (0x08, 63));
        (header.protocol, header.upper)
    }

    #[test]
    fn ports_types_and_fragments_of_ipv4() {
        assert_eq!(read(&v4(TCP, [0x40, 0], 0, &tcp())), (TCP, SYN_TO_8080));
        assert_eq!(read(&v4(TCP, [0, 0], 10, &tcp())), (TCP, SYN_TO_8080));
        assert_eq!(read(&v4(TCP, [0x20, 0], 0, &tcp())), (TCP, SYN_TO_8080), "the first fragment");
        assert_eq!(read(&v4(UDP, [0, 1], 0, &tcp())), (UDP, Upper::LaterFragment));
        let echo = Upper::Icmp { kind: 8, code: 0 };
        assert_eq!(read(&v4(ICMP, [0, 0], 0, &[8, 0, 1, 1])), (ICMP, echo));
        assert_eq!(read(&v4(47, [0, 0], 0, &[1])), (47, Upper::Other));
        assert_eq!(read(&v4(TCP, [0, 0], 0, &tcp()[..13])), (TCP, Upper::CutShort));
        assert_eq!(read(&v4(UDP, [0, 0], 0, &[0, 1, 2])), (UDP, Upper::CutShort));
    }

    #[test]
    fn extension_headers_of_ipv6_are_passed_over() {
        let options = |next: u8| [&[next, 1][..], &[0; 14]].concat();
        let fragment = |next: u8, offset: u8| vec![next, 0, 0, offset, 0, 0, 0, 7];
        let authentication = |next: u8| [&[next, 4][..], &[0; 22]].concat();
        assert_eq!(read(&v6(TCP, &tcp())), (TCP, SYN_TO_8080));
        let chain =
            [options(60), options(43), options(FRAGMENT), fragment(AUTHENTICATION, 1)].concat();
        let chain = [chain, authentication(TCP), tcp()].concat();
        assert_eq!(read(&v6(0, &chain)), (TCP, SYN_TO_8080));
        let later = [fragment(UDP, 8), tcp()].concat();
        assert_eq!(read(&v6(FRAGMENT, &later)), (UDP, Upper::LaterFragment));
        assert_eq!(read(&v6(ICMPV6, &[128, 0])), (ICMPV6, Upper::Icmp { kind: 128, code: 0 }));
        assert_eq!(read(&v6(50, &[1, 2, 3])), (50, Upper::Other), "what is behind ESP is secret");
        assert_eq!(read(&v6(0, &options(TCP)[..15])), (0, Upper::CutShort));
        assert_eq!(read(&v6(59, &[])), (59, Upper::Other));
    }

    #[test]
    fn packets_without_addresses_say_why() {
        assert_eq!(PacketHeader::read(&[]), Err(HeaderError::CutShort));
        assert_eq!(PacketHeader::read(&v4(UDP, [0, 0], 0, &[])[..19]), Err(HeaderError::CutShort));
        assert_eq!(PacketHeader::read(&v6(UDP, &[])[..39]), Err(HeaderError::CutShort));
        assert_eq!(PacketHeader::read(&[0x50; 60]), Err(HeaderError::Version(5)));
        assert_eq!(PacketHeader::read(&[0x44; 60]), Err(HeaderError::Length(16)));
    }

    #[test]
    fn bytes_that_are_cut_short_or_garbled_are_no_panic() {
        let chain = [&[60, 0, 0, 0, 0, 0, 0, 0][..], &[TCP, 0, 0, 0, 0, 0, 0, 0], &tcp()].concat();
        for packet in [v4(TCP, [0, 0], 3, &tcp()), v6(0, &chain)] {
            for length in 0..packet.len() {
                let cut = &packet[..length];
                if let Ok(header) = PacketHeader::read(cut) {
                    _ = (header.packet(), header.connection());
                }
                for at in 0..length {
                    for flip in [0x01, 0x10, 0x80, 0xff] {
                        let mut garbled = cut.to_vec();
                        garbled[at] ^= flip;
                        _ = PacketHeader::read(&garbled);
                    }
                }
            }
        }
    }

    #[test]
    fn a_packet_is_judged_by_its_own_fields() {
        let packet = PacketHeader::read(&v4(TCP, [0, 0], 0, &tcp())).unwrap().packet();
        let [from, to] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        assert_eq!(packet.connection, Connection { from, to, protocol: TCP, port: 8080 });
        assert_eq!((packet.source_port, packet.tcp_flags, packet.tos), (40_000, TCP_SYN, 8));
    }
}
