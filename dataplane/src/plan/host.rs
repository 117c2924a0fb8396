//! The facts of the host among the elements of the tables, and when they change.
//!
//! What is looked up in them is decided before all that the program decides. So an edit that subjects packets to more checks
//! narrows a decision that packets read first: it comes before everything else of a change, and what widens for packets that
//! it may concern waits for a grace period. An edit that subjects packets to fewer checks comes last, with the change that
//! makes them superfluous, or after it. An exemption from a check that ends too goes in a transaction of its own after it:
//! within one, packets may already miss an element of a hash set while an interval set is as it was before (Linux 6.18).
//!
//! The source guard has an order of its own, since what it holds means something together only (`source_phase`).

use std::collections::BTreeMap;

use palisade_compiler::program::delta::Edit;
use palisade_compiler::program::sets::{Planning, SetName};
use palisade_compiler::program::{Delta, TableFamily};

use super::{Planner, Step};
use crate::contents::Contents;
use crate::host::{HostDelta, HostFacts, is_narrowing};
use crate::transaction::{Element, Op, TableOp, Transaction};

#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// What the kernel has in each table, or will have after the steps that were handed out.
    kernel: BTreeMap<TableFamily, HostFacts>,
    /// How that differs from what it must have after the next change.
    wanted: BTreeMap<TableFamily, HostDelta>,
    /// The sets that exempt from checks to which nothing will be subject after it.
    idle: Vec<SetName>,
}

/// What a table without facts of the host has.
static NO_FACTS: HostFacts = HostFacts::EMPTY;

impl Host {
    /// Whether the next change subjects packets of any address to more checks.
    pub(super) fn guards(&self) -> bool {
        self.narrows(|set| set.planning() == Planning::HostChecks && !is_of_hold(set))
    }

    /// Whether the next change holds packets from or to unknown addresses that it did not hold before.
    pub(super) fn holds(&self) -> bool {
        self.narrows(is_of_hold)
    }

    fn narrows(&self, counts: impl Fn(SetName) -> bool) -> bool {
        let counts = |set| counts(set) && !self.idle.contains(&set);
        self.wanted.values().any(|delta| delta.narrows(counts))
    }

    fn of(&self, table: TableFamily) -> &HostFacts {
        self.kernel.get(&table).unwrap_or(&NO_FACTS)
    }
}

/// When in a change an edit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// With the first transaction.
    First,
    /// With the last.
    Last,
    /// After the last.
    Afterwards,
}

fn phase(set: SetName, edit: &Edit<Element>, idle: &[SetName], around: [&HostFacts; 2]) -> Phase {
    let is_of_guard = matches!(
        set.planning(),
        Planning::GuardedInterfaces | Planning::Sources | Planning::Located
    );
    match edit.after.or(edit.before) {
        Some(element) if is_of_guard => source_phase(set, element, edit.after.is_some(), around),
        _ if !is_narrowing(set, edit.after.is_some()) => Phase::Last,
        _ if idle.contains(&set) => Phase::Afterwards,
        _ => Phase::First,
    }
}

/// When a fact of the source guard comes or goes. `before` and `after` are the facts of the table around the change.
///
/// - A source of an interface that is guarded already exempts from a check: it comes last, with or after what isolates the
///   address, and goes first. So nothing passes in the name of an address that is not judged yet, or is not any more.
/// - An interface comes into the guard after its sources are there, or with them, and leaves it before they go. So no packet of a pod
///   is dropped because only half of what concerns it is there. A packet looks up the interface first.
/// - An address is bound to its interfaces when all of them are there, and free before one goes.
fn source_phase(
    set: SetName,
    element: Element,
    comes: bool,
    [before, after]: [&HostFacts; 2],
) -> Phase {
    let guards = |facts: &HostFacts| match element {
        Element::Source(interface, _)
        | Element::Target(interface, _)
        | Element::PortMac(interface, _) => facts.guards(interface),
        _ => false,
    };
    match (set.planning(), comes) {
        // It exempts no address from policy, and without it the port is closed.
        (Planning::Sources, true) if set == SetName::PortMacs => Phase::First,
        (Planning::Sources, true) if guards(before) => Phase::Last,
        (Planning::Sources, false) if !guards(after) => Phase::Afterwards,
        (Planning::GuardedInterfaces, false) => Phase::Last,
        (Planning::Located, true) => Phase::Afterwards,
        _ => Phase::First,
    }
}

fn is_of_hold(set: SetName) -> bool {
    set.tables() == [TableFamily::Inet]
}

impl Planner {
    /// The planner of tables that hold these facts of the host beside the program.
    #[must_use]
    pub fn holding(mut self, kernel: BTreeMap<TableFamily, HostFacts>) -> Self {
        self.host = Host { kernel, ..Host::default() };
        self
    }

    /// Notes that a table was made that holds these facts of the host.
    pub fn note_new_table(&mut self, table: TableFamily, facts: HostFacts) {
        // It judges what its predecessor, if any, did not: a decision before those of the program narrowed.
        self.note_narrowed_host(table == TableFamily::Bridge, table == TableFamily::Inet);
        self.host.kernel.insert(table, facts);
    }

    /// Notes that a table of facts of the host is gone.
    pub fn note_deleted_table(&mut self, table: TableFamily) {
        self.host.kernel.remove(&table);
    }

    pub(super) fn note_narrowed_host(&mut self, guards: bool, holds: bool) {
        for state in [&mut self.v4, &mut self.v6] {
            state.window.guarded |= guards;
            state.window.held |= holds;
        }
    }

    /// Sets what the next `plan` puts into force of the host.
    pub fn set_host(&mut self, host: &HostFacts) {
        let delta = |table| HostDelta::between(self.host.of(table), &host.within(table));
        let deltas = TableFamily::ALL.into_iter().map(|table| (table, delta(table)));
        self.host.wanted = deltas.filter(|(_, delta)| !delta.is_empty()).collect();
        let known = [
            (SetName::KnownIpv4, host.held_ipv4.is_empty()),
            (SetName::KnownIpv6, host.held_ipv6.is_empty()),
        ];
        self.host.idle =
            known.into_iter().filter_map(|(set, is_idle)| is_idle.then_some(set)).collect();
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

    /// Puts the changes of the host's facts around the other steps: those that narrow in the first transaction, those that widen
    /// in the last, where these have room for them, and then what exempts from checks that are no more.
    pub(super) fn change_host(&mut self, steps: &mut Vec<Step>) {
        let (mut narrowing, mut widening, mut superfluous) = (Vec::new(), Vec::new(), Vec::new());
        let idle = std::mem::take(&mut self.host.idle);
        for (family, delta) in std::mem::take(&mut self.host.wanted) {
            let before = self.host.of(family).clone();
            delta.apply_to(self.host.kernel.entry(family).or_default());
            let (generations, around) = (self.generations(family), [&before, self.host.of(family)]);
            for set in family.sets() {
                let id = generations.id(set);
                for edit in delta.edits(set) {
                    let ops = match phase(set, &edit, &idle, around) {
                        Phase::First => &mut narrowing,
                        Phase::Last => &mut widening,
                        Phase::Afterwards => &mut superfluous,
                    };
                    let gone = edit.before.map(|element| Op::Remove(id, element));
                    let come = edit.after.map(|element| Op::Add(id, element));
                    ops.extend(gone.into_iter().chain(come).map(|op| TableOp { family, op }));
                }
            }
        }
        let most = self.limits.transaction;
        let has_room =
            |transaction: &Transaction, ops: &[TableOp]| transaction.ops.len() + ops.len() <= most;
        match steps.last_mut() {
            _ if widening.is_empty() => {}
            Some(Step::Commit(last)) if has_room(last, &widening) => last.ops.append(&mut widening),
            _ => steps.push(Step::Commit(Transaction { ops: widening })),
        }
        match steps.first_mut() {
            _ if narrowing.is_empty() => {}
            Some(Step::Commit(first)) if has_room(first, &narrowing) => {
                first.ops.splice(0..0, narrowing);
            }
            _ => steps.insert(0, Step::Commit(Transaction { ops: narrowing })),
        }
        if !superfluous.is_empty() {
            steps.push(Step::Commit(Transaction { ops: superfluous }));
        }
    }
}
