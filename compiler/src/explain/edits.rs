//! Which single changes would turn a verdict: candidates are tried, each in a copy of the part of the snapshot that the
//! verdict depends on.

use std::collections::HashMap;

use super::edit::Edit;
use super::excerpt::excerpt;
use super::mending::{Mending, isolating};
use super::{Allowance, Explanation, Outcome, PolicyMiss, Side};
use crate::decision::Decision;
use crate::model::{Connection, Direction, Policy, Verdict};
use crate::oracle;
use crate::snapshot::{Snapshot, UndeclaredNamespaces};

/// Edits of a list that are named.
pub const MAX_EDITS: usize = 8;
/// Edits of a list that change as little as each other, as one label each.
const MAX_ALIKE: usize = 3;
/// Policies that another rule is tried in.
const MAX_RULES_ADDED: usize = 3;
/// Rules that allow a connection and are looked at.
const MAX_ALLOWING: usize = 32;
/// Candidates that are tried, and how many policies are judged for that in all: each trial judges those of both namespaces.
const MAX_TRIED: usize = 64;
const MAX_POLICIES_JUDGED: usize = 1_000_000;

/// What would turn a verdict. Empty where no single change does, and no pair of those that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Each alone turns the verdict; the smallest first, at most `MAX_EDITS`.
    pub each: Vec<Edit>,
    /// Where both directions deny: any one of these together with any one of `ingress` turns it. Empty if one edit is enough.
    pub egress: Vec<Edit>,
    pub ingress: Vec<Edit>,
}

/// The edits that would turn the verdict that is explained.
pub fn edits(snapshot: &Snapshot, explanation: &Explanation) -> Edits {
    let mut trial = Trial::of(snapshot, &explanation.connection);
    let turned = match explanation.verdict() {
        Verdict::Allow => Verdict::Deny,
        Verdict::Deny => Verdict::Allow,
    };
    let [egress, ingress] = [&explanation.egress, &explanation.ingress].map(|side| {
        let of_side = candidates(snapshot, explanation, side, turned);
        smallest_first(of_side)
    });
    let all = smallest_first(egress.iter().chain(&ingress).cloned().collect());
    let each = trial.those(all, |decision| decision.verdict == turned);
    let both_deny = [&explanation.egress, &explanation.ingress]
        .iter()
        .all(|side| side.verdict() == Verdict::Deny);
    if !each.is_empty() || !both_deny {
        return Edits { each, ..Edits::default() };
    }
    let egress = trial.those(egress, |decision| decision.egress.verdict == Verdict::Allow);
    let ingress = trial.those(ingress, |decision| decision.ingress.verdict == Verdict::Allow);
    let (egress, ingress) = trial.pairs(egress, ingress);
    Edits { each, egress, ingress }
}

/// Edits that together make the nearest rule of a policy allow a connection which it does not allow: what its nearest miss would
/// have needed. Empty for a policy with wrong fields, to which no rule can be added until they are mended.
pub fn mending(snapshot: &Snapshot, explanation: &Explanation, miss: &PolicyMiss) -> Vec<Edit> {
    let Some(policy) = sound(snapshot, miss) else { return Vec::new() };
    let mending = mending_of(snapshot, explanation, miss.direction);
    match miss.rules.first() {
        Some(nearest) => mending.of_rule(policy, nearest),
        None => vec![mending.another_rule(policy)],
    }
}

fn mending_of<'a>(
    snapshot: &'a Snapshot,
    explanation: &'a Explanation,
    direction: Direction,
) -> Mending<'a> {
    let Explanation { connection, from, to, .. } = explanation;
    let peer = match direction {
        Direction::Egress => to,
        Direction::Ingress => from,
    };
    Mending { snapshot, connection, direction, peer, destination: to }
}

/// The policy of a miss, if it has no wrong fields.
fn sound<'s>(snapshot: &'s Snapshot, miss: &PolicyMiss) -> Option<&'s Policy> {
    let policy = snapshot.policy(&miss.policy)?.as_ref();
    policy.fault.is_none().then_some(policy)
}

fn candidates(
    snapshot: &Snapshot,
    explanation: &Explanation,
    side: &Side,
    turned: Verdict,
) -> Vec<Edit> {
    let mending = mending_of(snapshot, explanation, side.direction);
    match (turned, &side.outcome) {
        (Verdict::Allow, Outcome::Denied { misses, .. }) => opening(snapshot, &mending, misses),
        (Verdict::Deny, Outcome::Allowed(by)) => closing(snapshot, &mending, by),
        (Verdict::Deny, Outcome::NotIsolated) => {
            let pod = snapshot.owner(side.subject.address);
            pod.and_then(|pod| isolating(snapshot, pod, side.direction)).into_iter().collect()
        }
        (Verdict::Allow | Verdict::Deny, _) => Vec::new(),
    }
}

fn opening(snapshot: &Snapshot, mending: &Mending<'_>, misses: &[PolicyMiss]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let sound = misses.iter().filter_map(|miss| Some((miss, sound(snapshot, miss)?)));
    for (at, (miss, policy)) in sound.enumerate() {
        for rule in &miss.rules {
            let mended = mending.of_rule(policy, rule);
            if let [edit] = mended.as_slice() {
                edits.push(edit.clone());
            }
            if rule.ports.is_none() {
                edits.push(mending.another_peer(policy, rule.rule));
            }
        }
        if at < MAX_RULES_ADDED {
            edits.push(mending.another_rule(policy));
        }
    }
    edits
}

fn closing(snapshot: &Snapshot, mending: &Mending<'_>, by: &[Allowance]) -> Vec<Edit> {
    let is_only = by.len() == 1;
    let rules = by.iter().take(MAX_ALLOWING).filter_map(|allowance| {
        let policy = snapshot.policy(&allowance.rule.policy)?;
        Some(mending.closing(policy, allowance.rule.rule, is_only))
    });
    rules.flatten().collect()
}

/// The smallest first, each once; of equally small ones in their order, which is by how near their rules are.
fn smallest_first(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(Edit::size);
    let mut once: Vec<Edit> = Vec::new();
    for edit in edits {
        // Those that are equal are equally small, and few.
        let alike = once.iter().rev().take_while(|each| each.size() == edit.size());
        if !alike.take(MAX_TRIED).any(|each| *each == edit) {
            once.push(edit);
        }
    }
    once
}

/// The part of a snapshot that a connection's verdict depends on, to be changed and changed back.
struct Trial {
    snapshot: Snapshot,
    connection: Connection,
    /// Trials that are left.
    left: usize,
}

impl Trial {
    fn of(snapshot: &Snapshot, connection: &Connection) -> Self {
        // A namespace that the snapshot implies is one of the excerpt's objects.
        let mut part = Snapshot::with_undeclared(UndeclaredNamespaces::Absent);
        excerpt(snapshot, connection).into_iter().for_each(|change| part.apply(change));
        let policies = part.policy_count().max(1);
        let left = (MAX_POLICIES_JUDGED / policies).clamp(4 * MAX_EDITS, 4 * MAX_TRIED);
        Self { snapshot: part, connection: *connection, left }
    }

    /// The decision after these edits, which must be of different objects or made one after another; `None` if one of them
    /// cannot be made, or no trial is left.
    fn decide(&mut self, edits: &[&Edit]) -> Option<Decision> {
        self.left = self.left.checked_sub(1)?;
        let mut undo = Vec::new();
        let mut is_made = true;
        for edit in edits {
            let Some((change, back)) = edit.changes(&self.snapshot) else {
                is_made = false;
                break;
            };
            self.snapshot.apply(change);
            undo.push(back);
        }
        // Of so few objects the specification read literally costs less than an index of their policies.
        let decision = is_made.then(|| oracle::decide(&self.snapshot, &self.connection));
        undo.into_iter().rev().for_each(|change| self.snapshot.apply(change));
        decision
    }

    /// Those of the edits after which the decision is as it should be.
    fn those(&mut self, edits: Vec<Edit>, is_so: impl Fn(&Decision) -> bool) -> Vec<Edit> {
        let mut found: Vec<Edit> = Vec::new();
        let mut alike: HashMap<u8, usize> = HashMap::new();
        for edit in edits.into_iter().take(MAX_TRIED) {
            let alike = alike.entry(edit.size()).or_default();
            if found.len() >= MAX_EDITS || *alike >= MAX_ALIKE {
                continue;
            }
            if self.decide(&[&edit]).is_some_and(|decision| is_so(&decision)) {
                *alike += 1;
                found.push(edit);
            }
        }
        found
    }

    /// Those of two lists of which any one of the first and any one of the second together make that the connection is
    /// allowed.
    fn pairs(&mut self, egress: Vec<Edit>, ingress: Vec<Edit>) -> (Vec<Edit>, Vec<Edit>) {
        let mut opens = |a: &Edit, b: &Edit| {
            self.decide(&[a, b]).is_some_and(|decision| decision.verdict == Verdict::Allow)
        };
        let first = egress.iter().find_map(|a| {
            let fitting: Vec<Edit> = ingress.iter().filter(|b| opens(a, b)).cloned().collect();
            (!fitting.is_empty()).then(|| (a.clone(), fitting))
        });
        let Some((first, fitting)) = first else { return (Vec::new(), Vec::new()) };
        let others = egress.into_iter().filter(|a| *a != first);
        let others: Vec<Edit> = others.filter(|a| fitting.iter().all(|b| opens(a, b))).collect();
        (std::iter::once(first).chain(others).collect(), fitting)
    }
}
