//! The facts of the host that are elements of the tables, and when they change.
//!
//! The rules look these facts up before all decisions of the program. An added element narrows a decision that packets read
//! first. Therefore it comes before all other steps of a change, and whatever widens waits for a grace period, as it does
//! after a new subject. A removed element widens that decision, and no later lookup can contradict it.

use std::collections::BTreeMap;

use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::{Delta, TableFamily};

use super::{Planner, Step};
use crate::contents::Contents;
use crate::host::{HostDelta, HostFacts};
use crate::transaction::{Op, TableOp, Transaction};

#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// What each table in the kernel contains after the steps that were returned so far.
    kernel: BTreeMap<TableFamily, HostFacts>,
    /// The difference from what each table must contain after the next change.
    wanted: BTreeMap<TableFamily, HostDelta>,
}

/// The facts of a table without any.
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
    /// Returns the planner for tables that contain these facts of the host besides the program.
    #[must_use]
    pub fn holding(mut self, kernel: BTreeMap<TableFamily, HostFacts>) -> Self {
        self.host = Host { kernel, wanted: BTreeMap::new() };
        self
    }

    /// Records that a table with these facts of the host was created.
    pub fn note_new_table(&mut self, table: TableFamily, facts: HostFacts) {
        // The new table judges packets that its predecessor, if there was one, did not: a decision that packets read before
        // those of the program has narrowed.
        self.v4.window.guarded = true;
        self.v6.window.guarded = true;
        self.host.kernel.insert(table, facts);
    }

    /// Sets the facts of the host that the next `plan` puts into force.
    pub fn set_host(&mut self, host: &HostFacts) {
        let delta = |table| HostDelta::between(self.host.of(table), &host.within(table));
        let deltas = TableFamily::ALL.into_iter().map(|table| (table, delta(table)));
        self.host.wanted = deltas.filter(|(_, delta)| !delta.is_empty()).collect();
    }

    /// The facts of the host that are in force after all steps so far, in any table.
    pub fn host(&self) -> HostFacts {
        let mut host = HostFacts::default();
        self.host.kernel.values().for_each(|facts| host.extend(facts));
        host
    }

    /// The contents of a table after all steps so far, including elements whose removal is pending.
    pub fn contents(&self, table: TableFamily) -> Contents<'_> {
        Contents {
            program: table.family().map(|family| self.kernel(family)),
            host: self.host.of(table),
        }
    }

    /// The greatest number of elements that the delta and the facts of the host may add to a set.
    pub fn additions(&self, delta: &Delta, table: TableFamily, set: SetName) -> usize {
        table.family().map_or(0, |family| delta[family].additions(set))
            + self.host.wanted.get(&table).map_or(0, |delta| delta.additions(set))
    }

    /// Puts the changes of the host's facts before the other steps: into the first transaction if it has space for them.
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
