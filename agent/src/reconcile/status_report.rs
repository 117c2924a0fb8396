//! What the loop did -> the status that it publishes, and the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, IsolatedPods, Warning};
use palisade_compiler::model::PerFamily;
use palisade_compiler::parse::Severity;
use palisade_compiler::program::sets::{Planning, SetName};
use palisade_compiler::program::{Delta, Program, TableFamily};
use palisade_compiler::snapshot::ObjectKind;
use palisade_dataplane::compare::Difference;
use palisade_dataplane::dataplane::Counters;

use super::enforcer::Enforcer;
use super::hold_report::ReportedHold;
use super::revocation::{Pass, RevokedTuples};
use crate::findings::LintStatus;
use crate::flows::hits::HitCounters;
use crate::flows::store::FlowStore;
use crate::hold::Holding;
use crate::inbox::SourceState;
use crate::metrics::Metrics;
use crate::protocol::{Isolated, MAX_LISTED, State, Status};
use crate::published_status::PublishedStatus;
use crate::revision_log::{Revision, RevisionLog, named};

/// Lines of one kind that are logged at a time; the rest is counted there, and listed by the status.
const MAX_LOGGED: usize = 20;

/// A change that the kernel took.
pub(super) struct EnforcedChange {
    /// When the change came that led to it.
    pub(super) since: Option<Instant>,
    /// When work on it began.
    pub(super) began: Instant,
    /// The first of the objects that changed, and how many did.
    pub(super) objects: Vec<String>,
    pub(super) object_count: usize,
    /// The kinds of those.
    pub(super) kinds: BTreeSet<ObjectKind>,
    /// What changed in the program.
    pub(super) delta: Option<Delta>,
    pub(super) element_count: usize,
}

/// Writes the status, and logs what is new in it.
pub(super) struct StatusReport {
    published: PublishedStatus,
    reported_hold: ReportedHold,
    enforced: Option<u64>,
    pub(super) revision: u64,
    source: Arc<SourceState>,
    /// What was logged and still holds.
    problems: BTreeSet<String>,
    held: BTreeSet<String>,
    warnings: BTreeSet<String>,
    gaps: BTreeSet<String>,
    /// How many notes of the source guard there were.
    guard_notes: usize,
    /// How many problems, and how many warnings, mean that not all is enforced.
    errors: (usize, usize),
    /// When it was noticed that somebody had changed the tables, which are not put right yet.
    drift_since: Option<Instant>,
}

impl StatusReport {
    pub(super) fn flows(&self) -> &FlowStore {
        &self.published.flows
    }

    /// What policies denied and allowed.
    pub(super) fn hits(&self) -> &HitCounters {
        &self.published.flows.hits
    }

    pub(super) fn new(published: PublishedStatus, node: Option<String>) -> Self {
        published.update(|at| {
            at.started = Some(Instant::now());
            at.status.agent = env!("CARGO_PKG_VERSION").to_owned();
            at.status.pid = std::process::id();
            at.status.node = node;
        });
        Self {
            published,
            reported_hold: ReportedHold::default(),
            enforced: None,
            revision: 0,
            source: Arc::default(),
            problems: BTreeSet::new(),
            held: BTreeSet::new(),
            warnings: BTreeSet::new(),
            gaps: BTreeSet::new(),
            guard_notes: 0,
            errors: (0, 0),
            drift_since: None,
        }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.published.metrics
    }

    pub(super) fn revisions(&self) -> &RevisionLog {
        &self.published.revisions
    }

    /// The loop waits until that moment at most, or works from then on.
    pub(super) fn expect_at(&self, due: Instant) {
        self.published.heartbeat.expect_at(due);
    }

    /// Whether the source has given everything that is declared.
    pub(super) fn source_in_sync(&self, in_sync: bool) {
        self.published.update(|at| at.source_in_sync = in_sync);
    }

    /// What the linter says.
    pub(super) fn lint(&self, status: &LintStatus) {
        self.update(|published| published.lint.clone_from(status));
    }

    /// What the engine did so far.
    pub(super) fn engine(&self, counters: Counters) {
        self.published.update(|at| at.engine = counters);
    }

    fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        self.published.update(|at| change(&mut at.status))
    }

    pub(super) fn status(&self) -> Status {
        self.published.read()
    }

    pub(super) fn enforced_revision(&self) -> Option<u64> {
        self.enforced
    }

    /// Why the kernel does not hold the latest program.
    pub(super) fn why_not(&self) -> String {
        let reason = self.update(|status| status.detail.clone().or(status.doing.clone()));
        reason.unwrap_or_else(|| "the program is being loaded".to_owned())
    }

    /// Something keeps the latest manifests from being enforced.
    pub(super) fn hindered(&self, state: State, detail: String) {
        if self.waits(state, &detail) {
            tracing::warn!("the latest manifests are not enforced: {detail}");
        }
    }

    /// The source gives everything for the first time, and nothing is in its way.
    pub(super) fn listing(&self, detail: &str) {
        if self.waits(State::WaitingForManifests, detail) {
            tracing::info!("{detail}");
        }
    }

    /// Publishes what is waited for; whether that is new.
    fn waits(&self, state: State, detail: &str) -> bool {
        self.update(|status| {
            let is_new = state != status.state || status.detail.as_deref() != Some(detail);
            status.state = state;
            status.detail = Some(detail.to_owned());
            status.doing = None;
            is_new
        })
    }

    /// A change came, at that moment, that the kernel does not hold yet. What is done about it may take long.
    pub(super) fn begin(&self, since: Instant, doing: String) {
        self.published.update(|at| {
            at.behind_since.get_or_insert(since);
            let status = &mut at.status;
            match status.state {
                State::Enforcing | State::WaitingForManifests => {
                    (status.state, status.detail) = (State::Behind, None);
                }
                State::Starting | State::WaitingForTable | State::Behind => {}
            }
            status.doing = Some(doing);
        });
    }

    /// Nothing can be done at the moment about what the kernel does not hold.
    pub(super) fn pause(&self) {
        self.update(|status| status.doing = None);
    }

    /// A commit or a read of the kernel failed.
    pub(super) fn failed(&self, error: String) {
        self.published.update(|at| _ = at.behind_since.get_or_insert_with(Instant::now));
        self.hindered(State::Behind, error);
    }

    /// The source is as it says.
    pub(super) fn source(&mut self, source: &Arc<SourceState>) {
        if Arc::ptr_eq(source, &self.source) {
            return;
        }
        self.source = Arc::clone(source);
        let held: BTreeSet<String> =
            source.held.iter().map(|held| format!("{} {}", held.file, held.reason)).collect();
        log_first(held.difference(&self.held), |held| {
            tracing::warn!("{held}; until then what the file last gave counts");
        });
        log_gone(&self.held, &held);
        self.held = held;
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
        self.problems = problems;
        self.published.update(|at| {
            at.held.clone_from(&source.held);
            at.kubernetes.clone_from(&source.kubernetes);
            at.status.files = source.files;
            at.status.problem_count = self.problems.len();
            at.status.problems = self.problems.iter().take(MAX_LISTED).cloned().collect();
            at.status.error_count = self.errors.0 + self.errors.1;
        });
    }

    /// What the compile says of its sizes and of its input, also after housekeeping.
    pub(super) fn compiled(&mut self, compiler: &Compiler) {
        let stats = compiler.stats();
        let warnings = compiler.warnings();
        self.errors.1 = warnings.iter().filter(|warning| warning.is_failure()).count();
        let warnings: BTreeSet<String> =
            warnings.iter().map(Warning::to_string).take(MAX_LISTED).collect();
        log_first(warnings.difference(&self.warnings), |warning| tracing::warn!("{warning}"));
        log_gone(&self.warnings, &warnings);
        let set_sizes = set_sizes(compiler.program());
        self.published.update(|at| {
            at.set_sizes = set_sizes;
            let status = &mut at.status;
            let IsolatedPods { ingress, egress, either } = stats.isolated;
            status.revision = self.revision;
            status.isolated = Isolated { ingress, egress, pods: either };
            status.sizes = stats.into();
            if warnings != self.warnings {
                status.warnings = warnings.iter().cloned().collect();
            }
            status.error_count = self.errors.0 + self.errors.1;
        });
        self.warnings = warnings;
    }

    pub(super) fn rows(&self, compiler: &Compiler) {
        let rows = compiler.row_usage().into_iter().map(Into::into).collect();
        self.update(|status| status.rows = rows);
    }

    /// The kernel holds the program of this revision, which had `change` in it; none if only housekeeping was committed.
    pub(super) fn enforced(&mut self, change: Option<EnforcedChange>, recovered: bool) {
        let first = self.enforced.is_none();
        let revision = self.revision;
        self.enforced = Some(revision);
        let elements = self.published.update(|at| {
            at.behind_since = None;
            at.is_programmed = true;
            at.healed += u64::from(self.drift_since.is_some());
            let status = &mut at.status;
            (status.state, status.detail, status.doing) = (State::Enforcing, None, None);
            status.enforced_revision = revision;
            status.sizes.elements
        });
        if let Some(since) = self.drift_since.take() {
            self.metrics().healed(since.elapsed());
        }
        match change {
            Some(change) => self.log_change(change, first),
            None if first => tracing::info!(revision, elements, "enforcing"),
            None => {}
        }
        if recovered && !first {
            tracing::info!(revision, elements, "enforcing the latest manifests again");
        }
    }

    fn log_change(&self, change: EnforcedChange, first: bool) {
        let committed = Instant::now();
        let EnforcedChange { since, began, objects, object_count, kinds, delta, element_count } =
            change;
        let took = committed.saturating_duration_since(since.unwrap_or(began));
        if since.is_some() {
            self.update(|Status { time_to_enforce: time, .. }| {
                time.last_us = Some(micros(took));
                time.max_us = time.max_us.max(time.last_us);
                time.count += 1;
            });
            if element_count > 0 {
                self.metrics().enforced(kinds, took);
            }
        }
        let (revision, what) = (self.revision, named(&objects, object_count));
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
        let guard = enforcer.known_sources().status();
        // Which addresses a note names changes with every pod; that there is one more reason does not.
        if guard.notes.len() > self.guard_notes {
            guard.notes.iter().for_each(|note| tracing::warn!("source guard: {note}"));
        }
        self.guard_notes = guard.notes.len();
        self.update(|status| {
            status.source_guard = guard;
            status.not_enforced = gaps.iter().cloned().collect();
            status.bridges = enforcer.bridge_names();
        });
        self.gaps = gaps;
    }

    /// Whether unknown addresses are held; `packets` were held by holds that have ended.
    pub(super) fn hold(&mut self, holding: &Holding, packets: u64) {
        self.reported_hold.report(holding, packets, &self.published);
    }

    /// The connections under way were looked at.
    pub(super) fn connections(&self, pass: &Pass) {
        if pass.failure.is_none() {
            self.metrics().revoked(pass.took);
        }
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.update(|status| {
            let connections = &mut status.connections;
            connections.judged += count(pass.judged);
            connections.cut += count(pass.cut);
            connections.flushed += count(pass.flushed);
            connections.failure.clone_from(&pass.failure);
            if pass.failure.is_some() {
                connections.failures += 1;
            } else {
                let took = micros(pass.took);
                connections.passes += 1;
                connections.last_us = Some(took);
                connections.max_us = connections.max_us.max(Some(took));
            }
        });
    }

    /// What is dropped for the sake of connections that were cut.
    pub(super) fn revoked_tuples(&self, tuples: &RevokedTuples) {
        self.update(|status| {
            status.connections.revoked_tuples = tuples.len();
            status.connections.lost_tuples = tuples.lost();
        });
    }

    /// The kernel was compared with the program; it took from `began` on.
    pub(super) fn checked(&mut self, began: Instant, differences: &[Difference]) {
        if !differences.is_empty() {
            self.drift_since.get_or_insert(began);
        }
        self.published.update(|at| {
            at.checked = Some(Instant::now());
            let drift = &mut at.status.drift;
            drift.checks += 1;
            if let Some(first) = differences.first() {
                drift.found += 1;
                drift.last = Some(first.to_string());
            }
        });
        if let Some(first) = differences.first() {
            tracing::warn!(
                differences = differences.len(),
                first = %first,
                "somebody changed the tables; they are put right"
            );
        }
    }
}

fn set_sizes(program: &Program) -> Vec<(&'static str, SetName, usize)> {
    let mut sizes = Vec::new();
    for (family, name) in (PerFamily { v4: "v4", v6: "v6" }) {
        let sets = TableFamily::from(family).sets();
        let sets = sets.filter(|set| {
            !matches!(set.planning(), Planning::HostChecks | Planning::HostExemptions)
        });
        sizes.extend(sets.map(|set| (name, set, program[family].count(set))));
    }
    sizes
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

/// The time of a piece of work, for the log.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader sees: the state, what hinders, what is being done, and whether the kernel is behind.
    fn seen(report: &StatusReport) -> (State, Option<String>, Option<String>, bool) {
        let status = report.status();
        (status.state, status.detail, status.doing, status.behind_seconds.is_some())
    }

    #[test]
    fn readers_see_what_is_being_done_while_it_is_and_what_hinders_until_it_does_not() {
        let some = |text: &str| Some(text.to_owned());
        let mut report = StatusReport::new(PublishedStatus::default(), None);
        assert_eq!(seen(&report), (State::Starting, None, None, false));
        report.hindered(State::WaitingForManifests, "a file is broken".to_owned());
        let waiting = (State::WaitingForManifests, some("a file is broken"), None, false);
        assert_eq!(seen(&report), waiting);
        report.begin(Instant::now(), "compiling".to_owned());
        assert_eq!(seen(&report), (State::Behind, None, some("compiling"), true));
        report.enforced(None, true);
        assert_eq!(seen(&report), (State::Enforcing, None, None, false));

        report.begin(Instant::now(), "programming".to_owned());
        assert_eq!(seen(&report), (State::Behind, None, some("programming"), true));
        report.failed("refused".to_owned());
        assert_eq!(seen(&report), (State::Behind, some("refused"), None, true));
        // Another change comes, and must wait.
        report.begin(Instant::now(), "compiling".to_owned());
        assert_eq!(seen(&report), (State::Behind, some("refused"), some("compiling"), true));
        report.pause();
        assert_eq!(seen(&report), (State::Behind, some("refused"), None, true));
        report.enforced(None, true);
        assert_eq!(seen(&report), (State::Enforcing, None, None, false));
    }

    #[test]
    fn errors_of_the_source_and_held_files_count_and_warnings_do_not() {
        let mut report = StatusReport::new(PublishedStatus::default(), None);
        report.enforced(None, true);
        let source = |held: usize, severities: &[Severity]| {
            let held = (0..held).map(|file| crate::inbox::HeldFile {
                file: file.to_string(),
                reason: "is being written".to_owned(),
                since: Instant::now(),
            });
            let problem = |(at, severity): (usize, &Severity)| (*severity, at.to_string());
            let problems = severities.iter().enumerate().map(problem).collect();
            Arc::new(SourceState { files: 1, held: held.collect(), problems, kubernetes: None })
        };
        let mut all = |state: Arc<SourceState>| {
            report.source(&state);
            let status = report.status();
            (status.enforces_all(), status.error_count, status.problem_count, status.held_count)
        };
        assert_eq!(all(source(0, &[Severity::Warning])), (true, 0, 1, 0));
        assert_eq!(all(source(0, &[Severity::Warning, Severity::Error])), (false, 1, 2, 0));
        assert_eq!(all(source(2, &[])), (false, 0, 0, 2));
        assert_eq!(all(source(0, &[])), (true, 0, 0, 0));
    }
}
