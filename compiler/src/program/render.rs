//! Program -> nft text that `nft -f` loads: `palisade render`, golden tests, and messages about single rules.
//!
//! The text is a function of the program alone: equal programs render byte for byte alike.

use std::fmt;
use std::net::IpAddr;

use super::capacity::capacity;
use super::skeleton::{
    self, ChainName, Direction, Expr, ICMP, ICMPV6, ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT,
    ND_REDIRECT, ND_ROUTER_ADVERT, SetName, Side, TOS_MASK, TOS_PRIORITIES, ct,
};
use super::{AddressRange, ClassId, Program, Tables};
use crate::model::{Family, Protocol};

/// The whole ruleset: both tables with their elements, in the place of what they were before. `nft -f` loads it as one
/// transaction.
pub fn render(program: &Program) -> impl fmt::Display {
    Ruleset(program)
}

/// One rule, as nft writes it.
pub fn rule(family: Family, exprs: &[Expr]) -> impl fmt::Display {
    RuleText { family, exprs }
}

/// The comment of both tables, by which a later version knows the skeleton it finds.
pub fn table_comment() -> String {
    format!("palisade skeleton {}", skeleton::VERSION)
}

/// What an element of the set is, as in `type ipv4_addr : classid`.
pub const fn set_type(family: Family, set: SetName) -> &'static str {
    match (family, set) {
        (Family::V4, SetName::LocalIn | SetName::LocalOut) => "ipv4_addr",
        (Family::V6, SetName::LocalIn | SetName::LocalOut) => "ipv6_addr",
        (Family::V4, SetName::Hairpin) => "ipv4_addr . ipv4_addr",
        (Family::V6, SetName::Hairpin) => "ipv6_addr . ipv6_addr",
        (_, SetName::Bridges) => "iface_index . iface_index",
        (Family::V4, SetName::Class | SetName::Cidr) => "ipv4_addr : classid",
        (Family::V6, SetName::Class | SetName::Cidr) => "ipv6_addr : classid",
        (Family::V4, SetName::AllowIn | SetName::AllowOut) => "ipv4_addr . classid : classid",
        (Family::V6, SetName::AllowIn | SetName::AllowOut) => "ipv6_addr . classid : classid",
        (_, SetName::Ports | SetName::PortRanges) => "classid . inet_proto . inet_service",
    }
}

struct Ruleset<'a>(&'a Program);

impl fmt::Display for Ruleset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in Family::ALL {
            // Declared first, since what is not there cannot be deleted.
            writeln!(f, "table {} {}", keyword(family), skeleton::TABLE)?;
            writeln!(f, "delete table {} {}", keyword(family), skeleton::TABLE)?;
            writeln!(f, "table {} {} {{", keyword(family), skeleton::TABLE)?;
            writeln!(f, "\tcomment \"{}\"", table_comment())?;
            for set in SetName::ALL {
                write_set(f, family, set, self.0.family(family))?;
            }
            for chain in ChainName::ALL {
                write_chain(f, family, chain)?;
            }
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}

fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn write_set(
    f: &mut fmt::Formatter<'_>,
    family: Family,
    set: SetName,
    tables: &Tables,
) -> fmt::Result {
    let kind = if set.is_map() { "map" } else { "set" };
    writeln!(f, "\n\t{kind} {} {{", set.as_str())?;
    writeln!(f, "\t\ttype {}", set_type(family, set))?;
    let elements = elements(tables, set);
    match capacity(set, elements.len()) {
        None => writeln!(f, "\t\tflags interval")?,
        Some(size) => writeln!(f, "\t\tsize {size}")?,
    }
    let catch_all = set.has_catch_all().then(|| format!("* : {}", ClassId::UNKNOWN));
    let mut all = catch_all.into_iter().chain(elements);
    if let Some(first) = all.next() {
        write!(f, "\t\telements = {{ {first}")?;
        for element in all {
            write!(f, ",\n\t\t\t{element}")?;
        }
        writeln!(f, " }}")?;
    }
    writeln!(f, "\t}}")
}

fn elements(tables: &Tables, set: SetName) -> Vec<String> {
    fn texts<I: Iterator>(items: I, text: impl Fn(I::Item) -> String) -> Vec<String> {
        items.map(text).collect()
    }
    let rows = |map: &std::collections::BTreeMap<_, _>| {
        texts(map.iter(), |((subject, class), profile): (&(IpAddr, ClassId), &super::ProfileId)| {
            format!("{subject} . {class} : {profile}")
        })
    };
    match set {
        SetName::LocalIn => texts(tables.local_in.iter(), ToString::to_string),
        SetName::LocalOut => texts(tables.local_out.iter(), ToString::to_string),
        SetName::Hairpin => texts(tables.hairpin.iter(), |pod| format!("{pod} . {pod}")),
        SetName::Bridges => texts(tables.bridges.iter(), |index| format!("{index} . {index}")),
        SetName::Class => texts(tables.class.iter(), |(pod, class)| format!("{pod} : {class}")),
        SetName::Cidr => {
            texts(tables.cidr.iter(), |(range, class)| format!("{} : {class}", range_text(range)))
        }
        SetName::AllowIn => rows(&tables.allow_in),
        SetName::AllowOut => rows(&tables.allow_out),
        SetName::Ports => texts(tables.ports.iter(), |e| {
            format!("{} . {} . {}", e.profile, protocol(e.protocol), e.port)
        }),
        SetName::PortRanges => texts(tables.port_ranges.iter(), |e| {
            format!("{} . {} . {}-{}", e.profile, protocol(e.protocol), e.first, e.last)
        }),
    }
}

fn range_text(range: &AddressRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

/// The words that nft's grammar itself knows; other names it looks up in /etc/protocols.
fn protocol(number: u8) -> String {
    match (Protocol::from_number(number), number) {
        (Some(Protocol::Tcp), _) => "tcp".into(),
        (Some(Protocol::Udp), _) => "udp".into(),
        (Some(Protocol::Sctp), _) => "sctp".into(),
        (None, ICMP) => "icmp".into(),
        (None, ICMPV6) => "icmpv6".into(),
        (None, other) => other.to_string(),
    }
}

fn write_chain(f: &mut fmt::Formatter<'_>, family: Family, chain: ChainName) -> fmt::Result {
    writeln!(f, "\n\tchain {} {{", chain.as_str())?;
    if chain.is_base() {
        writeln!(f, "\t\ttype filter hook forward priority filter; policy accept;")?;
    }
    for exprs in skeleton::rules(family, chain) {
        writeln!(f, "\t\t{}", rule(family, &exprs))?;
    }
    writeln!(f, "\t}}")
}

struct RuleText<'a> {
    family: Family,
    exprs: &'a [Expr],
}

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &expr) in self.exprs.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write_expr(f, self.family, expr)?;
        }
        Ok(())
    }
}

fn write_expr(f: &mut fmt::Formatter<'_>, family: Family, expr: Expr) -> fmt::Result {
    let address = |side| format!("{} {}", keyword(family), side_text(side));
    match expr {
        Expr::CtState(bits) => write!(f, "ct state {}", ct_states(bits)),
        Expr::CtStatusDnat => f.write_str("ct status dnat"),
        Expr::L4Proto(number) => write!(f, "meta l4proto {}", protocol(number)),
        Expr::TcpNotOpening => f.write_str("tcp flags & (fin | syn | rst | ack) != syn"),
        Expr::IcmpType(number) => write!(f, "icmp type {}", icmp_type(number)),
        Expr::Icmpv6Type(number) => write!(f, "icmpv6 type {}", icmpv6_type(number)),
        Expr::HopLimit(number) => write!(f, "ip6 hoplimit {number}"),
        Expr::TosWithoutPriority => write!(f, "@nh,8,8 & {TOS_MASK:#04x} == 0x00"),
        Expr::InSubnet(side, subnet) => write!(f, "{} {subnet}", address(side)),
        Expr::AddressIn(side, set) => write!(f, "{} @{}", address(side), set.as_str()),
        Expr::PairIn(set) => {
            let (source, destination) = (address(Side::Source), address(Side::Destination));
            write!(f, "{source} . {destination} @{}", set.as_str())
        }
        Expr::InterfacesIn(set) => write!(f, "iif . oif @{}", set.as_str()),
        Expr::ClassFrom(side, map) => {
            write!(f, "meta priority set {} map @{}", address(side), map.as_str())
        }
        Expr::ProfileFrom(side, map) => {
            write!(f, "meta priority set {} . meta priority map @{}", address(side), map.as_str())
        }
        Expr::PriorityIs(priority) => write!(f, "meta priority {}", ClassId(priority)),
        Expr::PriorityHas(bits) => {
            write!(f, "meta priority & {} != {}", ClassId(bits), ClassId(0))
        }
        Expr::PortIn(set) => {
            write!(f, "meta priority . meta l4proto . th dport @{}", set.as_str())
        }
        Expr::SetPriority(priority) => write!(f, "meta priority set {}", ClassId(priority)),
        Expr::RestorePriority => {
            let map = TOS_PRIORITIES
                .map(|(tos, priority)| format!("{tos:#04x} : {}", ClassId(priority)))
                .join(", ");
            write!(f, "meta priority set @nh,8,8 & {TOS_MASK:#04x} map {{ {map} }}")
        }
        Expr::Counter => f.write_str("counter"),
        Expr::Limit(rate) => write!(f, "limit rate {rate}/second"),
        Expr::Log(direction) => write_log(f, direction),
        Expr::Accept => f.write_str("accept"),
        Expr::Drop => f.write_str("drop"),
        Expr::Goto(chain) => write!(f, "goto {}", chain.as_str()),
        Expr::Jump(chain) => write!(f, "jump {}", chain.as_str()),
    }
}

fn write_log(f: &mut fmt::Formatter<'_>, direction: Direction) -> fmt::Result {
    let prefix = skeleton::log_prefix(direction);
    write!(f, "log prefix \"{prefix}\" group {}", skeleton::LOG_GROUP)
}

fn side_text(side: Side) -> &'static str {
    match side {
        Side::Source => "saddr",
        Side::Destination => "daddr",
    }
}

fn ct_states(bits: u32) -> String {
    let names = [(ct::ESTABLISHED, "established"), (ct::RELATED, "related"), (ct::NEW, "new")];
    let named: Vec<_> =
        names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    named.join(",")
}

fn icmp_type(number: u8) -> String {
    match number {
        3 => "destination-unreachable".into(),
        11 => "time-exceeded".into(),
        12 => "parameter-problem".into(),
        other => other.to_string(),
    }
}

fn icmpv6_type(number: u8) -> String {
    match number {
        1 => "destination-unreachable".into(),
        2 => "packet-too-big".into(),
        3 => "time-exceeded".into(),
        4 => "parameter-problem".into(),
        ND_ROUTER_ADVERT => "nd-router-advert".into(),
        ND_NEIGHBOR_SOLICIT => "nd-neighbor-solicit".into(),
        ND_NEIGHBOR_ADVERT => "nd-neighbor-advert".into(),
        ND_REDIRECT => "nd-redirect".into(),
        other => other.to_string(),
    }
}
