//! Which policies deny a packet that the kernel denied, by the revision that was in force when it came.

use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, Judge};
use palisade_compiler::explain::{self, Backend, Outcome, ReachingService, Side};
use palisade_compiler::model::{Connection, Direction, Family, Protocol, Verdict};
use palisade_compiler::program::earlier::tables_before;
use palisade_compiler::program::eval::eval;
use palisade_compiler::program::{Delta, Program};
use palisade_compiler::snapshot::Snapshot;
use palisade_dataplane::netlink::nflog::Upper;

use super::flow::{FlowEnd, Judgement, MAX_POLICIES, NamedJudgement, NamedService, Services};
use super::observation::Observation;
use crate::explanation::nearest_miss;
use crate::revision_log::{RevisionLog, named};

/// From the kernel's verdict to the moment at which a packet is read, at most: the log delivers within hundredths of a second,
/// and the rest is for a host whose processors are overloaded.
const MAX_DELIVERY: Duration = Duration::from_secs(1);

/// Services that are named of a denied connection.
const MAX_INFERRED: usize = 4;

/// What packets are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub compiler: &'a Compiler,
    /// The revision of the compiler's program.
    pub revision: u64,
    /// The changes that the kernel took lately.
    pub revisions: &'a RevisionLog,
    /// What the program changed by and the kernel does not hold yet.
    pub pending: &'a Delta,
}

/// Judges packets, each by the program and the objects of now, and by earlier programs where these do not deny it.
pub fn judge(evidence: Evidence<'_>, observations: &[Observation]) -> Vec<NamedJudgement> {
    let mut judge = Judge::new(evidence.compiler.snapshot());
    observations.iter().map(|observation| judge_one(evidence, &mut judge, observation)).collect()
}

fn judge_one(
    evidence: Evidence<'_>,
    judge: &mut Judge<'_>,
    observation: &Observation,
) -> NamedJudgement {
    let connection = observation.header.connection();
    let explanation = explain::explain(judge, &connection, None);
    let side = match observation.direction {
        Direction::Ingress => &explanation.ingress,
        Direction::Egress => &explanation.egress,
    };
    let judgement = match side.verdict() {
        Verdict::Deny => denied_by(side, evidence.revision),
        Verdict::Allow => unexplained(evidence, observation),
    };
    let snapshot = evidence.compiler.snapshot();
    let [from, to] = [&explanation.from, &explanation.to].map(|end| FlowEnd::of(end, snapshot));
    let services =
        Services { inferred: inferred_services(snapshot, &connection), translated: None };
    NamedJudgement { from, to, services, judgement }
}

/// The Services that a connection to a backend may have come by.
fn inferred_services(snapshot: &Snapshot, connection: &Connection) -> Vec<NamedService> {
    let Some(protocol) = Protocol::from_number(connection.protocol) else { return Vec::new() };
    let backend = Backend { address: connection.to, port: connection.port };
    let named = |it: ReachingService| NamedService { name: it.service.to_string(), port: it.port };
    let services = explain::reached_by(snapshot, backend, protocol).into_iter();
    services.take(MAX_INFERRED).map(named).collect()
}

/// The policies of now deny it.
fn denied_by(side: &Side, revision: u64) -> Judgement {
    let mut judgement = Judgement {
        revision: Some(revision),
        reason: side.reason(),
        isolated_by: side.isolated_by.iter().map(ToString::to_string).take(MAX_POLICIES).collect(),
        further: side.isolated_by.len().saturating_sub(MAX_POLICIES),
        ..Judgement::default()
    };
    if let Outcome::Denied { misses, .. } = &side.outcome {
        judgement.misses = misses.iter().take(MAX_POLICIES).map(nearest_miss).collect();
    }
    judgement
}

/// What the programs say where the policies of now do not deny it.
fn unexplained(evidence: Evidence<'_>, observation: &Observation) -> Judgement {
    let at = |revision, reason: String| Judgement { revision, reason, ..Judgement::default() };
    let divergence = |why: String| Judgement {
        divergence: Some(why),
        ..at(Some(evidence.revision), "no policy denies it".to_owned())
    };
    if let Some(reason) = form(observation) {
        return at(Some(evidence.revision), reason.to_owned());
    }
    match earlier(evidence, observation) {
        Earlier::DeniedNow => divergence(
            "the program denies it and no policy does: palisade status says whether a bound is reached".to_owned(),
        ),
        Earlier::DeniedPending => {
            at(None, "denied by what the kernel holds until the latest change is there".to_owned())
        }
        Earlier::DeniedBefore { revision, changed } => {
            at(revision.checked_sub(1), format!("denied until revision {revision} ({changed})"))
        }
        Earlier::Unknown => {
            at(None, "denied by an earlier revision, which is not known any more".to_owned())
        }
        Earlier::Never { path } => divergence(format!(
            "no revision that was in force denies it; the program's way: {path}"
        )),
    }
}

/// Why the packet is denied for its form, whatever the policies say.
fn form(observation: &Observation) -> Option<&'static str> {
    let header = &observation.header;
    if header.source == header.destination {
        return Some("it comes from its own destination, and no Service has translated it");
    }
    match header.upper {
        Upper::LaterFragment | Upper::CutShort => {
            Some("its port cannot be known: it is a fragment, or cut short")
        }
        Upper::Ports { .. } | Upper::Icmp { .. } | Upper::Other => None,
    }
}

/// Whether the program, or an earlier one that was in force around that time, denies the packet in either direction: between
/// two transactions of a change, a packet may meet the denial of either.
enum Earlier {
    DeniedNow,
    /// The program that the kernel holds denies it, and the latest one does not.
    DeniedPending,
    /// The change of this revision allowed it.
    DeniedBefore {
        revision: u64,
        changed: String,
    },
    /// A change is not known any more that lies between.
    Unknown,
    Never {
        path: String,
    },
}

fn earlier(evidence: Evidence<'_>, observation: &Observation) -> Earlier {
    let program = evidence.compiler.program();
    let now = walk(program, &[], observation);
    if now.0 == Verdict::Deny {
        return Earlier::DeniedNow;
    }
    let mut deltas = Vec::new();
    if !evidence.pending.is_empty() {
        deltas.push(evidence.pending);
        if walk(program, &deltas, observation).0 == Verdict::Deny {
            return Earlier::DeniedPending;
        }
    }
    let since = observation.at.checked_sub(MAX_DELIVERY);
    let revisions = evidence.revisions.since(since.unwrap_or_else(Instant::now));
    for revision in &revisions {
        let Some(delta) = &revision.delta else { return Earlier::Unknown };
        deltas.push(delta);
        if walk(program, &deltas, observation).0 == Verdict::Deny {
            let changed = named(&revision.objects, revision.object_count);
            return Earlier::DeniedBefore { revision: revision.number, changed };
        }
    }
    Earlier::Never { path: now.1 }
}

/// The packet's verdict and way through the program before these deltas, the latest first.
fn walk(program: &Program, deltas: &[&Delta], observation: &Observation) -> (Verdict, String) {
    let packet = observation.header.packet();
    let family = Family::of(packet.connection.to);
    let tables = tables_before(program, deltas, &packet.connection);
    let evaluation = eval(&mut &tables, family, &packet);
    (evaluation.verdict, evaluation.to_string())
}

#[cfg(test)]
mod attribution;
#[cfg(test)]
mod tests;
