//! What goes to the ruleset, counted.

use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{Program, TableFamily};

use super::sizing::Sizing;
use super::transactions;
use crate::host::HostFacts;
use crate::ruleset::{Ruleset, RulesetError, TableName};
use crate::transaction::{Op, TableOp, Transaction};

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
    /// Sockets opened anew because the old one was dead.
    pub reopened: u64,
}

#[derive(Debug)]
pub(super) struct Writer<R> {
    pub(super) ruleset: R,
    pub(super) counters: Counters,
    pub(super) sizing: Sizing,
    pub(super) deny_action: DenyAction,
}

impl<R: Ruleset> Writer<R> {
    pub(super) fn commit(
        &mut self,
        table: TableName,
        transaction: Transaction,
    ) -> Result<(), RulesetError> {
        if transaction.ops.is_empty() {
            return Ok(());
        }
        self.ruleset.commit(table, &transaction)?;
        self.counters.transactions += 1;
        let is_element = |op: &TableOp| matches!(op.op, Op::Add(..) | Op::Remove(..));
        self.counters.elements += transaction.ops.iter().filter(|op| is_element(op)).count() as u64;
        Ok(())
    }

    /// The transactions that make tables from nothing.
    pub(super) fn new_tables(
        &self,
        tables: &[TableFamily],
        program: &Program,
        host: &HostFacts,
    ) -> Vec<Transaction> {
        transactions::new_tables(tables, program, host, &self.sizing, self.deny_action)
    }

    pub(super) fn grace(&mut self) -> Result<(), RulesetError> {
        self.counters.graces += 1;
        self.ruleset.grace()
    }
}
