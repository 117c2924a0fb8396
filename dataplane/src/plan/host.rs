//! The facts of the host among the elements of the tables, and when they change.
//!
//! What is looked up in them stands before all that the program decides. So an element that comes narrows a decision that
//! packets read first: it stands before everything else of a change, and what widens waits for a grace period as after a
//! new subject. An element that goes widens that decision, which no later lookup can contradict.

use std::collections::BTreeMap;

use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::{Delta, TableFamily};

use super::{Planner, Step};
use crate::contents::Contents;
use crate::host::{HostDelta, HostFacts};
use crate::transaction::{Op, TableOp, Transaction};

#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// What the kernel has in each table, or will have after the steps that were handed out.
    kernel: BTreeMap<TableFamily, HostFacts>,
    /// How that differs from what it must have after the next change.
    wanted: BTreeMap<TableFamily, HostDelta>,
}

/// What a table without facts of the host has.
static NO_FACTS: HostFacts = HostFacts::EMPTY;

impl Host {
    /// Whether the next change adds elements.
    pub(super) fn narrows(&self) -> bool {
        self.wanted.values().any(HostDelta::narrows)
    }

    fn of(&self, table: TableFamily) -> &HostFacts {
        self.kernel.get(&table).unwrap_or(&NO_FACTS)
    }
}

impl Planner {
    /// The planner of tables that hold these facts of the host beside the program.
    #[must_use]
    pub fn holding(mut self, kernel: BTreeMap<TableFamily, HostFacts>) -> Self {
        self.host = Host { kernel, wanted: BTreeMap::new() };
        self
    }

    /// Notes that a table was made that holds these facts of the host.
    pub fn note_new_table(&mut self, table: TableFamily, facts: HostFacts) {
        // It judges what its predecessor, if any, did not: a decision before those of the program narrowed.
        self.v4.window.guarded = true;
        self.v6.window.guarded = true;
        self.host.kernel.insert(table, facts);
    }

    /// Sets what the next `plan` puts into force of the host.
    pub fn set_host(&mut self, host: &HostFacts) {
        let delta = |table| HostDelta::between(self.host.of(table), &host.within(table));
        let deltas = TableFamily::ALL.into_iter().map(|table| (table, delta(table)));
        self.host.wanted = deltas.filter(|(_, delta)| !delta.is_empty()).collect();
    }

    /// What is in force of the host after all steps so far, in any table.
    pub fn host(&self) -> HostFacts {
        let mut host = HostFacts::default();
        self.host.kernel.values().for_each(|facts| host.extend(facts));
        host
    }

    /// What a table has after all steps so far, pending removals included.
    pub fn contents(&self, table: TableFamily) -> Contents<'_> {
        Contents {
            program: table.family().map(|family| self.kernel(family)),
            host: self.host.of(table),
        }
    }

    /// How many elements of a set the delta and the host's facts may add.
    pub fn additions(&self, delta: &Delta, table: TableFamily, set: SetName) -> usize {
        table.family().map_or(0, |family| delta[family].additions(set))
            + self.host.wanted.get(&table).map_or(0, |delta| delta.additions(set))
    }

    /// Puts the change of the host's facts before the other steps, in the first transaction where that has room for it.
    pub(super) fn change_host(&mut self, steps: &mut Vec<Step>) {
        let mut ops: Vec<TableOp> = Vec::new();
        for (family, delta) in std::mem::take(&mut self.host.wanted) {
            delta.apply_to(self.host.kernel.entry(family).or_default());
            let generations = self.generations(family);
            for set in family.sets() {
                for edit in delta.edits(set) {
                    let id = generations.id(set);
                    let gone = edit.before.map(|element| Op::Remove(id, element));
                    let come = edit.after.map(|element| Op::Add(id, element));
                    ops.extend(gone.into_iter().chain(come).map(|op| TableOp { family, op }));
                }
            }
        }
        if ops.is_empty() {
            return;
        }
        match steps.first_mut() {
            Some(Step::Commit(first)) if first.ops.len() + ops.len() <= self.limits.transaction => {
                first.ops.splice(0..0, ops);
            }
            _ => steps.insert(0, Step::Commit(Transaction { ops })),
        }
    }
}
