//! The connections that the kernel tracks: read entry by entry, heard of as they begin and end, and deleted one at a time.
//!
//! ```text
//! begin(Selection) -> dump -> read, read, ... -> Entry -> LiveConnection, judged by a program
//!                                                  |
//!                                                  +-> delete
//! ```
//!
//! A dump is read in parts that the kernel writes only when they are asked for, so whoever reads may stop between any two.
//! Sources: `ctnetlink_dump_table`, `ctnetlink_del_conntrack` (net/netfilter/nf_conntrack_netlink.c) and
//! linux/netfilter/nfnetlink_conntrack.h.

mod accounting;
mod entry;
mod events;
mod selection;
mod tuple;

use std::io;
use std::ops::ControlFlow;

use thiserror::Error;

use super::sys::{Bus, Socket};
use super::wire::{self, DONE, ERROR, Header, conntrack_msg, flag};

#[cfg(feature = "testkit")]
pub(super) use entry::TUPLE_ORIGINAL;
#[cfg(feature = "testkit")]
pub(super) use events::event;

pub use accounting::{Accounting, Carried};
pub use entry::Entry;
pub use events::{ConntrackEvents, Event, Heard, RECEIVE_BUFFER};
pub use selection::{Direction, Selection};
pub use tuple::{Tuple, Upper};

/// A dump's datagrams have at most 32 KiB (`netlink_dump` of the kernel).
const BUFFER: usize = 64 * 1024;
/// Deletions that are sent at once.
const BATCH: usize = 512;
/// Room for the answers to a batch: the kernel accounts an answer with up to 1 KiB.
const ANSWERS: usize = 1024 * 1024;

/// Why entries could not be read or deleted.
#[derive(Debug, Error)]
pub enum ConntrackError {
    /// CAP_NET_ADMIN is missing.
    #[error("not permitted: {what} (CAP_NET_ADMIN in this network namespace is needed)")]
    NotPermitted { what: &'static str },
    /// The kernel lists no connections.
    #[error(
        "this kernel does not list tracked connections (CONFIG_NF_CT_NETLINK; module nf_conntrack_netlink)"
    )]
    Unsupported,
    /// Entries were lost, or the table changed its form, during a dump: begin it again.
    #[error("the dump of tracked connections was interrupted")]
    Interrupted,
    /// The kernel refused a request; a fault of ours.
    #[error("the kernel refused {what}: {errno}")]
    Refused { what: &'static str, errno: nix::Error },
    /// Reading or writing a socket failed: open it again.
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
}

/// How far a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more entries.
    More,
    /// That was all.
    Done,
}

/// Connection tracking of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Conntrack {
    dumps: Socket,
    /// Its answers never mix with a dump.
    deletions: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    /// The dump that is under way, with its sequence number.
    dump: Option<(u32, Selection)>,
    /// The kernel lost parts of it.
    is_interrupted: bool,
}

impl Conntrack {
    /// In the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Those of opening a netlink socket.
    pub fn open() -> Result<Self, ConntrackError> {
        let deletions = Socket::open(Bus::Netfilter)?;
        deletions.set_receive_buffer(ANSWERS)?;
        Ok(Self {
            dumps: Socket::open(Bus::Netfilter)?,
            deletions,
            buffer: vec![0; BUFFER],
            sequence: 0,
            dump: None,
            is_interrupted: false,
        })
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Begins a dump of the entries selected, in the place of one that is under way. A kernel that knows no selections
    /// (before Linux 5.8) dumps all entries of the family: look at each.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn begin(&mut self, selection: Selection) -> Result<(), ConntrackError> {
        if self.dump.take().is_some() {
            // The kernel begins no second dump on a socket before the first one is read.
            self.dumps = Socket::open(Bus::Netfilter)?;
        }
        self.is_interrupted = false;
        let sequence = self.next_sequence();
        let mut request = Vec::with_capacity(128);
        let (kind, family) = (conntrack_msg::GET, selection.family());
        let header = Header { kind, flags: flag::DUMP, family, sequence };
        let at = wire::open_conntrack(&mut request, header);
        selection.put(&mut request);
        wire::close(&mut request, at);
        self.dumps.send(&request)?;
        self.dump = Some((sequence, selection));
        Ok(())
    }

    /// Reads the next part of the dump, some hundred entries at most. Entries that cannot be understood are left out; the
    /// kernel writes none.
    ///
    /// # Errors
    ///
    /// `Interrupted` at the end of a dump that may not be complete; others end the dump at once.
    pub fn read(&mut self, mut visit: impl FnMut(Entry)) -> Result<Progress, ConntrackError> {
        let Some((dump, selection)) = self.dump else { return Ok(Progress::Done) };
        let length = match self.dumps.receive(&mut self.buffer, true) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.is_interrupted = true;
                return Ok(Progress::More);
            }
            Err(error) => return Err(error.into()),
        };
        let mut is_interrupted = self.is_interrupted;
        let datagram = self.buffer.get(..length).unwrap_or_default();
        let end = wire::messages(datagram, |message| {
            if message.sequence != dump {
                return ControlFlow::Continue(());
            }
            is_interrupted |= message.flags & flag::DUMP_INTR != 0;
            if matches!(message.kind, DONE | ERROR) {
                return ControlFlow::Break(message.errno());
            }
            if message.is_conntrack(conntrack_msg::NEW)
                && let Some((_, attributes)) = message.nf()
                && let Some(entry) = Entry::read(attributes)
            {
                visit(entry);
            }
            ControlFlow::Continue(())
        });
        self.is_interrupted = is_interrupted;
        let ControlFlow::Break(errno) = end else { return Ok(Progress::More) };
        self.dump = None;
        match errno {
            0 if is_interrupted => Err(ConntrackError::Interrupted),
            0 => Ok(Progress::Done),
            // What nfnetlink answers where no module serves the subsystem; the request itself has nothing to refuse.
            libc::EINVAL if selection == Selection::All => Err(ConntrackError::Unsupported),
            errno => Err(refused("listing tracked connections", errno)),
        }
    }

    /// Deletes entries, and returns how many of them were still there. An entry whose tuple another one has by now, with
    /// another id, stays.
    ///
    /// # Errors
    ///
    /// The first one; the other entries of its batch are deleted nevertheless, those of later batches are not.
    pub fn delete(&mut self, entries: &[Entry]) -> Result<usize, ConntrackError> {
        let mut deleted = 0;
        for batch in entries.chunks(BATCH) {
            deleted += self.delete_batch(batch)?;
        }
        Ok(deleted)
    }

    fn delete_batch(&mut self, entries: &[Entry]) -> Result<usize, ConntrackError> {
        let mut request = Vec::with_capacity(entries.len() * 128);
        let first = self.sequence.wrapping_add(1);
        let last = first.wrapping_add(entries.len() as u32).wrapping_sub(1);
        for entry in entries {
            let sequence = self.next_sequence();
            let (kind, family) = (conntrack_msg::DELETE, entry.family());
            // A failure is answered in any case, and the answer to the last one says that there is no more.
            let flags = if sequence == last { flag::ACK } else { 0 };
            let header = Header { kind, flags, family, sequence };
            let at = wire::open_conntrack(&mut request, header);
            entry.put(&mut request);
            wire::close(&mut request, at);
        }
        self.deletions.grow_send_buffer(request.len() * 2)?;
        self.deletions.send(&request)?;
        // Every message was answered before `send` returned.
        let (mut is_answered, mut deleted, mut failure) = (entries.is_empty(), entries.len(), None);
        while !is_answered {
            let length = self.deletions.receive(&mut self.buffer, true)?;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            let _: ControlFlow<()> = wire::messages(datagram, |message| {
                let at = message.sequence.wrapping_sub(first) as usize;
                if message.kind == ERROR && at < entries.len() {
                    is_answered |= message.sequence == last;
                    match message.errno() {
                        0 => {}
                        // It has ended by itself.
                        libc::ENOENT => deleted -= 1,
                        errno => {
                            deleted -= 1;
                            failure = failure.or(Some(errno));
                        }
                    }
                }
                ControlFlow::Continue(())
            });
        }
        match failure {
            None => Ok(deleted),
            Some(errno) => Err(refused("deleting a tracked connection", errno)),
        }
    }
}

fn refused(what: &'static str, errno: i32) -> ConntrackError {
    match errno {
        libc::EPERM => ConntrackError::NotPermitted { what },
        libc::EINTR => ConntrackError::Interrupted,
        libc::EOPNOTSUPP | libc::EPROTONOSUPPORT => ConntrackError::Unsupported,
        errno => ConntrackError::Refused { what, errno: nix::Error::from_raw(errno) },
    }
}
