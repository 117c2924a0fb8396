//! A delta of programs -> transactions and grace periods in an order in which no packet gets a verdict that neither
//! program gives.
//!
//! ```text
//! Delta -> transition (who changes class) -> strategy (direct, or by way of the meet) -> schedule -> Transactions and graces
//! ```
//!
//! A transaction is atomic for each map, but a packet reads the maps one after the other: it may read an earlier one as
//! it was before a transaction and a later one as it is after it, never the reverse; but new contents of `port_ranges`
//! are seen only after the rest of their transaction. After a grace period no packet holds what it read before. The
//! states between two grace periods are a *window*, and the requirement is: whatever non-decreasing states of a window a
//! packet's lookups meet, its verdict is one that some program in force during the window gives.

mod atoms;
mod base;
mod garbage;
mod host;
mod ids;
mod meet;
mod peak;
mod profiles;
mod schedule;
mod state;
mod step;
mod strategy;
mod transition;
mod window;

use std::collections::BTreeMap;

use palisade_compiler::model::Family;
use palisade_compiler::program::{Delta, Program, TableFamily, Tables, TablesDelta};

use crate::transaction::{Generations, MAX_ELEMENTS_PER_TRANSACTION, Op, TableOp, Transaction};
use host::Host;
use meet::ByMeet;
use schedule::schedule;
use state::TableState;
use step::{Action, Change, Phases, Schedule, pack};
use strategy::Strategy;
use transition::Transition;

pub use meet::MAX_MEET_ROWS;

/// Removals that may wait for `idle`. A plan that leaves more ends with a grace period and removes them all: so what waits
/// stays bounded also where changes never pause. It is what one transaction removes.
pub const MAX_PENDING: usize = MAX_ELEMENTS_PER_TRANSACTION;

/// What a planner keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Elements in one transaction. Changes that must be in one transaction are, whatever this says.
    pub transaction: usize,
    /// Removals that may wait while other changes are made.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { transaction: MAX_ELEMENTS_PER_TRANSACTION, pending: MAX_PENDING }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Commit(Transaction),
    /// Wait until no packet holds what it read before.
    Grace,
}

/// Plans the changes of both families' tables, and knows what the kernel has once the steps are done.
#[derive(Debug, Clone)]
pub struct Planner {
    v4: TableState,
    v6: TableState,
    host: Host,
    generations: BTreeMap<TableFamily, Generations>,
    /// Nothing is known of the window: a grace period stands before the first transaction.
    unsettled: bool,
    limits: Limits,
}

impl Planner {
    /// Starts from what the kernel has. What packets have read of it until now is not known.
    pub fn new(kernel: Program) -> Self {
        Self { unsettled: true, ..Self::of_new_tables(kernel) }
    }

    /// Starts from tables whose elements were all there before any packet could read them.
    pub fn of_new_tables(kernel: Program) -> Self {
        Self {
            v4: TableState::new(kernel.v4),
            v6: TableState::new(kernel.v6),
            host: Host::default(),
            generations: BTreeMap::new(),
            unsettled: false,
            limits: Limits::default(),
        }
    }

    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The generations of the sets that the transactions name.
    pub fn set_generations(&mut self, table: TableFamily, generations: Generations) {
        self.generations.insert(table, generations);
    }

    pub fn generations(&self, table: TableFamily) -> Generations {
        self.generations.get(&table).copied().unwrap_or_default()
    }

    /// What the kernel has after all steps so far, pending removals included.
    pub fn kernel(&self, family: Family) -> &Tables {
        &self.state(family).kernel
    }

    /// The program that is in force after all steps so far.
    pub fn program(&self) -> Program {
        Program { v4: self.v4.program(), v6: self.v6.program() }
    }

    /// How many removals wait for `idle`, or for more of them than the limit allows.
    pub fn pending(&self) -> usize {
        self.v4.garbage.len() + self.v6.garbage.len()
    }

    /// Whether `idle` has something to do: removals, or the grace period that the next change would have to wait for.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled || self.pending() > 0
    }

    /// The steps that put the delta into force. Removals of what has no meaning any more are left for `idle`, unless more
    /// than the limit wait: then they come last.
    ///
    /// `None`, and nothing planned, if the delta is so wide that replacing the whole table is cheaper (`MAX_MEET_ROWS`).
    pub fn plan(&mut self, delta: &Delta) -> Option<Vec<Step>> {
        self.note_narrowed_host(self.host.guards(), self.host.holds());
        let mut steps = Vec::new();
        let v4 = Decision::new(&self.v4, &delta.v4)?;
        let v6 = Decision::new(&self.v6, &delta.v6)?;
        if self.unsettled && !(v4.is_empty() && v6.is_empty()) {
            self.unsettled = false;
            steps.push(Step::Grace);
        }
        let (v4, v6) = (v4.carry_out(&mut self.v4), v6.carry_out(&mut self.v6));
        self.join(v4, v6, &mut steps);
        self.change_host(&mut steps);
        if self.pending() > self.limits.pending {
            steps.extend(self.idle());
        }
        Some(steps)
    }

    /// A grace period and the removals that wait for one; nothing if nothing does.
    pub fn idle(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.pending() > 0 {
            let (v4, v6) = (remove_garbage(&mut self.v4), remove_garbage(&mut self.v6));
            self.join(v4, v6, &mut steps);
        } else if self.unsettled {
            steps.push(Step::Grace);
        }
        self.unsettled = false;
        steps
    }

    fn state(&self, family: Family) -> &TableState {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// Both families' actions side by side, so that they share transactions and grace periods.
    fn join(&self, v4: Vec<Action>, v6: Vec<Action>, steps: &mut Vec<Step>) {
        let (v4, v6): (Phases, Phases) =
            (pack(v4, self.limits.transaction), pack(v6, self.limits.transaction));
        let (phases, mut v4, mut v6) = (v4.len().max(v6.len()), v4.into_iter(), v6.into_iter());
        for phase in 0..phases {
            if phase > 0 {
                steps.push(Step::Grace);
            }
            let (four, six) = (v4.next().unwrap_or_default(), v6.next().unwrap_or_default());
            let (batches, mut four, mut six) =
                (four.len().max(six.len()), four.into_iter(), six.into_iter());
            for _ in 0..batches {
                let (four, six) = (four.next().unwrap_or_default(), six.next().unwrap_or_default());
                let (four, six) = (self.ops(Family::V4, &four), self.ops(Family::V6, &six));
                let transactions = if four.len() + six.len() > self.limits.transaction {
                    vec![four, six]
                } else {
                    vec![four.into_iter().chain(six).collect()]
                };
                let filled = transactions.into_iter().filter(|ops| !ops.is_empty());
                steps.extend(filled.map(|ops| Step::Commit(Transaction { ops })));
            }
        }
    }

    fn ops(&self, family: Family, changes: &[Change]) -> Vec<TableOp> {
        let table = TableFamily::from(family);
        let generations = self.generations(table);
        let op = |change: &Change| match *change {
            Change::Add(set, element) => Op::Add(generations.id(set), element),
            Change::Remove(set, element) => Op::Remove(generations.id(set), element),
        };
        changes.iter().map(|change| TableOp { family: table, op: op(change) }).collect()
    }
}

/// How a delta of one table will be carried out.
enum Decision {
    Direct(Schedule),
    ByMeet(Box<ByMeet>),
}

impl Decision {
    /// `None` if the delta is too wide.
    fn new(state: &TableState, delta: &TablesDelta) -> Option<Self> {
        let transition = Transition::new(state, delta);
        match Strategy::choose(&transition) {
            Strategy::Direct { grace_first, egress_narrows } => {
                let mut schedule = schedule(&transition, grace_first);
                if egress_narrows {
                    schedule.actions.push(Action::EgressNarrowed);
                }
                if schedule.is_empty() {
                    schedule.actions.retain(|action| !matches!(action, Action::Grace));
                }
                Some(Self::Direct(schedule))
            }
            Strategy::ByMeet => Some(Self::ByMeet(Box::new(ByMeet::new(&transition)?))),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Direct(schedule) => schedule.is_empty(),
            Self::ByMeet(_) => false,
        }
    }

    fn carry_out(self, state: &mut TableState) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut advance = |state: &mut TableState, schedule: Schedule| {
            state.advance(&schedule);
            actions.extend(schedule.actions);
        };
        match self {
            Self::Direct(schedule) => advance(state, schedule),
            Self::ByMeet(meet) => {
                state.ids = meet.ids;
                let narrowing = schedule(&Transition::new(state, &meet.narrowing), false);
                advance(state, narrowing);
                advance(state, Schedule { actions: vec![Action::Grace] });
                let widening = schedule(&Transition::new(state, &meet.widening), false);
                advance(state, widening);
            }
        }
        actions
    }
}

fn remove_garbage(state: &mut TableState) -> Vec<Action> {
    let removals = state.garbage.removals(&state.kernel);
    let removals = removals.into_iter().map(|change| Action::Together(vec![change]));
    let schedule = Schedule { actions: [Action::Grace].into_iter().chain(removals).collect() };
    state.advance(&schedule);
    state.forget_unnamed();
    schedule.actions
}
