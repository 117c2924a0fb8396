//! A delta of programs -> transactions and grace periods in an order in which no packet gets a verdict that neither
//! program gives.
//!
//! ```text
//! Delta -> shift (who changes class) -> hazard (direct, or by way of a meet) -> schedule -> Transactions and graces
//! ```
//!
//! A transaction is atomic for each map, but a packet reads the maps one after the other: it may read an earlier one as
//! it was before a transaction and a later one as it is after it, never the reverse; but new contents of `port_ranges`
//! are seen only after the rest of their transaction. After a grace period no packet holds what it read before. The
//! states between two grace periods are a *window*, and the requirement is: whatever non-decreasing states of a window a
//! packet's lookups meet, its verdict is one that some program in force during the window gives.

mod allowed;
mod hazard;
mod host;
mod meet;
mod schedule;
mod shift;
mod table;

use palisade_compiler::model::{Direction, Family};
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{Delta, Program, Tables, TablesDelta};

use crate::contents::rows_set;
use crate::transaction::{
    Element, Generations, MAX_ELEMENTS_PER_TRANSACTION, Op, TableOp, Transaction,
};
use hazard::{Course, Judge};
use host::Host;
use schedule::{Item, Schedule, schedule};
use shift::Shift;
use table::{Change, Ids, Table};

pub use meet::MAX_MEET_ROWS;

/// What a deleted interval of `port_ranges` counts for in a transaction's bound: a thousand deletions stall for seconds.
const RANGE_DELETION_WEIGHT: usize = MAX_ELEMENTS_PER_TRANSACTION / 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Commit(Transaction),
    /// Wait until no packet holds what it read before.
    Grace,
}

/// Plans the changes of both families' tables, and knows what the kernel has once the steps are done.
#[derive(Debug)]
pub struct Planner {
    v4: Table,
    v6: Table,
    host: Host,
    generations: [Generations; 2],
    /// Nothing is known of the window: a grace period stands before the first transaction.
    unsettled: bool,
}

impl Planner {
    /// Starts from what the kernel has. What packets have read of it until now is not known.
    pub fn new(kernel: Program) -> Self {
        Self { unsettled: true, ..Self::of_new_tables(kernel) }
    }

    /// Starts from tables whose elements were all there before any packet could read them.
    pub fn of_new_tables(kernel: Program) -> Self {
        Self {
            v4: Table::new(kernel.v4),
            v6: Table::new(kernel.v6),
            host: Host::default(),
            generations: [Generations::default(); 2],
            unsettled: false,
        }
    }

    /// The generations of the sets that the transactions are to name.
    pub fn set_generations(&mut self, family: Family, generations: Generations) {
        match (family, &mut self.generations) {
            (Family::V4, [v4, _]) => *v4 = generations,
            (Family::V6, [_, v6]) => *v6 = generations,
        }
    }

    pub fn generations(&self, family: Family) -> Generations {
        match (family, self.generations) {
            (Family::V4, [v4, _]) => v4,
            (Family::V6, [_, v6]) => v6,
        }
    }

    /// What the kernel has after all steps so far, pending removals included.
    pub fn kernel(&self, family: Family) -> &Tables {
        &self.table(family).kernel
    }

    /// The program that is in force after all steps so far.
    pub fn program(&self) -> Program {
        Program { v4: self.v4.program(), v6: self.v6.program() }
    }

    /// How many removals wait for `idle`.
    pub fn pending(&self) -> usize {
        self.v4.garbage.len() + self.v6.garbage.len()
    }

    /// Whether `idle` has something to do: removals, or the grace period that the next change would have to wait for.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled || self.pending() > 0
    }

    /// The steps that put the delta into force. Removals of what has no meaning any more are left for `idle`.
    ///
    /// `None`, and nothing planned, if the delta is so wide that replacing the whole table is cheaper (`MAX_MEET_ROWS`).
    pub fn plan(&mut self, delta: &Delta) -> Option<Vec<Step>> {
        if self.host.narrows() {
            // A guard on bridged packets is a decision before those of the program.
            self.v4.window.isolated = true;
            self.v6.window.isolated = true;
        }
        let v4 = decide(&self.v4, &delta.v4)?;
        let v6 = decide(&self.v6, &delta.v6)?;
        let mut steps = Vec::new();
        if self.unsettled && !(v4.is_empty() && v6.is_empty()) {
            self.unsettled = false;
            steps.push(Step::Grace);
        }
        let (v4, v6) = (v4.carry_out(&mut self.v4), v6.carry_out(&mut self.v6));
        self.join(v4, v6, &mut steps);
        self.change_host(&mut steps);
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

    fn table(&self, family: Family) -> &Table {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// Both families' phases side by side, so that they share transactions and grace periods.
    fn join(&self, v4: Phases, v6: Phases, steps: &mut Vec<Step>) {
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
                let transactions = if four.len() + six.len() > MAX_ELEMENTS_PER_TRANSACTION {
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
        let generations = self.generations(family);
        changes.iter().map(|change| TableOp { family, op: change.op(&generations) }).collect()
    }
}

impl Change {
    fn op(self, generations: &Generations) -> Op {
        match self {
            Self::Add(set, element) => Op::Add(generations.id(set), element),
            Self::Remove(set, element) => Op::Remove(generations.id(set), element),
        }
    }

    fn weight(self) -> usize {
        match self {
            Self::Remove(SetName::PortRanges, _) => RANGE_DELETION_WEIGHT,
            Self::Add(..) | Self::Remove(..) => 1,
        }
    }
}

/// Changes of transactions, in phases with a grace period between each two.
type Phases = Vec<Vec<Vec<Change>>>;

enum Decided {
    Direct(Schedule),
    ByMeet { to: Box<TablesDelta>, on: Box<TablesDelta>, ids: Ids },
}

fn decide(table: &Table, delta: &TablesDelta) -> Option<Decided> {
    let shift = Shift::new(table, delta);
    match Judge::new(&shift).course() {
        Course::Direct { grace_first, egress_narrows } => {
            let mut schedule = schedule(&shift, grace_first);
            if egress_narrows {
                schedule.items.push(Item::EgressNarrowed);
            }
            if schedule.is_empty() {
                schedule.items.retain(|item| !matches!(item, Item::Grace));
            }
            Some(Decided::Direct(schedule))
        }
        Course::Meet => {
            let (to, on, ids) = meet::meet(&shift, table.ids)?;
            Some(Decided::ByMeet { to: Box::new(to), on: Box::new(on), ids })
        }
    }
}

impl Decided {
    fn is_empty(&self) -> bool {
        match self {
            Self::Direct(schedule) => schedule.is_empty(),
            Self::ByMeet { .. } => false,
        }
    }

    fn carry_out(self, table: &mut Table) -> Phases {
        let mut items = Vec::new();
        let mut advance = |table: &mut Table, schedule: Schedule| {
            table.advance(&schedule);
            items.extend(schedule.items);
        };
        match self {
            Self::Direct(schedule) => advance(table, schedule),
            Self::ByMeet { to, on, ids } => {
                table.ids = ids;
                let narrowing = schedule(&Shift::new(table, &to), false);
                advance(table, narrowing);
                advance(table, Schedule { items: vec![Item::Grace] });
                let widening = schedule(&Shift::new(table, &on), false);
                advance(table, widening);
            }
        }
        pack(items)
    }
}

fn remove_garbage(table: &mut Table) -> Phases {
    let mut items = vec![Item::Grace];
    let mut remove = |set, element| items.push(Item::Piece(vec![Change::Remove(set, element)]));
    for (direction, garbage) in
        [Direction::Ingress, Direction::Egress].into_iter().zip(&table.garbage.rows_by_subject)
    {
        let rows = crate::contents::rows(&table.kernel, direction);
        for &(subject, class) in garbage {
            if let Some(&profile) = rows.get(&(subject, class)) {
                remove(rows_set(direction), Element::Row(subject, class, profile));
            }
        }
    }
    table.garbage.hairpin.iter().for_each(|&a| remove(SetName::Hairpin, Element::Hairpin(a)));
    table.garbage.ports.iter().for_each(|&e| remove(SetName::Ports, Element::Port(e)));
    let ranges = table.garbage.port_ranges.iter();
    ranges.for_each(|&e| remove(SetName::PortRanges, Element::PortRange(e)));
    let schedule = Schedule { items };
    table.advance(&schedule);
    // Nothing led to these rows since before the grace period.
    table.window.unnamed.clear();
    pack(schedule.items)
}

/// Pieces into transactions of bounded size, in order.
fn pack(items: Vec<Item>) -> Phases {
    let mut phases: Phases = vec![Vec::new()];
    let (mut open, mut weight) = (Vec::new(), 0);
    let mut close = |open: &mut Vec<Change>, weight: &mut usize, grace: bool| {
        *weight = 0;
        let full = std::mem::take(open);
        if let Some(phase) = phases.last_mut().filter(|_| !full.is_empty()) {
            phase.push(full);
        }
        // A grace period right after another adds nothing.
        if grace && (phases.len() == 1 || phases.last().is_some_and(|phase| !phase.is_empty())) {
            phases.push(Vec::new());
        }
    };
    for item in items {
        match item {
            Item::Piece(changes) => {
                let more: usize = changes.iter().map(|change| change.weight()).sum();
                if weight + more > MAX_ELEMENTS_PER_TRANSACTION {
                    close(&mut open, &mut weight, false);
                }
                weight += more;
                open.extend(changes);
            }
            Item::Barrier => close(&mut open, &mut weight, false),
            Item::Grace => close(&mut open, &mut weight, true),
            Item::Left(_) | Item::EgressNarrowed | Item::Discard(..) | Item::Keep(..) => {}
        }
    }
    close(&mut open, &mut weight, false);
    phases
}
