//! The program -> the kernel: claims the tables, keeps them equal, compares and heals.

use std::borrow::Cow;
use std::time::Instant;

use palisade_compiler::compile::Compiler;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{Delta, Program, TableFamily};
use palisade_dataplane::compare::Difference;
use palisade_dataplane::dataplane::{Counters, Dataplane, Options};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::{DenyCounters, Kernel, grace_method};
use palisade_dataplane::ruleset::{Ruleset as _, RulesetError};

use crate::bridged::AttachedSubjects;
use crate::metrics::Metrics;
use crate::progress::{Done, LOG_EVERY, ObservedRuleset, Pace};
use crate::source_guard::{KnownSources, SourceGuard};

/// How the tables are made.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// Whether they belong to the agent, where the kernel knows owners: nobody else can write to them then.
    pub owned: bool,
    pub deny_action: DenyAction,
    pub guard: SourceGuard,
}

/// Holds the kernel's tables as long as it lives: where tables have an owner it is the engine's socket, so the engine is never
/// dropped for a failure.
pub(super) struct Enforcer {
    dataplane: Dataplane<ObservedRuleset<Kernel>>,
    /// Whether the kernel is known to hold the program of the last `enforce`.
    in_step: bool,
    subjects: AttachedSubjects,
    held_packets: u64,
    metrics: Metrics,
}

impl Enforcer {
    /// Reads what the kernel has; changes nothing. Returns the program found, to take ids from.
    pub(super) fn open(
        settings: &TableSettings,
        metrics: &Metrics,
    ) -> Result<(Self, Program), RulesetError> {
        let &TableSettings { owned, deny_action, ref guard } = settings;
        // Without a way to wait for packets under way the first change that needs it would fail, at any later time.
        grace_method()?;
        let kernel = if owned { Kernel::open()? } else { Kernel::open_without_owner()? };
        let dataplane = Dataplane::start_with(
            observed(kernel, metrics.clone()),
            Options { deny_action, ..Options::default() },
        )?;
        let found = dataplane.found();
        let subjects = AttachedSubjects::open(dataplane.ruleset().features(), guard.clone());
        let metrics = metrics.clone();
        Ok((Self { dataplane, in_step: false, subjects, held_packets: 0, metrics }, found))
    }

    /// What the engine did since it was opened.
    pub(super) fn counters(&self) -> Counters {
        self.dataplane.counters()
    }

    /// The netlink port by which the tables are changed.
    pub(super) fn port(&self) -> u32 {
        self.dataplane.ruleset().port()
    }

    pub(super) fn is_in_step(&self) -> bool {
        self.in_step
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.dataplane.is_unsettled()
    }

    /// The kernel may hold anything: the next `enforce` reads it.
    pub(super) fn lose_step(&mut self) {
        self.in_step = false;
    }

    /// Puts the compiler's program into force, of which `delta` is what changed since the last time. Where subjects are attached
    /// to this host is looked up for those that came, and after links changed; of all of them if `find_all` says so. `facts` are what
    /// the tables must hold of the host besides.
    pub(super) fn enforce(
        &mut self,
        compiler: &Compiler,
        delta: Delta,
        facts: [&HostFacts; 2],
        find_all: bool,
    ) -> Result<(), RulesetError> {
        // What is bridged must be seen before anything claims that it is judged.
        if find_all || !self.in_step {
            self.subjects.find_all(compiler);
        } else {
            self.subjects.update(compiler, &delta);
        }
        let is_new = self.set_host(facts);
        if self.in_step {
            if delta.is_empty() && !is_new {
                return Ok(());
            }
            self.dataplane.ruleset().begin();
            let result = self.dataplane.update(&delta);
            let (took, in_kernel) = self.dataplane.ruleset().times();
            self.metrics.planned(took.saturating_sub(in_kernel));
            self.in_step = false;
            result?;
        } else {
            self.dataplane.ruleset().begin();
            self.dataplane.install(compiler.program())?;
        }
        self.in_step = true;
        Ok(())
    }

    /// Has the next commit put the facts of the host into force; whether they are others than before.
    fn set_host(&mut self, others: [&HostFacts; 2]) -> bool {
        let mut facts = Cow::Borrowed(self.subjects.facts());
        for other in others.into_iter().filter(|other| !other.is_empty()) {
            facts.to_mut().extend(other);
        }
        if facts.has_overlaps() {
            facts.to_mut().remove_overlaps();
        }
        if self.dataplane.host() == &*facts {
            return false;
        }
        // Its counters go with the table.
        let had_table = self.dataplane.host().has_any_within(TableFamily::Inet);
        if had_table && !facts.has_any_within(TableFamily::Inet) {
            self.held_packets += DenyCounters::read().map_or(0, |counters| counters.held.packets);
        }
        self.dataplane.set_host(facts.into_owned());
        true
    }

    /// What the tables hold of the host.
    pub(super) fn host(&self) -> &HostFacts {
        self.dataplane.host()
    }

    /// How many packets were held by holds that have ended.
    pub(super) fn held_packets(&self) -> u64 {
        self.held_packets
    }

    /// Deletes from the kernel what no packet can meet any more, after a grace period.
    pub(super) fn settle(&mut self) -> Result<(), RulesetError> {
        let result = self.dataplane.settle();
        self.in_step &= result.is_ok();
        result
    }

    /// How the kernel differs from the program. To be called when in step.
    pub(super) fn verify(&mut self, compiler: &Compiler) -> Result<Vec<Difference>, RulesetError> {
        let began = Instant::now();
        let result = self.dataplane.verify(compiler.program());
        self.metrics.verified(began.elapsed());
        result
    }

    pub(super) fn known_sources(&self) -> &KnownSources {
        self.subjects.known_sources()
    }

    pub(super) fn bridge_names(&self) -> Vec<String> {
        self.subjects.bridge_names().to_vec()
    }

    /// What policy speaks of and the kernel does not judge.
    pub(super) fn not_enforced(&self) -> Vec<String> {
        self.subjects.gaps().to_vec()
    }
}

/// Logs the progress of long work, and measures all of it.
fn observed(kernel: Kernel, metrics: Metrics) -> ObservedRuleset<Kernel> {
    let mut pace = Pace::new(LOG_EVERY);
    ObservedRuleset::new(kernel, move |done| match done {
        Done::Commit { began, elements, took } => {
            metrics.committed(took);
            if pace.is_due(began, Instant::now()) {
                tracing::info!(elements, "still programming the kernel");
            }
        }
        Done::Grace { took } => metrics.waited(took),
    })
}
