//! Which policies and rules allow a connection that the kernel let through, by the revision in force when it began.

use std::time::{Duration, Instant};

use palisade_compiler::compile::Judge;
use palisade_compiler::explain::{self, Outcome, Side};
use palisade_compiler::model::{Direction, Verdict};
use palisade_compiler::program::earlier::tables_before;
use palisade_compiler::program::{Delta, Program, Tables};

use palisade_compiler::snapshot::Snapshot;

use super::AllowedConnection;
use crate::flows::flow::{
    AllowingRule, FlowEnd, Judgement, MAX_POLICIES, NamedJudgement, Services,
};
use crate::flows::judgement::Evidence;
use crate::revision_log::named;

/// From the kernel's verdict to the moment at which an event is read, at most.
const MAX_DELIVERY: Duration = Duration::from_secs(1);

/// What the policies of the pod at one end say.
#[derive(Debug, Clone)]
pub struct SideJudgement {
    pub direction: Direction,
    /// The policies of now deny it.
    pub is_denied: bool,
    pub judged: NamedJudgement,
}

/// Judges each connection at those of its ends that are pods of this node.
pub fn judge(evidence: Evidence<'_>, connections: &[AllowedConnection]) -> Vec<Vec<SideJudgement>> {
    let mut judge = Judge::new(evidence.compiler.snapshot());
    connections.iter().map(|connection| judge_one(evidence, &mut judge, connection)).collect()
}

fn judge_one(
    evidence: Evidence<'_>,
    judge: &mut Judge<'_>,
    connection: &AllowedConnection,
) -> Vec<SideJudgement> {
    let snapshot = evidence.compiler.snapshot();
    let address = connection.service.map(|(address, _)| address);
    let explanation = explain::explain(judge, &connection.live.connection, address);
    let [from, to] = [&explanation.from, &explanation.to].map(|end| FlowEnd::of(end, snapshot));
    let service = |(address, port)| explain::service_at(snapshot, address, port);
    let translated = connection.service.and_then(service).map(|name| name.to_string());
    let services = Services { translated, inferred: Vec::new() };
    let is_here = |side: &Side| {
        let explain::Owner::Pod(name) = &side.subject.owner else { return false };
        let pod = snapshot.pod_named(&name.namespace, &name.name);
        let locality = evidence.compiler.locality();
        pod.is_some_and(|pod| locality.is_node(pod.node.as_ref()))
    };
    [&explanation.egress, &explanation.ingress]
        .into_iter()
        .filter(|side| is_here(side))
        .map(|side| {
            let judgement = judge_side(evidence, side, connection);
            let mut judged = NamedJudgement {
                from: from.clone(),
                to: to.clone(),
                services: services.clone(),
                judgement,
            };
            let peer = match side.direction {
                Direction::Egress => &mut judged.to,
                Direction::Ingress => &mut judged.from,
            };
            peer.cidr = block(side, snapshot);
            let is_denied = side.verdict() == Verdict::Deny;
            SideJudgement { direction: side.direction, is_denied, judged }
        })
        .collect()
}

/// The block by which one of the rules allows it.
fn block(side: &Side, snapshot: &Snapshot) -> Option<String> {
    let Outcome::Allowed(by) = &side.outcome else { return None };
    by.iter().find_map(|allowance| allowance.block(snapshot)).map(|block| block.cidr.to_string())
}

fn judge_side(evidence: Evidence<'_>, side: &Side, connection: &AllowedConnection) -> Judgement {
    let judgement = Judgement {
        revision: Some(evidence.revision),
        reason: side.reason(),
        isolated_by: side.isolated_by.iter().map(ToString::to_string).take(MAX_POLICIES).collect(),
        further: side.isolated_by.len().saturating_sub(MAX_POLICIES),
        ..Judgement::default()
    };
    match &side.outcome {
        Outcome::Allowed(by) => {
            let rule = |allowance: &explain::Allowance| AllowingRule {
                policy: allowance.rule.policy.to_string(),
                rule: allowance.rule.rule,
            };
            let allowed_by = by.iter().take(MAX_POLICIES).map(rule).collect();
            Judgement { allowed_by, ..judgement }
        }
        Outcome::Denied { .. } => unexplained(evidence, judgement, connection),
        Outcome::NotAPod | Outcome::NotIsolated | Outcome::OwnNode | Outcome::Itself => judgement,
    }
}

/// What the programs say where the policies of now do not allow it.
fn unexplained(
    evidence: Evidence<'_>,
    judgement: Judgement,
    connection: &AllowedConnection,
) -> Judgement {
    if connection.is_expected {
        let reason = "another connection announced it, and it is a part of that one";
        return Judgement { reason: reason.to_owned(), ..judgement };
    }
    if connection.live.midstream.is_some() {
        let reason = "it was first seen in its middle, and is judged again";
        return Judgement { reason: reason.to_owned(), ..judgement };
    }
    let at = |revision, reason: String| Judgement { revision, reason, ..judgement.clone() };
    let program = evidence.compiler.program();
    let mut deltas: Vec<&Delta> = Vec::new();
    if !connection.live.is_forbidden(program) {
        return divergence(judgement, "the program allows it and no policy does");
    }
    if !evidence.pending.is_empty() {
        deltas.push(evidence.pending);
        if was_allowed(program, &deltas, connection) {
            return at(
                None,
                "allowed by what the kernel holds until the latest change is there".into(),
            );
        }
    }
    let since = connection.at.checked_sub(MAX_DELIVERY).unwrap_or_else(Instant::now);
    let revisions = evidence.revisions.since(since);
    for revision in &revisions {
        let Some(delta) = &revision.delta else {
            return at(None, "allowed by an earlier revision, which is not known any more".into());
        };
        deltas.push(delta);
        if was_allowed(program, &deltas, connection) {
            let changed = named(&revision.objects, revision.object_count);
            let until = revision.number;
            return at(until.checked_sub(1), format!("allowed until revision {until} ({changed})"));
        }
    }
    divergence(judgement, "no revision that was in force allows it")
}

fn divergence(judgement: Judgement, why: &str) -> Judgement {
    Judgement { divergence: Some(why.to_owned()), ..judgement }
}

/// Whether the program before these deltas, the latest first, allowed it.
fn was_allowed(program: &Program, deltas: &[&Delta], connection: &AllowedConnection) -> bool {
    let tables = tables_before(program, deltas, &connection.live.connection);
    let earlier = if connection.live.connection.to.is_ipv4() {
        Program { v4: tables, v6: Tables::default() }
    } else {
        Program { v4: Tables::default(), v6: tables }
    };
    !connection.live.is_forbidden(&earlier)
}

#[cfg(test)]
mod tests;
