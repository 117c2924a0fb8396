//! What became of a batch, from the kernel's answers.
//!
//! All answers are queued when the send returns, so they are drained without waiting: a failed batch may have no
//! answer to its end. Any error means that nothing was done.

use std::io;
use std::ops::ControlFlow;

use palisade_compiler::model::Family;

use super::batch::Batch;
use super::query::Query;
use super::sys::Socket;
use super::wire::{self, ERROR};
use super::{owner, read, text};
use crate::ruleset::RulesetError;
use crate::transaction::{Op, TableOp, Transaction};

/// Room for an answer: a header, an error number, and where the error is.
const BUFFER: usize = 8192;

/// `ERESTART` of the kernel: the batch was made for another generation.
const RESTART: i32 = 85;

/// An error of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageError {
    /// Place of the message in the batch.
    pub(super) position: usize,
    pub(super) errno: i32,
    pub(super) offset: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// An operation, or the end, was acknowledged.
    pub(super) acknowledged: bool,
    pub(super) end_acknowledged: bool,
    error: Option<MessageError>,
    /// Answers did not fit into the socket's buffer.
    lost: bool,
}

impl Answers {
    /// The error of the earliest message: later ones often only follow from it.
    pub(super) fn first_error(&self) -> Option<MessageError> {
        self.error
    }
}

/// Drains the answers to a batch.
pub(super) fn collect(socket: &Socket, batch: &Batch) -> io::Result<Answers> {
    let mut buffer = [0; BUFFER];
    let mut answers = Answers::default();
    // The end is acknowledged last, and only if all was committed.
    while !answers.end_acknowledged {
        match socket.receive(&mut buffer, false) {
            Ok(length) => {
                let datagram = buffer.get(..length).unwrap_or_default();
                let _: ControlFlow<()> = wire::messages(datagram, |message| {
                    if message.kind == ERROR {
                        answers.add(batch, message);
                    }
                    ControlFlow::Continue(())
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => answers.lost = true,
            Err(error) => return Err(error),
        }
    }
    // An acknowledgement of an operation proves nothing while an error may be among what was lost.
    if answers.lost && !answers.end_acknowledged {
        answers.acknowledged = false;
    }
    Ok(answers)
}

impl Answers {
    fn add(&mut self, batch: &Batch, message: wire::Message<'_>) {
        let Some(position) = batch.position(message.sequence) else { return };
        match message.errno() {
            0 => {
                self.acknowledged = true;
                self.end_acknowledged |= batch.is_end(position);
            }
            errno => {
                let error = MessageError { position, errno, offset: message.error_offset() };
                if self.error.is_none_or(|earlier| earlier.position > position) {
                    self.error = Some(error);
                }
            }
        }
    }
}

/// The error of a transaction that the kernel refused.
pub(super) fn refused(
    query: &mut Query,
    transaction: &Transaction,
    batch: &Batch,
    error: MessageError,
) -> RulesetError {
    let index = batch.operation(error.position, error.offset);
    let op = index.and_then(|index| transaction.ops.get(index));
    let what = op.map_or_else(|| "the transaction".to_owned(), text::operation);
    match (error.errno, op) {
        (RESTART, _) => RulesetError::Retry { what },
        (libc::EPERM, op) => match op.and_then(|op| foreign_owner(query, op.family)) {
            Some(owner) => RulesetError::Owned { owner },
            None => RulesetError::NotPermitted { what },
        },
        (libc::EOPNOTSUPP | libc::EPROTONOSUPPORT, None) => {
            RulesetError::Unsupported { what: "nf_tables (CONFIG_NF_TABLES)".to_owned() }
        }
        (libc::ENFILE, Some(TableOp { family, op: Op::Add(set, _) })) => {
            RulesetError::Full { family: *family, set: *set }
        }
        (libc::EOPNOTSUPP, Some(TableOp { op: Op::CreateTable, .. })) => RulesetError::Refused {
            op: what,
            errno: "EOPNOTSUPP (a table of that name is there, with other owner flags: delete it first)"
                .to_owned(),
            at: op.cloned().map(Box::new),
        },
        (errno, op) => RulesetError::Refused {
            op: what,
            errno: nix::Error::from_raw(errno).to_string(),
            at: op.cloned().map(Box::new),
        },
    }
}

/// The live owner of our table, if there is one: the kernel refuses everyone else.
fn foreign_owner(query: &mut Query, family: Family) -> Option<String> {
    read::owner(query, family).ok().flatten().flatten().map(owner::describe)
}
