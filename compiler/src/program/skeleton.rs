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
mod chain;
mod expr;
mod hook;
mod inet;
mod source_guard;
mod tunnels;

pub use super::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
pub use super::sets::SetName;
use super::{ClassId, ProfileId, TableFamily};
use crate::model::Family;
pub use chain::ChainName;
pub use expr::{Expr, NetworkProtocol, Side, VlanTag, Way};
pub use hook::Hook;

/// Incremented with every change of the skeleton, and kept in the table's comment. A table of another version is replaced.
pub const VERSION: u32 = 8;

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

/// The longest neighbour solicitation or advertisement that passes between pods, from its network header on, in bytes: the header (40), the
/// message (24), and options, which the kernel's own messages have 8 to 16 bytes of. What is longer carries something else.
pub const ND_LENGTH: u32 = 104;

/// The longest ARP message that passes between pods, from its begin on, in bytes: 28 for IPv4 over Ethernet (RFC 826), and padding to the shortest frame.
pub const ARP_LENGTH: u32 = 60;

/// `(fin | syn | rst | ack)`: of these flags, the first segment of a connection has `syn` alone.
pub const TCP_OPENING_MASK: u8 = 0x17;
pub const TCP_SYN: u8 = 0x02;
/// The flags are the second of the 4 bytes that start 12 bytes into a TCP header (RFC 9293, 3.1).
pub const TCP_FLAGS_WORD: u32 = 12;

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
        ChainName::Prerouting => {
            [tunnels::of_interfaces(family), source_guard::prerouting()].concat()
        }
        ChainName::SourceGuard => source_guard::rules(family),
        ChainName::Tunnels => tunnels::rules(&[tunnels::exempt(family)]),
        ChainName::Encapsulated => counted_drop(),
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
        ChainName::ControlOut => control_out(family),
        _ => Vec::new(),
    }
}

/// The end of packets that nobody is told of but by their number.
fn counted_drop() -> Vec<Rule> {
    vec![vec![Expr::Counter], vec![Expr::Drop]]
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
        let control = match self.direction {
            Direction::Egress => ChainName::ControlOut,
            Direction::Ingress => ChainName::Control,
        };
        let mut rules = vec![
            vec![Expr::Protocol(protocol), Expr::Jump(control)],
            hairpin(Expr::InterfaceAddressIn(Side::Source, SetName::sources(family))),
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

/// What of these a subject of egress may send. An error quotes a packet that its sender got, so its sender is an end of the connection: who is no
/// end has made the error up, to carry data to somebody whom no policy lets it reach. `self` has every subject with itself.
fn control_out(family: Family) -> Vec<Rule> {
    let of_end =
        |way| vec![Expr::ConnectionSourceIn(way, SetName::Hairpin), Expr::Goto(ChainName::Control)];
    let errors = [Way::Reply, Way::Original].map(of_end);
    let neighbours = match family {
        Family::V4 => Vec::new(),
        Family::V6 => [ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT]
            .map(|kind| vec![Expr::Icmpv6Type(kind), Expr::Goto(ChainName::Control)])
            .into(),
    };
    neighbours.into_iter().chain(errors).collect()
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
