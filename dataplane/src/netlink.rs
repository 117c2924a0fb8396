//! The kernel of a network namespace as a [`Ruleset`], over netlink.
//!
//! ```text
//! Transaction -> batch (one message to the kernel, all or nothing) -> answers -> Ok, or the operation refused
//! dumps -> instructions, elements -> Actual
//! ```

mod attributes;
mod batch;
mod byte_counters;
mod chain_message;
pub mod conntrack;
mod declare;
#[cfg(feature = "testkit")]
pub mod decoders;
mod deny_counters;
mod elements;
#[cfg(test)]
mod failing;
mod flow_tables;
mod grace;
pub(crate) mod host_routes;
mod instruction;
mod interfaces;
mod inventory;
mod link_programs;
pub(crate) mod links;
mod local_addresses;
pub mod nflog;
mod open;
mod outcome;
mod owner;
mod query;
mod read;
mod rehearsal;
pub(crate) mod route;
mod route_message;
mod rtnetlink;
mod rule;
#[allow(unsafe_code, reason = "the C libraries and system calls that have no safe interface")]
mod sys;
mod text;
mod watch;
mod wire;

use std::collections::BTreeSet;

use palisade_compiler::program::TableFamily;

use crate::ruleset::{Actual, Features, Ruleset, RulesetError, TableName};
use crate::transaction::{Op, Transaction};
use batch::{Batch, Setting};
use outcome::Answers;
use query::{Query, QueryError};
use sys::Socket;
use watch::Watch;

pub(crate) use byte_counters::turn_on_byte_counters;
pub use deny_counters::{DenyCounter, DenyCounters};
pub use flow_tables::{FlowTable, flow_tables};
pub use grace::{GraceMethod, grace_by, grace_method};
pub use interfaces::{Interface, interfaces};
pub use inventory::{ForeignChain, all_chains};
pub use link_programs::{AttachmentPoint, LinkProgram, LinkPrograms};
pub use local_addresses::{local_addresses, local_networks};
pub use owner::{describe_owner, owner_process};
pub use read::base_of_chain;
pub use route::{Delivery, delivery};
pub use watch::TableWatch;

/// How often a read is begun anew because our tables changed under it.
const READ_ATTEMPTS: usize = 10;

/// How often a transaction is sent because others changed other tables: each time they committed once more while it was on its way.
const SEND_ATTEMPTS: usize = 1000;

/// nf_tables in the network namespace in which it was opened.
///
/// Tables it creates belong to it, where the kernel can do that, until it is dropped: a table's owner is the socket.
#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    query: Query,
    features: Features,
    /// Sequence number of the next batch.
    sequence: u32,
    /// Largest batch that the send buffer was made for, in bytes.
    send_buffer: usize,
    /// The generation of the ruleset up to which we know that our tables are as `read`, and our own commits since, left them.
    generation: Option<u32>,
    /// What others do to our tables. Not there while all that we write to are ours alone.
    watch: Option<Watch>,
    /// The tables that are owned by our socket, so that nobody else can have changed them.
    owned: BTreeSet<(TableName, TableFamily)>,
    /// The kernel acknowledges the end of a batch (Linux 6.10).
    acknowledges_end: bool,
}

/// A transaction as the kernel takes it.
#[derive(Debug)]
pub struct Encoded(Batch);

impl Encoded {
    /// In bytes.
    pub fn size(&self) -> usize {
        self.0.bytes.len()
    }
}

impl Ruleset for Kernel {
    fn features(&self) -> Features {
        self.features
    }

    fn port(&self) -> u32 {
        self.socket.port()
    }

    fn reopen(&mut self) -> Result<(), RulesetError> {
        if self.socket.is_open() {
            self.query = Query::open()?;
            self.watch = None;
        } else {
            let mut new = Self::open()?;
            new.features.persistent_owner &= self.features.persistent_owner;
            std::mem::replace(self, new).socket.abandon();
        }
        Ok(())
    }

    fn read(&mut self, table: TableName) -> Result<Actual, RulesetError> {
        let mut last = None;
        for _ in 0..READ_ATTEMPTS {
            match self.read_once(table) {
                Ok((actual, is_certain)) => {
                    if is_certain || self.holds(table, &actual) || last.as_ref() == Some(&actual) {
                        self.note_owned(table, &actual);
                        return Ok(actual);
                    }
                    last = Some(actual);
                }
                // A set that was listed may be gone by the time it is asked for.
                Err(QueryError::Interrupted | QueryError::Refused(nix::Error::ENOENT)) => {}
                Err(error) => return Err(query_failed(error)),
            }
        }
        Err(RulesetError::Retry { what: format!("in each of {READ_ATTEMPTS} reads") })
    }

    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        if transaction.ops.is_empty() {
            return Ok(());
        }
        let is_ours = self.is_ours(table, transaction.ops.iter().map(|op| op.family));
        if !is_ours && self.watch.as_ref().is_some_and(|watch| !watch.is_untouched(table)) {
            return Err(RulesetError::Retry { what: "our tables, after they were read".into() });
        }
        for _ in 0..SEND_ATTEMPTS {
            match self.send(table, transaction) {
                Err(RulesetError::Retry { what }) => {
                    if !self.rearm(table, is_ours)? {
                        return Err(RulesetError::Retry { what });
                    }
                }
                result => return result,
            }
        }
        Err(RulesetError::Retry { what: format!("in each of {SEND_ATTEMPTS} attempts") })
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        grace_by(grace_method()?)
    }
}

impl Kernel {
    /// One pass over the tables, and whether they are certain not to have changed meanwhile.
    fn read_once(&mut self, table: TableName) -> Result<(Actual, bool), QueryError> {
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(Watch::open(self.socket.port(), open::RECEIVE_BUFFER)?),
        };
        watch.begin(table)?;
        let generation = self.query.generation()?;
        let actual = read::tables(&mut self.query, table)?;
        // Not the generation of now: its commit may have been to our tables, and not be told of yet.
        self.generation = Some(watch.hear()?.unwrap_or(generation));
        Ok((actual, watch.is_untouched(table)))
    }

    /// Whether the kernel lets nobody else write to the tables of these families.
    fn is_ours(&self, table: TableName, mut families: impl Iterator<Item = TableFamily>) -> bool {
        families.all(|family| self.owned.contains(&(table, family)))
    }

    /// Whether there are tables, and only such.
    fn holds(&self, table: TableName, actual: &Actual) -> bool {
        !actual.is_empty() && self.is_ours(table, actual.keys().copied())
    }

    /// Whether a batch that was refused for the ruleset's generation may be sent again for another: our tables did not change.
    fn rearm(&mut self, table: TableName, is_ours: bool) -> Result<bool, RulesetError> {
        let generation = if is_ours {
            Some(self.query.generation().map_err(query_failed)?)
        } else if let Some(watch) = &mut self.watch {
            watch.hear()?.filter(|_| watch.is_untouched(table))
        } else {
            None
        };
        self.generation = generation.or(self.generation);
        Ok(generation.is_some())
    }

    fn note_owned(&mut self, table: TableName, actual: &Actual) {
        let port = self.socket.port();
        self.owned.retain(|(name, _)| *name != table);
        let owned = actual.iter().filter(|(_, table)| table.owner == Some(port));
        self.owned.extend(owned.map(|(&family, _)| (table, family)));
        if self.holds(table, actual) {
            self.watch = None;
        }
    }

    fn send(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        let encoded = self.encode(table, transaction)?;
        self.commit_encoded(table, transaction, &encoded)
    }

    /// The bytes of a transaction, for `commit_encoded`, before anything else is committed: `commit` in two steps, for
    /// those who time them.
    ///
    /// # Errors
    ///
    /// `Refused` for an element that is none of its set's.
    pub fn encode(
        &self,
        table: TableName,
        transaction: &Transaction,
    ) -> Result<Encoded, RulesetError> {
        let setting = Setting {
            table,
            sequence: self.sequence,
            generation: self.generation,
            owner: self.features.persistent_owner,
            acknowledge_last: !self.acknowledges_end,
        };
        Batch::new(transaction, setting).map(Encoded)
    }

    /// Commits a transaction by the bytes that `encode` made of it.
    ///
    /// # Errors
    ///
    /// As `commit`; `Retry` also where something was committed since `encode`.
    pub fn commit_encoded(
        &mut self,
        table: TableName,
        transaction: &Transaction,
        Encoded(batch): &Encoded,
    ) -> Result<(), RulesetError> {
        self.sequence = batch.end_sequence().wrapping_add(1);
        let answers = self.exchange(batch)?;
        self.acknowledges_end |= answers.end_acknowledged;
        if let Some(error) = answers.first_error() {
            let port = self.socket.port();
            return Err(outcome::refused(
                &mut self.query,
                port,
                (table, transaction),
                batch,
                error,
            ));
        }
        if !answers.acknowledged {
            return Err(self.unanswered());
        }
        self.committed(table, transaction);
        Ok(())
    }

    fn exchange(&mut self, batch: &Batch) -> Result<Answers, RulesetError> {
        if batch.bytes.len() > self.send_buffer {
            self.send_buffer = batch.bytes.len();
            self.socket.grow_send_buffer(self.send_buffer)?;
        }
        self.socket.send(&batch.bytes)?;
        outcome::collect(&self.socket, batch).map_err(|error| {
            self.generation = None;
            RulesetError::Unknown { what: format!("receiving the kernel's answers: {error}") }
        })
    }

    /// The answers were lost. What is certain: the same generation as before means that nothing was committed.
    fn unanswered(&mut self) -> RulesetError {
        let what = "the kernel's answers were lost".to_owned();
        match (self.generation, self.query.generation()) {
            (Some(before), Ok(now)) if before == now => RulesetError::Retry { what },
            _ => {
                self.generation = None;
                RulesetError::Unknown { what }
            }
        }
    }

    fn committed(&mut self, table: TableName, transaction: &Transaction) {
        let mut tables = false;
        for op in &transaction.ops {
            if op.op == Op::CreateTable {
                tables = true;
                if self.features.persistent_owner {
                    self.owned.insert((table, op.family));
                }
            } else if op.op == Op::DeleteTable {
                self.owned.remove(&(table, op.family));
            }
        }
        if self.is_ours(table, transaction.ops.iter().map(|op| op.family)) {
            self.watch = None;
        }
        // The batch was bound to that generation, and the kernel counts by one, leaving out 0. If somebody else commits
        // behind us, our next batch is refused.
        let Some(before) = self.generation else { return };
        self.generation = Some(before.checked_add(1).unwrap_or(1));
        // Creating a table that is there changes nothing and does not count.
        if tables && matches!(self.query.generation(), Ok(now) if now == before) {
            self.generation = Some(before);
        }
    }
}

fn query_failed(error: QueryError) -> RulesetError {
    match error {
        QueryError::Interrupted => RulesetError::Retry { what: "during a dump".to_owned() },
        QueryError::Refused(nix::Error::EPERM) => {
            RulesetError::NotPermitted { what: "reading nftables".to_owned() }
        }
        QueryError::Refused(errno) => RulesetError::Refused {
            op: "list ruleset".to_owned(),
            errno: errno.to_string(),
            at: None,
        },
        QueryError::Io(error) => RulesetError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};
    use palisade_compiler::program::ClassId;
    use palisade_compiler::program::skeleton::SetName;

    use super::wire::{Header, msg};
    use super::*;
    use crate::transaction::{Element, SetId, TableOp};

    const SET: SetId = SetId { set: SetName::Class, generation: 0 };

    fn op(op: Op) -> TableOp {
        TableOp { family: TableFamily::Ip, op }
    }

    fn class(low: u8) -> Element {
        Element::Class([10, 0, 0, low].into(), ClassId(ClassId::FIRST))
    }

    /// Fills the socket's receive buffer with answers that nobody takes.
    fn overrun(kernel: &Kernel) {
        kernel.socket.set_receive_buffer(1).unwrap();
        for sequence in 0..64 {
            let mut request = Vec::new();
            let header = Header { kind: msg::GETGEN, flags: 0, family: 0, sequence };
            let at = wire::open(&mut request, header);
            wire::close(&mut request, at);
            kernel.socket.send(&request).unwrap();
        }
    }

    /// In a network namespace of its own: needs root.
    #[test]
    fn lost_answers_are_never_taken_for_success() {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
            let mut kernel = Kernel::open().unwrap();
            let create = Op::CreateSet { id: SET, size: Some(16) };
            kernel
                .commit(
                    TableName::Main,
                    &Transaction { ops: vec![op(Op::CreateTable), op(create)] },
                )
                .unwrap();
            kernel.read(TableName::Main).unwrap();
            kernel.sequence = 1000;

            overrun(&kernel);
            let result = kernel
                .commit(TableName::Main, &Transaction { ops: vec![op(Op::Add(SET, class(1)))] });
            assert!(matches!(result, Err(RulesetError::Unknown { .. })), "{result:?}");
            let actual = kernel.read(TableName::Main).unwrap();
            assert_eq!(actual[&TableFamily::Ip].sets[&SET].elements, [class(1)].into());

            // The same again, without ownership, so that the retry is the caller's.
            kernel.owned.clear();
            overrun(&kernel);
            let result = kernel
                .commit(TableName::Main, &Transaction { ops: vec![op(Op::Add(SET, class(1)))] });
            assert!(matches!(result, Err(RulesetError::Retry { .. })), "{result:?}");
            kernel
                .commit(TableName::Main, &Transaction { ops: vec![op(Op::Add(SET, class(2)))] })
                .unwrap();
        };
        std::thread::spawn(run).join().unwrap();
    }

    /// A socket that is dead is opened anew, and only then: its tables are orphans until they are claimed.
    #[test]
    fn only_a_dead_socket_is_replaced() {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
            let mut kernel = Kernel::open().unwrap();
            let port = kernel.port();
            let create = Transaction { ops: vec![op(Op::CreateTable)] };
            kernel.commit(TableName::Main, &create).unwrap();
            let owner =
                |kernel: &mut Kernel| kernel.read(TableName::Main).unwrap()[&TableFamily::Ip].owner;
            let owned = |kernel: &Kernel| kernel.features.persistent_owner.then(|| kernel.port());

            kernel.query.socket().1.fail(0, nix::Error::EBADF);
            let error = kernel.read(TableName::Main).unwrap_err();
            assert!(error.is_dead_socket(), "{error}");
            kernel.reopen().unwrap();
            assert_eq!(kernel.port(), port);
            assert_eq!(owner(&mut kernel), owned(&kernel));

            kernel.socket.kill();
            let error = kernel.commit(TableName::Main, &create).unwrap_err();
            assert!(error.is_dead_socket(), "{error}");
            kernel.reopen().unwrap();
            // The kernel may give the port of the dead socket to the new one, but not its tables.
            assert_eq!(owner(&mut kernel), None);
            kernel.commit(TableName::Main, &create).unwrap();
            assert_eq!(owner(&mut kernel), owned(&kernel));
        };
        std::thread::spawn(run).join().unwrap();
    }

    fn with_plain_tables(test: impl FnOnce(&mut Kernel) + Send + 'static) {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
            let mut kernel = Kernel::open_without_owner().unwrap();
            let create = Op::CreateSet { id: SET, size: Some(16) };
            let ops = vec![op(Op::CreateTable), op(create), op(Op::Add(SET, class(1)))];
            kernel.commit(TableName::Main, &Transaction { ops }).unwrap();
            test(&mut kernel);
        };
        std::thread::spawn(run).join().unwrap();
    }

    #[test]
    fn a_read_is_right_whatever_reception_fails() {
        with_plain_tables(|kernel| {
            let wanted = kernel.read(TableName::Main).unwrap();
            for errno in [nix::Error::EINTR, nix::Error::ENOBUFS] {
                let (mut after, mut over) = (0, false);
                while !over {
                    kernel.query.socket().1.fail(after, errno);
                    let read = kernel.read(TableName::Main);
                    over = !kernel.query.socket().1.is_over();
                    assert_eq!(read.unwrap(), wanted, "{errno} after {after}");
                    after += 1;
                }
                assert!(after > 10, "only {after} receptions");
            }
        });
    }

    #[test]
    fn events_that_were_lost_count_as_a_change() {
        with_plain_tables(|kernel| {
            kernel.read(TableName::Main).unwrap();
            let mut other = Kernel::open_without_owner().unwrap();
            let there = Transaction { ops: vec![op(Op::CreateTable)] };
            other.commit(TableName::StandIn, &there).unwrap();
            kernel.watch.as_ref().unwrap().socket().1.fail(0, nix::Error::ENOBUFS);
            let add = |low| Transaction { ops: vec![op(Op::Add(SET, class(low)))] };
            let result = kernel.commit(TableName::Main, &add(2));
            assert!(matches!(result, Err(RulesetError::Retry { .. })), "{result:?}");
            // A read that loses some is begun anew.
            kernel.watch.as_ref().unwrap().socket().1.fail(1, nix::Error::ENOBUFS);
            kernel.read(TableName::Main).unwrap();
            assert!(kernel.watch.as_ref().unwrap().socket().1.is_over());
            kernel.commit(TableName::Main, &add(2)).unwrap();
        });
    }
}
