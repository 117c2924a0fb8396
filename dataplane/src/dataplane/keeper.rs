//! Keeps the tables of one name equal to a program, as far as that can be done in place.

use std::collections::BTreeMap;

use palisade_compiler::model::{Family, PerFamily};
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{Delta, Program};

use super::build;
use super::writer::Writer;
use crate::compare::{self, Soundness};
use crate::contents::Contents;
use crate::host::HostFacts;
use crate::plan::{Planner, Step};
use crate::ruleset::{Actual, ActualChain, ActualTable, Ruleset, RulesetError, TableName};
use crate::transaction::{Op, SetId, TableOp, Transaction};
use palisade_compiler::program::capacity::{capacity, fits};

#[derive(Debug)]
pub(super) struct Keeper {
    name: TableName,
    planner: Planner,
    sizes: BTreeMap<(Family, SetId), Option<u32>>,
    /// How much of the structure must be made before elements mean anything.
    soundness: Soundness,
    /// Which families have a table at all.
    present: Vec<Family>,
    /// The netlink port id of a live owner.
    owner: Option<u32>,
    /// Which tables have the flags of an owner and no live one.
    orphaned: Vec<Family>,
    /// The chains that packets enter by and that have rules.
    entrances: Vec<(Family, String)>,
}

impl Keeper {
    /// Reads what is there.
    pub(super) fn read<R: Ruleset>(
        name: TableName,
        writer: &mut Writer<R>,
    ) -> Result<Self, RulesetError> {
        let actual = writer.ruleset.read(name)?;
        let mut keeper = Self::of_nothing(name);
        keeper.adopt(&actual, writer.ruleset.features().persistent_owner);
        Ok(keeper)
    }

    fn of_nothing(name: TableName) -> Self {
        Self {
            name,
            planner: Planner::new(Program::default()),
            sizes: BTreeMap::new(),
            soundness: Soundness::Table,
            present: Vec::new(),
            owner: None,
            orphaned: Vec::new(),
            entrances: Vec::new(),
        }
    }

    fn adopt(&mut self, actual: &Actual, owned: bool) {
        self.soundness = compare::soundness(actual, owned);
        let (mut found, mut host) = (Program::default(), PerFamily::<HostFacts>::default());
        for (&family, table) in actual {
            self.present.push(family);
            self.owner = self.owner.or(table.owner);
            if table.persistent && table.owner.is_none() {
                self.orphaned.push(family);
            }
            let judges = |chain: &ActualChain| {
                !table.dormant && !chain.base.is_empty() && !chain.rules.is_empty()
            };
            let filled = table.chains.iter().filter(|(_, chain)| judges(chain));
            self.entrances.extend(filled.map(|(chain, _)| (family, chain.clone())));
            if self.soundness != Soundness::Table {
                found[family] = compare::tables(table);
                host[family] = compare::host_facts(table);
            }
        }
        self.planner = Planner::new(found).holding(host);
        for (&family, table) in actual {
            self.planner.set_generations(family, table.generations());
            self.sizes.extend(table.sets.iter().map(|(&id, set)| ((family, id), set.size)));
        }
    }

    pub(super) const fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// What is in force, as far as the structure gives it a meaning.
    pub(super) fn program(&self) -> Program {
        self.planner.program()
    }

    /// The facts of the host that the tables were found with, of any family.
    pub(super) fn host(&self) -> HostFacts {
        self.planner.host()
    }

    /// The facts of the host that the next change puts into force with it.
    pub(super) fn set_host(&mut self, host: &HostFacts) {
        self.planner.set_host(host);
    }

    /// Whether `settle` has something to do.
    pub(super) fn is_unsettled(&self) -> bool {
        self.planner.is_unsettled()
    }

    pub(super) fn is_present(&self) -> bool {
        !self.present.is_empty()
    }

    /// Whether packets of some family are judged by these tables.
    pub(super) fn is_in_force(&self) -> bool {
        !self.entrances.is_empty()
    }

    fn judges(&self, family: Family) -> bool {
        self.entrances.iter().any(|(of, _)| *of == family)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.soundness == Soundness::Sound
    }

    /// Whether its contents can be brought to another program's without new tables.
    pub(super) fn is_usable(&self) -> bool {
        self.soundness != Soundness::Table
    }

    /// Takes over the tables of an agent that is gone, which nobody else can then write to. A transaction of its own: the
    /// kernel hooks no chain into a table whose flags change in the same one.
    pub(super) fn claim<R: Ruleset>(&mut self, writer: &mut Writer<R>) -> Result<(), RulesetError> {
        let orphaned = std::mem::take(&mut self.orphaned).into_iter();
        if !writer.ruleset.features().persistent_owner || orphaned.len() == 0 {
            return Ok(());
        }
        let claim = |family| TableOp { family, op: Op::CreateTable };
        // Not counted: nothing of the contents changes.
        writer.ruleset.commit(self.name, &Transaction { ops: orphaned.map(claim).collect() })
    }

    /// Makes the contents those of the program by the difference only. `false`: only new tables can do it, and what was
    /// mended or removed until then changed no verdict but to that of the skeleton over the contents found.
    pub(super) fn bring<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        program: &Program,
        host: &HostFacts,
    ) -> Result<bool, RulesetError> {
        if self.soundness == Soundness::Table {
            return Ok(false);
        }
        let (judging, idle): (Vec<Family>, Vec<Family>) =
            Family::ALL.into_iter().partition(|&family| self.judges(family));
        let mend = self.soundness == Soundness::Mendable;
        if mend {
            self.mend(writer, &judging)?;
        }
        self.delete_leftovers(writer)?;
        self.set_host(host);
        let delta = Delta::between(&self.program(), program);
        if !self.carry_out(writer, &delta)? {
            return Ok(false);
        }
        if mend {
            // A load that was cut short has no rules yet, and must not get them before its elements.
            self.mend(writer, &idle)?;
            self.soundness = Soundness::Sound;
        }
        Ok(true)
    }

    /// Plans a delta, makes room for it and commits it. `false`, and nothing done, if only new tables can take it.
    pub(super) fn carry_out<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        delta: &Delta,
    ) -> Result<bool, RulesetError> {
        if !self.make_room(writer, delta)? {
            return Ok(false);
        }
        let Some(steps) = self.planner.plan(delta) else { return Ok(false) };
        self.run(writer, steps)?;
        Ok(true)
    }

    /// Removes what has no meaning any more, after a grace period.
    pub(super) fn settle<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
    ) -> Result<(), RulesetError> {
        let steps = self.planner.idle();
        self.run(writer, steps)
    }

    fn run<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        steps: Vec<Step>,
    ) -> Result<(), RulesetError> {
        for step in steps {
            match step {
                Step::Commit(transaction) => writer.commit(self.name, transaction)?,
                Step::Grace => writer.grace()?,
            }
        }
        Ok(())
    }

    /// Builds fuller sets beside those that the delta would overfill.
    fn make_room<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        delta: &Delta,
    ) -> Result<bool, RulesetError> {
        for family in Family::ALL {
            for set in SetName::ALL {
                let id = self.planner.generations(family).id(set);
                let size = self.sizes.get(&(family, id)).copied().flatten();
                let held = self.planner.contents(family).count(set);
                let after = held + self.planner.additions(delta, family, set);
                if fits(set, size, after) {
                    continue;
                }
                // Growth ends with new rules, which tables without any must not get yet.
                if !self.judges(family) {
                    return Ok(false);
                }
                self.grow(writer, family, set, after)?;
            }
        }
        Ok(true)
    }

    fn grow<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        family: Family,
        set: SetName,
        wanted: usize,
    ) -> Result<(), RulesetError> {
        let old = self.planner.generations(family).id(set);
        let new = SetId { set, generation: old.generation + 1 };
        let size = capacity(set, wanted);
        for transaction in build::fill_beside(family, self.planner.contents(family), new, size) {
            writer.commit(self.name, transaction)?;
        }
        let mut generations = self.planner.generations(family);
        generations.set(new);
        writer.commit(self.name, Transaction { ops: build::reload(family, &generations) })?;
        self.planner.set_generations(family, generations);
        self.sizes.insert((family, new), size);
        writer.counters.grown += 1;
        writer.grace()?;
        let delete = TableOp { family, op: Op::DeleteSet(old) };
        writer.commit(self.name, Transaction { ops: vec![delete] })?;
        self.sizes.remove(&(family, old));
        Ok(())
    }

    /// Sets that a predecessor built and did not switch to, or switched from and did not delete.
    fn delete_leftovers<R: Ruleset>(&mut self, writer: &mut Writer<R>) -> Result<(), RulesetError> {
        let leftovers: Vec<(Family, SetId)> = self
            .sizes
            .keys()
            .filter(|(family, id)| self.planner.generations(*family).id(id.set) != *id)
            .copied()
            .collect();
        if leftovers.is_empty() {
            return Ok(());
        }
        writer.grace()?;
        let delete = |&(family, id): &(Family, SetId)| TableOp { family, op: Op::DeleteSet(id) };
        writer.commit(self.name, Transaction { ops: leftovers.iter().map(delete).collect() })?;
        leftovers.iter().for_each(|key| _ = self.sizes.remove(key));
        Ok(())
    }

    fn mend<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        families: &[Family],
    ) -> Result<(), RulesetError> {
        if families.is_empty() {
            return Ok(());
        }
        let actual = writer.ruleset.read(self.name)?;
        let tables = actual.iter().filter(|(family, _)| families.contains(family));
        let mend = |(&family, table): (&Family, &ActualTable)| {
            build::mend(family, table, &self.planner.generations(family))
        };
        writer.commit(self.name, Transaction { ops: tables.flat_map(mend).collect() })?;
        writer.counters.replaced += 1;
        self.entrances.retain(|(family, _)| !families.contains(family));
        self.entrances.extend(build::entrances(families));
        Ok(())
    }

    /// New tables where there are none. Nothing is judged before all is there: the rules come last.
    pub(super) fn build<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        program: &Program,
        host: &HostFacts,
    ) -> Result<(), RulesetError> {
        for transaction in build::in_chunks(program, host) {
            writer.commit(self.name, transaction)?;
        }
        // No packet came before the rules, so the next change need not wait for any.
        self.built(program, host, Planner::of_new_tables(program.clone()));
        Ok(())
    }

    /// New tables in the place of what is there, in one transaction. A packet under way may meet the old rules and
    /// their sets without elements, which denies it.
    pub(super) fn rebuild<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        program: &Program,
        host: &HostFacts,
    ) -> Result<(), RulesetError> {
        let mut ops = self.deletions();
        ops.extend(build::in_chunks(program, host).into_iter().flat_map(|t| t.ops));
        writer.commit(self.name, Transaction { ops })?;
        self.built(program, host, Planner::new(program.clone()));
        Ok(())
    }

    fn built(&mut self, program: &Program, host: &HostFacts, planner: Planner) {
        *self = Self::of_nothing(self.name);
        self.planner = planner.holding(PerFamily::from_fn(|_| host.clone()));
        self.soundness = Soundness::Sound;
        self.present = Family::ALL.to_vec();
        self.entrances = build::entrances(&Family::ALL).collect();
        for family in Family::ALL {
            for set in SetName::ALL {
                let contents = Contents { program: &program[family], host };
                let size = capacity(set, contents.count(set));
                self.sizes.insert((family, SetId { set, generation: 0 }), size);
            }
        }
    }

    /// Takes the tables away in two steps: first the rules that packets enter by, and when no packet is under way in
    /// them any more, the rest. So none meets rules whose sets are emptied.
    pub(super) fn delete<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
    ) -> Result<(), RulesetError> {
        if self.is_in_force() {
            let close = |(family, chain): &(Family, String)| build::flush(*family, chain);
            let ops = self.entrances.iter().map(close).collect();
            writer.commit(self.name, Transaction { ops })?;
            self.entrances.clear();
            writer.grace()?;
        }
        writer.commit(self.name, Transaction { ops: self.deletions() })?;
        *self = Self::of_nothing(self.name);
        Ok(())
    }

    fn deletions(&self) -> Vec<TableOp> {
        let delete = |&family: &Family| TableOp { family, op: Op::DeleteTable };
        self.present.iter().map(delete).collect()
    }
}
