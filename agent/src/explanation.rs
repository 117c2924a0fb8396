//! An explanation as it is printed, and as it passes over the socket.
//!
//! The reasons and their sentences are the compiler's (`palisade_compiler::explain`); here they are put into the fields that
//! `explain -o json` prints, beside the walk of the first packet through the program.

use std::collections::HashSet;

use palisade_compiler::compile::{Compiler, Judge, Locality};
use palisade_compiler::decision::{Decision, Reason};
use palisade_compiler::explain::{self, Outcome, excerpt};
use palisade_compiler::model::{Connection, Family, Protocol, Verdict};
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use crate::connection::{Meant, Question, Resolver, ServiceHop};

/// What becomes of what was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow` if every connection that is meant is allowed, else `deny`.
    pub verdict: String,
    /// The Service whose name or address was given, as `shop/web at 10.96.0.1 port 443`, or `shop/db by its name port 5432`; `null`
    /// if it was none. The connections are then those to its backends: any of them may get the client's connection.
    pub service: Option<String>,
    /// One for each family in which both ends have an address, each backend of a Service, and each number that the port's
    /// name stands for. At most `MAX_CONNECTIONS`, those that are denied first.
    pub connections: Vec<Explained>,
    /// How many connections more are meant.
    pub further: usize,
}

/// Connections that are explained; the rest is judged and counted.
pub const MAX_CONNECTIONS: usize = 20;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Who connects: `namespace/pod (address)`; of a node or an unknown end the address first.
    pub from: String,
    /// Who is connected to.
    pub to: String,
    /// IANA number.
    pub protocol: u8,
    /// `null` for protocols without ports.
    pub port: Option<u16>,
    /// `allow` if both directions allow it, else `deny`.
    pub verdict: String,
    /// By the policies of `from`.
    pub egress: Side,
    /// By the policies of `to`.
    pub ingress: Side,
    /// What the verdict rests on: the rules that allow, and the policies that isolate without allowing.
    pub by: Vec<String>,
    /// The first packet's walk through the program, step by step.
    pub path: Vec<String>,
    /// The program's verdict, if it is not the one explained. That is a fault of Palisade; `null` otherwise.
    pub divergence: Option<String>,
    /// What would turn the verdict.
    #[serde(default)]
    pub edits: Edits,
}

/// Changes of one object each that would turn a verdict. They are tried on the objects as they are; what else they would allow
/// or deny is not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// Each alone turns the verdict; the smallest first, at most `palisade_compiler::explain::MAX_EDITS`.
    pub each: Vec<Edit>,
    /// Where both directions deny: any one of these together with any one of `ingress` turns it. Empty if one edit is enough.
    pub egress: Vec<Edit>,
    pub ingress: Vec<Edit>,
}

/// A change of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// As in `NetworkPolicy shop/api`.
    pub object: String,
    /// As in `spec.ingress[0].from`.
    pub field: String,
    /// The object and what to change, in a sentence.
    pub text: String,
}

impl From<explain::Edits> for Edits {
    fn from(edits: explain::Edits) -> Self {
        let list = |edits: Vec<explain::Edit>| edits.iter().map(Edit::from).collect();
        let explain::Edits { each, egress, ingress } = edits;
        Self { each: list(each), egress: list(egress), ingress: list(ingress) }
    }
}

impl From<&explain::Edit> for Edit {
    fn from(edit: &explain::Edit) -> Self {
        Self { object: edit.object(), field: edit.field(), text: edit.to_string() }
    }
}

/// One direction, judged by the policies of one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// `allow` or `deny`.
    pub verdict: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The policies that isolate the pod in this direction, as `namespace/name`.
    pub isolated_by: Vec<String>,
    /// The rules that allow it, all of them.
    pub allowed_by: Vec<AllowedBy>,
    /// Of a denial: what each rule would have needed, the nearest first; policies without a rule in this direction last.
    pub misses: Vec<Miss>,
    /// What else matters: policies with wrong fields and what they close, blocks over a Service's address, what was left out.
    pub notes: Vec<String>,
    /// Whether the pod is bound to the node that was asked about, or no node was named. Otherwise another node enforces this
    /// direction.
    pub judged_here: bool,
}

/// A rule that allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedBy {
    /// `namespace/name`.
    pub policy: String,
    /// Its place in the policy's `ingress` or `egress`.
    pub rule: usize,
    /// The first entry of `from` or `to` that matches; `null` where the rule is for everyone.
    pub peer: Option<usize>,
    /// The first entry of `ports` that matches; `null` where the rule is for every port.
    pub port: Option<usize>,
}

/// A rule that does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// `namespace/name`.
    pub policy: String,
    /// Its place in the policy's `ingress` or `egress`; `null` where the policy has no rule in this direction.
    pub rule: Option<usize>,
    /// What of the peer differs from the nearest entry of `from` or `to`, in a sentence; `null` where the peer matches.
    pub peer: Option<String>,
    /// What of the port or protocol differs from the nearest entry of `ports`; `null` where it matches.
    pub port: Option<String>,
    /// Both as one line, with the rule's name.
    pub text: String,
}

impl Explanation {
    pub fn diverges(&self) -> bool {
        self.connections.iter().any(|connection| connection.divergence.is_some())
    }
}

/// Explains by the running agent's program. A direction whose pod is bound to another node than `node` is that node's to
/// enforce, and not compared with the program.
///
/// # Errors
///
/// What is wrong with the question, and what to write instead.
pub fn explain(
    compiler: &Compiler,
    question: &Question,
    node: Option<&str>,
) -> Result<Explanation, String> {
    let walk = |connection: &Connection| walk(compiler, connection);
    explain_with(compiler.snapshot(), question, node, &walk)
}

/// Explains where there is no program: the part that the connection's verdict depends on is compiled for it, for the node if
/// one is named.
///
/// # Errors
///
/// As for `explain`.
pub fn explain_snapshot(
    snapshot: &Snapshot,
    question: &Question,
    node: Option<&str>,
) -> Result<Explanation, String> {
    let locality = node.map_or(Locality::Everywhere, |node| Locality::Node(node.into()));
    let walk = |connection: &Connection| {
        let mut compiler = Compiler::new(locality.clone());
        compiler.apply(excerpt(snapshot, connection));
        walk(&compiler, connection)
    };
    explain_with(snapshot, question, node, &walk)
}

/// The program's verdict on a connection's first packet, and the packet's steps.
type Walk = (Verdict, Vec<String>);

fn walk(compiler: &Compiler, connection: &Connection) -> Walk {
    let packet = Packet { dnat: connection.from == connection.to, ..Packet::first(*connection) };
    let evaluation = eval_program(compiler.program(), &packet);
    (evaluation.verdict, evaluation.path.iter().map(ToString::to_string).collect())
}

fn explain_with(
    snapshot: &Snapshot,
    question: &Question,
    node: Option<&str>,
    walk: &dyn Fn(&Connection) -> Walk,
) -> Result<Explanation, String> {
    let mut meant = Resolver::new(snapshot).resolve(question)?;
    let mut judge = Judge::new(snapshot);
    let mut verdict = Verdict::Allow;
    let mut verdict_of = |meant: &Meant| {
        let each = judge.judge(&meant.connection).verdict;
        verdict = verdict.and(each);
        each
    };
    if meant.len() > MAX_CONNECTIONS {
        meant.sort_by_cached_key(|meant| verdict_of(meant) == Verdict::Allow);
    } else {
        meant.iter().for_each(|meant| _ = verdict_of(meant));
    }
    let service = meant.iter().find_map(|meant| meant.service.as_ref()).map(show_service);
    let further = meant.len().saturating_sub(MAX_CONNECTIONS);
    meant.truncate(MAX_CONNECTIONS);
    let each = meant.iter().map(|meant| explain_one(&mut judge, meant, node, walk));
    let connections = each.collect();
    Ok(Explanation { verdict: verdict.to_string(), service, connections, further })
}

fn show_service(hop: &ServiceHop) -> String {
    let port = if hop.port > 0 { format!(" port {}", hop.port) } else { String::new() };
    match hop.address {
        Some(address) => format!("{} at {address}{port}", hop.service),
        None => format!("{} by its name{port}", hop.service),
    }
}

fn explain_one(
    judge: &mut Judge<'_>,
    meant: &Meant,
    node: Option<&str>,
    walk: &dyn Fn(&Connection) -> Walk,
) -> Explained {
    let connection = &meant.connection;
    let service = meant.service.as_ref().and_then(|hop| hop.address);
    let found = explain::explain(judge, connection, service);
    let side = |side: &explain::Side| side_of(judge.snapshot(), side, node);
    let (egress, ingress) = (side(&found.egress), side(&found.ingress));
    let here = |side: &Side, verdict| if side.judged_here { verdict } else { Verdict::Allow };
    let expected =
        here(&egress, found.egress.verdict()).and(here(&ingress, found.ingress.verdict()));
    let (walked, path) = walk(connection);
    Explained {
        family: family_name(connection).to_owned(),
        from: found.from.to_string(),
        to: found.to.to_string(),
        protocol: connection.protocol,
        port: Protocol::from_number(connection.protocol).map(|_| connection.port),
        verdict: found.verdict().to_string(),
        egress,
        ingress,
        by: by(&found.decision()),
        path,
        divergence: (walked != expected).then(|| format!("the program says {walked}")),
        edits: explain::edits(judge.snapshot(), &found).into(),
    }
}

pub(crate) fn family_name(connection: &Connection) -> &'static str {
    match Family::of(connection.to) {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn side_of(snapshot: &Snapshot, side: &explain::Side, node: Option<&str>) -> Side {
    let pod = snapshot.owner(side.subject.address);
    let elsewhere = pod.is_some_and(|pod| node.is_some() && pod.node.as_deref() != node);
    let mut notes: Vec<String> = side.faults.iter().map(ToString::to_string).collect();
    notes.extend(side.service_blocks.iter().map(ToString::to_string));
    notes.extend(side.host_selections.iter().map(ToString::to_string));
    if elsewhere {
        notes.push("the pod runs on another node, which enforces this direction".into());
    }
    let (mut allowed_by, mut misses) = (Vec::new(), Vec::new());
    match &side.outcome {
        Outcome::Allowed(by) => allowed_by.extend(by.iter().map(|allowance| AllowedBy {
            policy: allowance.rule.policy.to_string(),
            rule: allowance.rule.rule,
            peer: allowance.peers,
            port: allowance.ports,
        })),
        Outcome::Denied { misses: found, further } => {
            misses.extend(found.iter().flat_map(misses_of));
            let left_out = found.iter().filter(|miss| miss.further > 0);
            notes.extend(
                left_out.map(|miss| {
                    format!("{}: {} more rules do not match", miss.policy, miss.further)
                }),
            );
            if *further > 0 {
                notes.push(format!("{further} more policies isolate the pod and do not allow it"));
            }
        }
        Outcome::NotAPod | Outcome::NotIsolated | Outcome::OwnNode | Outcome::Itself => {}
    }
    Side {
        verdict: side.verdict().to_string(),
        reason: side.reason(),
        isolated_by: side.isolated_by.iter().map(ToString::to_string).collect(),
        allowed_by,
        misses,
        notes,
        judged_here: !elsewhere,
    }
}

fn misses_of(miss: &explain::PolicyMiss) -> Vec<Miss> {
    match miss.rules.as_slice() {
        [] => vec![nearest_miss(miss)],
        rules => rules.iter().map(|rule| rule_miss(miss, rule)).collect(),
    }
}

/// What the policy's nearest rule would have needed; where it has no rule in the direction, that.
pub(crate) fn nearest_miss(miss: &explain::PolicyMiss) -> Miss {
    if let Some(nearest) = miss.rules.first() {
        return rule_miss(miss, nearest);
    }
    let policy = miss.policy.to_string();
    let text = format!("{policy} has no {} rule", miss.direction);
    Miss { policy, rule: None, peer: None, port: None, text }
}

fn rule_miss(miss: &explain::PolicyMiss, rule: &explain::RuleMiss) -> Miss {
    let policy = miss.policy.to_string();
    Miss {
        rule: Some(rule.rule),
        peer: rule.peers_sentence(miss.direction),
        port: rule.ports_sentence(),
        text: format!("{policy} {}", rule.sentence(miss.direction)),
        policy,
    }
}

/// What the verdict rests on, each once: the rules that allow, and the policies that isolate without allowing.
pub(crate) fn by(decision: &Decision) -> Vec<String> {
    let mut by: Vec<String> = Vec::new();
    for direction in [&decision.egress, &decision.ingress] {
        match &direction.reason {
            Reason::Allowed { by: rules } => by.extend(rules.iter().map(ToString::to_string)),
            Reason::Denied { isolated_by } => {
                by.extend(isolated_by.iter().map(ToString::to_string));
            }
            Reason::NotAPod | Reason::NotIsolated | Reason::OwnNode | Reason::Itself => {}
        }
    }
    let mut seen = HashSet::new();
    by.retain(|line| seen.insert(line.clone()));
    by
}
