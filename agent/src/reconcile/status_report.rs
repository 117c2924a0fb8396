//! What the loop did -> the status that it publishes, and the log.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, IsolatedPods, Warning};
use palisade_compiler::parse::Severity;
use palisade_compiler::program::Delta;
use palisade_dataplane::compare::Difference;

use super::enforcer::Enforcer;
use crate::inbox::SourceState;
use crate::protocol::{Isolated, MAX_LISTED, State, Status};
use crate::published_status::{PublishedStatus, StatusAt};
use crate::revision_log::Revision;

/// Lines of one kind that are logged at a time; the rest is counted there, and listed by the status.
const MAX_LOGGED: usize = 20;

/// A change that the kernel took.
pub(super) struct Enforced {
    /// When the change came that led to it.
    pub(super) since: Option<Instant>,
    /// When work on it began.
    pub(super) began: Instant,
    /// The first of the objects that changed, and how many did.
    pub(super) objects: Vec<String>,
    pub(super) object_count: usize,
    /// What changed in the program.
    pub(super) delta: Option<Delta>,
    pub(super) element_count: usize,
}

/// Collects the status, and logs what is new in it.
pub(super) struct StatusReport {
    published: PublishedStatus,
    at: StatusAt,
    enforced: Option<u64>,
    pub(super) revision: u64,
    source: Arc<SourceState>,
    /// What was logged and still holds.
    problems: BTreeSet<String>,
    held: BTreeSet<String>,
    warnings: BTreeSet<String>,
    gaps: BTreeSet<String>,
    /// How many problems, and how many warnings, mean that not all is enforced.
    errors: (usize, usize),
}

impl StatusReport {
    pub(super) fn new(published: PublishedStatus, node: Option<String>) -> Self {
        let status = Status {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            node,
            ..Status::default()
        };
        let at = StatusAt { status, started: Some(Instant::now()), ..StatusAt::default() };
        let report = Self {
            published,
            at,
            enforced: None,
            revision: 0,
            source: Arc::default(),
            problems: BTreeSet::new(),
            held: BTreeSet::new(),
            warnings: BTreeSet::new(),
            gaps: BTreeSet::new(),
            errors: (0, 0),
        };
        report.publish();
        report
    }

    fn at(&self) -> StatusAt {
        let mut at = self.at.clone();
        at.status.revision = self.revision;
        at.status.enforced_revision = self.enforced.unwrap_or(0);
        at.status.error_count = self.errors.0 + self.errors.1;
        at
    }

    pub(super) fn status(&self) -> Status {
        self.publish();
        self.published.read()
    }

    pub(super) fn publish(&self) {
        self.published.publish(self.at());
    }

    pub(super) fn enforced_revision(&self) -> Option<u64> {
        self.enforced
    }

    /// Why the kernel does not hold the latest program.
    pub(super) fn why_not(&self) -> String {
        let Status { detail, doing, .. } = &self.at.status;
        detail.clone().or(doing.clone()).unwrap_or_else(|| "the program is being loaded".to_owned())
    }

    /// Something keeps the latest manifests from being enforced.
    pub(super) fn hindered(&mut self, state: State, detail: String) {
        let status = &mut self.at.status;
        if state != status.state || status.detail.as_ref() != Some(&detail) {
            tracing::warn!("the latest manifests are not enforced: {detail}");
        }
        status.state = state;
        status.detail = Some(detail);
        status.doing = None;
    }

    /// A change came, at that moment, that the kernel does not hold yet; publishes it with what is done about it, since that
    /// may take long.
    pub(super) fn begin(&mut self, since: Instant, doing: String) {
        self.at.behind_since.get_or_insert(since);
        let status = &mut self.at.status;
        if status.state == State::Enforcing {
            status.state = State::Behind;
        }
        status.doing = Some(doing);
        self.publish();
    }

    /// Nothing can be done at the moment about what the kernel does not hold.
    pub(super) fn pause(&mut self) {
        self.at.status.doing = None;
    }

    /// A commit or a read of the kernel failed.
    pub(super) fn failed(&mut self, error: String) {
        self.at.behind_since.get_or_insert_with(Instant::now);
        self.hindered(State::Behind, error);
    }

    /// The source is as it says.
    pub(super) fn source(&mut self, source: &Arc<SourceState>) {
        if Arc::ptr_eq(source, &self.source) {
            return;
        }
        self.source = Arc::clone(source);
        self.at.status.files = source.files;
        let held: BTreeSet<String> =
            source.held.iter().map(|held| format!("{} {}", held.file, held.reason)).collect();
        log_first(held.difference(&self.held), |held| {
            tracing::warn!("{held}; until then what the file last gave counts");
        });
        log_gone(&self.held, &held);
        self.held = held;
        self.at.held.clone_from(&source.held);
        let (mut problems, mut news) = (BTreeSet::new(), Vec::new());
        self.errors.0 = 0;
        for (severity, problem) in &source.problems {
            if problems.insert(problem.clone()) {
                self.errors.0 += usize::from(*severity == Severity::Error);
                if !self.problems.contains(problem) {
                    news.push((severity, problem));
                }
            }
        }
        log_first(news, |(severity, problem)| match severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        });
        log_gone(&self.problems, &problems);
        self.at.status.problem_count = problems.len();
        self.at.status.problems = problems.iter().take(MAX_LISTED).cloned().collect();
        self.problems = problems;
    }

    /// What the compile says of its sizes and of its input, also after housekeeping.
    pub(super) fn compiled(&mut self, compiler: &Compiler) {
        let stats = compiler.stats();
        let IsolatedPods { ingress, egress, either } = stats.isolated;
        self.at.status.isolated = Isolated { ingress, egress, pods: either };
        self.at.status.sizes = stats.into();
        let warnings = compiler.warnings();
        self.errors.1 = warnings.iter().filter(|warning| warning.is_failure()).count();
        let warnings: BTreeSet<String> =
            warnings.iter().map(Warning::to_string).take(MAX_LISTED).collect();
        log_first(warnings.difference(&self.warnings), |warning| tracing::warn!("{warning}"));
        log_gone(&self.warnings, &warnings);
        self.at.status.warnings = warnings.iter().cloned().collect();
        self.warnings = warnings;
    }

    pub(super) fn rows(&mut self, compiler: &Compiler) {
        self.at.status.rows = compiler.row_usage().into_iter().map(Into::into).collect();
    }

    /// The kernel holds the program of this revision, which had `change` in it; none if only housekeeping was committed.
    pub(super) fn enforced(&mut self, change: Option<Enforced>, recovered: bool) {
        let first = self.enforced.is_none();
        self.enforced = Some(self.revision);
        self.at.behind_since = None;
        let status = &mut self.at.status;
        (status.state, status.detail, status.doing) = (State::Enforcing, None, None);
        let (revision, elements) = (self.revision, status.sizes.elements);
        match change {
            Some(change) => self.log_change(change, first),
            None if first => tracing::info!(revision, elements, "enforcing"),
            None => {}
        }
        if recovered && !first {
            tracing::info!(revision, elements, "enforcing the latest manifests again");
        }
    }

    fn log_change(&mut self, change: Enforced, first: bool) {
        let committed = Instant::now();
        let Enforced { since, began, objects, object_count, delta, element_count } = change;
        let took = committed.saturating_duration_since(since.unwrap_or(began));
        if since.is_some() {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let time = &mut self.at.status.time_to_enforce;
            time.last_us = Some(micros);
            time.max_us = time.max_us.max(Some(micros));
            time.count += 1;
        }
        let more = match object_count.saturating_sub(objects.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (revision, what) = (self.revision, objects.join(", ") + &more);
        let millis = took.as_millis();
        if element_count > 0 || first {
            tracing::info!(revision, "{what}: {element_count} elements, enforced in {millis} ms");
        } else {
            tracing::debug!(revision, "{what}: no elements");
        }
        self.published.revisions.push(Revision {
            number: revision,
            committed,
            objects,
            object_count,
            delta,
            element_count,
            took,
        });
    }

    pub(super) fn facts(&mut self, enforcer: &Enforcer) {
        let gaps: BTreeSet<String> = enforcer.not_enforced().into_iter().collect();
        gaps.difference(&self.gaps).for_each(|gap| tracing::warn!("not enforced: {gap}"));
        log_gone(&self.gaps, &gaps);
        self.at.status.not_enforced = gaps.iter().cloned().collect();
        self.gaps = gaps;
        self.at.status.bridges = enforcer.bridge_names();
    }

    pub(super) fn checked(&mut self, differences: &[Difference]) {
        self.at.checked = Some(Instant::now());
        let drift = &mut self.at.status.drift;
        drift.checks += 1;
        if let Some(first) = differences.first() {
            drift.found += 1;
            drift.last = Some(first.to_string());
            tracing::warn!(
                differences = differences.len(),
                first = %first,
                "somebody changed the tables; they are put right"
            );
        }
    }
}

fn log_gone(before: &BTreeSet<String>, now: &BTreeSet<String>) {
    log_first(before.difference(now), |line| tracing::info!("no longer: {line}"));
}

fn log_first<T: Copy>(lines: impl IntoIterator<Item = T>, log: impl Fn(T)) {
    let mut lines = lines.into_iter();
    lines.by_ref().take(MAX_LOGGED).for_each(log);
    let more = lines.count();
    if more > 0 {
        tracing::warn!("and {more} more of these: see palisade status -o json");
    }
}

/// `1 change`, `2 changes`.
pub(super) fn counted(count: usize, what: impl Display) -> String {
    if count == 1 { format!("{count} {what}") } else { format!("{count} {what}s") }
}

/// The time of a piece of work, for the log.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
