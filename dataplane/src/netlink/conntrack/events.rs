//! Connections as they begin and end, told by the kernel.
//!
//! Only the groups for these two are joined, so that no change of a connection's state is copied. A socket of this kind must not
//! set `NETLINK_BROADCAST_ERROR`: the kernel would keep every connection whose end found no room, until its table is full.
//! Source: `ctnetlink_conntrack_event` (net/netfilter/nf_conntrack_netlink.c).

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::sys::{Bus, Socket};
use super::super::wire::{self, Attribute, Message, conntrack_msg};
use super::{Accounting, ConntrackError, Entry};

/// `NFNLGRP_CONNTRACK_NEW`, `NFNLGRP_CONNTRACK_DESTROY` (linux/netfilter/nfnetlink.h).
const NEW_GROUP: u32 = 1;
const DESTROY_GROUP: u32 = 3;
/// `CTA_TIMESTAMP_EVENT` (linux/netfilter/nfnetlink_conntrack.h): nanoseconds since 1970.
const TIMESTAMP_EVENT: u16 = 27;
/// An event has some hundred bytes.
const BUFFER: usize = 16 * 1024;
/// The receive buffer, in bytes, that holds the events of a quarter of a second at 40,000 a second: the kernel accounts less
/// than 1 KiB for each.
pub const RECEIVE_BUFFER: usize = 8 << 20;

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its first packet passed all rules; when, where the kernel notes it (Linux 6.15, with `nf_conntrack_timestamp`).
    Opened(Entry, Option<SystemTime>),
    Ended(Entry, Accounting),
}

/// What a call of `ConntrackEvents::read` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A datagram; its events were given to `visit`.
    Datagram,
    /// There is none at the moment.
    Nothing,
    /// The socket had no room for some events: a dump tells what they were about.
    Overflow,
}

/// The events of the network namespace in which it was opened.
#[derive(Debug)]
pub struct ConntrackEvents {
    socket: Socket,
    buffer: Vec<u8>,
}

impl ConntrackEvents {
    /// In the network namespace of the calling thread, with a receive buffer of `room` bytes.
    ///
    /// # Errors
    ///
    /// `NotPermitted` without CAP_NET_ADMIN; `Unsupported` where the kernel has no such groups.
    pub fn open(room: usize) -> Result<Self, ConntrackError> {
        let socket = Socket::open(Bus::Netfilter)?;
        socket.set_receive_buffer(room)?;
        for group in [NEW_GROUP, DESTROY_GROUP] {
            socket.join(group).map_err(not_joined)?;
        }
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Gives the events of the next datagram to `visit`; with `wait`, waits for one.
    ///
    /// # Errors
    ///
    /// `Io`: open it again, and dump.
    pub fn read(
        &mut self,
        wait: bool,
        mut visit: impl FnMut(Event),
    ) -> Result<Heard, ConntrackError> {
        let length = match self.socket.receive(&mut self.buffer, wait) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Heard::Nothing),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return Ok(Heard::Overflow);
            }
            Err(error) => return Err(error.into()),
        };
        let datagram = self.buffer.get(..length).unwrap_or_default();
        let _: ControlFlow<()> = wire::messages(datagram, |message| {
            event(message).into_iter().for_each(&mut visit);
            ControlFlow::Continue(())
        });
        Ok(Heard::Datagram)
    }
}

/// `None` for a message that is no event, or whose connection cannot be understood; the kernel writes none of the latter.
pub(in crate::netlink) fn event(message: Message<'_>) -> Option<Event> {
    let (_, attributes) = message.nf()?;
    if message.is_conntrack(conntrack_msg::NEW) {
        let time = attributes.get(TIMESTAMP_EVENT).and_then(Attribute::be_u64);
        let time = time.and_then(|nanos| UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)));
        return Some(Event::Opened(Entry::read(attributes)?, time));
    }
    if message.is_conntrack(conntrack_msg::DELETE) {
        return Some(Event::Ended(Entry::read(attributes)?, Accounting::read(attributes)));
    }
    None
}

fn not_joined(error: io::Error) -> ConntrackError {
    let what = "hearing of connections";
    match error.raw_os_error() {
        Some(libc::EPERM) => ConntrackError::NotPermitted { what },
        Some(libc::EINVAL | libc::EOPNOTSUPP) => ConntrackError::Unsupported,
        _ => error.into(),
    }
}
