//! The engine: keeps a `Ruleset` equal to a program, and says what it did.
//!
//! ```text
//! read -> sound? -> found program -> plan -> transactions, grace periods
//!           |
//!           +-- no: chains reloaded, or the whole table replaced, in one transaction
//! ```
//!
//! After any failure the ruleset is read again, so that what the engine believes is what the kernel has.

mod build;

use std::collections::BTreeMap;

use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{Delta, Program};

use crate::capacity::{capacity, fits};
use crate::compare::{self, Difference, Soundness};
use crate::contents;
use crate::netlink::describe_owner;
use crate::plan::{Planner, Step};
use crate::ruleset::{Actual, ActualTable, Ruleset, RulesetError};
use crate::transaction::{Op, SetId, TableOp, Transaction};

/// How often a change is tried again after nftables changed under it, or its outcome was not known.
pub const ATTEMPTS: usize = 5;

/// What the engine did, since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub transactions: u64,
    /// Elements added and removed.
    pub elements: u64,
    pub graces: u64,
    /// Times that the ruleset was read again because a transaction failed.
    pub retries: u64,
    /// Tables replaced as a whole, and chains reloaded.
    pub replaced: u64,
    /// Sets built anew because they were full.
    pub grown: u64,
}

/// Keeps both tables of a ruleset equal to a program.
#[derive(Debug)]
pub struct Dataplane<R> {
    ruleset: R,
    planner: Planner,
    sizes: BTreeMap<(Family, SetId), Option<u32>>,
    /// How much of the structure must be made before elements mean anything.
    soundness: Soundness,
    /// Which families have a table at all.
    present: Vec<Family>,
    /// Which tables have the flags of an owner and no live one.
    orphaned: Vec<Family>,
    counters: Counters,
}

impl<R: Ruleset> Dataplane<R> {
    /// Reads what is there and changes nothing.
    ///
    /// # Errors
    ///
    /// `Owned` if a table belongs to another live process; else those of reading.
    pub fn start(mut ruleset: R) -> Result<Self, RulesetError> {
        let actual = ruleset.read()?;
        if let Some(owner) = actual.values().find_map(|table| table.owner) {
            return Err(RulesetError::Owned { owner: describe_owner(owner) });
        }
        let mut dataplane = Self {
            ruleset,
            planner: Planner::new(Program::default()),
            sizes: BTreeMap::new(),
            soundness: Soundness::Table,
            present: Vec::new(),
            orphaned: Vec::new(),
            counters: Counters::default(),
        };
        dataplane.adopt(&actual);
        Ok(dataplane)
    }

    /// What the kernel holds that a compile should take its ids from; nothing if the tables are not ours to keep.
    pub fn found(&self) -> Program {
        self.planner.program()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn ruleset(&self) -> &R {
        &self.ruleset
    }

    /// Ends the engine, and leaves the tables as they are.
    pub fn into_ruleset(self) -> R {
        self.ruleset
    }

    /// Makes the kernel's contents those of the program: only the difference is committed, and nothing if there is none.
    ///
    /// # Errors
    ///
    /// Any of `RulesetError`; the kernel then holds the old contents or some of the new, and every packet still gets a verdict of
    /// one of them. Calling it again goes on from there.
    pub fn install(&mut self, program: &Program) -> Result<(), RulesetError> {
        let mut attempt = 1;
        loop {
            let result = self.try_install(program);
            let Err(error) = result else { return Ok(()) };
            self.counters.retries += 1;
            self.read_again()?;
            let again = match error {
                RulesetError::Retry { .. }
                | RulesetError::Unknown { .. }
                | RulesetError::Full { .. }
                | RulesetError::Refused { .. } => attempt < ATTEMPTS,
                RulesetError::NotPermitted { .. }
                | RulesetError::Owned { .. }
                | RulesetError::Unsupported { .. }
                | RulesetError::Io(_) => false,
            };
            if !again {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Puts a change of the program into force that was installed before.
    ///
    /// # Errors
    ///
    /// As `install`.
    pub fn update(&mut self, delta: &Delta) -> Result<(), RulesetError> {
        if self.soundness != Soundness::Sound {
            return self.install(&self.program_after(delta));
        }
        if self.carry_out(delta).is_ok() {
            return Ok(());
        }
        let program = self.program_after(delta);
        self.counters.retries += 1;
        self.read_again()?;
        self.install(&program)
    }

    /// The program that a delta leads to, whether it is planned by now or not: a delta tells what is to be, not by how much.
    /// A copy of everything, so not for every change.
    fn program_after(&self, delta: &Delta) -> Program {
        let mut program = self.planner.program();
        delta.apply_to(&mut program);
        program
    }

    /// Removes what has no meaning any more, after a grace period. For when nothing else waits.
    ///
    /// # Errors
    ///
    /// As `install`; what was not removed is harmless, and removed by the next `install`.
    pub fn settle(&mut self) -> Result<(), RulesetError> {
        let steps = self.planner.idle();
        let result = self.run(steps);
        if result.is_err() {
            self.counters.retries += 1;
            let program = self.planner.program();
            self.read_again()?;
            return self.install(&program);
        }
        result
    }

    /// Whether `settle` has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.planner.pending() > 0
    }

    /// Deletes our tables and nothing else.
    ///
    /// # Errors
    ///
    /// As `install`; the tables are as they were.
    pub fn remove(&mut self) -> Result<(), RulesetError> {
        self.claim()?;
        let ops = self.deletions();
        self.commit(Transaction { ops })?;
        self.read_again()
    }

    /// Reads the kernel back and names every difference from the program; empty if it is proved equal. Differences are told
    /// only if two reads agree on them.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn verify(&mut self, program: &Program) -> Result<Vec<Difference>, RulesetError> {
        self.settle()?;
        verify(&mut self.ruleset, program)
    }

    fn adopt(&mut self, actual: &Actual) {
        let owned = self.ruleset.features().persistent_owner;
        self.soundness = compare::soundness(actual, owned);
        self.present = actual.keys().copied().collect();
        let is_orphaned = |table: &ActualTable| table.persistent && table.owner.is_none();
        let orphaned = actual.iter().filter(|(_, table)| is_orphaned(table));
        self.orphaned = orphaned.map(|(&family, _)| family).collect();
        self.sizes.clear();
        let mut found = Program::default();
        if self.soundness != Soundness::Table {
            for (&family, table) in actual {
                *found.family_mut(family) = compare::tables(table);
            }
        }
        self.planner = Planner::new(found);
        for (&family, table) in actual {
            self.planner.set_generations(family, table.generations());
            self.sizes.extend(table.sets.iter().map(|(&id, set)| ((family, id), set.size)));
        }
    }

    fn read_again(&mut self) -> Result<(), RulesetError> {
        let actual = self.ruleset.read()?;
        self.adopt(&actual);
        Ok(())
    }

    fn try_install(&mut self, program: &Program) -> Result<(), RulesetError> {
        self.claim()?;
        match self.soundness {
            Soundness::Table => return self.replace(program),
            Soundness::Mendable => self.mend()?,
            Soundness::Sound => {}
        }
        self.delete_leftovers()?;
        let delta = Delta::between(&self.planner.program(), program);
        self.carry_out(&delta)
    }

    /// Plans a delta, makes room for it, and commits it.
    fn carry_out(&mut self, delta: &Delta) -> Result<(), RulesetError> {
        self.make_room(delta)?;
        match self.planner.plan(delta) {
            Some(steps) => self.run(steps),
            None => self.replace(&self.program_after(delta)),
        }
    }

    fn run(&mut self, steps: Vec<Step>) -> Result<(), RulesetError> {
        for step in steps {
            match step {
                Step::Commit(transaction) => self.commit(transaction)?,
                Step::Grace => self.grace()?,
            }
        }
        Ok(())
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), RulesetError> {
        if transaction.ops.is_empty() {
            return Ok(());
        }
        self.ruleset.commit(&transaction)?;
        self.counters.transactions += 1;
        let is_element = |op: &TableOp| matches!(op.op, Op::Add(..) | Op::Remove(..));
        self.counters.elements += transaction.ops.iter().filter(|op| is_element(op)).count() as u64;
        Ok(())
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        self.counters.graces += 1;
        self.ruleset.grace()
    }

    /// Builds fuller sets beside those that the delta would overfill.
    fn make_room(&mut self, delta: &Delta) -> Result<(), RulesetError> {
        for family in Family::ALL {
            for set in SetName::ALL {
                let id = self.planner.generations(family).id(set);
                let size = self.sizes.get(&(family, id)).copied().flatten();
                let held = contents::count(self.planner.kernel(family), set);
                let after = held + build::additions(delta.family(family), set);
                if !fits(set, size, after) {
                    self.grow(family, set, after)?;
                }
            }
        }
        Ok(())
    }

    fn grow(&mut self, family: Family, set: SetName, wanted: usize) -> Result<(), RulesetError> {
        let old = self.planner.generations(family).id(set);
        let new = SetId { set, generation: old.generation + 1 };
        let size = capacity(set, wanted);
        for transaction in build::fill_beside(family, self.planner.kernel(family), new, size) {
            self.commit(transaction)?;
        }
        let mut generations = self.planner.generations(family);
        generations.set(new);
        self.commit(Transaction { ops: build::reload(family, &generations) })?;
        self.planner.set_generations(family, generations);
        self.sizes.insert((family, new), size);
        self.counters.grown += 1;
        self.grace()?;
        self.commit(Transaction { ops: vec![TableOp { family, op: Op::DeleteSet(old) }] })?;
        self.sizes.remove(&(family, old));
        Ok(())
    }

    /// Takes over the tables of an agent that is gone, which nobody else can then write to. A transaction of its own: the
    /// kernel hooks no chain into a table whose flags change in the same one.
    fn claim(&mut self) -> Result<(), RulesetError> {
        if !self.ruleset.features().persistent_owner {
            return Ok(());
        }
        let orphaned = std::mem::take(&mut self.orphaned).into_iter();
        let ops: Vec<TableOp> =
            orphaned.map(|family| TableOp { family, op: Op::CreateTable }).collect();
        if ops.is_empty() {
            return Ok(());
        }
        self.ruleset.commit(&Transaction { ops })
    }

    /// Sets that a predecessor built and did not switch to, or switched from and did not delete.
    fn delete_leftovers(&mut self) -> Result<(), RulesetError> {
        let leftovers: Vec<(Family, SetId)> = self
            .sizes
            .keys()
            .filter(|(family, id)| self.planner.generations(*family).id(id.set) != *id)
            .copied()
            .collect();
        if leftovers.is_empty() {
            return Ok(());
        }
        self.grace()?;
        let delete = |&(family, id): &(Family, SetId)| TableOp { family, op: Op::DeleteSet(id) };
        self.commit(Transaction { ops: leftovers.iter().map(delete).collect() })?;
        leftovers.iter().for_each(|key| _ = self.sizes.remove(key));
        Ok(())
    }

    fn mend(&mut self) -> Result<(), RulesetError> {
        let actual = self.ruleset.read()?;
        let mut ops = Vec::new();
        for (&family, table) in &actual {
            ops.extend(build::mend(family, table, &self.planner.generations(family)));
        }
        self.commit(Transaction { ops })?;
        self.counters.replaced += 1;
        self.soundness = Soundness::Sound;
        Ok(())
    }

    /// Puts new tables with this program in the place of whatever is there.
    fn replace(&mut self, program: &Program) -> Result<(), RulesetError> {
        if self.present.is_empty() {
            // Nothing is judged before all is there: the rules come last.
            for transaction in build::in_chunks(program) {
                self.commit(transaction)?;
            }
        } else {
            let mut ops = self.deletions();
            ops.extend(build::in_chunks(program).into_iter().flat_map(|t| t.ops));
            self.commit(Transaction { ops })?;
            self.counters.replaced += 1;
        }
        self.read_sizes(program);
        Ok(())
    }

    fn deletions(&self) -> Vec<TableOp> {
        let delete = |&family: &Family| TableOp { family, op: Op::DeleteTable };
        self.present.iter().map(delete).collect()
    }

    fn read_sizes(&mut self, program: &Program) {
        self.planner = Planner::new(program.clone());
        self.soundness = Soundness::Sound;
        self.present = Family::ALL.to_vec();
        self.sizes.clear();
        for family in Family::ALL {
            for set in SetName::ALL {
                let size = capacity(set, contents::count(program.family(family), set));
                self.sizes.insert((family, SetId { set, generation: 0 }), size);
            }
        }
    }
}

/// Reads a ruleset, owned by whomever, and names every difference from the program; see `Dataplane::verify`.
///
/// # Errors
///
/// Those of reading.
pub fn verify<R: Ruleset>(
    ruleset: &mut R,
    program: &Program,
) -> Result<Vec<Difference>, RulesetError> {
    let owned = ruleset.features().persistent_owner;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let found = compare::differences(&ruleset.read()?, program, owned);
        if found.is_empty() || last.as_ref() == Some(&found) {
            return Ok(found);
        }
        last = Some(found);
    }
    Err(RulesetError::Retry { what: "no two reads agreed".to_owned() })
}
