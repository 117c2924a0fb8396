//! Transactions that the kernel checks and does not carry out.

use super::batch::{Batch, Setting};
use super::{Kernel, outcome};
use crate::ruleset::{RulesetError, TableName};
use crate::transaction::Transaction;

impl Kernel {
    /// Has the kernel check a transaction to the tables of that name, and discard it. Nothing comes to be that others could see,
    /// except that modules are loaded which the transaction needs.
    ///
    /// # Errors
    ///
    /// As of a commit.
    pub fn rehearse(
        &mut self,
        table: TableName,
        transaction: &Transaction,
    ) -> Result<(), RulesetError> {
        let setting = Setting {
            table,
            sequence: self.sequence,
            generation: None,
            owner: self.features.persistent_owner,
            // Nothing else is acknowledged.
            acknowledge_last: true,
        };
        let batch = Batch::new(transaction, setting)?.without_end();
        self.sequence = batch.end_sequence().wrapping_add(1);
        let answers = self.exchange(&batch)?;
        if let Some(error) = answers.first_error() {
            let (port, what) = (self.socket.port(), (table, transaction));
            return Err(outcome::refused(&mut self.query, port, what, &batch, error));
        }
        if answers.acknowledged {
            return Ok(());
        }
        Err(RulesetError::Unknown { what: "the kernel's answers were lost".to_owned() })
    }
}
