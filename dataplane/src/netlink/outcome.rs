//! What became of a batch, from the kernel's answers.
//!
//! All answers are queued when the send returns, so they are drained without waiting: a failed batch may have no
//! answer to its end. Any error means that nothing was done.

use std::io;
use std::ops::ControlFlow;

use palisade_compiler::program::TableFamily;

use super::batch::Batch;
use super::query::Query;
use super::sys::Socket;
use super::wire::{self, ERROR};
use super::{owner, read, text};
use crate::ruleset::{RulesetError, TableName};
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

/// The error of a transaction that the kernel refused to the socket with this port id.
pub(super) fn refused(
    query: &mut Query,
    port: u32,
    (table, transaction): (TableName, &Transaction),
    batch: &Batch,
    error: MessageError,
) -> RulesetError {
    let index = batch.operation(error.position, error.offset);
    let op = index.and_then(|index| transaction.ops.get(index));
    let what = op.map_or_else(|| "the transaction".to_owned(), |op| text::operation(table, op));
    match (error.errno, op) {
        (RESTART, _) => RulesetError::Retry { what },
        (libc::EPERM, op) => match op.and_then(|op| foreign_owner(query, port, table, op.family)) {
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

/// The live owner of our table, if there is another than us: the kernel refuses everyone else.
fn foreign_owner(
    query: &mut Query,
    port: u32,
    table: TableName,
    family: TableFamily,
) -> Option<String> {
    let owner = read::owner(query, table, family).ok().flatten().flatten();
    owner.filter(|&owner| owner != port).map(owner::describe_owner)
}

#[cfg(test)]
mod tests {
    use super::super::batch::Setting;
    use super::*;
    use palisade_compiler::program::ClassId;
    use palisade_compiler::program::skeleton::SetName;

    use crate::transaction::{Element, SetId};

    const SET: SetId = SetId { set: SetName::Class, generation: 0 };

    /// A batch of begin (10), a table (11), three elements in one message (12), a set (13) and end (14).
    fn batch() -> Batch {
        let op = |op| TableOp { family: TableFamily::Ip, op };
        let add = |low| {
            let class = Element::Class([10, 0, 0, low].into(), ClassId(ClassId::FIRST));
            op(Op::Add(SET, class))
        };
        let ops = vec![op(Op::CreateTable), add(1), add(2), add(3), op(Op::DeleteSet(SET))];
        let setting = Setting {
            table: TableName::Main,
            sequence: 10,
            generation: None,
            owner: false,
            acknowledge_last: true,
        };
        Batch::new(&Transaction { ops }, setting).unwrap()
    }

    fn answer(answers: &mut Answers, sequence: u32, errno: i32) {
        let payload = (-errno).to_ne_bytes();
        let message = wire::Message { kind: ERROR, flags: 0, sequence, payload: &payload };
        answers.add(&batch(), message);
    }

    #[test]
    fn an_older_kernel_acknowledges_the_last_operation_only() {
        let mut answers = Answers::default();
        answer(&mut answers, 13, 0);
        assert!(answers.acknowledged && !answers.end_acknowledged);
        assert_eq!(answers.first_error(), None);
        answer(&mut answers, 14, 0);
        assert!(answers.end_acknowledged);
    }

    #[test]
    fn the_earliest_error_counts_and_others_batches_do_not() {
        let mut answers = Answers::default();
        for (sequence, errno) in [(9, libc::EPERM), (15, libc::EPERM)] {
            answer(&mut answers, sequence, errno);
        }
        assert_eq!(answers.first_error(), None);
        answer(&mut answers, 13, libc::EBUSY);
        answer(&mut answers, 12, libc::ENOENT);
        answer(&mut answers, 13, libc::EBUSY);
        let error = MessageError { position: 2, errno: libc::ENOENT, offset: None };
        assert_eq!(answers.first_error(), Some(error));
    }

    #[test]
    fn a_place_in_a_message_is_an_operation() {
        let batch = batch();
        assert_eq!(batch.operation(0, None), None);
        assert_eq!(batch.operation(1, Some(20)), Some(0));
        // The table's or the set's name, at 20: the first element stands for all.
        assert_eq!(batch.operation(2, None), Some(1));
        assert_eq!(batch.operation(2, Some(20)), Some(1));
        // Behind 20 bytes of headers, 16 + 12 of names and 4 of the list's header: elements of 28 bytes.
        assert_eq!(batch.operation(2, Some(52)), Some(1));
        assert_eq!(batch.operation(2, Some(80)), Some(2));
        assert_eq!(batch.operation(2, Some(108)), Some(3));
        assert_eq!(batch.operation(3, None), Some(4));
        assert_eq!(batch.operation(4, None), None);
    }
}
