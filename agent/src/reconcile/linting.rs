//! The linter in the running agent: now and then a look at everything, and after changes of labels a look at what they concern.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::compile::Compiler;
use palisade_compiler::lint::{LostMatches, Relabelled, Report, Settings, Severity, lint_with};
use palisade_compiler::model::Pod;
use palisade_compiler::snapshot::{Change, Snapshot};

use super::micros;
use super::usage::{Moment, Usage};
use crate::findings::{Findings, LintStatus, LostMatch, MAX_LOST_MATCHES};
use crate::flows::store::FlowStore;

/// Batches of changes that wait to be looked at. Further ones are counted.
const MAX_WAITING: usize = 64;
/// How long after a change everything is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// How many times as long as a look took the next one waits at least: in a large cluster it takes the loop some time.
const PAUSES: u32 = 200;

#[derive(Debug)]
pub(super) struct Linting {
    settings: Settings,
    usage: Usage,
    /// How much was found in the objects by the last look at them, without what is not used.
    found: BTreeMap<Severity, usize>,
    waiting: Vec<Relabelled>,
    /// The latest last; at most `MAX_LOST_MATCHES`.
    lost: VecDeque<LostMatch>,
    status: LintStatus,
    not_before: Option<Instant>,
}

impl Linting {
    pub(super) fn new(settings: Settings, unused_after: Duration) -> Self {
        Self {
            settings,
            usage: Usage::new(unused_after),
            found: BTreeMap::new(),
            waiting: Vec::new(),
            lost: VecDeque::new(),
            status: LintStatus::default(),
            not_before: None,
        }
    }

    /// Notes the labels that these changes change, before they are applied. Of pods, those of this node are looked at.
    pub(super) fn note(&mut self, compiler: &Compiler, changes: &[Change]) {
        let is_local = |pod: &Pod| compiler.locality().is_node(pod.node.as_ref());
        let relabelled = Relabelled::note(compiler.snapshot(), changes, &self.waiting, is_local);
        if relabelled.is_empty() {
            return;
        }
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(relabelled);
        } else {
            self.status.unexamined += relabelled.len() as u64;
        }
    }

    pub(super) fn has_relabelled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When to look at everything after a change of now.
    pub(super) fn look_at(&self, now: Instant) -> Instant {
        self.not_before.map_or(now + LOOK_AFTER, |not_before| not_before.max(now + LOOK_AFTER))
    }

    /// Tells what lost its match.
    pub(super) fn tell_lost_matches(&mut self, snapshot: &Snapshot) -> &LintStatus {
        let time = Timestamp::now().to_string();
        for relabelled in std::mem::take(&mut self.waiting) {
            let LostMatches { findings, unexamined } = relabelled.lost(snapshot);
            self.status.unexamined += unexamined as u64;
            self.status.lost_matches += findings.len() as u64;
            for finding in findings {
                let object = finding.object.as_ref().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(code = %finding.code, "{object}: {}", finding.message);
                self.lost.push_back(LostMatch { time: time.clone(), finding });
            }
            let surplus = self.lost.len().saturating_sub(MAX_LOST_MATCHES);
            self.lost.drain(..surplus);
        }
        &self.status
    }

    /// Looks at everything, for the counts of the status.
    pub(super) fn look(&mut self, snapshot: &Snapshot) -> &LintStatus {
        let began = Instant::now();
        let counts = lint_with(snapshot, &[], &self.settings).counts;
        if counts != self.found {
            let total: usize = counts.values().sum();
            tracing::info!("findings of the linter: {total}; palisade lint lists them");
        }
        self.found = counts;
        self.count();
        self.status.last_us = Some(micros(began.elapsed()));
        self.not_before = Some(Instant::now() + began.elapsed() * PAUSES);
        &self.status
    }

    /// When to look at what is not used.
    pub(super) fn look_at_usage(&self, now: Instant) -> Instant {
        self.usage.look_at(now)
    }

    /// Looks at what is not used.
    pub(super) fn look_at_use(&mut self, compiler: &Compiler, flows: &FlowStore) -> &LintStatus {
        self.usage.look(compiler, (&flows.counts(), &flows.hits), Moment::now());
        self.count();
        &self.status
    }

    /// Counts for the status what was found by the last look at the objects, and what is not used.
    fn count(&mut self) {
        let mut unused = Report::default();
        self.usage.report(&mut unused);
        let mut counts = self.found.clone();
        for (severity, count) in unused.counts {
            *counts.entry(severity).or_default() += count;
        }
        self.status.findings = counts;
        self.status.usage.clone_from(self.usage.status());
    }

    /// Everything that is found now.
    pub(super) fn findings(&mut self, compiler: &Compiler, flows: &FlowStore) -> Findings {
        self.look_at_use(compiler, flows);
        let lost_matches = self.lost.iter().rev().cloned().collect();
        let mut report = lint_with(compiler.snapshot(), &[], &self.settings);
        self.usage.report(&mut report);
        report.finish();
        Findings { report, lost_matches, usage: self.usage.status().clone() }
    }
}
