//! The fixed rules of a table, as data. Rendering, evaluation, and the encoding for the kernel and back are all derived
//! from this one definition.
//!
//! Nothing in it depends on a cluster. `skb->priority` holds what one lookup found until the next one: a class, then a
//! profile. A lookup that finds nothing ends its rule, leaves the priority as it was, and the packet continues with the next
//! rule. Therefore the value says how far a packet has come: no major number where no class was found, a class where there
//! is no row, a profile (bit 8000:0) once there is. Every rule sequence for a subject ends in a `deny_*` chain.
//!
//! The rules are ordered and written for the cost of a connection's first packet. What most packets need comes first, as few
//! expressions as possible; what only exceptional packets need comes last or behind a cheap comparison. Expressions that the
//! kernel evaluates without a function call are preferred (`nft_do_chain`: loads of 1, 2 or 4 bytes from a header, and
//! masks and comparisons of 4 bytes).

mod bridge;
mod hook;
mod inet;
mod source_guard;

use ipnet::IpNet;

pub use super::protocol::{ICMP, ICMPV6, TCP};
pub use super::sets::SetName;
use super::{ClassId, ProfileId, TableFamily};
use crate::model::Family;
pub use hook::Hook;

/// Incremented with every change of the skeleton, and kept in the table's comment. A table of another version is replaced.
pub const VERSION: u32 = 7;

/// The name of both tables.
pub const TABLE: &str = "palisade";

/// The NFLOG group that denied first packets are copied to.
pub const LOG_GROUP: u16 = 7;
/// How many denied packets are logged per second, table and direction. Those beyond are counted and dropped, not logged.
pub const LOG_RATE_PER_SECOND: u64 = 100;

/// Connection tracking states, as bits that `CtState` may combine (`NF_CT_STATE_BIT` of the kernel).
pub mod ct {
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const NEW: u32 = 8;
}

/// The ICMP errors (RFC 792) that belong to the connection whose packet they quote. Connection tracking calls a redirect (5)
/// `related` too, but a redirect changes the route of the host that receives it; source quench (4) is obsolete (RFC 6633).
pub const ICMP_ERRORS: [u8; 3] = [3, 11, 12];
/// The ICMPv6 errors (RFC 4443, 2.1). Connection tracking also calls the redirects of neighbour discovery `related`.
pub const ICMPV6_ERRORS: [u8; 4] = [1, 2, 3, 4];

pub const ND_ROUTER_ADVERT: u8 = 134;
pub const ND_NEIGHBOR_SOLICIT: u8 = 135;
pub const ND_NEIGHBOR_ADVERT: u8 = 136;
pub const ND_REDIRECT: u8 = 137;
/// The hop limit of every valid neighbour discovery message (RFC 4861, 7.1). A router lowers the hop limit before the forward
/// hook and a bridge does not, so a message with this hop limit comes from a neighbour.
pub const ND_HOP_LIMIT: u8 = 255;

/// `(fin | syn | rst | ack)`: of these flags, the first segment of a connection has `syn` alone.
pub const TCP_OPENING_MASK: u8 = 0x17;
pub const TCP_SYN: u8 = 0x02;
/// The flags are the second of the 4 bytes that start 12 bytes into a TCP header (RFC 9293, 3.1).
pub const TCP_FLAGS_WORD: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainName {
    Prerouting,
    SourceGuard,
    Forward,
    Guard,
    Hold,
    HoldDestination,
    Revoked,
    Midstream,
    Egress,
    BaseOut,
    WideOut,
    PassOut,
    Ingress,
    BaseIn,
    WideIn,
    Pass,
    Control,
    DenyOut,
    DenyIn,
}

impl ChainName {
    /// Every chain comes before the chains whose rules name it.
    pub const ALL: [Self; 19] = [
        Self::SourceGuard,
        Self::Prerouting,
        Self::Guard,
        Self::Hold,
        Self::HoldDestination,
        Self::Revoked,
        Self::Pass,
        Self::Control,
        Self::DenyIn,
        Self::WideIn,
        Self::BaseIn,
        Self::Ingress,
        Self::PassOut,
        Self::DenyOut,
        Self::WideOut,
        Self::BaseOut,
        Self::Egress,
        Self::Midstream,
        Self::Forward,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::SourceGuard => "source_guard",
            Self::Forward => "forward",
            Self::Guard => "guard",
            Self::Hold => "hold",
            Self::HoldDestination => "hold_destination",
            Self::Revoked => "revoked",
            Self::Midstream => "midstream",
            Self::Egress => "egress",
            Self::BaseOut => "base_out",
            Self::WideOut => "wide_out",
            Self::PassOut => "pass_out",
            Self::Ingress => "ingress",
            Self::BaseIn => "base_in",
            Self::WideIn => "wide_in",
            Self::Pass => "pass",
            Self::Control => "control",
            Self::DenyOut => "deny_out",
            Self::DenyIn => "deny_in",
        }
    }

    /// The chains of a table, in the order of `ALL`.
    pub fn of(table: TableFamily) -> impl Iterator<Item = Self> {
        let is_there = move |chain: &Self| match chain {
            Self::Forward => true,
            Self::Guard => table == TableFamily::Bridge,
            Self::Hold | Self::HoldDestination | Self::Revoked => table == TableFamily::Inet,
            _ => TableFamily::OF_PROGRAM.contains(&table),
        };
        Self::ALL.into_iter().filter(is_there)
    }

    /// Where a base chain is hooked; `None` for a chain that others go to.
    pub const fn hook(self) -> Option<Hook> {
        match self {
            Self::Prerouting => Some(Hook::Prerouting),
            Self::Forward => Some(Hook::Forward),
            _ => None,
        }
    }

    /// Whether packets enter the table by it.
    pub const fn is_base(self) -> bool {
        self.hook().is_some()
    }
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
    /// `iif . ip saddr @sources_ipv4`
    SourceIn(SetName),
    /// `ip saddr . ip daddr @self`
    PairIn(SetName),
    /// `meta l4proto . ip saddr . ip daddr . th sport . th dport @revoked_ipv4`
    TupleIn(SetName),
    /// `iif . oif @bridges`
    InterfacesIn(SetName),
    /// `iif @bridge_ports` for the source, `oif @bridge_ports` for the destination.
    InterfaceIn(Side, SetName),
    /// `meta protocol ip6`; in the bridge table only. nft needs it before each match on an IPv6 header there.
    IsIpv6,
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

pub use crate::model::Direction;

/// What is done with a first packet that policies deny. It is not delivered in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DenyAction {
    /// Its sender hears nothing, and waits until it gives up.
    #[default]
    Drop,
    /// Its sender is answered: a TCP segment by a reset (RFC 9293, 3.5.2), other packets by the ICMP error "communication
    /// administratively prohibited" (RFC 1812, 5.2.7.1; RFC 4443, 3.1).
    Reject,
}

impl DenyAction {
    pub const ALL: [Self; 2] = [Self::Drop, Self::Reject];

    /// The name in nft.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }

    fn rules(self) -> Vec<Rule> {
        match self {
            Self::Drop => vec![vec![Expr::Drop]],
            Self::Reject => {
                vec![vec![Expr::Protocol(TCP), Expr::RejectByReset], vec![Expr::RejectByError]]
            }
        }
    }
}

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

/// The rules of a table's chain, first to last.
pub fn rules(
    table: impl Into<TableFamily>,
    chain: ChainName,
    deny_action: DenyAction,
) -> Vec<Rule> {
    match table.into() {
        TableFamily::Ip => program_rules(Family::V4, chain, deny_action),
        TableFamily::Ip6 => program_rules(Family::V6, chain, deny_action),
        TableFamily::Bridge => bridge::rules(chain),
        TableFamily::Inet => inet::rules(chain),
    }
}

/// The rules of a chain of the tables that hold a program.
fn program_rules(family: Family, chain: ChainName, deny_action: DenyAction) -> Vec<Rule> {
    match chain {
        ChainName::Guard | ChainName::Hold | ChainName::HoldDestination | ChainName::Revoked => {
            Vec::new()
        }
        ChainName::Prerouting => source_guard::prerouting(),
        ChainName::SourceGuard => source_guard::rules(family),
        ChainName::Forward => forward(),
        ChainName::Midstream => midstream(),
        ChainName::Egress => EGRESS.judge(family),
        ChainName::BaseOut => EGRESS.base(),
        ChainName::WideOut => EGRESS.wide(family),
        ChainName::DenyOut => EGRESS.deny(family, deny_action),
        ChainName::PassOut => {
            let ingress = [
                Expr::AddressIn(Side::Destination, SetName::LocalIn),
                Expr::Goto(ChainName::Ingress),
            ];
            let mut rules = vec![ingress.into(), accept(family)];
            if family == Family::V4 {
                rules.push(vec![Expr::Goto(ChainName::Pass)]);
            }
            rules
        }
        ChainName::Ingress => INGRESS.judge(family),
        ChainName::BaseIn => INGRESS.base(),
        ChainName::WideIn => INGRESS.wide(family),
        ChainName::DenyIn => INGRESS.deny(family, deny_action),
        ChainName::Pass => pass(family),
        ChainName::Control => control(family),
    }
}

fn forward() -> Vec<Rule> {
    vec![
        vec![Expr::CtState(ct::ESTABLISHED), Expr::Accept],
        source_guard::first(),
        vec![Expr::TcpNotOpening, Expr::Jump(ChainName::Midstream)],
        vec![Expr::AddressIn(Side::Source, SetName::LocalOut), Expr::Goto(ChainName::Egress)],
        vec![Expr::AddressIn(Side::Destination, SetName::LocalIn), Expr::Goto(ChainName::Ingress)],
    ]
}

/// TCP segments that open no connection. Connection tracking takes one that it does not know for the start of a connection
/// in the segment's direction, so that a connection which policy has cut would continue from its other side. Therefore no
/// such segment passes that may be an answer from a subject of ingress, or an answer to a subject of egress.
fn midstream() -> Vec<Rule> {
    let drop = |side, set| vec![Expr::CtState(ct::NEW), Expr::AddressIn(side, set), Expr::Drop];
    vec![drop(Side::Source, SetName::LocalIn), drop(Side::Destination, SetName::LocalOut)]
}

/// How a packet is judged by the policies of one of its ends.
struct Judgement {
    direction: Direction,
    subject: Side,
    peer: Side,
    rows: SetName,
    base: ChainName,
    wide: ChainName,
    pass: ChainName,
    deny: ChainName,
}

const EGRESS: Judgement = Judgement {
    direction: Direction::Egress,
    subject: Side::Source,
    peer: Side::Destination,
    rows: SetName::AllowOut,
    base: ChainName::BaseOut,
    wide: ChainName::WideOut,
    pass: ChainName::PassOut,
    deny: ChainName::DenyOut,
};

const INGRESS: Judgement = Judgement {
    direction: Direction::Ingress,
    subject: Side::Destination,
    peer: Side::Source,
    rows: SetName::AllowIn,
    base: ChainName::BaseIn,
    wide: ChainName::WideIn,
    pass: ChainName::Pass,
    deny: ChainName::DenyIn,
};

impl Judgement {
    /// The peer's class, the row of subject and class, and the ports of the row's profile. Without a row for the class, the
    /// subject's row for class 0:0 applies: what everyone is allowed.
    fn judge(&self, family: Family) -> Vec<Rule> {
        let row = Expr::ProfileFrom(self.subject, self.rows);
        let mut allowed = vec![row, Expr::PortIn(SetName::Ports)];
        match self.direction {
            Direction::Egress => allowed.push(Expr::Goto(self.pass)),
            // What `pass` does, for most packets without a change of chain.
            Direction::Ingress => allowed.extend(accept(family)),
        }
        vec![
            vec![Expr::ClassFrom(self.peer, SetName::Class)],
            vec![Expr::PriorityLacks(ClassId::MAJOR), Expr::ClassFrom(self.peer, SetName::Cidr)],
            allowed,
            vec![Expr::PriorityHas(ProfileId::BIT), Expr::Goto(self.wide)],
            vec![Expr::SetPriority(ClassId::UNKNOWN.0), row, Expr::Goto(self.base)],
            vec![Expr::Goto(self.deny)],
        ]
    }

    /// The base is found.
    fn base(&self) -> Vec<Rule> {
        vec![vec![Expr::PortIn(SetName::Ports), Expr::Goto(self.pass)], vec![Expr::Goto(self.wide)]]
    }

    /// A profile is found, and either the packet's port is none of its single ports, or the packet's priority must be restored.
    fn wide(&self, family: Family) -> Vec<Rule> {
        let mut rules = Vec::new();
        if family == Family::V4 && self.direction == Direction::Ingress {
            let restore = Expr::TosPriority { is_zero: false };
            rules.push(vec![restore, Expr::PortIn(SetName::Ports), Expr::Goto(self.pass)]);
        }
        rules.extend([
            vec![Expr::PriorityIs(ProfileId::EVERYTHING.0), Expr::Goto(self.pass)],
            vec![
                Expr::PriorityHas(ProfileId::RANGED),
                Expr::PortIn(SetName::PortRanges),
                Expr::Goto(self.pass),
            ],
            vec![Expr::Goto(self.deny)],
        ]);
        rules
    }

    /// The exceptions, and the end of every other packet that is not allowed.
    fn deny(&self, family: Family, deny_action: DenyAction) -> Vec<Rule> {
        let protocol = match family {
            Family::V4 => ICMP,
            Family::V6 => ICMPV6,
        };
        // Only where a Service translated the packet: a forged packet from an address to itself is no hairpin. And only from the pod's
        // own interface, where that is known: else anybody could send, as the pod, to the pod's own Service.
        let hairpin = |is_own| {
            vec![Expr::CtStatusDnat, Expr::PairIn(SetName::Hairpin), is_own, Expr::Goto(self.pass)]
        };
        let mut rules = vec![
            vec![Expr::Protocol(protocol), Expr::Jump(ChainName::Control)],
            hairpin(Expr::SourceIn(SetName::sources(family))),
            hairpin(Expr::AddressNotIn(Side::Source, SetName::located(family))),
            vec![Expr::Counter],
            vec![Expr::Limit(LOG_RATE_PER_SECOND), Expr::Log(self.direction)],
        ];
        rules.extend(deny_action.rules());
        rules
    }
}

/// ICMP messages that pass whatever the policies say: errors about a connection that passes, and neighbour discovery. They
/// are looked for only when a packet would be denied, so that no other packet pays for them. Connections that conntrack
/// helpers announce are `related` too; they are judged like any other connection.
fn control(family: Family) -> Vec<Rule> {
    let error = |kind| vec![Expr::CtState(ct::RELATED), kind, Expr::Goto(ChainName::Pass)];
    let neighbour = |kind| {
        vec![Expr::Icmpv6Type(kind), Expr::HopLimit(ND_HOP_LIMIT), Expr::Goto(ChainName::Pass)]
    };
    match family {
        Family::V4 => ICMP_ERRORS.map(|kind| error(Expr::IcmpType(kind))).into(),
        Family::V6 => {
            let neighbours = [ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT].map(neighbour);
            let errors = ICMPV6_ERRORS.map(|kind| error(Expr::Icmpv6Type(kind)));
            neighbours.into_iter().chain(errors).collect()
        }
    }
}

/// Accepts a packet whose priority must leave as 0:0: over IPv6 any, over IPv4 one whose TOS field stands for that.
fn accept(family: Family) -> Rule {
    let accept = [Expr::SetPriority(0), Expr::Accept];
    match family {
        Family::V4 => [&[Expr::TosPriority { is_zero: true }][..], &accept].concat(),
        Family::V6 => accept.into(),
    }
}

/// Accepts, with `skb->priority`, which held the class and the profile, as the forward path had set it.
fn pass(family: Family) -> Vec<Rule> {
    let mut rules = vec![accept(family)];
    if family == Family::V4 {
        let bridged = [Expr::InterfacesIn(SetName::Bridges), Expr::SetPriority(0), Expr::Accept];
        rules.extend([bridged.into(), vec![Expr::RestorePriority, Expr::Accept]]);
    }
    rules
}
