//! Ethernet frames as bytes, with any field that a test wants in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::{ICMPV6, Packet};

/// A hardware address of Ethernet.
pub type Mac = [u8; 6];

/// The address of all stations.
pub const BROADCAST: Mac = [0xff; 6];

/// What a frame carries (the registry of the IEEE).
pub mod ether_type {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
    /// A tag of 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// A tag of 802.1ad, outside of one of 802.1Q.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// ARP operations (RFC 826).
pub mod arp {
    pub const REQUEST: u16 = 1;
    pub const REPLY: u16 = 2;
}

/// Neighbour discovery (RFC 4861, 4).
pub mod nd {
    pub const SOLICITATION: u8 = 135;
    pub const ADVERTISEMENT: u8 = 136;
    pub const SOURCE_LINK_LAYER: u8 = 1;
    pub const TARGET_LINK_LAYER: u8 = 2;
    /// The hop limit of a valid message.
    pub const HOP_LIMIT: u8 = 255;
}

/// A frame to send. Tags come between the addresses and the type, the outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub to: Mac,
    pub from: Mac,
    /// The type and the control information of each tag; the VLAN's number is the low 12 bits of the latter.
    pub tags: Vec<(u16, u16)>,
    /// What the payload is; in a frame of 802.3 its length.
    pub ether_type: u16,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(to: Mac, from: Mac, ether_type: u16, payload: Vec<u8>) -> Self {
        Self { to, from, tags: Vec::new(), ether_type, payload }
    }

    /// With an IP packet.
    pub fn ip(to: Mac, from: Mac, packet: &Packet) -> Self {
        Self::of_bytes(to, from, packet.bytes())
    }

    /// With the bytes of an IP packet, or of a fragment of one.
    pub fn of_bytes(to: Mac, from: Mac, packet: Vec<u8>) -> Self {
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let ether_type = if is_v6 { ether_type::IPV6 } else { ether_type::IPV4 };
        Self::new(to, from, ether_type, packet)
    }

    /// With the length of its payload in the place of a type (802.3); the payload begins with the header of logical link control.
    pub fn of_length(to: Mac, from: Mac, payload: Vec<u8>) -> Self {
        let length = payload.len() as u16;
        Self::new(to, from, length, payload)
    }

    /// An ARP message about IPv4 addresses: what the sender says of itself, and whom it asks or answers.
    pub fn arp(
        to: Mac,
        from: Mac,
        operation: u16,
        sender: (Mac, Ipv4Addr),
        target: (Mac, Ipv4Addr),
    ) -> Self {
        // Ethernet is hardware 1; then the lengths of the two kinds of addresses.
        let mut payload = [1, ether_type::IPV4].map(u16::to_be_bytes).concat();
        payload.extend([6, 4]);
        payload.extend(operation.to_be_bytes());
        for (mac, address) in [sender, target] {
            payload.extend(mac);
            payload.extend(address.octets());
        }
        Self::new(to, from, ether_type::ARP, payload)
    }

    /// Adds a tag within those that are there.
    pub fn with_tag(mut self, tag_type: u16, control: u16) -> Self {
        self.tags.push((tag_type, control));
        self
    }

    /// Adds bytes behind the payload, as padding that its length does not count.
    pub fn with_trailer(mut self, bytes: &[u8]) -> Self {
        self.payload.extend(bytes);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for (tag_type, control) in &self.tags {
            bytes.extend([*tag_type, *control].map(u16::to_be_bytes).concat());
        }
        bytes.extend(self.ether_type.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// The hardware address of a multicast group (RFC 1112, 6.4; RFC 2464, 7), or of IPv4's broadcast.
pub fn multicast_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(Ipv4Addr::BROADCAST) => BROADCAST,
        IpAddr::V4(v4) => {
            let [_, b, c, d] = v4.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// A solicitation or advertisement of neighbour discovery about `target`, with this hardware address in an option and `more` behind it.
pub fn neighbour_message(
    (from, to): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    target: Ipv6Addr,
    mac: Mac,
    more: &[u8],
) -> Packet {
    // An advertisement overrides what is known, and answers.
    let (flags, option) = match kind {
        nd::SOLICITATION => (0, nd::SOURCE_LINK_LAYER),
        _ => (0x60, nd::TARGET_LINK_LAYER),
    };
    let mut rest = vec![flags, 0, 0, 0];
    rest.extend(target.octets());
    // Its length is in units of 8 bytes.
    rest.extend([option, 1]);
    rest.extend(mac);
    rest.extend(more);
    let message = Packet::icmp(from.into(), to.into(), kind, 0, &rest).with_hops(nd::HOP_LIMIT);
    debug_assert_eq!(message.protocol, ICMPV6);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 1, 7];

    #[test]
    fn tags_stand_between_the_addresses_and_the_type() {
        let frame = Frame::new(BROADCAST, MAC, ether_type::IPV4, vec![0x45])
            .with_tag(ether_type::SERVICE_VLAN, 5)
            .with_tag(ether_type::VLAN, 0);
        let expected = [&BROADCAST[..], &MAC, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 0, 8, 0, 0x45]];
        assert_eq!(frame.bytes(), expected.concat());
    }

    #[test]
    fn an_arp_message_has_28_bytes() {
        let address = Ipv4Addr::new(10, 1, 0, 1);
        let frame = Frame::arp(BROADCAST, MAC, arp::REQUEST, (MAC, address), (MAC, address));
        assert_eq!(frame.payload.len(), 28);
        assert_eq!(frame.payload[..8], [0, 1, 8, 0, 6, 4, 0, 1]);
    }

    #[test]
    fn groups_have_their_hardware_addresses() {
        let of = |text: &str| multicast_mac(text.parse().unwrap());
        assert_eq!(of("224.128.0.251"), [1, 0, 0x5e, 0, 0, 251]);
        assert_eq!(of("ff02::1:ff00:2"), [0x33, 0x33, 0xff, 0, 0, 2]);
        assert_eq!(of("255.255.255.255"), BROADCAST);
    }
}
