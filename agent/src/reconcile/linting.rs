//! The linter in the running agent: now and then a look at everything, and after changes of labels a look at what they concern.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::compile::Compiler;
use palisade_compiler::lint::{LostMatches, Relabelled, lint};
use palisade_compiler::model::Pod;
use palisade_compiler::snapshot::{Change, Snapshot};

use super::micros;
use crate::findings::{Findings, LintStatus, LostMatch, MAX_LOST_MATCHES};

/// Batches of changes that wait to be looked at. Further ones are counted.
const MAX_WAITING: usize = 64;
/// How long after a change everything is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// How many times as long as a look took the next one waits at least: in a large cluster it takes the loop some time.
const PAUSES: u32 = 200;

#[derive(Debug, Default)]
pub(super) struct Linting {
    waiting: Vec<Relabelled>,
    /// The latest last; at most `MAX_LOST_MATCHES`.
    lost: VecDeque<LostMatch>,
    status: LintStatus,
    not_before: Option<Instant>,
}

impl Linting {
    /// Notes the labels that these changes change, before they are applied. Of pods, those of this node are looked at.
    pub(super) fn note(&mut self, compiler: &Compiler, changes: &[Change]) {
        let is_local = |pod: &Pod| compiler.locality().is_node(pod.node.as_ref());
        let relabelled = Relabelled::note(compiler.snapshot(), changes, is_local);
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
        let counts = lint(snapshot).counts;
        if counts != self.status.findings {
            let total: usize = counts.values().sum();
            tracing::info!("findings of the linter: {total}; palisade lint lists them");
        }
        self.status.findings = counts;
        self.status.last_us = Some(micros(began.elapsed()));
        self.not_before = Some(Instant::now() + began.elapsed() * PAUSES);
        &self.status
    }

    /// Everything that is found now.
    pub(super) fn findings(&self, snapshot: &Snapshot) -> Findings {
        let lost_matches = self.lost.iter().rev().cloned().collect();
        Findings { report: lint(snapshot), lost_matches }
    }
}
