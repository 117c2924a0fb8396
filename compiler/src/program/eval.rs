//! Packet -> verdict, by running the skeleton's rules on a program's sets as the kernel does.
//!
//! Nothing here knows what the rules are for: each expression is executed with nft's meaning, in the order in which
//! `skeleton::rules` gives it. A match that fails, or a lookup that finds nothing, ends its rule (`NFT_BREAK`) and the
//! walk goes on at the next one.

mod packet;

use std::fmt;
use std::sync::OnceLock;

use super::element::ElementKind;
use super::skeleton::{
    self, ChainName, DenyAction, Expr, ICMP, ICMPV6, Rule, SetName, Side, TCP, TCP_OPENING_MASK,
    TCP_SYN, TOS_MASK, UDP, Way,
};
use super::{ClassId, Element, PortElement, ProfileId, Program, TableFamily, Tables, TupleElement};
use crate::model::{Connection, Family, Verdict};

use packet::tos_priority;
pub use packet::{CtState, Frame, Packet};

/// Where lookups find the sets' contents.
///
/// `tables` is called once for each lookup, in order, so that a test can let one packet read an earlier set before
/// and a later set after a commit.
pub trait View {
    fn tables(&mut self, lookup: SetName) -> &Tables;

    /// Whether a set of facts of the host holds the element, or a range that the address is in. None does unless a view knows of
    /// such facts.
    fn host_has(&mut self, _lookup: SetName, _element: Element) -> bool {
        false
    }

    /// Whether the maps still hold their catch-all elements.
    fn catch_alls(&self) -> bool {
        true
    }
}

impl View for &Tables {
    fn tables(&mut self, _lookup: SetName) -> &Tables {
        self
    }
}

/// What one lookup found, or where the walk went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The key is in the set.
    Member(SetName),
    /// The key is in no element; the rule ends.
    Miss(SetName),
    Class(SetName, ClassId),
    Profile(SetName, ProfileId),
    Enter(ChainName),
    /// The chain that gave the verdict; the base chain if it was its policy.
    End(ChainName, Verdict),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(set) => write!(f, "@{}", set.as_str()),
            Self::Miss(set) => write!(f, "not @{}", set.as_str()),
            Self::Class(set, class) => write!(f, "@{}: class {class}", set.as_str()),
            Self::Profile(set, profile) => write!(f, "@{}: profile {profile}", set.as_str()),
            Self::Enter(chain) => write!(f, "to {}", chain.as_str()),
            Self::End(chain, verdict) => write!(f, "{verdict} in {}", chain.as_str()),
        }
    }
}

/// Takes the steps of a walk; `()` forgets them.
pub trait Trace {
    fn step(&mut self, step: Step);
}

impl Trace for () {
    fn step(&mut self, _step: Step) {}
}

impl Trace for Vec<Step> {
    fn step(&mut self, step: Step) {
        self.push(step);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    pub verdict: Verdict,
    /// What the packet met, first to last.
    pub path: Vec<Step>,
    /// `skb->priority` as the packet leaves the hook.
    pub priority: u32,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.path.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Runs the rules of one table on a packet of its family; for the bridge table, the packet's interfaces are the bridge's ports.
///
/// `limit` is taken to have room, so that a denial counts as logged.
pub fn eval(view: &mut impl View, table: impl Into<TableFamily>, packet: &Packet) -> Evaluation {
    let mut path = Vec::with_capacity(12);
    let (verdict, priority) = run(view, table, packet, &mut path);
    Evaluation { verdict, path, priority }
}

/// `eval` with the contents of a program, in the family of the packet's destination.
pub fn eval_program(program: &Program, packet: &Packet) -> Evaluation {
    let family = Family::of(packet.connection.to);
    eval(&mut program.family(family), family, packet)
}

/// As `eval`, with the steps given to `trace`; returns the verdict and the priority that the packet leaves with.
pub fn run(
    view: &mut impl View,
    table: impl Into<TableFamily>,
    packet: &Packet,
    trace: &mut impl Trace,
) -> (Verdict, u32) {
    let table = table.into();
    let chains = Skeleton::get().table(table);
    let priority = table.family().map_or(0, |family| packet.priority(family));
    // What the source guard looks up is not traced: it decides nothing else.
    let mut guard = Walk { view, packet, trace: &mut (), chains, priority };
    if guard.chain(ChainName::Prerouting) == Some(Verdict::Deny) {
        trace.step(Step::End(ChainName::SourceGuard, Verdict::Deny));
        return (Verdict::Deny, 0);
    }
    if packet.frame.is_to_reserved_group {
        // No bridge passes it on.
        let verdict = guard.chain(ChainName::Input).unwrap_or(Verdict::Allow);
        return (verdict, 0);
    }
    let mut walk = Walk { view, packet, trace, chains, priority };
    let verdict = walk.chain(ChainName::Forward).unwrap_or_else(|| {
        walk.trace.step(Step::End(ChainName::Forward, Verdict::Allow));
        Verdict::Allow
    });
    (verdict, walk.priority)
}

const CHAINS: usize = ChainName::ALL.len();

/// The rules of one table's chains, by `ChainName as usize`.
type Chains = [Vec<Rule>; CHAINS];

struct Skeleton {
    ip: Chains,
    ip6: Chains,
    bridge: Chains,
    inet: Chains,
}

impl Skeleton {
    /// Built once: `skeleton::rules` allocates.
    fn get() -> &'static Self {
        static SKELETON: OnceLock<Skeleton> = OnceLock::new();
        SKELETON.get_or_init(|| Self {
            ip: chains(TableFamily::Ip),
            ip6: chains(TableFamily::Ip6),
            bridge: chains(TableFamily::Bridge),
            inet: chains(TableFamily::Inet),
        })
    }

    fn table(&self, table: TableFamily) -> &Chains {
        match table {
            TableFamily::Ip => &self.ip,
            TableFamily::Ip6 => &self.ip6,
            TableFamily::Bridge => &self.bridge,
            TableFamily::Inet => &self.inet,
        }
    }
}

/// What is done with denied packets beside denying them makes no difference here.
fn chains(table: TableFamily) -> Chains {
    let mut order = ChainName::ALL;
    order.sort_by_key(|&chain| chain as usize);
    order.map(|chain| skeleton::rules(table, chain, DenyAction::default()))
}

/// How a rule ended.
enum Ended {
    /// The chain is left.
    Return,
    /// The last expression was passed, or a match failed: on to the next rule.
    Next,
    Goto(ChainName),
    Verdict(Verdict),
}

struct Walk<'a, V, T> {
    view: &'a mut V,
    packet: &'a Packet,
    trace: &'a mut T,
    chains: &'static Chains,
    /// `meta priority`, the register between lookups.
    priority: u32,
}

impl<V: View, T: Trace> Walk<'_, V, T> {
    /// Runs a chain and those it goes to; `None` where the walk falls off the end of the last one, which returns to
    /// the rule after the jump, or to the policy of the base chain.
    fn chain(&mut self, start: ChainName) -> Option<Verdict> {
        let chains = self.chains;
        let mut at = start;
        'chain: loop {
            for rule in chains.get(at as usize)? {
                match self.rule(at, rule) {
                    Ended::Next => {}
                    Ended::Return => return None,
                    Ended::Goto(to) => {
                        at = to;
                        continue 'chain;
                    }
                    Ended::Verdict(verdict) => return Some(verdict),
                }
            }
            return None;
        }
    }

    fn rule(&mut self, chain: ChainName, rule: &Rule) -> Ended {
        for &expr in rule {
            match expr {
                Expr::Accept => return self.verdict(chain, Verdict::Allow),
                Expr::Drop | Expr::RejectByReset | Expr::RejectByError => {
                    return self.verdict(chain, Verdict::Deny);
                }
                Expr::Return => return Ended::Return,
                Expr::Goto(to) => {
                    self.trace.step(Step::Enter(to));
                    return Ended::Goto(to);
                }
                Expr::Jump(to) => {
                    self.trace.step(Step::Enter(to));
                    if let Some(verdict) = self.chain(to) {
                        return Ended::Verdict(verdict);
                    }
                    return Ended::Next;
                }
                Expr::Counter | Expr::Limit(_) | Expr::Log(_) => {}
                Expr::SetPriority(priority) => self.priority = priority,
                Expr::RestorePriority => match tos_priority(self.packet.tos) {
                    Some(priority) => self.priority = priority,
                    None => return Ended::Next,
                },
                Expr::ClassFrom(..) | Expr::ProfileFrom(..) => match self.mapped(expr) {
                    Some(value) => self.priority = value,
                    None => return Ended::Next,
                },
                _ => {
                    let is_match = match expr.membership() {
                        Some((set, is_wanted)) => self.contains(expr, set) == is_wanted,
                        None => self.matches(expr),
                    };
                    if !is_match {
                        return Ended::Next;
                    }
                }
            }
        }
        Ended::Next
    }

    fn verdict(&mut self, chain: ChainName, verdict: Verdict) -> Ended {
        self.trace.step(Step::End(chain, verdict));
        Ended::Verdict(verdict)
    }

    /// A match on the packet or its conntrack entry alone; other expressions match nothing.
    fn matches(&self, expr: Expr) -> bool {
        let packet = self.packet;
        let protocol = packet.connection.protocol;
        if let Expr::CtState(bits) = expr {
            packet.ct_state.bit() & bits != 0
        } else if let Expr::CtStatusDnat = expr {
            packet.ct_state.has_entry() && packet.dnat
        } else if let Expr::Protocol(number) = expr {
            protocol == number
        } else if let Expr::TcpNotOpening = expr {
            protocol == TCP && packet.tcp_flags & TCP_OPENING_MASK != TCP_SYN
        } else if let Expr::IcmpType(number) = expr {
            protocol == ICMP && packet.icmp_type == number
        } else if let Expr::Icmpv6Type(number) = expr {
            protocol == ICMPV6 && packet.icmp_type == number
        } else if let Expr::HopLimit(number) = expr {
            packet.hop_limit == number
        } else if let Expr::InSubnet(side, subnet) = expr {
            subnet.contains(&packet.address(side))
        } else if let Expr::TosPriority { is_zero } = expr {
            (packet.tos & TOS_MASK == 0) == is_zero
        } else if let Expr::ProtocolIsNot(number) = expr {
            protocol != number
        } else if let Expr::UdpPorts(from, to) = expr {
            protocol == UDP && (packet.source_port, packet.connection.port) == (from, to)
        } else if let Expr::NetworkProtocolIs(protocol) = expr {
            packet.frame.protocol == Some(protocol)
        } else if let Expr::ArpProbe = expr {
            packet.connection.from.is_unspecified()
        } else if let Expr::Tagged(tag) = expr {
            packet.frame.tag == Some(tag)
        } else if let Expr::ToGroup = expr {
            packet.frame.is_to_group
        } else if let Expr::ToReservedGroup = expr {
            packet.frame.is_to_reserved_group
        } else if let Expr::CameToGroup = expr {
            packet.frame.is_to_group
        } else if let Expr::IsFragment = expr {
            packet.frame.fragment_of.is_some()
        } else if let Expr::FragmentOf(number) = expr {
            packet.frame.fragment_of == Some(number)
        } else if let Expr::LengthAtMost(length) = expr {
            packet.frame.length <= length
        } else if let Expr::FamilyIs(family) = expr {
            Family::of(packet.connection.to) == family
        } else if let Expr::PriorityIs(priority) = expr {
            self.priority == priority
        } else if let Expr::PriorityHas(bits) = expr {
            self.priority & bits != 0
        } else if let Expr::PriorityLacks(bits) = expr {
            self.priority & bits == 0
        } else {
            false
        }
    }

    /// Whether a set holds the key that the expression makes of the packet and the register.
    fn contains(&mut self, expr: Expr, set: SetName) -> bool {
        let found = self.key(expr, set).is_some_and(|key| match key {
            _ if set.is_of_host() => self.view.host_has(set, key),
            Element::Port(port) if set.is_interval() => {
                self.view.tables(set).has_port_in_range(port)
            }
            _ => self.view.tables(set).get(set, key).is_some(),
        });
        self.trace.step(if found { Step::Member(set) } else { Step::Miss(set) });
        found
    }

    /// The element that the expression looks for; `None` where the packet has nothing of the kind.
    fn key(&self, expr: Expr, set: SetName) -> Option<Element> {
        let Connection { from, to, protocol, port } = self.packet.connection;
        let (iif, oif) = (self.packet.iif, self.packet.oif);
        let (interface, address) = match expr {
            Expr::AddressIn(Side::Destination, _)
            | Expr::AddressNotIn(Side::Destination, _)
            | Expr::InterfaceIn(Side::Destination, _)
            | Expr::InterfaceNotIn(Side::Destination, _)
            | Expr::InterfaceAddressIn(Side::Destination, _)
            | Expr::InterfaceAddressNotIn(Side::Destination, _) => (oif, to),
            _ => (iif, from),
        };
        let is_pair = match expr {
            Expr::ConnectionSourceIn(..) => self.is_connection_source(expr),
            _ => from == to,
        };
        Some(match set.kind() {
            ElementKind::Address | ElementKind::Range => Element::Address(address),
            ElementKind::Hairpin if is_pair => Element::Hairpin(from),
            ElementKind::Bridge if iif == oif => Element::Bridge(iif),
            ElementKind::Interface => Element::Interface(interface),
            ElementKind::Source => Element::Source(interface, address),
            ElementKind::Target => Element::Target(iif, self.packet.frame.target?),
            ElementKind::Mac => Element::Mac(self.packet.frame.sender),
            ElementKind::PortMac => Element::PortMac(iif, self.packet.frame.sender),
            ElementKind::Service if protocol == UDP => Element::Service(port),
            ElementKind::Port | ElementKind::PortRange => {
                Element::Port(PortElement { profile: ProfileId(self.priority), protocol, port })
            }
            ElementKind::Tuple => {
                let (source, destination, source_port) = (from, to, self.packet.source_port);
                Element::Tuple(TupleElement { protocol, source, destination, source_port, port })
            }
            ElementKind::Hairpin
            | ElementKind::Bridge
            | ElementKind::Service
            | ElementKind::Class
            | ElementKind::Cidr
            | ElementKind::Row => return None,
        })
    }

    /// Whether the packet's source is that of its connection's packets in the direction that the expression names.
    fn is_connection_source(&self, expr: Expr) -> bool {
        let Some([original, reply]) = self.packet.connection_sources else { return false };
        let from = self.packet.connection.from;
        match expr {
            Expr::ConnectionSourceIn(Way::Original, _) => original == from,
            Expr::ConnectionSourceIn(Way::Reply, _) => reply == from,
            _ => false,
        }
    }

    /// The value that a map holds for the key; the catch-all's where there is one; `None` is a miss.
    fn mapped(&mut self, expr: Expr) -> Option<u32> {
        let (side, set) = expr_map(expr)?;
        let address = self.packet.address(side);
        let key = match set.kind() {
            ElementKind::Row => Element::Row(address, ClassId(self.priority), ProfileId::NOTHING),
            _ => Element::Class(address, ClassId::UNKNOWN),
        };
        let tables = self.view.tables(set);
        let found = if set.is_interval() {
            tables.atom_over(address).map(|class| class.0)
        } else {
            tables.get(set, key).and_then(|element| match element {
                Element::Class(_, class) => Some(class.0),
                Element::Row(_, _, profile) => Some(profile.0),
                _ => None,
            })
        };
        let value = found.or((set.has_catch_all() && self.view.catch_alls()).then_some(0));
        self.trace.step(match (value, expr) {
            (None, _) => Step::Miss(set),
            (Some(id), Expr::ProfileFrom(..)) => Step::Profile(set, ProfileId(id)),
            (Some(id), _) => Step::Class(set, ClassId(id)),
        });
        value
    }
}

fn expr_map(expr: Expr) -> Option<(Side, SetName)> {
    if let Expr::ClassFrom(side, set) | Expr::ProfileFrom(side, set) = expr {
        Some((side, set))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
