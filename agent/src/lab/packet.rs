//! Packets as bytes: first packets of connections to send, and what arrived, read back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::model::{Connection, Family};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const GRE: u8 = 47;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// IPv6 extension headers (RFC 8200, 4).
pub const HOP_BY_HOP: u8 = 0;
pub const FRAGMENT: u8 = 44;
pub const DESTINATION_OPTIONS: u8 = 60;

pub const ECHO_REQUEST: u8 = 8;
pub const ECHO_REQUEST_V6: u8 = 128;

/// TCP flags (RFC 9293, 3.1).
pub mod tcp_flags {
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// An IP packet to be. `protocol` is that of `body`; over IPv6 `extensions` stand between, each with its own number and
/// its bytes from the third on (the first two are filled in).
#[derive(Debug, Clone)]
pub struct Packet {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    /// The TOS field or the traffic class.
    pub tos: u8,
    /// The TTL or hop limit.
    pub hops: u8,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Packet {
    pub fn new(from: IpAddr, to: IpAddr, protocol: u8, body: Vec<u8>) -> Self {
        Self { from, to, protocol, tos: 0, hops: 64, extensions: Vec::new(), body }
    }

    pub fn udp(from: IpAddr, to: IpAddr, source_port: u16, port: u16, payload: &[u8]) -> Self {
        let length = (8 + payload.len()) as u16;
        let mut body = [source_port, port, length, 0].map(u16::to_be_bytes).concat();
        body.extend(payload);
        let sum = match checksum(&pseudo_header(from, to, UDP, body.len()), &body) {
            0 => 0xffff,
            sum => sum,
        };
        put(&mut body, 6, sum);
        Self::new(from, to, UDP, body)
    }

    pub fn tcp(
        from: IpAddr,
        to: IpAddr,
        ports: (u16, u16),
        flags: u8,
        numbers: (u32, u32),
    ) -> Self {
        let mut body = [ports.0, ports.1].map(u16::to_be_bytes).concat();
        body.extend([numbers.0, numbers.1].map(u32::to_be_bytes).concat());
        body.extend([5 << 4, flags]);
        body.extend([0xffff_u16, 0, 0].map(u16::to_be_bytes).concat());
        let sum = checksum(&pseudo_header(from, to, TCP, body.len()), &body);
        put(&mut body, 16, sum);
        Self::new(from, to, TCP, body)
    }

    /// An INIT chunk alone (RFC 9260, 3.3.2), which opens an association.
    pub fn sctp_init(from: IpAddr, to: IpAddr, source_port: u16, port: u16, tag: u32) -> Self {
        let mut body = [source_port, port].map(u16::to_be_bytes).concat();
        body.extend([0; 8]);
        body.extend([1, 0, 0, 20]);
        body.extend(tag.to_be_bytes());
        body.extend(0xffff_u32.to_be_bytes());
        body.extend([1_u16, 1].map(u16::to_be_bytes).concat());
        body.extend(1_u32.to_be_bytes());
        let sum = crc32c(&body).to_le_bytes();
        if let Some(place) = body.get_mut(8..12) {
            place.copy_from_slice(&sum);
        }
        Self::new(from, to, SCTP, body)
    }

    /// An ICMP or ICMPv6 message; `rest` is what follows type, code and checksum.
    pub fn icmp(from: IpAddr, to: IpAddr, kind: u8, code: u8, rest: &[u8]) -> Self {
        let mut body = vec![kind, code, 0, 0];
        body.extend(rest);
        let (protocol, pseudo) = match Family::of(from) {
            Family::V4 => (ICMP, Vec::new()),
            Family::V6 => (ICMPV6, pseudo_header(from, to, ICMPV6, body.len())),
        };
        let sum = checksum(&pseudo, &body);
        put(&mut body, 2, sum);
        Self::new(from, to, protocol, body)
    }

    /// The first packet of a connection, recognisable at its destination by `id`. ICMP is an echo request; other
    /// protocols than these carry the id alone.
    pub fn first(connection: &Connection, source_port: u16, id: u32) -> Self {
        let Connection { from, to, protocol, port } = *connection;
        let tag = id.to_be_bytes();
        match protocol {
            TCP => Self::tcp(from, to, (source_port, port), tcp_flags::SYN, (id, 0)),
            UDP => Self::udp(from, to, source_port, port, &tag),
            SCTP => Self::sctp_init(from, to, source_port, port, id),
            ICMP | ICMPV6 => {
                let kind = if protocol == ICMP { ECHO_REQUEST } else { ECHO_REQUEST_V6 };
                let [a, b] = source_port.to_be_bytes();
                let rest = [[a, b, 0, 1], tag].concat();
                let mut packet = Self::icmp(from, to, kind, 0, &rest);
                packet.protocol = protocol;
                packet
            }
            // Four zero bytes first: a GRE header without options, for protocol 47.
            _ => Self::new(from, to, protocol, [[0; 4], tag].concat()),
        }
    }

    pub fn with_tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    pub fn with_hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Over IPv6 only; behind those that are there.
    pub fn with_extension(mut self, number: u8, rest: Vec<u8>) -> Self {
        self.extensions.push((number, rest));
        self
    }

    /// The whole packet, as a raw socket takes it.
    pub fn bytes(&self) -> Vec<u8> {
        let (next, payload) = self.payload();
        header(self, next, 0, 0, &payload)
    }

    /// The packet cut after the first `size` bytes behind the IP header and then every `size` bytes; `size` is a
    /// multiple of 8.
    pub fn fragments(&self, size: usize, id: u16) -> Vec<Vec<u8>> {
        let (next, payload) = self.payload();
        let count = payload.len().div_ceil(size);
        let part = |(n, part): (usize, &[u8])| {
            let offset = (n * size / 8) as u16;
            let more = n + 1 < count;
            match Family::of(self.from) {
                Family::V4 => header(self, next, id, offset | (u16::from(more) << 13), part),
                Family::V6 => {
                    let mut body = vec![next, 0];
                    body.extend(((offset << 3) | u16::from(more)).to_be_bytes());
                    body.extend(u32::from(id).to_be_bytes());
                    body.extend(part);
                    header(self, FRAGMENT, 0, 0, &body)
                }
            }
        };
        payload.chunks(size).enumerate().map(part).collect()
    }

    /// What follows the IP header, and its protocol number.
    fn payload(&self) -> (u8, Vec<u8>) {
        let mut next = self.protocol;
        let mut payload = self.body.clone();
        for (number, rest) in self.extensions.iter().rev() {
            let mut whole = vec![next, ((rest.len() + 2) / 8) as u8 - 1];
            whole.extend(rest);
            whole.extend(payload);
            (next, payload) = (*number, whole);
        }
        (next, payload)
    }
}

/// A packet that came in at a machine's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub from: IpAddr,
    pub to: IpAddr,
    /// The upper protocol, behind any extension headers.
    pub protocol: u8,
    /// 0 where the protocol has no ports.
    pub source_port: u16,
    pub port: u16,
    /// What `Packet::first` was given, or whatever stands in its place.
    pub id: u32,
    /// What follows the IP and extension headers.
    pub body: Vec<u8>,
}

impl Arrival {
    /// Reads an IP packet; `None` for what is none, and for later fragments.
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

/// An IP header before `payload`. `fragment` is the IPv4 field of flags and offset.
fn header(packet: &Packet, next: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40 + payload.len());
    match (packet.from, packet.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (20 + payload.len()) as u16;
            bytes.extend([0x45, packet.tos]);
            bytes.extend([total, id, fragment].map(u16::to_be_bytes).concat());
            bytes.extend([packet.hops, next, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        (from, to) => {
            bytes.extend([0x60 | (packet.tos >> 4), packet.tos << 4, 0, 0]);
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend([next, packet.hops]);
            bytes.extend(octets16(from));
            bytes.extend(octets16(to));
        }
    }
    bytes.extend(payload);
    bytes
}

fn octets16(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The internet checksum (RFC 1071) of both parts together; `head` has an even length.
fn checksum(head: &[u8], body: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks(2)
            .map(|c| match *c {
                [a, b] => u32::from(u16::from_be_bytes([a, b])),
                [a] => u32::from(a) << 8,
                _ => 0,
            })
            .sum()
    };
    let mut sum = words(head) + words(body);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// CRC-32C, reflected (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [(IpAddr, IpAddr); 2] {
        let v4 = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        [v4, ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())]
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
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
    fn known_checksums() {
        // RFC 1071, 3: the example's sum is ddf2.
        assert_eq!(checksum(&[], &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
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
    fn extension_headers_are_read_over() {
        let [_, (from, to)] = addresses();
        let packet = Packet::udp(from, to, 4000, 53, &[7; 4])
            .with_extension(HOP_BY_HOP, vec![1, 4, 0, 0, 0, 0])
            .with_extension(DESTINATION_OPTIONS, vec![1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let read = Arrival::read(&packet.bytes()).expect("readable");
        assert_eq!((read.protocol, read.port), (UDP, 53));
    }
}
