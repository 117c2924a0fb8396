//! What the loop did -> the status that it publishes, and the log.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, Stats};
use palisade_compiler::parse::Severity;
use palisade_dataplane::compare::Difference;

use super::enforcer::Enforcer;
use super::inputs::Inputs;
use crate::protocol::{MAX_TOLD, State, Status};
use crate::socket::server::{Posted, Published};

/// Lines of one kind that are logged at a time; the rest is counted there, and told by the status.
const MAX_LOGGED: usize = 20;

/// Collects the status, and logs what is new in it.
pub(super) struct Report {
    published: Published,
    status: Status,
    started: Instant,
    checked: Option<Instant>,
    enforced: Option<u64>,
    pub(super) revision: u64,
    /// What was logged and is still so.
    told: BTreeSet<String>,
    warned: BTreeSet<String>,
    gaps: BTreeSet<String>,
}

impl Report {
    pub(super) fn new(published: Published, node: Option<String>) -> Self {
        let status = Status {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            node,
            ..Status::default()
        };
        let report = Self {
            published,
            status,
            started: Instant::now(),
            checked: None,
            enforced: None,
            revision: 0,
            told: BTreeSet::new(),
            warned: BTreeSet::new(),
            gaps: BTreeSet::new(),
        };
        report.publish();
        report
    }

    pub(super) fn status(&self) -> Status {
        let mut status = self.status.clone();
        status.revision = self.revision;
        status.enforced_revision = self.enforced.unwrap_or(0);
        self.posted(status).now()
    }

    pub(super) fn publish(&self) {
        let posted = self.posted(self.status());
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = posted;
    }

    fn posted(&self, status: Status) -> Posted {
        Posted { status, started: Some(self.started), checked: self.checked }
    }

    pub(super) fn enforced_revision(&self) -> Option<u64> {
        self.enforced
    }

    /// Why the kernel does not hold the latest program.
    pub(super) fn why_not(&self) -> String {
        self.status.detail.clone().unwrap_or_else(|| "the program is being loaded".to_owned())
    }

    pub(super) fn state(&mut self, state: State, detail: Option<String>) {
        if state == self.status.state && detail == self.status.detail {
            return;
        }
        match (&detail, state) {
            (_, State::Enforcing) => tracing::info!(revision = self.revision, "enforcing"),
            (Some(detail), _) => tracing::warn!("not enforcing the latest manifests: {detail}"),
            (None, _) => {}
        }
        self.status.state = state;
        self.status.detail = detail;
    }

    pub(super) fn inputs(&mut self, inputs: &Inputs) {
        self.status.files = inputs.file_count();
        self.status.stale_files = inputs.stale_files();
        let (mut now, mut news) = (BTreeSet::new(), Vec::new());
        for (severity, problem) in inputs.problems() {
            if now.insert(problem.clone()) && !self.told.contains(&problem) {
                news.push((severity, problem));
            }
        }
        log_first(news, |(severity, problem)| match severity {
            Severity::Error => tracing::error!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
        });
        tell_mended(&self.told, &now);
        self.status.problem_count = now.len();
        self.status.problems = now.iter().take(MAX_TOLD).cloned().collect();
        self.told = now;
    }

    /// What of the compile is told, also after housekeeping.
    pub(super) fn sizes(&mut self, compiler: &Compiler) -> Stats {
        let stats = compiler.stats();
        self.status.sizes = stats.into();
        let now: BTreeSet<String> =
            compiler.warnings().iter().map(ToString::to_string).take(MAX_TOLD).collect();
        log_first(now.difference(&self.warned), |warning| tracing::warn!("{warning}"));
        tell_mended(&self.warned, &now);
        self.status.warnings = now.iter().cloned().collect();
        self.warned = now;
        stats
    }

    pub(super) fn compiled(&mut self, compiler: &Compiler, took: Duration) {
        let stats = self.sizes(compiler);
        tracing::debug!(
            revision = self.revision,
            pods = stats.pods,
            policies = stats.policies,
            elements = stats.elements,
            took_us = micros(took),
            "compiled"
        );
    }

    /// The kernel holds the program of this revision; `since` is when the change came that led to it.
    pub(super) fn enforced(&mut self, since: Option<Instant>, elements: usize, whole: bool) {
        let news = self.enforced != Some(self.revision);
        self.enforced = Some(self.revision);
        if let Some(since) = since {
            let took = micros(since.elapsed());
            let time = &mut self.status.time_to_enforce;
            time.last_us = Some(took);
            time.max_us = time.max_us.max(Some(took));
            time.count += 1;
            tracing::info!(revision = self.revision, elements, took_us = took, "enforced");
        } else if news || whole {
            tracing::info!(revision = self.revision, whole, "enforced");
        }
        self.state(State::Enforcing, None);
    }

    pub(super) fn facts(&mut self, enforcer: &Enforcer) {
        let gaps: BTreeSet<String> = enforcer.not_enforced().into_iter().collect();
        gaps.difference(&self.gaps).for_each(|gap| tracing::warn!("not enforced: {gap}"));
        tell_mended(&self.gaps, &gaps);
        self.status.not_enforced = gaps.iter().cloned().collect();
        self.gaps = gaps;
        self.status.bridges = enforcer.bridge_names();
    }

    pub(super) fn checked(&mut self, differences: &[Difference]) {
        self.checked = Some(Instant::now());
        self.status.drift.checks += 1;
        if let Some(first) = differences.first() {
            self.status.drift.found += 1;
            self.status.drift.last = Some(first.to_string());
            tracing::warn!(
                differences = differences.len(),
                first = %first,
                "somebody changed our tables; healing"
            );
        }
    }
}

fn tell_mended(before: &BTreeSet<String>, now: &BTreeSet<String>) {
    log_first(before.difference(now), |problem| tracing::info!("no longer so: {problem}"));
}

fn log_first<T>(lines: impl IntoIterator<Item = T>, log: impl Fn(T)) {
    let mut lines = lines.into_iter();
    lines.by_ref().take(MAX_LOGGED).for_each(log);
    let more = lines.count();
    if more > 0 {
        tracing::warn!("and {more} more of these: see palisade status -o json");
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
