//! A connection -> its verdict with all reasons: for a reader, and across the socket.

use std::collections::HashSet;

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{
    Connection, Direction, Family, Policy, PortMatch, PortSpec, Ports, Protocol, Verdict,
};
use palisade_compiler::oracle::{self, Decision, DirectionDecision, Reason};
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

/// What becomes of a connection, for each family in which both ends have an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Allowed only if it is in every family.
    pub verdict: String,
    pub families: Vec<Explained>,
}

/// One verdict, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    pub family: String,
    pub from: String,
    pub to: String,
    pub protocol: u8,
    /// Of protocols that have ports.
    pub port: Option<u16>,
    pub verdict: String,
    pub egress: Side,
    pub ingress: Side,
    pub by: Vec<String>,
    /// The walk of the first packet, step by step.
    pub path: Vec<String>,
    /// The program's verdict, if it is not that of the specification: a fault of Palisade.
    pub divergence: Option<String>,
}

/// One direction, seen from the pod whose policies speak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub verdict: String,
    pub reason: String,
    pub isolated_by: Vec<String>,
    /// Of a denial: for each policy that isolates, why it does not allow.
    pub why: Vec<String>,
    /// Whether the pod is this host's; another node's verdict is that node's to enforce.
    pub judged_here: bool,
}

/// Explains each of the connections that `resolve` gave.
pub fn explain(compiler: &Compiler, connections: &[Connection], node: Option<&str>) -> Explanation {
    let each = connections.iter().map(|connection| explain_one(compiler, connection, node));
    let families: Vec<Explained> = each.collect();
    let deny = Verdict::Deny.to_string();
    let verdict = match families.iter().any(|family| family.verdict == deny) {
        true => Verdict::Deny,
        false => Verdict::Allow,
    };
    Explanation { verdict: verdict.to_string(), families }
}

impl Explanation {
    pub fn diverges(&self) -> bool {
        self.families.iter().any(|family| family.divergence.is_some())
    }
}

/// Judges the connection thrice: by the specification, by the compile's matrix, and by the program. A direction whose pod is
/// bound to another node than `node` is that node's to judge, and compared with nothing here.
fn explain_one(compiler: &Compiler, connection: &Connection, node: Option<&str>) -> Explained {
    let snapshot = compiler.snapshot();
    let decision = oracle::decide(snapshot, connection);
    let packet = Packet { dnat: connection.from == connection.to, ..Packet::first(*connection) };
    let walk = eval_program(compiler.program(), &packet);
    let side = |direction| side(snapshot, connection, direction, &decision, node);
    let (egress, ingress) = (side(Direction::Egress), side(Direction::Ingress));
    let judged = compiler.judge(connection);
    let here = |side: &Side, verdict| if side.judged_here { verdict } else { Verdict::Allow };
    let expected =
        here(&egress, decision.egress.verdict).and(here(&ingress, decision.ingress.verdict));
    let differs = (egress.judged_here && judged.egress != decision.egress)
        || (ingress.judged_here && judged.ingress != decision.ingress);
    let divergence = if differs {
        Some(format!("the matrix says {}", judged.verdict))
    } else if !never_forwarded(&decision) && walk.verdict != expected {
        Some(format!("the program says {}", walk.verdict))
    } else {
        None
    };
    Explained {
        family: family_name(connection).to_owned(),
        from: name(snapshot, connection.from),
        to: name(snapshot, connection.to),
        protocol: connection.protocol,
        port: Protocol::from_number(connection.protocol).map(|_| connection.port),
        verdict: decision.verdict.to_string(),
        egress,
        ingress,
        by: by(&decision),
        path: walk.path.iter().map(ToString::to_string).collect(),
        divergence,
    }
}

pub(crate) fn family_name(connection: &Connection) -> &'static str {
    match Family::of(connection.to) {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// Traffic of a pod with its own node passes the input and output hooks, which no policy judges.
fn never_forwarded(decision: &Decision) -> bool {
    [&decision.egress, &decision.ingress].iter().any(|side| side.reason == Reason::OwnNode)
}

fn name(snapshot: &Snapshot, address: std::net::IpAddr) -> String {
    match snapshot.owner(address) {
        Some(pod) => format!("{}/{} ({address})", pod.namespace, pod.name),
        None => address.to_string(),
    }
}

fn side(
    snapshot: &Snapshot,
    connection: &Connection,
    direction: Direction,
    decision: &Decision,
    node: Option<&str>,
) -> Side {
    let (DirectionDecision { verdict, reason }, subject) = match direction {
        Direction::Egress => (&decision.egress, connection.from),
        Direction::Ingress => (&decision.ingress, connection.to),
    };
    let isolating = snapshot.owner(subject).into_iter().flat_map(|pod| {
        snapshot.policies().filter(move |policy| {
            policy.key.namespace == pod.namespace
                && policy.isolates.in_direction(direction)
                && policy.subjects.matches(&pod.labels)
        })
    });
    let isolating: Vec<_> = isolating.collect();
    let (reason, why) = match reason {
        Reason::Denied { .. } => {
            let why = isolating.iter().map(|p| why_not(snapshot, connection, direction, p));
            ("isolated, and no rule allows it".to_owned(), why.collect())
        }
        allowed => (allowed.to_string(), Vec::new()),
    };
    let bound_elsewhere =
        snapshot.owner(subject).is_some_and(|pod| node.is_some() && pod.node.as_deref() != node);
    Side {
        judged_here: !bound_elsewhere,
        verdict: verdict.to_string(),
        reason,
        isolated_by: isolating.iter().map(|policy| policy.key.to_string()).collect(),
        why,
    }
}

/// Rules of a policy that are named; the rest is counted.
const MOST_RULES: usize = 5;

/// Why a policy that isolates does not allow what is denied. A rule whose ports match is for other peers.
fn why_not(
    snapshot: &Snapshot,
    connection: &Connection,
    direction: Direction,
    policy: &Policy,
) -> String {
    let rules = policy.rules(direction);
    let told = rules.iter().enumerate().take(MOST_RULES).map(|(at, rule)| {
        let matches = |port: &PortMatch| port_matches(snapshot, connection, port);
        let ports = match &rule.ports {
            Ports::Every => true,
            Ports::AnyOf(ports) => ports.iter().any(matches),
        };
        format!("{direction}[{at}] is for other {}", if ports { "peers" } else { "ports" })
    });
    let mut told: Vec<String> = told.collect();
    match rules.len().checked_sub(MOST_RULES) {
        _ if rules.is_empty() => told.push(format!("no {direction} rule")),
        Some(more) if more > 0 => told.push(format!("{more} more rules do not match")),
        Some(_) | None => {}
    }
    format!("{}: {}", policy.key, told.join(", "))
}

fn port_matches(snapshot: &Snapshot, connection: &Connection, port: &PortMatch) -> bool {
    let protocol = Protocol::from_number(connection.protocol) == Some(port.protocol);
    protocol
        && match &port.port {
            PortSpec::Any => true,
            PortSpec::Range { first, last } => (*first..=*last).contains(&connection.port),
            PortSpec::Named(name) => snapshot.owner(connection.to).is_some_and(|pod| {
                pod.named_ports(name, port.protocol).any(|number| number == connection.port)
            }),
        }
}

/// What the verdict rests on, each once: the rules that allow, and the policies that isolate without allowing.
pub(crate) fn by(decision: &Decision) -> Vec<String> {
    let mut by: Vec<String> = Vec::new();
    for direction in [&decision.egress, &decision.ingress] {
        match &direction.reason {
            Reason::Allowed { by: rules } => by.extend(rules.iter().map(ToString::to_string)),
            Reason::Denied { isolated_by } => {
                by.extend(isolated_by.iter().map(ToString::to_string))
            }
            Reason::NotAPod | Reason::NotIsolated | Reason::OwnNode | Reason::Itself => {}
        }
    }
    let mut told = HashSet::new();
    by.retain(|line| told.insert(line.clone()));
    by
}
