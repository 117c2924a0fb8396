//! The one loop: changes and questions in, the kernel's tables and answers out.
//!
//! ```text
//! inbox -> compile -> commit -> answers -> status
//!   ^                   |
//!   |                   +--> upkeep: work that no change waits for, in slices between turns
//! sources, clients
//! ```
//!
//! It has a thread of its own, which also holds the kernel's socket, and knows no source. What comes while it works waits in the
//! inbox, and is then taken as one batch; nothing sleeps in order to batch. The status is published before work that may take
//! long, and after it.

mod answers;
mod enforcer;
mod healing;
mod hold_report;
mod linting;
mod opening;
mod revocation;
mod status_report;
mod upkeep;
mod usage;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::lint;
use palisade_compiler::program::Delta;
use palisade_compiler::program::narrowing::Narrowing;
use palisade_compiler::snapshot::{Change, ObjectKind, Snapshot, UndeclaredNamespaces};
use palisade_compiler::wording::counted;
use palisade_dataplane::ruleset::RulesetError;

use crate::backoff::Backoff;
use crate::flows::allowed;
use crate::flows::judgement::judge;
use crate::flows::observation::Batch;
use crate::hold::Holding;
use crate::inbox::{Ask, Inbox, Input, MAX_DESCRIBED};
use crate::policy_view::policy_key;
use crate::protocol::State;
use crate::published_status::PublishedStatus;
use enforcer::Enforcer;
pub use enforcer::TableSettings;
use healing::Healing;
use linting::Linting;
use opening::{is_hopeless, open};
use revocation::{Revocation, Scope};
use status_report::{EnforcedChange, StatusReport, micros};
use upkeep::{Task, Upkeep};

/// How often the kernel is compared with the program.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// How often the bridges of pods are looked for though no link changed: addresses in other network namespaces change unnoticed.
const FIND_BRIDGES_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether what cut connections leave behind is still needed; after a change at once.
const REVIEW_REVOKED_EVERY: Duration = Duration::from_secs(10);
/// How long after a change the rows are counted for the status.
const COUNT_ROWS_AFTER: Duration = Duration::from_secs(2);
/// How long to wait after a failure, or for a table that another process owns: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// How long nothing is done at least, unless something happens: so that upkeep leaves room for changes that come in a burst, and
/// a deadline that is always past takes no processor.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// Beyond so many elements a change is not kept in the log of revisions, nor copied for it.
const MAX_LOGGED_DELTA: usize = 65_536;

/// What the loop enforces, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node whose pods are local; every pod with an address is where there is none.
    pub node: Option<String>,
    pub tables: TableSettings,
    /// The ranges of the node's pods; those of the Node object apply where there are none.
    pub pod_ranges: Vec<IpNet>,
    /// What a namespace is that the source has not declared.
    pub undeclared: UndeclaredNamespaces,
    pub lint: lint::Settings,
    /// For how long something must not have been used to be a finding.
    pub unused_after: Duration,
}

/// Runs until the inbox says that it should end; what the kernel has stays.
///
/// # Errors
///
/// What makes it useless to wait: the kernel's tables may not be touched, or the kernel cannot do it.
pub fn run(
    settings: Settings,
    inbox: &Inbox,
    published: PublishedStatus,
) -> Result<(), RulesetError> {
    let Settings { node, tables, pod_ranges, undeclared, lint, unused_after } = settings;
    let report = StatusReport::new(published, node.clone());
    let backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    let Some((enforcer, found)) = open(&report, &tables, inbox, backoff)? else { return Ok(()) };
    let locality = match &node {
        Some(node) => Locality::Node(node.as_str().into()),
        None => Locality::Everywhere,
    };
    let healing = Healing::start(enforcer.port(), inbox.waker(), report.metrics().clone());
    let revocation = Revocation::start(inbox.waker(), enforcer.host());
    let mut reconciler = Reconciler {
        inbox,
        compiler: Compiler::adopting(locality, &found).with_undeclared(undeclared),
        loading: Some(Snapshot::with_undeclared(undeclared)),
        enforcer,
        report,
        node,
        in_sync: Err("the source has just begun".to_owned()),
        begun: false,
        behind: Behind::default(),
        revocation,
        backoff: Backoff::new(RETRY_FIRST, RETRY_MOST),
        upkeep: Upkeep::default(),
        healing,
        holding: Holding::new(pod_ranges),
        source_behind: false,
        linting: Linting::new(lint, unused_after),
    };
    reconciler.run()
}

/// What the program changed by and the kernel has not.
#[derive(Debug, Default)]
struct Behind {
    delta: Delta,
    /// When the first of the changes came.
    since: Option<Instant>,
    /// The first of the objects that changed, and how many did.
    objects: Vec<String>,
    object_count: usize,
    kinds: BTreeSet<ObjectKind>,
    /// Whose connections may be forbidden.
    narrowing: Narrowing,
    /// Addresses that left their pods.
    released: BTreeSet<IpAddr>,
}

struct Reconciler<'a> {
    inbox: &'a Inbox,
    compiler: Compiler,
    /// What the source gave before it was in sync: compiled at once when it is, since what came first means little without the
    /// rest.
    loading: Option<Snapshot>,
    enforcer: Enforcer,
    report: StatusReport,
    node: Option<String>,
    /// Whether the source gave everything that is declared once; if not, what it waits for.
    in_sync: Result<(), String>,
    /// Whether there was something to enforce.
    begun: bool,
    behind: Behind,
    revocation: Revocation,
    backoff: Backoff,
    upkeep: Upkeep,
    holding: Holding,
    healing: Healing,
    /// Whether the source does not hear what happens.
    source_behind: bool,
    linting: Linting,
}

impl Reconciler<'_> {
    fn run(&mut self) -> Result<(), RulesetError> {
        loop {
            let next_turn = self.next_turn();
            self.report.expect_at(next_turn);
            let contents = self.inbox.take(next_turn);
            self.report.expect_at(Instant::now());
            if contents.shutdown {
                return Ok(());
            }
            let is_idle =
                contents.inputs.is_empty() && contents.asks.is_empty() && contents.looks.is_empty();
            self.turn(contents.inputs, contents.links_changed)?;
            for Ask { question, answer } in contents.asks {
                // The client may be gone.
                _ = answer.send(self.answer(question));
            }
            // Without a recorder there is nobody to answer.
            for look in contents.looks {
                self.show(look);
            }
            match contents.batch {
                Some(Batch::Denied { observations, answer }) => {
                    _ = answer.send(self.judge(|evidence| judge(evidence, &observations)));
                }
                Some(Batch::Allowed { connections, answer }) => {
                    _ = answer.send(self.judge(|evidence| allowed::judge(evidence, &connections)));
                }
                None => {}
            }
            self.keep_up(is_idle)?;
            self.report.engine(self.enforcer.counters());
        }
    }

    /// When there is something to do though nothing comes.
    fn next_turn(&self) -> Instant {
        let now = Instant::now();
        if self.can_judge_connections() {
            return now;
        }
        let upkeep = self.upkeep.next_at().filter(|_| self.enforcer.is_in_step());
        let next = self.backoff.retry_at().into_iter().chain(upkeep).min();
        next.unwrap_or(now + COMPARE_EVERY).max(now + MIN_PAUSE)
    }

    /// Takes in what came, and has the kernel enforce it.
    fn turn(&mut self, inputs: Vec<Input>, links_changed: bool) -> Result<(), RulesetError> {
        let began = Instant::now();
        let was_behind = self.source_behind;
        let changed = self.compile(inputs) || self.source_behind != was_behind;
        if self.in_sync.is_err() {
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.begun, true);
        if first {
            self.upkeep.schedule(Task::Compare, began);
        }
        let retry_at = self.backoff.retry_at();
        if retry_at.is_some_and(|at| began < at) {
            self.report.pause();
        } else if first || changed || links_changed || retry_at.is_some() {
            self.enforce(began, false)?;
        }
        Ok(())
    }

    /// Does a slice of the work that no change waits for.
    fn keep_up(&mut self, is_idle: bool) -> Result<(), RulesetError> {
        for pass in self.revocation.take_passes() {
            self.report.connections(&pass);
        }
        if !self.enforcer.is_in_step() {
            return Ok(());
        }
        self.want_upkeep();
        if let Some(task) = self.upkeep.next(Instant::now(), is_idle) {
            self.upkeep.done(task);
            self.do_task(task)?;
            self.want_upkeep();
        }
        Ok(())
    }

    /// Brings the program up to what the inputs say; returns whether there was a change.
    fn compile(&mut self, inputs: Vec<Input>) -> bool {
        let mut changes = Vec::new();
        let (now, mut since) = (Instant::now(), None);
        for input in inputs {
            self.report.source(&input.state);
            match &input.in_sync {
                Err(reason) if input.state.is_listing() => self.report.listing(reason),
                Err(reason) => {
                    self.report.hindered(State::WaitingForManifests, reason.clone());
                }
                Ok(()) => {}
            }
            self.source_behind = input.state.is_behind();
            self.in_sync = input.in_sync;
            self.report.source_in_sync(self.in_sync.is_ok());
            since = since.or(input.since);
            let room = MAX_DESCRIBED.saturating_sub(self.behind.objects.len());
            self.behind.objects.extend(input.described.into_iter().take(room));
            self.behind.object_count += input.changes.len();
            self.behind.kinds.extend(input.changes.iter().map(Change::kind));
            match &mut self.loading {
                Some(loading) => input.changes.into_iter().for_each(|it| loading.apply(it)),
                None => changes.extend(input.changes),
            }
        }
        let loaded = self.loading.take_if(|_| self.in_sync.is_ok() && self.behind.object_count > 0);
        if changes.is_empty() && loaded.is_none() {
            return false;
        }
        self.behind.since = self.behind.since.or(since);
        let count = if loaded.is_some() { self.behind.object_count } else { changes.len() };
        self.report.begin(since.unwrap_or(now), format!("compiling {}", counted(count, "change")));
        let began = Instant::now();
        let may_lose_policies = loaded.is_some() || changes.iter().any(may_remove_policies);
        let delta = match loaded {
            Some(snapshot) => self.compiler.load(snapshot),
            None => {
                self.linting.note(&self.compiler, &changes);
                self.compiler.apply(changes)
            }
        };
        self.report.metrics().compiled(began.elapsed());
        if may_lose_policies {
            let snapshot = self.compiler.snapshot();
            self.report.hits().keep(|policy| is_policy(snapshot, policy));
        }
        // The first program is one that every connection is judged by.
        if self.report.enforced_revision().is_some() {
            self.behind.narrowing.extend(Narrowing::of(&delta, self.compiler.program()));
        }
        self.behind.released.extend(self.compiler.take_released());
        self.behind.delta.then(delta);
        self.report.revision += 1;
        self.report.compiled(&self.compiler);
        self.upkeep.schedule(Task::CountRows, Instant::now() + COUNT_ROWS_AFTER);
        self.upkeep.schedule(Task::Lint, self.linting.look_at(now));
        if self.revocation.tuples().len() > 0 {
            self.upkeep.schedule(Task::ReviewRevoked, Instant::now());
        }
        tracing::debug!(
            revision = self.report.revision,
            took_us = micros(now.elapsed()),
            "compiled"
        );
        true
    }

    /// Commits what the kernel does not have yet. Bridges are looked for in any case if `find_bridges` says so.
    fn enforce(&mut self, began: Instant, find_bridges: bool) -> Result<(), RulesetError> {
        let recovers = !self.enforcer.is_in_step();
        let Behind { delta, since, objects, object_count, kinds, mut narrowing, released } =
            std::mem::take(&mut self.behind);
        if recovers {
            // Other rules than the program's may have been in force until now.
            narrowing.extend(Narrowing::everyone());
        }
        let element_count = delta.len();
        if object_count > 0 || recovers {
            let doing = match recovers && self.report.enforced_revision().is_some() {
                true => "reading the kernel's tables and putting them right".to_owned(),
                false => format!("programming {}", counted(element_count, "element")),
            };
            self.report.begin(since.unwrap_or(began), doing);
        }
        // The engine takes the delta; a copy is for the log.
        let kept = (element_count <= MAX_LOGGED_DELTA).then(|| delta.clone());
        self.holding.update(&self.compiler, self.node.as_deref(), self.source_behind);
        let facts = [self.holding.facts(), self.revocation.facts()];
        match self.enforcer.enforce(&self.compiler, delta, facts, find_bridges) {
            Ok(()) => {
                self.backoff.succeeded();
                if let (0, Some(delta)) = (object_count, &kept) {
                    self.report.revisions().extend_last(delta);
                }
                let change = (object_count > 0).then_some(EnforcedChange {
                    since,
                    began,
                    objects,
                    object_count,
                    kinds,
                    delta: kept,
                    element_count,
                });
                // Gaps are published first, so that the status never says "enforcing" without them.
                self.report.facts(&self.enforcer);
                self.report.hold(&self.holding, self.enforcer.held_packets());
                self.report.revoked_tuples(self.revocation.tuples());
                self.report.enforced(change, recovers);
                self.revocation.want(Scope::new(narrowing, released, self.compiler.program()));
                Ok(())
            }
            Err(error) => {
                let delta = kept.unwrap_or_default();
                self.behind =
                    Behind { delta, since, objects, object_count, kinds, narrowing, released };
                self.failed(error)
            }
        }
    }

    /// A failure is waited out, except at the start one that waiting does not mend.
    fn failed(&mut self, error: RulesetError) -> Result<(), RulesetError> {
        self.enforcer.lose_step();
        self.report.metrics().failed(&error);
        self.backoff.failed(Instant::now());
        if is_hopeless(&error) && self.report.enforced_revision().is_none() {
            return Err(error);
        }
        self.report.failed(error.to_string());
        Ok(())
    }

    /// Whether connections wait to be judged, and the program is the one that is in force.
    fn can_judge_connections(&self) -> bool {
        self.enforcer.is_in_step()
            && self.behind.delta.is_empty()
            && self.revocation.has_candidates()
    }

    /// Finds out what upkeep there is to do.
    fn want_upkeep(&mut self) {
        let now = Instant::now();
        self.healing.set_own_port(self.enforcer.port());
        if let Some(at) = self.healing.take_changed(now) {
            self.upkeep.schedule(Task::Heal, at);
        }
        self.upkeep.want(Task::JudgeConnections, self.can_judge_connections(), now);
        self.upkeep.want(Task::RemoveUnused, self.enforcer.is_unsettled(), now);
        if self.revocation.tuples().len() > 0 {
            self.upkeep.schedule(Task::ReviewRevoked, now + REVIEW_REVOKED_EVERY);
        }
        self.upkeep.want(Task::Tidy, self.compiler.is_untidy(), now);
        self.upkeep.want(Task::TellLostMatches, self.linting.has_relabelled(), now);
        self.upkeep.schedule(Task::ReviewUse, self.linting.look_at_usage(now));
        self.upkeep.schedule(Task::Compare, now + COMPARE_EVERY);
        self.upkeep.schedule(Task::FindBridges, now + FIND_BRIDGES_EVERY);
    }

    /// One slice of a task.
    fn do_task(&mut self, task: Task) -> Result<(), RulesetError> {
        let began = Instant::now();
        match task {
            Task::JudgeConnections => {
                let (program, snapshot) = (self.compiler.program(), self.compiler.snapshot());
                let forbidden = self.revocation.judge(program, snapshot);
                // What would begin them anew is dropped before they are cut.
                let is_new = self.revocation.revoke_answers(&forbidden, began);
                let outcome = if is_new { self.enforce(began, false) } else { Ok(()) };
                self.report.revoked_tuples(self.revocation.tuples());
                self.revocation.cut(forbidden);
                outcome
            }
            Task::ReviewRevoked => {
                let is_other = self.revocation.review_answers(self.compiler.program(), began);
                if is_other { self.enforce(began, false) } else { Ok(()) }
            }
            Task::FindBridges => self.enforce(began, true),
            Task::RemoveUnused => match self.enforcer.settle() {
                Ok(()) => Ok(()),
                Err(error) => self.failed(error),
            },
            Task::Tidy => {
                let delta = self.compiler.tidy();
                self.report.compiled(&self.compiler);
                self.behind.delta.then(delta);
                self.enforce(began, false)
            }
            Task::CountRows => {
                self.report.rows(&self.compiler);
                Ok(())
            }
            Task::TellLostMatches => {
                self.report.lint(self.linting.tell_lost_matches(self.compiler.snapshot()));
                Ok(())
            }
            Task::ReviewUse => {
                self.report.lint(self.linting.look_at_use(&self.compiler, self.report.flows()));
                Ok(())
            }
            Task::Lint => {
                self.report.lint(self.linting.look(self.compiler.snapshot()));
                palisade_heap::return_unused();
                Ok(())
            }
            Task::Heal | Task::Compare => self.compare(),
        }
    }

    /// Compares the kernel with the program, and heals.
    fn compare(&mut self) -> Result<(), RulesetError> {
        let began = Instant::now();
        let result = self.enforcer.verify(&self.compiler);
        // At the start too, whose load is the largest there is; and reading the kernel back takes some memory.
        palisade_heap::return_unused();
        match result {
            Ok(differences) => {
                self.report.checked(began, &differences);
                if differences.is_empty() {
                    return Ok(());
                }
                self.healing.healed(began);
                self.enforcer.lose_step();
                self.enforce(Instant::now(), false)
            }
            Err(error) => self.failed(error),
        }
    }
}

fn may_remove_policies(change: &Change) -> bool {
    change.kind() == ObjectKind::Policy && !matches!(change, Change::ApplyPolicy(_))
}

/// Whether there is a policy of this `namespace/name`.
fn is_policy(snapshot: &Snapshot, policy: &str) -> bool {
    policy_key(policy).is_ok_and(|key| snapshot.policy(&key).is_some())
}
