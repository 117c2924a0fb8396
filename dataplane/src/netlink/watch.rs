//! Hears what others commit: whether a table is still as it was read, although the ruleset is of another generation.
//!
//! The kernel queues the events of a commit, the last of which names the generation, before it lets the next commit begin. So whoever
//! was refused for the sake of the generation finds, without waiting, every event that led to it.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;

use palisade_compiler::program::TableFamily;

use super::sys::{self, Bus, Socket};
use super::wire::{self, Attribute, msg};
use crate::ruleset::TableName;

/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h)
const GROUP: u32 = 7;

/// Room for an event: the kernel gathers those of a commit up to 8 KiB.
const BUFFER: usize = 64 * 1024;

/// The receive buffer of a `TableWatch`, in bytes. Where it overflows, the tables are compared as after any event.
const ROOM: usize = 1 << 20;

/// A socket for events; nothing that our own batches do is among them.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
    /// Of which something was heard, or may have been missed, since `begin`; all before it.
    touched: BTreeSet<TableName>,
}

impl Watch {
    #[cfg(test)]
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// In the network namespace of the calling thread; `own` is the port of our batches.
    pub(super) fn open(own: u32, room: usize) -> io::Result<Self> {
        let socket = Socket::open(Bus::Netfilter)?;
        socket.set_receive_buffer(room)?;
        socket.ignore(own)?;
        socket.join(GROUP)?;
        Ok(Self { socket, buffer: vec![0; BUFFER], touched: TableName::ALL.into() })
    }

    /// From here on the table is as it is to be read now.
    pub(super) fn begin(&mut self, table: TableName) -> io::Result<()> {
        self.hear()?;
        self.touched.remove(&table);
        Ok(())
    }

    /// Takes in what happened until now. The generation up to which that is everything; `None` if nobody committed.
    pub(super) fn hear(&mut self) -> io::Result<Option<u32>> {
        let mut generation = None;
        loop {
            match self.socket.receive(&mut self.buffer, false) {
                Ok(length) => self.take_in(length, &mut generation),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(generation),
                // There was no room for some: they may have been of any table.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.touched.extend(TableName::ALL);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes the events in the first bytes of the buffer.
    fn take_in(&mut self, length: usize, generation: &mut Option<u32>) {
        let datagram = self.buffer.get(..length).unwrap_or_default();
        let _: ControlFlow<()> = wire::messages(datagram, |message| {
            note(message, &mut self.touched, generation);
            ControlFlow::Continue(())
        });
    }

    /// Whether nothing was heard of the table since `begin`.
    pub(super) fn is_untouched(&self, table: TableName) -> bool {
        !self.touched.contains(&table)
    }
}

/// Waits for what others do to our tables, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct TableWatch(Watch);

impl TableWatch {
    /// `own` is the netlink port of whoever's changes do not count.
    ///
    /// # Errors
    ///
    /// Those of a netlink socket.
    pub fn open(own: u32) -> io::Result<Self> {
        let mut watch = Watch::open(own, ROOM)?;
        watch.touched.clear();
        Ok(Self(watch))
    }

    /// Waits until somebody else changed a table of ours, or may have done so. Returns whether events were lost.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn wait(&mut self) -> io::Result<bool> {
        let watch = &mut self.0;
        loop {
            let mut is_lost = false;
            match watch.socket.receive(&mut watch.buffer, true) {
                Ok(length) => watch.take_in(length, &mut None),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => is_lost = true,
                Err(error) => return Err(error),
            }
            if is_lost || !watch.touched.is_empty() {
                watch.touched.clear();
                return Ok(is_lost);
            }
        }
    }
}

pub(super) fn note(
    message: wire::Message<'_>,
    touched: &mut BTreeSet<TableName>,
    generation: &mut Option<u32>,
) {
    let Some((family, attributes)) = message.nf() else { return };
    let first = attributes.get(1);
    if message.is_nf(msg::NEWGEN) {
        *generation = first.and_then(Attribute::be_u32).or(*generation);
        return;
    }
    // All other events name their table first.
    let is_ours = TableFamily::ALL.iter().any(|&ours| sys::proto(ours) as u8 == family);
    let name = first.and_then(Attribute::string).filter(|_| is_ours);
    touched.extend(TableName::ALL.into_iter().filter(|table| name == Some(table.as_str())));
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Header, NF_HEADER};
    use super::*;

    /// What is noted of one event of that kind and family, whose first attribute is this.
    fn heard(kind: u16, family: u8, first: &[u8]) -> (BTreeSet<TableName>, Option<u32>) {
        let header = Header { kind, flags: 0, family, sequence: 0 };
        let mut payload = vec![0; NF_HEADER];
        payload[0] = family;
        wire::put(&mut payload, 1, first);
        let kind = header.message_type();
        let message = wire::Message { kind, flags: 0, sequence: 0, payload: &payload };
        let (mut touched, mut generation) = (BTreeSet::new(), Some(4));
        note(message, &mut touched, &mut generation);
        (touched, generation)
    }

    #[test]
    fn events_are_told_apart_by_family_and_name() {
        let family = sys::proto(TableFamily::Ip6) as u8;
        let arp = 3;
        let element = msg::NEWSETELEM;
        assert_eq!(heard(element, family, b"palisade\0"), ([TableName::Main].into(), Some(4)));
        let stand_in = (BTreeSet::from([TableName::StandIn]), Some(4));
        assert_eq!(heard(msg::DELTABLE, family, b"palisade_stand_in\0"), stand_in);
        assert_eq!(heard(element, family, b"other\0"), (BTreeSet::new(), Some(4)));
        assert_eq!(heard(element, arp, b"palisade\0"), (BTreeSet::new(), Some(4)));
        assert_eq!(heard(msg::NEWGEN, 0, &9u32.to_be_bytes()), (BTreeSet::new(), Some(9)));
    }
}
