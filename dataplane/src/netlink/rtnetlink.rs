//! Questions to rtnetlink, where all numbers are in host byte order.

use std::io;
use std::ops::ControlFlow;

use super::sys::{Bus, Socket};
use super::wire::{self, DONE, ERROR, flag};

/// A dump's datagrams have at most 32 KiB (`netlink_dump` of the kernel).
const BUFFER: usize = 64 * 1024;

/// A socket for questions in the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Client {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Client {
    /// `strict` has the kernel heed what a dump's request asks to leave out (Linux 4.20).
    pub(super) fn open(strict: bool) -> io::Result<Self> {
        let socket = Socket::open(Bus::Route)?;
        if strict {
            socket.check_strictly()?;
        }
        Ok(Self { socket, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Sends one request, and visits each message of the answer. The error that the kernel answers with is returned.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut visit: impl FnMut(wire::Message<'_>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Vec::with_capacity(wire::HEADER + body.len());
        let at = wire::open_plain(&mut request, kind, flags, self.sequence);
        request.extend_from_slice(body);
        wire::close(&mut request, at);
        self.socket.send(&request)?;
        loop {
            let length = self.socket.receive(&mut self.buffer, true)?;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            let end = wire::messages(datagram, |message| {
                if message.sequence != self.sequence {
                    return ControlFlow::Continue(());
                }
                if matches!(message.kind, DONE | ERROR) {
                    return ControlFlow::Break(message.errno());
                }
                visit(message);
                if flags & flag::DUMP == 0 {
                    ControlFlow::Break(0)
                } else {
                    ControlFlow::Continue(())
                }
            });
            match end {
                ControlFlow::Break(0) => return Ok(()),
                ControlFlow::Break(errno) => return Err(io::Error::from_raw_os_error(errno)),
                ControlFlow::Continue(()) => {}
            }
        }
    }
}

pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}
