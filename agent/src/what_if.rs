//! What an edit of policies would change, before it is applied: which pods become isolated, or are not any more, and which of
//! the connections seen so far would get another verdict, and why.
//!
//! ```text
//! manifests -> Edit -> Part (taken from the loop's snapshot) -> WhatIf
//!                       ^
//!     stored flows -----+
//! ```
//!
//! The loop only takes the part of its snapshot that the verdicts depend on; it is judged elsewhere, once as it is and once
//! with the edit. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_compiler::compile::Judge;
use palisade_compiler::explain::{self, Outcome, Side, excerpt_of};
use palisade_compiler::model::{Connection, Direction, Labels, Policy, PolicyKey, Verdict};
use palisade_compiler::parse::{Diagnostic, Object, Severity, parse};
use palisade_compiler::snapshot::{Change, Snapshot};
use serde::{Deserialize, Serialize};

use crate::explanation::{family_name, nearest_miss};
use crate::flows::filter::Filter;
use crate::flows::flow::{Flow, FlowDirection, FlowEnd, FlowVerdict};
use crate::flows::store::{FlowStore, MAX_DIVERGENCES, MAX_FLOWS};
use crate::policy_view::policy_key;

/// The longest manifests, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 48 << 10;
/// Policies that are edited at a time.
pub const MAX_EDITED: usize = 50;
/// Pods whose isolation is looked at, of the namespaces of edited policies.
pub const MAX_PODS: usize = 20_000;
/// Policies that the verdicts may depend on.
pub const MAX_POLICIES: usize = 5000;
/// Pods and connections that are listed; all are counted.
pub const MAX_LISTED: usize = 200;
/// Policies that are named as those that isolate a pod.
const MAX_NAMED: usize = 8;

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proposal {
    /// NetworkPolicies as YAML or JSON, which would be added, or take the place of those of the same names.
    pub manifests: String,
    /// `namespace/name` of policies that would be removed.
    pub remove: Vec<String>,
}

/// Why a proposal cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// A sentence.
    pub reason: String,
    /// What is wrong with the manifests.
    pub diagnostics: Vec<Diagnostic>,
}

/// The reason, and a line for each diagnostic.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.diagnostics.iter().try_for_each(|it| write!(f, "\n  {it}"))
    }
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIf {
    /// The revision that the edit is compared with.
    pub revision: u64,
    pub policies: Vec<EditedPolicy>,
    /// What the parser warns of, a line each.
    pub warnings: Vec<String>,
    /// By name; at most `MAX_LISTED`.
    pub isolation: Vec<IsolationChange>,
    pub further_isolation: usize,
    /// Those seen last first; at most `MAX_LISTED`.
    pub connections: Vec<ConnectionChange>,
    pub further_connections: usize,
    /// How many different connections of those seen so far were judged.
    pub judged: usize,
    /// What was left out, in sentences.
    pub left_out: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedPolicy {
    /// `namespace/name`
    pub policy: String,
    pub edit: EditKind,
    /// How many pods it would select.
    pub selects: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditKind {
    Added,
    Changed,
    Removed,
    /// It is as it is proposed.
    Unchanged,
    /// It was to be removed, and is not there.
    Absent,
}

/// A pod that becomes isolated in a direction, or is not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationChange {
    /// `namespace/name`
    pub pod: String,
    pub direction: FlowDirection,
    pub isolated: bool,
    /// Who isolates it afterwards, or did before; at most `MAX_NAMED`.
    pub by: Vec<String>,
}

/// A connection seen so far that would get another verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionChange {
    /// The latest flow of it.
    pub flow: u64,
    pub from: FlowEnd,
    pub to: FlowEnd,
    pub family: String,
    /// IANA number.
    pub protocol: u8,
    pub port: Option<u16>,
    pub before: FlowVerdict,
    pub after: FlowVerdict,
    /// Why, a sentence for each direction that changes.
    pub reasons: Vec<String>,
    /// Of a denial, what the nearest rule of each policy would have needed.
    pub misses: Vec<String>,
    pub last_seen: String,
}

/// A proposal that was understood.
#[derive(Debug)]
pub struct Edit {
    applied: Vec<Policy>,
    removed: Vec<PolicyKey>,
    warnings: Vec<String>,
}

fn refused(reason: impl Into<String>) -> Refused {
    Refused { reason: reason.into(), diagnostics: Vec::new() }
}

impl Edit {
    /// # Errors
    ///
    /// What is wrong with the proposal.
    pub fn parse(proposal: &Proposal) -> Result<Self, Refused> {
        let Proposal { manifests, remove } = proposal;
        if manifests.len() > MAX_MANIFEST_BYTES {
            return Err(refused(format!("manifests have at most {MAX_MANIFEST_BYTES} bytes")));
        }
        let removed = remove.iter().map(|name| policy_key(name)).collect::<Result<Vec<_>, _>>();
        let removed = removed.map_err(refused)?;
        let (mut applied, mut others) = (Vec::new(), 0);
        let parsed = parse("manifest", manifests.as_bytes(), &mut |object| match object {
            Object::Policy(policy) => applied.push(policy),
            _ => others += 1,
        });
        if parsed.has_errors() || !parsed.readable {
            let diagnostics = parsed.diagnostics;
            return Err(Refused { diagnostics, ..refused("the manifest is not understood") });
        }
        if others > 0 {
            return Err(refused("only NetworkPolicies can be tried"));
        }
        if applied.is_empty() && removed.is_empty() {
            return Err(refused("there is no NetworkPolicy in it"));
        }
        if applied.len() + removed.len() > MAX_EDITED {
            return Err(refused(format!("at most {MAX_EDITED} policies are tried at a time")));
        }
        let warned = parsed.diagnostics.iter().filter(|it| it.severity == Severity::Warning);
        let warnings = warned.map(|it| it.finding().to_string()).collect();
        Ok(Self { applied, removed, warnings })
    }

    /// The namespaces whose pods it concerns.
    fn namespaces(&self) -> BTreeSet<String> {
        let keys = self.applied.iter().map(|policy| &policy.key).chain(&self.removed);
        keys.map(|key| key.namespace.to_string()).collect()
    }

    /// The connections seen so far that it may concern: the latest flow of each, those seen last first.
    pub fn concerned(&self, flows: &FlowStore) -> Vec<Arc<Flow>> {
        let namespaces = self.namespaces().into_iter().collect();
        let filter = Filter { namespaces, ..Filter::default() };
        let mut seen = BTreeSet::new();
        let latest = flows.latest(2 * MAX_FLOWS + MAX_DIVERGENCES, &filter);
        let is_first = |flow: &Arc<Flow>| connection(flow).is_some_and(|it| seen.insert(it));
        latest.into_iter().rev().filter(is_first).collect()
    }
}

fn connection(flow: &Flow) -> Option<Connection> {
    let [from, to] = [&flow.from, &flow.to].map(|end| end.address.parse::<IpAddr>().ok());
    let (protocol, port) = (flow.protocol, flow.port.unwrap_or_default());
    Some(Connection { from: from?, to: to?, protocol, port })
}

/// A pod of a namespace whose policies are edited.
#[derive(Debug)]
struct PartPod {
    namespace: Arc<str>,
    name: Arc<str>,
    labels: Arc<Labels>,
}

/// The part of a snapshot that the answer is made from.
#[derive(Debug)]
pub struct Part {
    revision: u64,
    changes: Vec<Change>,
    pods: Vec<PartPod>,
    /// Those of the namespaces of edited policies.
    policies: Vec<Arc<Policy>>,
    flows: Vec<Arc<Flow>>,
    left_out: Vec<String>,
}

impl Part {
    /// Takes what the answer needs, for flows of `Edit::concerned`.
    pub fn take(snapshot: &Snapshot, revision: u64, edit: &Edit, flows: Vec<Arc<Flow>>) -> Self {
        let namespaces = edit.namespaces();
        let mut left_out = Vec::new();
        let of_them = |it: &&palisade_compiler::model::Pod| namespaces.contains(&*it.namespace);
        let pods = snapshot.pods().filter(|pod| pod.has_identity()).filter(of_them);
        let pods: Vec<PartPod> = pods
            .take(MAX_PODS + 1)
            .map(|pod| PartPod {
                namespace: Arc::clone(&pod.namespace),
                name: Arc::clone(&pod.name),
                labels: Arc::clone(&pod.labels),
            })
            .collect();
        if pods.len() > MAX_PODS {
            left_out.push(format!("pods beyond the first {MAX_PODS}"));
        }
        let policies = namespaces.iter().flat_map(|it| snapshot.policies_of(it)).cloned().collect();
        let mut involved: BTreeMap<&str, usize> = BTreeMap::new();
        let mut room = MAX_POLICIES;
        let mut has_room = |address: IpAddr| {
            let Some(pod) = snapshot.owner(address) else { return true };
            let known = involved.entry(&pod.namespace).or_insert_with(|| {
                let count = snapshot.policies_of(&pod.namespace).count();
                let fits = count <= room;
                room -= if fits { count } else { 0 };
                usize::from(fits)
            });
            *known == 1
        };
        let ends =
            |flow: &Flow| connection(flow).map(|it| [it.from, it.to]).unwrap_or([UNKNOWN; 2]);
        let before = flows.len();
        let flows: Vec<_> =
            flows.into_iter().filter(|flow| ends(flow).into_iter().all(&mut has_room)).collect();
        if flows.len() < before {
            let left = before - flows.len();
            left_out.push(format!(
                "{left} connections: their verdicts depend on more than {MAX_POLICIES} policies"
            ));
        }
        let changes = excerpt_of(snapshot, flows.iter().flat_map(|flow| ends(flow)));
        Self { revision, changes, pods, policies, flows, left_out }
    }

    /// Judges everything: of the largest parts, some hundred milliseconds.
    pub fn judge(self, edit: Edit) -> WhatIf {
        let Self { revision, changes, pods, policies, flows, left_out } = self;
        let policies: BTreeMap<&PolicyKey, &Policy> =
            policies.iter().map(|policy| (&policy.key, &**policy)).collect();
        let mut after: BTreeMap<&PolicyKey, &Policy> = policies.clone();
        let mut edited = Vec::new();
        for key in &edit.removed {
            let kind = after.remove(key).map_or(EditKind::Absent, |_| EditKind::Removed);
            edited.push(EditedPolicy { policy: key.to_string(), edit: kind, selects: 0 });
        }
        for policy in &edit.applied {
            let kind = match after.insert(&policy.key, policy) {
                None => EditKind::Added,
                Some(old) if old == policy => EditKind::Unchanged,
                Some(_) => EditKind::Changed,
            };
            let selects = pods.iter().filter(|pod| selects(policy, pod)).count();
            edited.push(EditedPolicy { policy: policy.key.to_string(), edit: kind, selects });
        }
        let mut isolation: Vec<IsolationChange> =
            pods.iter().flat_map(|pod| isolation_changes(pod, &policies, &after)).collect();
        isolation.sort_by(|a, b| (&a.pod, a.direction).cmp(&(&b.pod, b.direction)));
        let further_isolation = isolation.len().saturating_sub(MAX_LISTED);
        isolation.truncate(MAX_LISTED);
        let [now, then] = [false, true].map(|is_edited| {
            let mut snapshot = Snapshot::new();
            changes.iter().cloned().for_each(|change| snapshot.apply(change));
            if is_edited {
                let removed = edit.removed.iter().cloned().map(Change::DeletePolicy);
                let applied = edit.applied.iter().cloned().map(Change::ApplyPolicy);
                removed.chain(applied).for_each(|change| snapshot.apply(change));
            }
            snapshot
        });
        let (mut now, mut then) = (Judge::new(&now), Judge::new(&then));
        let changes = flows.iter().filter_map(|flow| connection_change(flow, &mut now, &mut then));
        let mut connections: Vec<ConnectionChange> = changes.collect();
        let further_connections = connections.len().saturating_sub(MAX_LISTED);
        connections.truncate(MAX_LISTED);
        WhatIf {
            revision,
            policies: edited,
            warnings: edit.warnings,
            isolation,
            further_isolation,
            connections,
            further_connections,
            judged: flows.len(),
            left_out,
        }
    }
}

/// Of no pod.
const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn selects(policy: &Policy, pod: &PartPod) -> bool {
    policy.key.namespace == pod.namespace && policy.subjects.matches(&pod.labels)
}

fn isolation_changes(
    pod: &PartPod,
    before: &BTreeMap<&PolicyKey, &Policy>,
    after: &BTreeMap<&PolicyKey, &Policy>,
) -> Vec<IsolationChange> {
    let by = |policies: &BTreeMap<&PolicyKey, &Policy>, direction: Direction| {
        let isolating = policies
            .values()
            .filter(|it| it.isolates.in_direction(direction) && selects(it, pod))
            .map(|policy| policy.key.to_string());
        isolating.take(MAX_NAMED).collect::<Vec<_>>()
    };
    let change = |direction: Direction| {
        let (old, new) = (by(before, direction), by(after, direction));
        let isolated = !new.is_empty();
        (isolated == old.is_empty()).then(|| IsolationChange {
            pod: format!("{}/{}", pod.namespace, pod.name),
            direction: direction.into(),
            isolated,
            by: if isolated { new } else { old },
        })
    };
    Direction::ALL.into_iter().filter_map(change).collect()
}

fn connection_change<'a>(
    flow: &Flow,
    now: &mut Judge<'a>,
    then: &mut Judge<'a>,
) -> Option<ConnectionChange> {
    let connection = connection(flow)?;
    let (before, after) = (now.judge(&connection).verdict, then.judge(&connection).verdict);
    if before == after {
        return None;
    }
    let [old, new] = [now, then].map(|judge| explain::explain(judge, &connection, None));
    let (mut reasons, mut misses) = (Vec::new(), Vec::new());
    for (old, new) in [(&old.egress, &new.egress), (&old.ingress, &new.ingress)] {
        if old.verdict() == new.verdict() {
            continue;
        }
        reasons.push(format!("{}: {}", new.direction, reason(new)));
        if let Outcome::Denied { misses: found, .. } = &new.outcome {
            misses.extend(found.iter().take(MAX_NAMED).map(|miss| nearest_miss(miss).text));
        }
    }
    Some(ConnectionChange {
        flow: flow.id,
        from: flow.from.clone(),
        to: flow.to.clone(),
        family: family_name(&connection).to_owned(),
        protocol: connection.protocol,
        port: flow.port,
        before: before.into(),
        after: after.into(),
        reasons,
        misses,
        last_seen: flow.last_seen.clone(),
    })
}

/// The verdict's reason, with the rules that allow.
fn reason(side: &Side) -> String {
    match (&side.outcome, side.verdict()) {
        (Outcome::Allowed(by), Verdict::Allow) => {
            let rules: Vec<String> =
                by.iter().take(MAX_NAMED).map(|it| it.rule.to_string()).collect();
            format!("allowed by {}", rules.join(", "))
        }
        _ => side.reason(),
    }
}

#[cfg(test)]
mod tests;
