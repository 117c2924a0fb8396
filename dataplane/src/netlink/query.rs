//! Questions to the kernel: one request, its answers.

use std::io;
use std::ops::ControlFlow;

use super::sys::{Bus, Socket};
use super::wire::{self, Attribute, Attributes, DONE, ERROR, Header, flag, msg};

/// A dump's datagrams have at most 32 KiB (`netlink_dump` of the kernel).
const BUFFER: usize = 64 * 1024;

/// How often a dump is begun anew because nftables changed under it: it takes far less time than most commits are apart.
const DUMPS: usize = 20;

/// Why an answer is not there.
#[derive(Debug)]
pub(super) enum QueryError {
    /// The ruleset changed during a dump.
    Interrupted,
    Refused(nix::Error),
    Io(io::Error),
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A socket of its own for questions, so that answers never mix with those to a batch.
#[derive(Debug)]
pub(super) struct Query {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Query {
    #[cfg(test)]
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Bus::Netfilter)?, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// The generation of the ruleset: goes up by one with every commit in this network namespace.
    pub(super) fn generation(&mut self) -> Result<u32, QueryError> {
        let mut generation = None;
        self.ask(msg::GETGEN, 0, 0, &[], |_, attributes| {
            generation = attributes.get(1).and_then(Attribute::be_u32);
        })?;
        generation.ok_or(QueryError::Refused(nix::Error::EPROTO))
    }

    /// What `visit` makes of all objects of one kind, each with its message's family, as they were at one moment; `attributes`
    /// narrow the request.
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        family: u8,
        attributes: &[u8],
        mut visit: impl FnMut(u8, Attributes<'_>) -> Option<T>,
    ) -> Result<Vec<T>, QueryError> {
        for _ in 0..DUMPS {
            let mut found = Vec::new();
            let asked = self.ask(kind, family, flag::DUMP, attributes, |family, attributes| {
                found.extend(visit(family, attributes));
            });
            match asked {
                Ok(true) => return Ok(found),
                Ok(false) | Err(QueryError::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Err(QueryError::Interrupted)
    }

    /// As `dump`, once, whatever changed meanwhile: what was visited is right if it was not that.
    pub(super) fn dump_loosely(
        &mut self,
        kind: u16,
        family: u8,
        attributes: &[u8],
        visit: impl FnMut(u8, Attributes<'_>),
    ) -> Result<(), QueryError> {
        self.ask(kind, family, flag::DUMP, attributes, visit).map(|_whole| ())
    }

    /// Whether nothing changed meanwhile.
    fn ask(
        &mut self,
        kind: u16,
        family: u8,
        flags: u16,
        attributes: &[u8],
        mut visit: impl FnMut(u8, Attributes<'_>),
    ) -> Result<bool, QueryError> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header { kind, flags, family, sequence: self.sequence };
        let mut request = Vec::with_capacity(32 + attributes.len());
        let at = wire::open(&mut request, header);
        request.extend_from_slice(attributes);
        wire::close(&mut request, at);
        self.socket.send(&request)?;
        let mut interrupted = false;
        loop {
            let length = match self.socket.receive(&mut self.buffer, true) {
                Ok(length) => length,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    // The one answer may be what was lost; the rest of a dump is to come, and in the way of the next question.
                    if flags & flag::DUMP == 0 {
                        return Err(QueryError::Interrupted);
                    }
                    interrupted = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let datagram = self.buffer.get(..length).unwrap_or_default();
            let end = wire::messages(datagram, |message| {
                if message.sequence != self.sequence {
                    return ControlFlow::Continue(());
                }
                interrupted |= message.flags & flag::DUMP_INTR != 0;
                if matches!(message.kind, DONE | ERROR) {
                    return ControlFlow::Break(message.errno());
                }
                if let Some((family, attributes)) = message.nf() {
                    visit(family, attributes);
                }
                if flags & flag::DUMP == 0 {
                    ControlFlow::Break(0)
                } else {
                    ControlFlow::Continue(())
                }
            });
            match end {
                ControlFlow::Break(0) => return Ok(!interrupted),
                ControlFlow::Break(libc::EINTR) => return Err(QueryError::Interrupted),
                ControlFlow::Break(errno) => {
                    return Err(QueryError::Refused(nix::Error::from_raw(errno)));
                }
                ControlFlow::Continue(()) => {}
            }
        }
    }
}
