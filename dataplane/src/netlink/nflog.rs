//! Packets that rules copy to a group of NFLOG, read in the network namespace of the calling thread.
//!
//! ```text
//! log group N -> the kernel's instance (numbers each record) -> socket -> PacketLog -> Record
//!                                                                            |
//!                                                                            +-> Losses
//! ```
//!
//! The kernel gives a group to one socket of a network namespace at a time, and frees it with the socket. Sources:
//! `nfulnl_recv_config`, `__build_packet_message` (net/netfilter/nfnetlink_log.c) and linux/netfilter/nfnetlink_log.h.

mod header;
mod record;

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use thiserror::Error;

use super::sys::{Bus, Socket};
use super::wire::{self, ERROR, Header, flag, log_msg};

pub use header::{HeaderError, PacketHeader, Upper};
pub use record::Record;

/// Bytes of each packet that the kernel copies: an IPv6 header, some extension headers, and the header after them.
const COPIED: u32 = 256;
/// A record waits for others at most so long, in hundredths of a second.
const TIMEOUT: u32 = 1;
/// Records that the kernel gathers before it delivers them. The rules limit their rate, so that each may come by itself.
const THRESHOLD: u32 = 1;
/// A datagram has at most what the kernel gathers (`NFULNL_NLBUFSIZ_DEFAULT` is a page).
const BUFFER: usize = 128 * 1024;
/// The socket's receive buffer, in bytes: some thousand records, for which the kernel accounts about 1 KiB each.
const RECEIVE_BUFFER: usize = 4 << 20;

/// `enum nfulnl_attr_config`, `NFULNL_CFG_CMD_BIND`, `NFULNL_COPY_PACKET` and `NFULNL_CFG_F_SEQ` (linux/netfilter/nfnetlink_log.h).
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const CONFIG_TIMEOUT: u16 = 4;
const CONFIG_THRESHOLD: u16 = 5;
const CONFIG_FLAGS: u16 = 6;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const NUMBERED: u16 = 1;

/// Why a group cannot be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The kernel answers the same to both: another socket has the group, or CAP_NET_ADMIN is missing. Try again later.
    #[error("another process reads NFLOG group {group} (or CAP_NET_ADMIN is missing here)")]
    Taken { group: u16 },
    /// The kernel is loading the module: try again soon.
    #[error("the kernel is loading its module for NFLOG")]
    Loading,
    /// The kernel has no nfnetlink_log.
    #[error("this kernel has no NFLOG groups (CONFIG_NETFILTER_NETLINK_LOG; module nfnetlink_log)")]
    Unsupported,
    /// The kernel refused the configuration; a fault of ours.
    #[error("the kernel refused to open NFLOG group {group}: {errno}")]
    Refused { group: u16, errno: nix::Error },
    /// Reading or writing the socket failed: open the group again.
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
}

/// What was lost or could not be read in one call of `PacketLog::read`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that the kernel numbered and that did not arrive.
    pub missing: u64,
    /// Times that the socket had no room. The records lost are among `missing` once a later one arrives.
    pub overflows: u64,
}

/// A group's only reader.
#[derive(Debug)]
pub struct PacketLog {
    socket: Socket,
    buffer: Vec<u8>,
    /// The number of the next record; the kernel counts from 0 when the group is taken.
    next: u32,
    /// Records that came before the kernel's acknowledgement of the configuration.
    early: VecDeque<Record>,
}

impl PacketLog {
    /// Takes the group in the network namespace of the calling thread, for packets of every family.
    ///
    /// # Errors
    ///
    /// `Taken` and `Loading` pass: try again.
    pub fn open(group: u16) -> Result<Self, LogError> {
        let socket = Socket::open(Bus::Netfilter)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        let mut log = Self { socket, buffer: vec![0; BUFFER], next: 0, early: VecDeque::new() };
        const SEQUENCE: u32 = 1;
        log.socket.send(&configuration(group, SEQUENCE))?;
        loop {
            let length = log.socket.receive(&mut log.buffer, true)?;
            let datagram = log.buffer.get(..length).unwrap_or_default();
            let early = &mut log.early;
            let answer = wire::messages(datagram, |message| {
                if message.kind == ERROR && message.sequence == SEQUENCE {
                    return ControlFlow::Break(message.errno());
                }
                early.extend(Record::read(message));
                ControlFlow::Continue(())
            });
            match answer {
                ControlFlow::Break(0) => return Ok(log),
                ControlFlow::Break(errno) => return Err(refused(group, errno)),
                ControlFlow::Continue(()) => {}
            }
        }
    }

    /// Waits for records and gives those of one datagram to `visit`, in the order in which the kernel numbered them.
    ///
    /// # Errors
    ///
    /// `Io`: open the group again.
    pub fn read(&mut self, mut visit: impl FnMut(Record)) -> Result<Losses, LogError> {
        let mut losses = Losses::default();
        let next = &mut self.next;
        let mut take = |record: Record| {
            losses.missing += missing_before(next, record.number);
            visit(record);
        };
        if !self.early.is_empty() {
            self.early.drain(..).for_each(take);
            return Ok(losses);
        }
        let length = match self.socket.receive(&mut self.buffer, true) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return Ok(Losses { missing: 0, overflows: 1 });
            }
            Err(error) => return Err(error.into()),
        };
        let datagram = self.buffer.get(..length).unwrap_or_default();
        let _: ControlFlow<()> = wire::messages(datagram, |message| {
            Record::read(message).into_iter().for_each(&mut take);
            ControlFlow::Continue(())
        });
        Ok(losses)
    }
}

/// How many numbers are missing between the one expected and this one, which is then taken as the last.
fn missing_before(next: &mut u32, number: Option<u32>) -> u64 {
    let Some(number) = number else { return 0 };
    let missing = number.wrapping_sub(*next);
    *next = number.wrapping_add(1);
    // A number that lies behind would be a fault of the kernel's, and no loss of four thousand million records.
    if missing > u32::MAX / 2 { 0 } else { u64::from(missing) }
}

fn configuration(group: u16, sequence: u32) -> Vec<u8> {
    let mut request = Vec::with_capacity(64);
    let header = Header { kind: log_msg::CONFIG, flags: flag::ACK, family: 0, sequence };
    let at = wire::open_log(&mut request, header, group);
    wire::put(&mut request, CONFIG_COMMAND, &[BIND]);
    // `struct nfulnl_msg_config_mode`: the range, the mode, and padding.
    let [a, b, c, d] = COPIED.to_be_bytes();
    wire::put(&mut request, CONFIG_MODE, &[a, b, c, d, COPY_PACKET, 0]);
    wire::put(&mut request, CONFIG_TIMEOUT, &TIMEOUT.to_be_bytes());
    wire::put(&mut request, CONFIG_THRESHOLD, &THRESHOLD.to_be_bytes());
    wire::put(&mut request, CONFIG_FLAGS, &NUMBERED.to_be_bytes());
    wire::close(&mut request, at);
    request
}

fn refused(group: u16, errno: i32) -> LogError {
    match errno {
        libc::EPERM | libc::EBUSY => LogError::Taken { group },
        libc::EAGAIN => LogError::Loading,
        // What nfnetlink answers where no module serves the subsystem; the request itself has nothing to refuse.
        libc::EINVAL | libc::EOPNOTSUPP => LogError::Unsupported,
        errno => LogError::Refused { group, errno: nix::Error::from_raw(errno) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_missing_are_counted_also_where_they_wrap() {
        let mut next = 0;
        let missing = [0, 1, 4, 5].map(|number| missing_before(&mut next, Some(number)));
        assert_eq!((missing, next), ([0, 0, 2, 0], 6));
        assert_eq!(missing_before(&mut next, None), 0);
        next = u32::MAX;
        assert_eq!((missing_before(&mut next, Some(1)), next), (2, 2));
        assert_eq!((missing_before(&mut next, Some(1)), next), (0, 2), "it lies behind");
    }

    #[test]
    fn errors_that_pass_are_told_from_those_that_stay() {
        assert!(matches!(refused(7, libc::EPERM), LogError::Taken { group: 7 }));
        assert!(matches!(refused(7, libc::EAGAIN), LogError::Loading));
        assert!(matches!(refused(7, libc::EINVAL), LogError::Unsupported));
        assert!(matches!(refused(7, libc::ENOMEM), LogError::Refused { .. }));
    }
}
