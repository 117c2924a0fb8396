//! Whether the kernel takes our tables, tried without making them.

use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{Program, TableFamily};

use super::sizing::{Capacities, Sizing};
use super::transactions::new_tables;
use crate::host::HostFacts;
use crate::netlink::Kernel;
use crate::ruleset::{Ruleset as _, RulesetError, TableName};
use crate::transaction::Transaction;

/// Has the kernel check all sets and rules of our tables, and discard them. Tables that are there are neither read nor changed.
///
/// # Errors
///
/// `Refused` names the first operation that this kernel cannot do, `Unsupported` and `NotPermitted` what is missing. `Owned`
/// where another process owns tables of the name that is tried, which are there only while others are replaced.
pub fn rehearse(kernel: &mut Kernel, deny_action: DenyAction) -> Result<(), RulesetError> {
    let tables: &[TableFamily] = match kernel.features().bridge_tables {
        true => &TableFamily::ALL,
        false => &TableFamily::OF_PROGRAM,
    };
    let sizing = Sizing::new(Capacities::default());
    let (program, host) = (Program::default(), HostFacts::default());
    let parts = new_tables(tables, &program, &host, &sizing, deny_action);
    let ops = parts.into_iter().flat_map(|part| part.ops).collect();
    kernel.rehearse(TableName::StandIn, &Transaction { ops })
}
