//! What rules look at of a packet.

use std::net::IpAddr;

use super::skeleton::{
    ICMP, NetworkProtocol, Side, TCP_SYN, TOS_MASK, TOS_PRIORITIES, VlanTag, ct,
};
use crate::model::{Connection, Family};
use crate::program::element::MacAddress;

/// What connection tracking makes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtState {
    New,
    Established,
    Related,
    Untracked,
    Invalid,
}

impl CtState {
    /// `NF_CT_STATE_BIT`, `NF_CT_STATE_INVALID_BIT` and `NF_CT_STATE_UNTRACKED_BIT` of the kernel.
    pub(super) const fn bit(self) -> u32 {
        match self {
            Self::Invalid => 1,
            Self::Established => ct::ESTABLISHED,
            Self::Related => ct::RELATED,
            Self::New => ct::NEW,
            Self::Untracked => 64,
        }
    }

    /// Whether the packet has a conntrack entry, whose status can be asked.
    pub(super) const fn has_entry(self) -> bool {
        matches!(self, Self::New | Self::Established | Self::Related)
    }
}

/// A packet in the forward hook, after DNAT and before SNAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub connection: Connection,
    /// Of protocols with ports, in host byte order.
    pub source_port: u16,
    pub ct_state: CtState,
    /// `ct status dnat`: a Service translated the connection's destination.
    pub dnat: bool,
    /// The flags byte of a TCP header; no meaning for other protocols.
    pub tcp_flags: u8,
    /// The type of an ICMP or ICMPv6 message; no meaning for other protocols.
    pub icmp_type: u8,
    /// The hop limit (IPv6) as it is in the hook: routing has lowered it by one, bridging has not.
    pub hop_limit: u8,
    /// The TOS byte (IPv4) or traffic class (IPv6).
    pub tos: u8,
    /// The sources of the tracked connection's packets in either direction, for a packet that belongs or relates to one: whose it was to open it, and whose to
    /// answer.
    pub connection_sources: Option<[IpAddr; 2]>,
    /// What the bridge table looks at besides.
    pub frame: Frame,
    /// Interface indexes. In the tables of IP, a bridged packet has its bridge's index in both; in the bridge table, those of
    /// the ports.
    pub iif: u32,
    pub oif: u32,
}

/// A frame in a hook of the bridge table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What the frame carries, inside a VLAN's tag if it has one; `None` for other protocols than these. Of an ARP message, the connection's ends are the
    /// sender's address and the one that is asked for.
    pub protocol: Option<NetworkProtocol>,
    pub tag: Option<VlanTag>,
    /// Who sent it.
    pub sender: MacAddress,
    /// Whether it goes to more than one receiver.
    pub is_to_group: bool,
    /// Whether it goes to a group that no bridge passes on, but to the host.
    pub is_to_reserved_group: bool,
    /// What the fragment header says is behind it, in a fragment.
    pub fragment_of: Option<u8>,
    /// From the network header on, in bytes.
    pub length: u32,
    /// The target of a neighbour solicitation or advertisement.
    pub target: Option<IpAddr>,
}

impl Packet {
    /// The first packet of the connection, from port 40,000: new, SYN for TCP, an echo request for ICMP and ICMPv6; routed from interface 1 to
    /// interface 2.
    pub const fn first(connection: Connection) -> Self {
        Self {
            connection,
            source_port: 40_000,
            ct_state: CtState::New,
            dnat: false,
            tcp_flags: TCP_SYN,
            icmp_type: if connection.protocol == ICMP { 8 } else { 128 },
            hop_limit: 63,
            tos: 0,
            connection_sources: None,
            frame: Frame {
                protocol: Some(match connection.to {
                    IpAddr::V4(_) => NetworkProtocol::Ipv4,
                    IpAddr::V6(_) => NetworkProtocol::Ipv6,
                }),
                tag: None,
                sender: MacAddress([2, 0, 0, 0, 0, 1]),
                is_to_group: false,
                is_to_reserved_group: false,
                fragment_of: None,
                length: 64,
                target: None,
            },
            iif: 1,
            oif: 2,
        }
    }

    pub(super) fn address(&self, side: Side) -> IpAddr {
        match side {
            Side::Source => self.connection.from,
            Side::Destination => self.connection.to,
        }
    }

    /// `skb->priority` as it enters the hook: from the TOS field where `ip_forward` has run, which IPv6 and bridged
    /// packets do not pass.
    pub fn priority(&self, family: Family) -> u32 {
        match family {
            Family::V4 if self.iif != self.oif => tos_priority(self.tos).unwrap_or_default(),
            Family::V4 | Family::V6 => 0,
        }
    }
}

pub(super) fn tos_priority(tos: u8) -> Option<u32> {
    TOS_PRIORITIES.iter().find(|(bits, _)| *bits == tos & TOS_MASK).map(|&(_, priority)| priority)
}
