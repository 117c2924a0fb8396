//! Keeps the tables of one name equal to a program, as far as that can be done in place.

use std::collections::BTreeMap;

use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{Delta, Program, TableFamily};

use super::transactions;
use super::writer::Writer;
use crate::compare::{self, Soundness, Structure};
use crate::contents::Contents;
use crate::host::HostFacts;
use crate::plan::{Planner, Step};
use crate::ruleset::{Actual, ActualChain, ActualTable, Ruleset, RulesetError, TableName};
use crate::transaction::{Generations, Op, SetId, TableOp, Transaction};
use palisade_compiler::program::sets::SetName;

/// The tables of one name as they are known to be.
#[derive(Debug)]
pub(super) struct ManagedTables {
    name: TableName,
    planner: Planner,
    /// What the tables must hold of the host after the next change.
    host: HostFacts,
    /// The sizes that sets are declared with.
    sizes: BTreeMap<(TableFamily, SetId), Option<u32>>,
    /// How much of the structure must be made before elements mean anything.
    soundness: Soundness,
    /// Which families have a table at all.
    present: Vec<TableFamily>,
    /// The netlink port ids of live owners.
    owners: Vec<u32>,
    /// Which tables have the flags of an owner and no live one.
    orphaned: Vec<TableFamily>,
    /// The chains that packets enter by and that have rules.
    entrances: Vec<(TableFamily, String)>,
}

impl ManagedTables {
    /// Reads what is there.
    pub(super) fn read<R: Ruleset>(
        name: TableName,
        writer: &mut Writer<R>,
    ) -> Result<Self, RulesetError> {
        let actual = writer.ruleset.read(name)?;
        let mut tables = Self::of_nothing(name);
        let owned = writer.ruleset.features().persistent_owner;
        tables.adopt(&actual, owned, writer.deny_action);
        Ok(tables)
    }

    pub(super) fn of_nothing(name: TableName) -> Self {
        Self {
            name,
            planner: Planner::new(Program::default()),
            host: HostFacts::default(),
            sizes: BTreeMap::new(),
            soundness: Soundness::Table,
            present: Vec::new(),
            owners: Vec::new(),
            orphaned: Vec::new(),
            entrances: Vec::new(),
        }
    }

    fn adopt(&mut self, actual: &Actual, owned: bool, deny_action: DenyAction) {
        self.soundness = compare::soundness(actual, Structure { owned, deny_action });
        let (mut found, mut host) = (Program::default(), BTreeMap::new());
        for (&family, table) in actual {
            self.present.push(family);
            self.owners.extend(table.owner);
            if table.persistent && table.owner.is_none() {
                self.orphaned.push(family);
            }
            let judges = |chain: &ActualChain| {
                !table.dormant && !chain.base.is_empty() && !chain.rules.is_empty()
            };
            let filled = table.chains.iter().filter(|(_, chain)| judges(chain));
            self.entrances.extend(filled.map(|(chain, _)| (family, chain.clone())));
            if self.soundness != Soundness::Table {
                if let Some(of_addresses) = family.family() {
                    found[of_addresses] = compare::tables(table);
                }
                host.insert(family, compare::host_facts(table));
            }
        }
        self.planner = Planner::new(found).holding(host);
        for (&family, table) in actual {
            self.planner.set_generations(family, table.generations());
            self.sizes.extend(table.sets.iter().map(|(&id, set)| ((family, id), set.size)));
        }
    }

    /// The netlink port id of a live owner other than this one.
    pub(super) fn owner_other_than(&self, port: u32) -> Option<u32> {
        self.owners.iter().copied().find(|&owner| owner != port)
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
        self.host.clone_from(host);
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

    /// The steps that would put a delta and the facts of the host into force, removals included; `None` if only new tables can
    /// take it.
    pub(super) fn steps_to(&self, delta: &Delta, host: &HostFacts) -> Option<Vec<Step>> {
        let mut planner = self.planner.clone();
        planner.set_host(host);
        let mut steps = planner.plan(delta)?;
        steps.extend(planner.idle());
        // To wait for packets means nothing where nothing is changed.
        if !steps.iter().any(|step| matches!(step, Step::Commit(_))) {
            steps.clear();
        }
        Some(steps)
    }

    pub(super) fn soundness(&self) -> Soundness {
        self.soundness
    }

    fn judges(&self, family: TableFamily) -> bool {
        self.entrances.iter().any(|(of, _)| *of == family)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.soundness == Soundness::Sound
    }

    /// Whether its contents can be brought to another program's without new tables.
    pub(super) fn is_usable(&self) -> bool {
        self.soundness != Soundness::Table
    }

    /// Takes over the tables of a process that is gone, so that nobody else can write to them. This needs a transaction of its
    /// own: the kernel hooks no chain into a table whose flags change in the same one.
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
        let (judging, idle): (Vec<TableFamily>, Vec<TableFamily>) =
            TableFamily::ALL.into_iter().partition(|&family| self.judges(family));
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

    /// Plans a delta, makes room for what its steps need and commits them. `false`, and nothing done that a packet could notice,
    /// if only new tables can take it.
    pub(super) fn carry_out<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        delta: &Delta,
    ) -> Result<bool, RulesetError> {
        self.add_tables(writer)?;
        if self.planner.pending() > 0 && self.is_short_of_room(writer, delta) {
            self.settle(writer)?;
        }
        let Some(mut steps) = self.planner.plan(delta) else { return Ok(false) };
        if !self.make_room(writer, &mut steps)? {
            return Ok(false);
        }
        self.run(writer, steps)?;
        self.delete_tables(writer)?;
        Ok(true)
    }

    /// Deletes the tables that hold facts of the host only and have none any more. Empty, they let everything pass.
    fn delete_tables<R: Ruleset>(&mut self, writer: &mut Writer<R>) -> Result<(), RulesetError> {
        let needed: Vec<TableFamily> = transactions::needed(&self.host).collect();
        let gone: Vec<TableFamily> =
            self.present.iter().copied().filter(|table| !needed.contains(table)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let delete = |&family: &TableFamily| TableOp { family, op: Op::DeleteTable };
        writer.commit(self.name, Transaction { ops: gone.iter().map(delete).collect() })?;
        self.present.retain(|table| !gone.contains(table));
        self.entrances.retain(|(table, _)| !gone.contains(table));
        self.sizes.retain(|(table, _), _| !gone.contains(table));
        for table in gone {
            self.planner.note_deleted_table(table);
        }
        Ok(())
    }

    /// Whether some set may not take what the delta adds beside what waits for its removal.
    fn is_short_of_room<R>(&self, writer: &Writer<R>, delta: &Delta) -> bool {
        TableFamily::ALL.into_iter().any(|family| {
            family.sets().any(|set| {
                let held = self.planner.contents(family).count(set);
                let most = held + self.planner.additions(delta, family, set);
                !writer.sizing.fits(family, set, self.size(family, set), most)
            })
        })
    }

    /// Makes the tables that hold facts of the host only and that are needed from now on. One that is not there judges nothing,
    /// so that a new one only narrows what passes.
    fn add_tables<R: Ruleset>(&mut self, writer: &mut Writer<R>) -> Result<(), RulesetError> {
        let needed: Vec<TableFamily> = transactions::needed(&self.host).collect();
        for table in needed {
            if self.present.contains(&table) || TableFamily::OF_PROGRAM.contains(&table) {
                continue;
            }
            let facts = self.host.within(table);
            let (tables, program) = ([table], Program::default());
            for transaction in writer.new_tables(&tables, &program, &facts) {
                writer.commit(self.name, transaction)?;
            }
            self.note_new(writer, table, Contents { program: None, host: &facts });
            self.planner.note_new_table(table, facts);
            self.planner.set_host(&self.host);
        }
        Ok(())
    }

    fn note_new<R>(&mut self, writer: &Writer<R>, table: TableFamily, contents: Contents<'_>) {
        self.present.push(table);
        self.entrances.extend(transactions::entrances(&[table]));
        for set in table.sets() {
            let size = writer.sizing.size(table, set, contents.count(set));
            self.sizes.insert((table, SetId { set, generation: 0 }), size);
        }
    }

    fn size(&self, family: TableFamily, set: SetName) -> Option<u32> {
        let id = self.planner.generations(family).id(set);
        self.sizes.get(&(family, id)).copied().flatten()
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

    /// Builds larger sets in the place of those that would overflow at some time during the steps, which are the last that
    /// the planner made; the steps then name these. `false` if that cannot be done without new tables.
    fn make_room<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        steps: &mut [Step],
    ) -> Result<bool, RulesetError> {
        let peaks = self.planner.peaks(steps);
        let is_short = |&(&(family, set), &peak): &(&(TableFamily, SetName), &usize)| {
            !writer.sizing.fits(family, set, self.size(family, set), peak)
        };
        let short: Vec<(TableFamily, SetName, usize)> = peaks
            .iter()
            .filter(is_short)
            .map(|(&(family, set), &peak)| (family, set, peak))
            .collect();
        if short.is_empty() {
            return Ok(true);
        }
        // Growth ends with new rules, which tables without any must not get yet.
        if short.iter().any(|&(family, ..)| !self.judges(family)) {
            return Ok(false);
        }
        self.grow(writer, &short, steps)?;
        for step in steps {
            if let Step::Commit(transaction) = step {
                transactions::rename(transaction, |family| self.planner.generations(family));
            }
        }
        Ok(true)
    }

    /// Replaces sets by larger ones with the elements that they have before the steps. The kernel cannot resize a set: the new
    /// one is filled beside the old one, then the rules name it, and after a grace period the old one goes.
    fn grow<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        sets: &[(TableFamily, SetName, usize)],
        steps: &[Step],
    ) -> Result<(), RulesetError> {
        let mut reloads: BTreeMap<TableFamily, Generations> = BTreeMap::new();
        let mut deletions = Vec::new();
        for &(family, set, peak) in sets {
            let old = self.planner.generations(family).id(set);
            let new = SetId { set, generation: old.generation + 1 };
            let size = writer.sizing.size(family, set, peak);
            let elements = self.planner.elements_before(family, set, steps);
            for transaction in transactions::new_set(family, new, size, elements) {
                writer.commit(self.name, transaction)?;
            }
            self.sizes.insert((family, new), size);
            let of_family =
                reloads.entry(family).or_insert_with(|| self.planner.generations(family));
            of_family.set(new);
            deletions.push((family, old));
        }
        let deny_action = writer.deny_action;
        let reload = |(&family, g)| transactions::reload(family, g, deny_action);
        let rules = reloads.iter().flat_map(reload);
        writer.commit(self.name, Transaction { ops: rules.collect() })?;
        for (family, generations) in reloads {
            self.planner.set_generations(family, generations);
        }
        writer.counters.grown += sets.len() as u64;
        self.delete_sets(writer, &deletions)
    }

    /// Deletes sets that no rule names any more.
    fn delete_sets<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        sets: &[(TableFamily, SetId)],
    ) -> Result<(), RulesetError> {
        if sets.is_empty() {
            return Ok(());
        }
        writer.grace()?;
        let delete =
            |&(family, id): &(TableFamily, SetId)| TableOp { family, op: Op::DeleteSet(id) };
        writer.commit(self.name, Transaction { ops: sets.iter().map(delete).collect() })?;
        sets.iter().for_each(|key| _ = self.sizes.remove(key));
        Ok(())
    }

    /// Sets that a predecessor built and did not switch to, or switched from and did not delete.
    fn delete_leftovers<R: Ruleset>(&mut self, writer: &mut Writer<R>) -> Result<(), RulesetError> {
        let leftovers: Vec<(TableFamily, SetId)> = self
            .sizes
            .keys()
            .filter(|(family, id)| self.planner.generations(*family).id(id.set) != *id)
            .copied()
            .collect();
        self.delete_sets(writer, &leftovers)
    }

    fn mend<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        families: &[TableFamily],
    ) -> Result<(), RulesetError> {
        if families.is_empty() {
            return Ok(());
        }
        let actual = writer.ruleset.read(self.name)?;
        let tables = actual.iter().filter(|(family, _)| families.contains(family));
        let mend = |(&family, table): (&TableFamily, &ActualTable)| {
            let generations = self.planner.generations(family);
            transactions::mend(family, table, &generations, writer.deny_action)
        };
        writer.commit(self.name, Transaction { ops: tables.flat_map(mend).collect() })?;
        writer.counters.replaced += 1;
        self.entrances.retain(|(family, _)| !families.contains(family));
        self.entrances.extend(transactions::entrances(families));
        Ok(())
    }

    /// New tables where there are none. Nothing is judged before all is there: the rules come last.
    pub(super) fn build<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
        program: &Program,
        host: &HostFacts,
    ) -> Result<(), RulesetError> {
        let tables: Vec<TableFamily> = transactions::needed(host).collect();
        for transaction in writer.new_tables(&tables, program, host) {
            writer.commit(self.name, transaction)?;
        }
        // No packet came before the rules, so the next change need not wait for any.
        self.built(writer, program, host, Planner::of_new_tables(program.clone()));
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
        let tables: Vec<TableFamily> = transactions::needed(host).collect();
        let new = writer.new_tables(&tables, program, host);
        ops.extend(new.into_iter().flat_map(|transaction| transaction.ops));
        writer.commit(self.name, Transaction { ops })?;
        self.built(writer, program, host, Planner::new(program.clone()));
        Ok(())
    }

    fn built<R>(
        &mut self,
        writer: &Writer<R>,
        program: &Program,
        host: &HostFacts,
        planner: Planner,
    ) {
        *self = Self::of_nothing(self.name);
        self.soundness = Soundness::Sound;
        let mut facts = BTreeMap::new();
        for table in transactions::needed(host) {
            let of_table = host.within(table);
            self.note_new(writer, table, Contents::of(table, program, &of_table));
            facts.insert(table, of_table);
        }
        self.planner = planner.holding(facts);
    }

    /// Takes the tables away in two steps: first the rules that packets enter by, and when no packet is under way in
    /// them any more, the rest. So none meets rules whose sets are emptied.
    pub(super) fn delete<R: Ruleset>(
        &mut self,
        writer: &mut Writer<R>,
    ) -> Result<(), RulesetError> {
        if self.is_in_force() {
            let close =
                |(family, chain): &(TableFamily, String)| transactions::flush(*family, chain);
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
        let delete = |&family: &TableFamily| TableOp { family, op: Op::DeleteTable };
        self.present.iter().map(delete).collect()
    }
}
