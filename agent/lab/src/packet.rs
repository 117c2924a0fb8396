//! IP packets as bytes: first packets of connections, and packets with any field that a test wants in them.

use std::net::IpAddr;

use palisade_compiler::model::{Connection, Family};

pub use crate::arrival::Arrival;

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

/// An IP packet to send. `protocol` is the protocol of `body`. Over IPv6 the extension headers come between the IP header
/// and the body. Each is given by its number and its bytes from the third on; `bytes` fills in the first two.
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
    /// The options of the IPv4 header; a multiple of 4 bytes.
    pub options: Vec<u8>,
    pub body: Vec<u8>,
}

impl Packet {
    pub fn new(from: IpAddr, to: IpAddr, protocol: u8, body: Vec<u8>) -> Self {
        Self {
            from,
            to,
            protocol,
            tos: 0,
            hops: 64,
            extensions: Vec::new(),
            options: Vec::new(),
            body,
        }
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
        Self::segment(from, to, ports, flags, numbers, &[], &[])
    }

    /// A TCP segment with options, which are as long as a multiple of 4 bytes, and data.
    pub fn segment(
        from: IpAddr,
        to: IpAddr,
        ports: (u16, u16),
        flags: u8,
        numbers: (u32, u32),
        options: &[u8],
        data: &[u8],
    ) -> Self {
        let mut body = [ports.0, ports.1].map(u16::to_be_bytes).concat();
        body.extend([numbers.0, numbers.1].map(u32::to_be_bytes).concat());
        body.extend([((20 + options.len()) as u8 / 4) << 4, flags]);
        body.extend([0xffff_u16, 0, 0].map(u16::to_be_bytes).concat());
        body.extend(options);
        body.extend(data);
        let sum = checksum(&pseudo_header(from, to, TCP, body.len()), &body);
        put(&mut body, 16, sum);
        Self::new(from, to, TCP, body)
    }

    /// An SCTP packet with an INIT chunk alone (RFC 9260, 3.3.2), which opens an association.
    pub fn sctp_init(from: IpAddr, to: IpAddr, source_port: u16, port: u16, tag: u32) -> Self {
        let mut value = tag.to_be_bytes().to_vec();
        value.extend(0xffff_u32.to_be_bytes());
        value.extend([1_u16, 1].map(u16::to_be_bytes).concat());
        value.extend(1_u32.to_be_bytes());
        Self::sctp(from, to, (source_port, port), 0, (1, &value))
    }

    /// An SCTP packet with one chunk: its type and its value, which is a multiple of 4 bytes.
    pub fn sctp(
        from: IpAddr,
        to: IpAddr,
        ports: (u16, u16),
        verification_tag: u32,
        (kind, value): (u8, &[u8]),
    ) -> Self {
        let mut body = [ports.0, ports.1].map(u16::to_be_bytes).concat();
        body.extend(verification_tag.to_be_bytes());
        body.extend([0; 4]);
        body.extend([kind, 0]);
        body.extend(((4 + value.len()) as u16).to_be_bytes());
        body.extend(value);
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

    /// The first packet of a connection, which carries `id` so that it is recognised at its destination: a SYN, a datagram, an INIT chunk
    /// or an echo request. Packets of other protocols carry the id alone.
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

    /// With options in the IPv4 header. They are as long as a multiple of 4 bytes.
    pub fn with_options(mut self, options: Vec<u8>) -> Self {
        self.options = options;
        self
    }

    /// Adds an extension header after the existing ones. Only for IPv6.
    pub fn with_extension(mut self, number: u8, rest: Vec<u8>) -> Self {
        self.extensions.push((number, rest));
        self
    }

    /// The whole packet, with its checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let (next, payload) = self.payload();
        header(self, next, 0, 0, &payload)
    }

    /// The packet in fragments, each with `size` bytes after the IP header; `size` is a multiple of 8.
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

/// `payload` with an IP header before it. `fragment` is the IPv4 field of flags and offset.
fn header(packet: &Packet, next: u8, id: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40 + payload.len());
    match (packet.from, packet.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = 20 + packet.options.len();
            let total = (length + payload.len()) as u16;
            bytes.extend([0x40 | (length / 4) as u8, packet.tos]);
            bytes.extend([total, id, fragment].map(u16::to_be_bytes).concat());
            bytes.extend([packet.hops, next, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes.extend(&packet.options);
            let sum = checksum(&[], &bytes);
            put(&mut bytes, 10, sum);
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

/// The internet checksum (RFC 1071) of both parts together. `head` has an even length.
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

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_known_bytes() {
        // The example of RFC 1071, section 3, whose sum is ddf2.
        assert_eq!(checksum(&[], &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        // An IPv4 header of known sum.
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        assert_eq!(checksum(&[], &header), 0xb861);
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn an_ipv4_packet_has_its_header_checksum() {
        let [from, to] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let bytes = Packet::udp(from, to, 4000, 53, b"x").bytes();
        // The sum over a header that contains its own checksum is zero.
        assert_eq!(checksum(&[], &bytes[..20]), 0);
    }
}
