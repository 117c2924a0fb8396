//! The fixed rules of a table, as data: rendered to text, evaluated, encoded for the kernel and read back from it,
//! all from this one definition.
//!
//! Nothing in it depends on a cluster. A lookup that misses ends its rule, not the packet's walk, so hash maps
//! carry a catch-all element and every subject's path ends in a `deny_*` chain.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

pub use super::sets::SetName;
use crate::model::Family;

/// Goes up with every change of the skeleton; kept in the table's comment. A table of another version is replaced.
pub const VERSION: u32 = 2;

/// The name of both tables.
pub const TABLE: &str = "palisade";

/// NFLOG group that denied first packets are copied to.
pub const LOG_GROUP: u16 = 7;
/// Denied packets logged a second and direction; the rest is dropped unseen but counted.
pub const LOG_RATE_PER_SECOND: u64 = 100;

/// Connection tracking states, as bits that `CtState` may combine (`NF_CT_STATE_BIT` of the kernel).
pub mod ct {
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const NEW: u32 = 8;
}

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const ICMPV6: u8 = 58;

pub const ND_ROUTER_ADVERT: u8 = 134;
pub const ND_NEIGHBOR_SOLICIT: u8 = 135;
pub const ND_NEIGHBOR_ADVERT: u8 = 136;
pub const ND_REDIRECT: u8 = 137;
/// Neighbour discovery that crossed a router is none, and whoever sends it forges it (RFC 4861, 7.1). A router lowers the hop
/// limit before the forward hook, a bridge does not.
pub const ND_HOP_LIMIT: u8 = 255;

/// `(fin | syn | rst | ack)`: the flags that tell a connection's first segment, which has `syn` alone.
pub const TCP_OPENING_MASK: u8 = 0x17;
pub const TCP_SYN: u8 = 0x02;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainName {
    Forward,
    Guard,
    Egress,
    PassOut,
    Ingress,
    Pass,
    DenyOut,
    DenyIn,
}

impl ChainName {
    /// In an order in which a chain stands before those that go to it.
    pub const ALL: [Self; 8] = [
        Self::Pass,
        Self::DenyIn,
        Self::Ingress,
        Self::PassOut,
        Self::DenyOut,
        Self::Egress,
        Self::Guard,
        Self::Forward,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Guard => "guard",
            Self::Egress => "egress",
            Self::PassOut => "pass_out",
            Self::Ingress => "ingress",
            Self::Pass => "pass",
            Self::DenyOut => "deny_out",
            Self::DenyIn => "deny_in",
        }
    }

    /// The only base chain: `type filter hook forward priority filter; policy accept`.
    pub const fn is_base(self) -> bool {
        matches!(self, Self::Forward)
    }
}

/// An address of the packet's network header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Source,
    Destination,
}

/// One expression or statement of a rule, in the order nft writes them. A match that fails ends the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// `ct state X`: any of these bits.
    CtState(u32),
    /// `ct status dnat`
    CtStatusDnat,
    /// `meta l4proto X`
    L4Proto(u8),
    /// `tcp flags & (fin | syn | rst | ack) != syn`; implies TCP.
    TcpNotOpening,
    /// `icmpv6 type X`; implies ICMPv6.
    Icmpv6Type(u8),
    /// `ip6 hoplimit X`; in the IPv6 table only.
    HopLimit(u8),
    /// `ip saddr 10.0.0.0/8`
    InSubnet(Side, IpNet),
    /// `ip saddr @local_out`
    AddressIn(Side, SetName),
    /// `ip saddr . ip daddr @self`
    PairIn(SetName),
    /// `iif . oif @bridges`
    InterfacesIn(SetName),
    /// `meta priority set ip saddr map @class`
    ClassFrom(Side, SetName),
    /// `meta priority set ip saddr . meta priority map @allow_out`
    ProfileFrom(Side, SetName),
    /// `meta priority 0:0`
    PriorityIs(u32),
    /// `meta priority . meta l4proto . th dport @ports`
    PortIn(SetName),
    /// `meta priority set 0:0`
    SetPriority(u32),
    /// `meta priority set @nh,8,8 & 0x18 map { 0x0 : 0:0, 0x8 : 0:2, 0x10 : 0:6, 0x18 : 0:4 }`: what `ip_forward` set
    /// from the TOS field before the hook (`rt_tos2priority`).
    RestorePriority,
    Counter,
    /// `limit rate N/second`
    Limit(u64),
    /// `log prefix "palisade out" group 7`
    Log(Direction),
    Accept,
    Drop,
    Goto(ChainName),
    Jump(ChainName),
}

pub use crate::model::Direction;

/// TOS bits (mask 0x18) and the priority that `ip_forward` derives from them.
pub const TOS_MASK: u8 = 0x18;
pub const TOS_PRIORITIES: [(u8, u32); 4] = [(0x00, 0), (0x08, 2), (0x10, 6), (0x18, 4)];

/// The prefix of a denial's log record.
pub const fn log_prefix(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "palisade in",
        Direction::Egress => "palisade out",
    }
}

pub type Rule = Vec<Expr>;

/// The rules of a chain, first to last.
pub fn rules(family: Family, chain: ChainName) -> Vec<Rule> {
    match chain {
        ChainName::Forward => forward(family),
        ChainName::Guard => guard(family),
        ChainName::Egress => walk(
            Side::Source,
            Side::Destination,
            SetName::AllowOut,
            ChainName::PassOut,
            ChainName::DenyOut,
        ),
        ChainName::Ingress => walk(
            Side::Destination,
            Side::Source,
            SetName::AllowIn,
            ChainName::Pass,
            ChainName::DenyIn,
        ),
        ChainName::PassOut => vec![
            vec![
                Expr::AddressIn(Side::Destination, SetName::LocalIn),
                Expr::Goto(ChainName::Ingress),
            ],
            vec![Expr::Goto(ChainName::Pass)],
        ],
        ChainName::Pass => pass(family),
        ChainName::DenyOut => deny(family, Direction::Egress, ChainName::PassOut),
        ChainName::DenyIn => deny(family, Direction::Ingress, ChainName::Pass),
    }
}

fn forward(family: Family) -> Vec<Rule> {
    let icmp = match family {
        Family::V4 => ICMP,
        Family::V6 => ICMPV6,
    };
    // A mid-stream segment may open a conntrack entry in reverse, so that a cut connection would go on from its other
    // side: only a segment that opens a connection may be new.
    let midstream = |side, set| {
        vec![Expr::CtState(ct::NEW), Expr::TcpNotOpening, Expr::AddressIn(side, set), Expr::Drop]
    };
    vec![
        vec![Expr::CtState(ct::ESTABLISHED), Expr::Accept],
        // ICMP errors only: children that conntrack helpers announce are judged like any connection.
        vec![Expr::CtState(ct::RELATED), Expr::L4Proto(icmp), Expr::Accept],
        vec![Expr::InterfacesIn(SetName::Bridges), Expr::Jump(ChainName::Guard)],
        midstream(Side::Source, SetName::LocalIn),
        midstream(Side::Destination, SetName::LocalOut),
        vec![Expr::AddressIn(Side::Source, SetName::LocalOut), Expr::Goto(ChainName::Egress)],
        vec![Expr::AddressIn(Side::Destination, SetName::LocalIn), Expr::Goto(ChainName::Ingress)],
    ]
}

/// Bridged packets of a bridge that carries a subject. Over IPv6, link-local neighbours and router advertisements
/// would pass by every address that policy knows.
fn guard(family: Family) -> Vec<Rule> {
    if family == Family::V4 {
        return Vec::new();
    }
    let subnet = |address: [u16; 8], length| {
        IpNet::from(Ipv6Net::new_assert(Ipv6Addr::from(address), length))
    };
    let link_local = subnet([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10);
    let multicast = subnet([0xff00, 0, 0, 0, 0, 0, 0, 0], 8);
    vec![
        neighbour_discovery(ND_NEIGHBOR_SOLICIT, Expr::Accept),
        neighbour_discovery(ND_NEIGHBOR_ADVERT, Expr::Accept),
        vec![Expr::Icmpv6Type(ND_ROUTER_ADVERT), Expr::Drop],
        vec![Expr::Icmpv6Type(ND_REDIRECT), Expr::Drop],
        vec![Expr::InSubnet(Side::Source, link_local), Expr::Drop],
        vec![Expr::InSubnet(Side::Destination, link_local), Expr::Drop],
        vec![Expr::InSubnet(Side::Destination, multicast), Expr::Drop],
    ]
}

fn neighbour_discovery(kind: u8, verdict: Expr) -> Rule {
    vec![Expr::Icmpv6Type(kind), Expr::HopLimit(ND_HOP_LIMIT), verdict]
}

fn walk(subject: Side, peer: Side, allow: SetName, pass: ChainName, deny: ChainName) -> Vec<Rule> {
    vec![
        vec![Expr::ClassFrom(peer, SetName::Class)],
        vec![Expr::PriorityIs(0), Expr::ClassFrom(peer, SetName::Cidr)],
        vec![Expr::ProfileFrom(subject, allow)],
        vec![Expr::PriorityIs(super::ProfileId::EVERYTHING.0), Expr::Goto(pass)],
        vec![Expr::PortIn(SetName::Ports), Expr::Goto(pass)],
        vec![Expr::PortIn(SetName::PortRanges), Expr::Goto(pass)],
        vec![Expr::Goto(deny)],
    ]
}

/// `skb->priority` was our scratch register: it leaves as the forward path had set it.
fn pass(family: Family) -> Vec<Rule> {
    match family {
        Family::V4 => vec![
            vec![Expr::InterfacesIn(SetName::Bridges), Expr::SetPriority(0), Expr::Accept],
            vec![Expr::RestorePriority, Expr::Accept],
        ],
        Family::V6 => vec![vec![Expr::SetPriority(0), Expr::Accept]],
    }
}

fn deny(family: Family, direction: Direction, pass: ChainName) -> Vec<Rule> {
    let mut rules = vec![
        // Only where a Service translated the packet: a forged packet from an address to itself is no hairpin.
        vec![Expr::CtStatusDnat, Expr::PairIn(SetName::Hairpin), Expr::Goto(pass)],
    ];
    if family == Family::V6 {
        rules.push(neighbour_discovery(ND_NEIGHBOR_SOLICIT, Expr::Goto(ChainName::Pass)));
        rules.push(neighbour_discovery(ND_NEIGHBOR_ADVERT, Expr::Goto(ChainName::Pass)));
    }
    rules.extend([
        vec![Expr::Counter],
        vec![Expr::Limit(LOG_RATE_PER_SECOND), Expr::Log(direction)],
        vec![Expr::Drop],
    ]);
    rules
}
