//! A connection -> its verdict with all reasons: for a reader, and across the socket.

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Connection, Direction, Verdict};
use palisade_compiler::oracle::{self, Decision, DirectionDecision, Reason};
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

/// One verdict, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub from: String,
    pub to: String,
    pub protocol: u8,
    pub port: u16,
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
    /// Whether the pod is this host's; another node's verdict is that node's to enforce.
    pub judged_here: bool,
}

/// Judges the connection thrice: by the specification, by the compile's matrix, and by the program. A direction whose pod is
/// bound to another node than `node` is that node's to judge, and compared with nothing here.
pub fn explain(compiler: &Compiler, connection: &Connection, node: Option<&str>) -> Explanation {
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
    Explanation {
        from: name(snapshot, connection.from),
        to: name(snapshot, connection.to),
        protocol: connection.protocol,
        port: connection.port,
        verdict: decision.verdict.to_string(),
        egress,
        ingress,
        by: by(&decision),
        path: walk.path.iter().map(ToString::to_string).collect(),
        divergence,
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
    let bound_elsewhere =
        snapshot.owner(subject).is_some_and(|pod| node.is_some() && pod.node.as_deref() != node);
    Side {
        judged_here: !bound_elsewhere,
        verdict: verdict.to_string(),
        reason: reason.to_string(),
        isolated_by: isolating.map(|policy| policy.key.to_string()).collect(),
    }
}

/// What the verdict rests on: the rules that allow, and the policies that isolate without allowing.
pub(crate) fn by(decision: &Decision) -> Vec<String> {
    let mut by = Vec::new();
    for direction in [&decision.egress, &decision.ingress] {
        match &direction.reason {
            Reason::Allowed { by: rules } => by.extend(rules.iter().map(ToString::to_string)),
            Reason::Denied { isolated_by } => {
                by.extend(isolated_by.iter().map(ToString::to_string))
            }
            Reason::NotAPod | Reason::NotIsolated | Reason::OwnNode | Reason::Itself => {}
        }
    }
    by
}
