//! Program -> nft text that `nft -f` loads: `palisade render`, golden tests, and messages about single rules.
//!
//! The text is a function of the program alone: equal programs render byte for byte alike.

use std::fmt;

use super::capacity::capacity;
use super::element::{ElementKind, protocol_name};
use super::skeleton::{
    self, ChainName, DenyAction, Direction, Expr, Hook, ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT,
    ND_REDIRECT, ND_ROUTER_ADVERT, SetName, Side, TCP_FLAGS_WORD, TCP_OPENING_MASK, TCP_SYN,
    TOS_MASK, TOS_PRIORITIES, Way, ct,
};
use super::{ClassId, Element, Program, TableFamily};
use crate::model::Family;

/// The elements of a set that are facts of a host.
type HostElements<'a> = &'a dyn Fn(SetName) -> Vec<Element>;

/// The whole ruleset: the tables with their elements, in the place of what they were before. `nft -f` loads it as one
/// transaction. Without facts of a host, and without the tables that hold nothing else.
pub fn render(program: &Program, deny_action: DenyAction) -> impl fmt::Display {
    Ruleset { program, host: &|_| Vec::new(), deny_action }
}

/// As `render`, with the elements of those sets that are facts of a host, and with the other tables if there are some for them.
pub fn render_on<'a>(
    program: &'a Program,
    host: HostElements<'a>,
    deny_action: DenyAction,
) -> impl fmt::Display + 'a {
    Ruleset { program, host, deny_action }
}

/// One rule, as nft writes it.
pub fn rule(table: impl Into<TableFamily>, exprs: &[Expr]) -> impl fmt::Display {
    RuleText { table: table.into(), exprs }
}

/// The comment of both tables, by which a later version knows the skeleton it finds.
pub fn table_comment() -> String {
    format!("palisade skeleton {}", skeleton::VERSION)
}

/// What an element of the set is, as in `type ipv4_addr : classid`.
pub fn set_type(table: impl Into<TableFamily>, set: SetName) -> String {
    use ElementKind as Kind;
    let address = match set.family(table.into()) {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    };
    match set.kind() {
        Kind::Address | Kind::Range => address.to_owned(),
        Kind::Hairpin => format!("{address} . {address}"),
        Kind::Bridge => "iface_index . iface_index".to_owned(),
        Kind::Interface => "iface_index".to_owned(),
        Kind::Source => format!("iface_index . {address}"),
        Kind::Target => "iface_index . integer".to_owned(),
        Kind::Mac => "ether_addr".to_owned(),
        Kind::PortMac => "iface_index . ether_addr".to_owned(),
        Kind::Service => "inet_service".to_owned(),
        Kind::Class | Kind::Cidr => format!("{address} : classid"),
        Kind::Row => format!("{address} . classid : classid"),
        Kind::Tuple => {
            format!("inet_proto . {address} . {address} . inet_service . inet_service")
        }
        Kind::Port | Kind::PortRange => "classid . inet_proto . inet_service".to_owned(),
    }
}

struct Ruleset<'a> {
    program: &'a Program,
    host: HostElements<'a>,
    deny_action: DenyAction,
}

impl fmt::Display for Ruleset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_there = |table: &TableFamily| {
            TableFamily::OF_PROGRAM.contains(table)
                || table.own_sets().any(|set| !(self.host)(set).is_empty())
        };
        for table in TableFamily::ALL.into_iter().filter(is_there) {
            // Declared first, since what is not there cannot be deleted.
            writeln!(f, "table {} {}", table.as_str(), skeleton::TABLE)?;
            writeln!(f, "delete table {} {}", table.as_str(), skeleton::TABLE)?;
            writeln!(f, "table {} {} {{", table.as_str(), skeleton::TABLE)?;
            writeln!(f, "\tcomment \"{}\"", table_comment())?;
            for set in table.sets() {
                let program = table.family().map(|family| self.program[family].elements(set));
                let elements = program.into_iter().flatten().chain((self.host)(set));
                write_set(f, table, set, elements.collect())?;
            }
            for chain in ChainName::of(table) {
                write_chain(f, table, chain, self.deny_action)?;
            }
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}

fn write_set(
    f: &mut fmt::Formatter<'_>,
    table: TableFamily,
    set: SetName,
    elements: Vec<Element>,
) -> fmt::Result {
    let kind = if set.is_map() { "map" } else { "set" };
    writeln!(f, "\n\t{kind} {} {{", set.as_str())?;
    match set.kind() {
        // nft knows no name for a number of that length.
        ElementKind::Target => writeln!(f, "\t\ttypeof iif . @th,64,128")?,
        _ => writeln!(f, "\t\ttype {}", set_type(table, set))?,
    }
    match capacity(set, elements.len()) {
        None => writeln!(f, "\t\tflags interval")?,
        Some(size) => writeln!(f, "\t\tsize {size}")?,
    }
    let catch_all = set.has_catch_all().then_some(Element::CatchAll);
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

fn write_chain(
    f: &mut fmt::Formatter<'_>,
    table: TableFamily,
    chain: ChainName,
    deny_action: DenyAction,
) -> fmt::Result {
    writeln!(f, "\n\tchain {} {{", chain.as_str())?;
    if let Some(hook) = chain.hook() {
        let place = match (hook, table) {
            (Hook::Input, _) => "input priority filter",
            (Hook::Prerouting, TableFamily::Bridge) => "prerouting priority filter",
            (Hook::Prerouting, _) => "prerouting priority raw",
            (Hook::Forward, TableFamily::Inet) => "forward priority filter - 1",
            (Hook::Forward, TableFamily::Ip | TableFamily::Ip6 | TableFamily::Bridge) => {
                "forward priority filter"
            }
        };
        writeln!(f, "\t\ttype filter hook {place}; policy accept;")?;
    }
    for exprs in skeleton::rules(table, chain, deny_action) {
        writeln!(f, "\t\t{}", rule(table, &exprs))?;
    }
    writeln!(f, "\t}}")
}

struct RuleText<'a> {
    table: TableFamily,
    exprs: &'a [Expr],
}

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &expr) in self.exprs.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write_expr(f, self.table, expr)?;
        }
        Ok(())
    }
}

fn write_expr(f: &mut fmt::Formatter<'_>, table: TableFamily, expr: Expr) -> fmt::Result {
    let address = |side| format!("{} {}", own_header(table), side_text(side));
    match expr {
        Expr::ClassFrom(side, map) => {
            write!(f, "meta priority set {} map @{}", address(side), map.as_str())
        }
        Expr::ProfileFrom(side, map) => {
            write!(f, "meta priority set {} . meta priority map @{}", address(side), map.as_str())
        }
        Expr::SetPriority(priority) => write!(f, "meta priority set {}", ClassId(priority)),
        Expr::RestorePriority => write_restore_priority(f),
        Expr::Counter => f.write_str("counter"),
        Expr::Limit(rate) => write!(f, "limit rate {rate}/second"),
        Expr::Log(direction) => write_log(f, direction),
        Expr::Accept => f.write_str("accept"),
        Expr::Drop => f.write_str("drop"),
        Expr::Return => f.write_str("return"),
        Expr::RejectByReset => f.write_str("reject with tcp reset"),
        Expr::RejectByError if table == TableFamily::Ip => {
            f.write_str("reject with icmp type admin-prohibited")
        }
        Expr::RejectByError => f.write_str("reject with icmpv6 type admin-prohibited"),
        Expr::Goto(chain) => write!(f, "goto {}", chain.as_str()),
        Expr::Jump(chain) => write!(f, "jump {}", chain.as_str()),
        _ => match expr.membership() {
            Some((set, is_wanted)) => {
                let absent = if is_wanted { "" } else { "!= " };
                write!(f, "{} {absent}@{}", looked_for(table, expr, set), set.as_str())
            }
            None => write_match(f, table, expr),
        },
    }
}

/// What a match by membership makes of the packet.
fn looked_for(table: TableFamily, expr: Expr, set: SetName) -> String {
    let ip = header(set.family(table));
    let own = own_header(table);
    match expr {
        Expr::AddressIn(side, _) | Expr::AddressNotIn(side, _) => {
            format!("{ip} {}", side_text(side))
        }
        Expr::InterfaceAddressIn(side, _) | Expr::InterfaceAddressNotIn(side, _) => {
            format!("{} . {ip} {}", interface(side), side_text(side))
        }
        Expr::InterfaceIn(side, _) | Expr::InterfaceNotIn(side, _) => interface(side).to_owned(),
        Expr::ArpSenderIn(_) if set.kind() == ElementKind::Source => "iif . arp saddr ip".into(),
        Expr::ArpSenderIn(_) => "arp saddr ip".into(),
        Expr::SenderMacIn(_) => "ether saddr".into(),
        Expr::SenderMacNotIn(_) => "iif . ether saddr".into(),
        Expr::TargetIn(_) => "iif . @th,64,128".into(),
        Expr::ConnectionSourceIn(Way::Original, _) => {
            format!("{own} saddr . ct original {own} saddr")
        }
        Expr::ConnectionSourceIn(Way::Reply, _) => format!("{own} saddr . ct reply {own} saddr"),
        Expr::PairIn(_) => format!("{own} saddr . {own} daddr"),
        Expr::TupleIn(_) => {
            format!("meta l4proto . {ip} saddr . {ip} daddr . th sport . th dport")
        }
        Expr::InterfacesIn(_) => "iif . oif".into(),
        Expr::UdpPortIn(_) => "udp dport".into(),
        _ => format!("meta priority . {} . th dport", protocol_field(table)),
    }
}

/// A match on the packet alone.
fn write_match(f: &mut fmt::Formatter<'_>, table: TableFamily, expr: Expr) -> fmt::Result {
    match expr {
        Expr::CtState(bits) => write!(f, "ct state {}", ct_states(bits)),
        Expr::CtStatusDnat => f.write_str("ct status dnat"),
        Expr::Protocol(number) => write!(f, "{} {}", protocol_field(table), protocol_name(number)),
        Expr::ProtocolIsNot(number) => {
            write!(f, "{} != {}", protocol_field(table), protocol_name(number))
        }
        Expr::UdpPorts(from, to) => write!(f, "udp sport {from} udp dport {to}"),
        Expr::TcpNotOpening => write_tcp_not_opening(f, table),
        Expr::IcmpType(number) => write!(f, "icmp type {}", icmp_type(number)),
        Expr::Icmpv6Type(number) => write!(f, "icmpv6 type {}", icmpv6_type(number)),
        Expr::HopLimit(number) => write!(f, "ip6 hoplimit {number}"),
        Expr::LengthAtMost(length) => write!(f, "meta length <= {length}"),
        Expr::TosPriority { is_zero } => {
            let mask = u32::from(TOS_MASK) << 16;
            write!(f, "@nh,0,32 & {mask:#x} {} 0x0", if is_zero { "==" } else { "!=" })
        }
        Expr::InSubnet(side, subnet) => {
            write!(f, "{} {} {subnet}", header(Family::of(subnet.addr())), side_text(side))
        }
        Expr::ArpProbe => f.write_str("arp saddr ip 0.0.0.0"),
        Expr::NetworkProtocolIs(protocol) => write!(f, "meta protocol {}", protocol.as_str()),
        Expr::Tagged(tag) => write!(f, "ether type {}", tag.as_str()),
        Expr::ToGroup => f.write_str("ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00"),
        Expr::ToReservedGroup => {
            f.write_str("ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00")
        }
        Expr::IsFragment => f.write_str("exthdr frag exists"),
        Expr::FragmentOf(number) => write!(f, "frag nexthdr {}", protocol_name(number)),
        Expr::FamilyIs(Family::V4) => f.write_str("meta nfproto ipv4"),
        Expr::FamilyIs(Family::V6) => f.write_str("meta nfproto ipv6"),
        Expr::PriorityIs(priority) => write!(f, "meta priority {}", ClassId(priority)),
        Expr::PriorityHas(bits) => write_priority_bits(f, bits, "!="),
        Expr::PriorityLacks(bits) => write_priority_bits(f, bits, "=="),
        _ => Ok(()),
    }
}

const fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The header whose addresses a table's program is about.
fn own_header(table: TableFamily) -> &'static str {
    header(table.family().unwrap_or(Family::V6))
}

fn write_priority_bits(f: &mut fmt::Formatter<'_>, bits: u32, than_none: &str) -> fmt::Result {
    write!(f, "meta priority & {} {than_none} {}", ClassId(bits), ClassId(0))
}

fn write_tcp_not_opening(f: &mut fmt::Formatter<'_>, table: TableFamily) -> fmt::Result {
    let [mask, syn] = [TCP_OPENING_MASK, TCP_SYN].map(|flags| u32::from(flags) << 16);
    let (field, at) = (protocol_field(table), 8 * TCP_FLAGS_WORD);
    write!(f, "{field} tcp @th,{at},32 & {mask:#x} != {syn:#x}")
}

fn write_restore_priority(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let map = TOS_PRIORITIES
        .map(|(tos, priority)| format!("{tos:#04x} : {}", ClassId(priority)))
        .join(", ");
    write!(f, "meta priority set @nh,8,8 & {TOS_MASK:#04x} map {{ {map} }}")
}

fn write_log(f: &mut fmt::Formatter<'_>, direction: Direction) -> fmt::Result {
    let prefix = skeleton::log_prefix(direction);
    write!(f, "log prefix \"{prefix}\" group {}", skeleton::LOG_GROUP)
}

fn interface(side: Side) -> &'static str {
    match side {
        Side::Source => "iif",
        Side::Destination => "oif",
    }
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

/// Over IPv4 the protocol is a field of the header; over IPv6 extension headers may come before it.
const fn protocol_field(table: TableFamily) -> &'static str {
    match table {
        TableFamily::Ip => "ip protocol",
        TableFamily::Ip6 | TableFamily::Bridge | TableFamily::Inet => "meta l4proto",
    }
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
