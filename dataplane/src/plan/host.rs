//! The facts of the host among the elements of the tables, and when they change.
//!
//! What is looked up in them stands before all that the program decides. So an element that comes narrows a decision that
//! packets read first: it stands before everything else of a change, and what widens waits for a grace period as after a
//! new subject. An element that goes widens that decision, which no later lookup can contradict.

use palisade_compiler::model::{Family, PerFamily};
use palisade_compiler::program::Delta;
use palisade_compiler::program::sets::SetName;

use super::{Planner, Step};
use crate::contents::Contents;
use crate::host::{HostDelta, HostFacts};
use crate::transaction::{Op, TableOp, Transaction};

#[derive(Debug, Default)]
pub(super) struct Host {
    /// What the kernel has, or will have after the steps that were handed out.
    kernel: PerFamily<HostFacts>,
    /// What it must have after the next change, where that differs.
    wanted: PerFamily<HostDelta>,
}

impl Host {
    /// Whether the next change adds elements.
    pub(super) fn narrows(&self) -> bool {
        self.wanted.iter().any(|(_, delta)| delta.narrows())
    }
}

impl Planner {
    /// The planner of tables that hold these facts of the host beside the program.
    #[must_use]
    pub fn holding(mut self, kernel: PerFamily<HostFacts>) -> Self {
        self.host = Host { kernel, wanted: PerFamily::default() };
        self
    }

    /// Sets what the next `plan` puts into force of the host.
    pub fn set_host(&mut self, host: &HostFacts) {
        let kernel = &self.host.kernel;
        self.host.wanted = PerFamily::from_fn(|family| HostDelta::between(&kernel[family], host));
    }

    /// What is in force of the host after all steps so far, in either family.
    pub fn host(&self) -> HostFacts {
        let mut host = self.host.kernel.v4.clone();
        HostDelta::between(&HostFacts::default(), &self.host.kernel.v6).apply_to(&mut host);
        host
    }

    /// What a table has after all steps so far, pending removals included.
    pub fn contents(&self, family: Family) -> Contents<'_> {
        Contents { program: self.kernel(family), host: &self.host.kernel[family] }
    }

    /// How many elements of a set the delta and the host's facts may add.
    pub fn additions(&self, delta: &Delta, family: Family, set: SetName) -> usize {
        delta[family].additions(set) + self.host.wanted[family].additions(set)
    }

    /// Puts the change of the host's facts before the other steps, in the first transaction where that has room for it.
    pub(super) fn change_host(&mut self, steps: &mut Vec<Step>) {
        let wanted = std::mem::take(&mut self.host.wanted);
        let mut ops: Vec<TableOp> = Vec::new();
        for (family, delta) in wanted.iter() {
            delta.apply_to(&mut self.host.kernel[family]);
            let generations = self.generations(family);
            for set in SetName::ALL {
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
