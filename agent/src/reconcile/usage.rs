//! Policies and rules that allowed no connection, and isolation that denied none, for as long as connections were counted.
//!
//! Each agent knows of the connections of its own pods: only policies that select one of them are looked at. What was lost on its
//! way here might have been the use that is missed, so that nothing counts before the last loss.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::compile::Compiler;
use palisade_compiler::lint::{Code, Finding, Report};
use palisade_compiler::model::{Direction, Labels, Policy, PolicyKey};
use palisade_compiler::parse::ObjectRef;
use palisade_compiler::wording::counted;

use crate::findings::UsageStatus;
use crate::flows::counts::FlowCounts;
use crate::flows::hits::HitCounters;

/// How often the counts are looked at.
const REVIEW_EVERY: Duration = Duration::from_secs(60);
const REVIEW_SOONEST: Duration = Duration::from_secs(1);
/// How many times as long as a look took the next one waits at least.
const PAUSES: u32 = 200;

/// A moment by both clocks: how long ago it was, and what to call it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    at: Instant,
    time: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), time: Timestamp::now() }
    }
}

#[derive(Debug)]
pub(super) struct Usage {
    after: Duration,
    watched: BTreeMap<PolicyKey, Watched>,
    allowed: Stream,
    denied: Stream,
    unused: Vec<Unused>,
    status: UsageStatus,
    not_before: Option<Instant>,
}

/// A policy that selects a pod of this node.
#[derive(Debug)]
struct Watched {
    policy: Arc<Policy>,
    /// When it was first seen as it is, with such a pod.
    since: Moment,
    /// What was counted by then. Counts are compared, and not times: clocks are set.
    before: Hits,
}

/// What the rules of a policy allowed, in their order, and what it denied by direction.
#[derive(Debug)]
struct Hits {
    allowed: Vec<u64>,
    denied: [u64; 2],
}

impl Hits {
    fn of(policy: &Policy, hits: &HitCounters) -> Self {
        let name = policy.key.to_string();
        let count =
            |(direction, rule): (Direction, usize)| hits.connections(&name, rule, direction.into());
        Self {
            allowed: rules_of(policy).map(count).collect(),
            denied: Direction::ALL.map(|direction| hits.denied(&name, direction.into())),
        }
    }
}

/// The places of the rules that the policy has for directions in which it isolates.
fn rules_of(policy: &Policy) -> impl Iterator<Item = (Direction, usize)> {
    let isolating = Direction::ALL.into_iter().filter(|d| policy.isolates.in_direction(*d));
    isolating.flat_map(|d| (0..policy.rules(d).len()).map(move |rule| (d, rule)))
}

/// What the agent hears of connections, and since when nothing of it is missing.
#[derive(Debug, Default)]
struct Stream {
    /// How often it began and what it lost, when it was looked at last.
    marks: Option<Vec<u64>>,
    complete: Option<Moment>,
    /// Why it is not complete.
    failure: Option<String>,
}

impl Stream {
    fn look(&mut self, failure: Option<String>, marks: Vec<u64>, now: Moment) {
        self.failure = failure;
        if self.failure.is_some() {
            self.complete = None;
        } else if self.complete.is_none() || self.marks.as_ref() != Some(&marks) {
            self.complete = Some(now);
        }
        self.marks = Some(marks);
    }

    /// Since when a use would be known, if that is as long ago as it must be to count.
    fn known(&self, watched: &Watched, after: Duration, now: Moment) -> Option<Moment> {
        let complete = self.complete?;
        let since = if complete.at > watched.since.at { complete } else { watched.since };
        (now.at.saturating_duration_since(since.at) >= after).then_some(since)
    }

    /// Why it is not known yet what is not used.
    fn why_unknown(&self, after: Duration, now: Moment) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        let Some(complete) = self.complete else {
            return Some("the counts were not looked at yet".to_owned());
        };
        let for_seconds = now.at.saturating_duration_since(complete.at);
        (for_seconds < after).then(|| {
            let time = complete.time;
            format!(
                "the counts are complete since {time}, which is less than {} seconds",
                after.as_secs()
            )
        })
    }
}

/// What was not used since that moment.
#[derive(Debug)]
struct Unused {
    policy: Arc<Policy>,
    what: What,
    since: Timestamp,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Policy,
    Rule(Direction, usize),
    /// Ingress, egress.
    Isolation(bool, bool),
}

impl Usage {
    /// `after` is for how long something must not have been used to be reported.
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            watched: BTreeMap::new(),
            allowed: Stream::default(),
            denied: Stream::default(),
            unused: Vec::new(),
            status: UsageStatus { after_seconds: after.as_secs(), ..UsageStatus::default() },
            not_before: None,
        }
    }

    /// When to look next. Soon for the first time: what was counted before is not compared.
    pub(super) fn look_at(&self, now: Instant) -> Instant {
        let next = now + self.after.clamp(REVIEW_SOONEST, REVIEW_EVERY);
        self.not_before.map_or(now + REVIEW_SOONEST, |not_before| not_before.max(next))
    }

    pub(super) fn status(&self) -> &UsageStatus {
        &self.status
    }

    /// Looks at what was counted until now.
    pub(super) fn look(
        &mut self,
        compiler: &Compiler,
        (counts, hits): (&FlowCounts, &HitCounters),
        now: Moment,
    ) {
        self.listen(counts, hits, now);
        self.watch(compiler, hits, now);
        let mut unused = Vec::new();
        for watched in self.watched.values() {
            let counted = Hits::of(&watched.policy, hits);
            self.rules(watched, &counted, now, &mut unused);
            self.isolation(watched, &counted, now, &mut unused);
        }
        self.unused = unused;
        self.summarize(now);
        self.not_before = Some(Instant::now() + now.at.elapsed() * PAUSES);
    }

    fn listen(&mut self, counts: &FlowCounts, hits: &HitCounters, now: Moment) {
        let failure = |is_listening: bool, failure: &Option<String>, what: &str| {
            let why = || failure.clone().unwrap_or_else(|| format!("{what} are not heard of yet"));
            (!is_listening).then(why)
        };
        let allowed = &counts.allowed;
        let marks =
            vec![allowed.begun, allowed.lost.overflows, allowed.lost.queue, hits.uncounted_rules()];
        let why = failure(allowed.is_listening, &allowed.failure, "allowed connections");
        self.allowed.look(why, marks, now);
        let lost = &counts.lost;
        let marks = vec![counts.begun, lost.not_logged, lost.socket, lost.queue, hits.uncounted()];
        let why = failure(counts.is_listening, &counts.failure, "denied packets");
        self.denied.look(why, marks, now);
    }

    /// Finds the policies that select a pod of this node. One that changed begins anew.
    fn watch(&mut self, compiler: &Compiler, hits: &HitCounters, now: Moment) {
        let snapshot = compiler.snapshot();
        let mut before = std::mem::take(&mut self.watched);
        for (namespace, label_sets) in pods_here(compiler) {
            for policy in snapshot.policies_of(namespace) {
                let selects = |labels: &&Labels| policy.subjects.matches(labels);
                if policy.fault.is_some() || !label_sets.iter().any(selects) {
                    continue;
                }
                let known = before.remove(&policy.key);
                let known = known.filter(|known| Arc::ptr_eq(&known.policy, policy));
                let watched = known.unwrap_or_else(|| Watched {
                    policy: Arc::clone(policy),
                    since: now,
                    before: Hits::of(policy, hits),
                });
                self.watched.insert(policy.key.clone(), watched);
            }
        }
    }

    fn rules(&self, watched: &Watched, counted: &Hits, now: Moment, unused: &mut Vec<Unused>) {
        let Some(since) = self.allowed.known(watched, self.after, now) else { return };
        let policy = &watched.policy;
        let counts = watched.before.allowed.iter().zip(&counted.allowed);
        let idle: Vec<(Direction, usize)> = rules_of(policy)
            .zip(counts)
            .filter(|(_, (before, now))| now <= before)
            .map(|(rule, _)| rule)
            .collect();
        let add = |what| Unused { policy: Arc::clone(policy), what, since: since.time };
        if !idle.is_empty() && idle.len() == counted.allowed.len() {
            unused.push(add(What::Policy));
        } else {
            unused.extend(idle.into_iter().map(|(d, rule)| add(What::Rule(d, rule))));
        }
    }

    fn isolation(&self, watched: &Watched, counted: &Hits, now: Moment, unused: &mut Vec<Unused>) {
        let Some(since) = self.denied.known(watched, self.after, now) else { return };
        let policy = &watched.policy;
        let isolates = Direction::ALL.map(|direction| policy.isolates.in_direction(direction));
        let [ingress_before, egress_before] = watched.before.denied;
        let ([ingress, egress], [ingress_now, egress_now]) = (isolates, counted.denied);
        let ingress = ingress && ingress_now <= ingress_before;
        let egress = egress && egress_now <= egress_before;
        if ingress || egress {
            let what = What::Isolation(ingress, egress);
            unused.push(Unused { policy: Arc::clone(policy), what, since: since.time });
        }
    }

    fn summarize(&mut self, now: Moment) {
        let count = |is_it: fn(&What) -> bool| {
            self.unused.iter().filter(|unused| is_it(&unused.what)).count()
        };
        let since = |stream: &Stream| stream.complete.map(|moment| moment.time.to_string());
        self.status = UsageStatus {
            after_seconds: self.after.as_secs(),
            watched: self.watched.len(),
            policies: count(|what| matches!(what, What::Policy)),
            rules: count(|what| matches!(what, What::Rule(..))),
            isolations: count(|what| matches!(what, What::Isolation(..))),
            allowed_since: since(&self.allowed),
            allowed_unknown: self.allowed.why_unknown(self.after, now),
            denied_since: since(&self.denied),
            denied_unknown: self.denied.why_unknown(self.after, now),
        };
    }

    /// Adds what is not used to what the linter found.
    pub(super) fn report(&self, report: &mut Report) {
        for unused in &self.unused {
            report.add(unused.finding(), unused.policy.lint_ignore.as_deref());
        }
    }
}

/// The label sets of this node's pods, each once, by namespace.
fn pods_here(compiler: &Compiler) -> HashMap<&str, Vec<&Labels>> {
    let (snapshot, locality) = (compiler.snapshot(), compiler.locality());
    let mut found: HashMap<&str, Vec<&Labels>> = HashMap::new();
    let mut seen: HashSet<(&str, usize)> = HashSet::new();
    let here = snapshot.pods();
    let here = here.filter(|pod| pod.has_identity() && locality.is_node(pod.node.as_ref()));
    for pod in here {
        // The snapshot holds equal sets once.
        if seen.insert((&pod.namespace, Arc::as_ptr(&pod.labels) as usize)) {
            found.entry(&pod.namespace).or_default().push(&pod.labels);
        }
    }
    found
}

impl Unused {
    fn finding(&self) -> Finding {
        let Self { policy, what, since } = self;
        let object = ObjectRef {
            kind: "NetworkPolicy".to_owned(),
            namespace: Some(policy.key.namespace.to_string()),
            name: policy.key.name.to_string(),
        };
        let (code, field, message) = match *what {
            What::Policy => {
                let rules = rules_of(policy).count();
                let which = if rules == 1 { "its rule".into() } else { counted(rules, "rule") };
                let message =
                    format!("{which} allowed no connection of this node's pods since {since}");
                (Code::PolicyNeverUsed, "spec".to_owned(), message)
            }
            What::Rule(direction, rule) => {
                let field = format!("spec.{direction}[{rule}]");
                let message =
                    format!("{field} allowed no connection of this node's pods since {since}");
                (Code::RuleNeverUsed, field, message)
            }
            What::Isolation(ingress, egress) => {
                let directions = match (ingress, egress) {
                    (true, true) => "ingress and egress",
                    (true, false) => "ingress",
                    (false, _) => "egress",
                };
                let message = format!(
                    "its isolation for {directions} denied nothing to this node's pods since {since}"
                );
                (Code::IsolationNeverDenied, "spec.policyTypes".to_owned(), message)
            }
        };
        Finding::new(code, Some(object), message).at(field)
    }
}

#[cfg(test)]
mod tests;
