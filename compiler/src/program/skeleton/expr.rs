//! The expressions and statements of rules.

use ipnet::IpNet;

use super::{ChainName, SetName};
use crate::model::{Direction, Family};

/// A network protocol by its Ethernet type (`ETH_P_*` of linux/if_ether.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkProtocol {
    Ipv4,
    Ipv6,
    Arp,
}

impl NetworkProtocol {
    pub const ALL: [Self; 3] = [Self::Ipv4, Self::Ipv6, Self::Arp];

    /// The Ethernet type.
    pub const fn number(self) -> u16 {
        match self {
            Self::Ipv4 => 0x0800,
            Self::Ipv6 => 0x86dd,
            Self::Arp => 0x0806,
        }
    }

    /// The word for it in nft.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
            Self::Arp => "arp",
        }
    }
}

impl From<Family> for NetworkProtocol {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4,
            Family::V6 => Self::Ipv6,
        }
    }
}

/// The outer tag of a frame that belongs to a VLAN (IEEE 802.1Q, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VlanTag {
    Customer,
    Service,
}

impl VlanTag {
    pub const ALL: [Self; 2] = [Self::Customer, Self::Service];

    /// The Ethernet type.
    pub const fn number(self) -> u16 {
        match self {
            Self::Customer => 0x8100,
            Self::Service => 0x88a8,
        }
    }

    /// The word for it in nft.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "8021q",
            Self::Service => "8021ad",
        }
    }
}

/// A direction of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    Original,
    Reply,
}

/// An address of the packet's network header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Source,
    Destination,
}

/// One expression or statement of a rule, as nft writes it. A match that fails ends the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// `ct state X`: any of these bits.
    CtState(u32),
    /// `ct status dnat`
    CtStatusDnat,
    /// `ip protocol X` over IPv4; `meta l4proto X` over IPv6, where extension headers may come before.
    Protocol(u8),
    /// `ip protocol != X`
    ProtocolIsNot(u8),
    /// `udp sport X udp dport Y`
    UdpPorts(u16, u16),
    /// `udp dport @tunnel_ports`
    UdpPortIn(SetName),
    /// `ip protocol tcp @th,96,32 & 0x170000 != 0x20000`, which is `tcp flags & (fin | syn | rst | ack) != syn` on the 4 bytes
    /// that the flags are among.
    TcpNotOpening,
    /// `icmp type X`; implies ICMP.
    IcmpType(u8),
    /// `icmpv6 type X`; implies ICMPv6.
    Icmpv6Type(u8),
    /// `ip6 hoplimit X`; not in the IPv4 table.
    HopLimit(u8),
    /// `@nh,0,32 & 0x180000 == 0x0`, or `!=`: whether the TOS field has no bit that a priority is derived from, or has one; in
    /// the IPv4 table only. The TOS field is the second of the header's first 4 bytes.
    TosPriority {
        is_zero: bool,
    },
    /// `ip saddr 10.0.0.0/8`
    InSubnet(Side, IpNet),
    /// `ip saddr @local_out`
    AddressIn(Side, SetName),
    /// `ip saddr != @located_ipv4`
    AddressNotIn(Side, SetName),
    /// `iif . ip saddr @sources_ipv4` for the source, `oif . ip daddr @sources_ipv4` for the destination.
    InterfaceAddressIn(Side, SetName),
    /// `oif . ip daddr != @port_sources_ipv4`
    InterfaceAddressNotIn(Side, SetName),
    /// `iif . arp saddr ip @port_sources_ipv4`, or `arp saddr ip @pod_addresses_ipv4`: the sender's address in an ARP message (RFC 826).
    ArpSenderIn(SetName),
    /// `arp saddr ip 0.0.0.0`: an ARP probe (RFC 5227, 1.1), which claims no address.
    ArpProbe,
    /// `iif . ether saddr != @port_macs`
    SenderMacNotIn(SetName),
    /// `ether saddr @pod_macs`
    SenderMacIn(SetName),
    /// `iif . @th,64,128 @port_targets`: the target address, which is the third field of a neighbour solicitation and advertisement
    /// (RFC 4861, 4.3 and 4.4).
    TargetIn(SetName),
    /// `ip saddr . ct reply ip saddr @self`: whether an end of the packet's tracked connection is its own source. The addresses are what
    /// the connection's packets in that direction come from, before their translation.
    ConnectionSourceIn(Way, SetName),
    /// `ip saddr . ip daddr @self`
    PairIn(SetName),
    /// `meta l4proto . ip saddr . ip daddr . th sport . th dport @revoked_ipv4`
    TupleIn(SetName),
    /// `iif . oif @bridges`
    InterfacesIn(SetName),
    /// `iif @bridge_ports` for the source, `oif @bridge_ports` for the destination.
    InterfaceIn(Side, SetName),
    /// `iif != @pod_ports`, `oif != @pod_ports`
    InterfaceNotIn(Side, SetName),
    /// `meta protocol ip6`; in the bridge table only. nft needs it there before each match on a header of the protocol.
    NetworkProtocolIs(NetworkProtocol),
    /// `ether type 8021q`; in the bridge table only.
    Tagged(VlanTag),
    /// `ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00`: a frame to more than one receiver (IEEE 802, 8.2.2); in the bridge table only.
    ToGroup,
    /// `ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00`: a group of which no bridge passes on what is sent to it (IEEE 802.1Q, 8.6.3); in the bridge table only.
    ToReservedGroup,
    /// `exthdr frag exists`: a fragment (RFC 8200, 4.5); over IPv6.
    IsFragment,
    /// `frag nexthdr X`: a fragment of a packet that has this protocol behind the fragment header.
    FragmentOf(u8),
    /// `meta length <= 104`: the packet from its network header on, in bytes.
    LengthAtMost(u32),
    /// `meta nfproto ipv4`, `meta nfproto ipv6`; in the inet table only, before each match on an address.
    FamilyIs(Family),
    /// `meta priority set ip saddr map @class`
    ClassFrom(Side, SetName),
    /// `meta priority set ip saddr . meta priority map @allow_out`
    ProfileFrom(Side, SetName),
    /// `meta priority 0:0`
    PriorityIs(u32),
    /// `meta priority & 4000:0 != 0:0`: any of these bits.
    PriorityHas(u32),
    /// `meta priority & ffff:0 == 0:0`: none of these bits.
    PriorityLacks(u32),
    /// `meta priority . ip protocol . th dport @ports`; `meta l4proto` over IPv6.
    PortIn(SetName),
    /// `meta priority set 0:0`
    SetPriority(u32),
    /// `meta priority set @nh,8,8 & 0x18 map { 0x0 : 0:0, 0x8 : 0:2, 0x10 : 0:6, 0x18 : 0:4 }`: the priority that the
    /// kernel's `ip_forward` derived from the TOS field before the hook (`rt_tos2priority`).
    RestorePriority,
    Counter,
    /// `limit rate N/second`
    Limit(u64),
    /// `log prefix "palisade out" group 7`
    Log(Direction),
    Accept,
    Drop,
    /// Ends the chain: on at the rule behind the jump to it, or to the verdict of the base chain's policy.
    Return,
    /// `reject with tcp reset`: drops, and the sender gets a reset.
    RejectByReset,
    /// `reject with icmp type admin-prohibited`, `reject with icmpv6 type admin-prohibited`: drops, and the sender gets this error.
    RejectByError,
    Goto(ChainName),
    Jump(ChainName),
}

impl Expr {
    /// For a match by membership: the set, and whether what the packet has there must be in it; not, for `!= @set`.
    pub const fn membership(self) -> Option<(SetName, bool)> {
        match self {
            Self::AddressIn(_, set)
            | Self::InterfaceAddressIn(_, set)
            | Self::ArpSenderIn(set)
            | Self::SenderMacIn(set)
            | Self::TargetIn(set)
            | Self::ConnectionSourceIn(_, set)
            | Self::PairIn(set)
            | Self::TupleIn(set)
            | Self::InterfacesIn(set)
            | Self::InterfaceIn(_, set)
            | Self::UdpPortIn(set)
            | Self::PortIn(set) => Some((set, true)),
            Self::AddressNotIn(_, set)
            | Self::InterfaceAddressNotIn(_, set)
            | Self::SenderMacNotIn(set)
            | Self::InterfaceNotIn(_, set) => Some((set, false)),
            _ => None,
        }
    }
}
