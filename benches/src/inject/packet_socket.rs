//! Frames sent by a packet socket through a veth, each by a system call of its own.
//!
//! The sending thread stays on one CPU. A veth hands a frame to the backlog of the CPU that sends it, and the backlog is
//! worked off in order, each packet to its end. So when a mark, sent last, has come in at an interface of its own,
//! nothing that was sent before it is still under way.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use palisade_lab::pin_to_current_cpu;

use super::frame::Frame;
use super::route::{Ingress, MAC};
use super::{BATCH, InjectError};
use crate::sys;

/// How long a mark may take; it is a matter of microseconds, so this only bounds a failure.
const PATIENCE: TimeVal = TimeVal::new(10, 0);
/// The EtherType of marks: local experimental (IEEE 802), so that no protocol takes them.
const MARK_TYPE: u16 = 0x88b5;
/// A packet socket bound to protocol 0 receives nothing (packet(7)).
const NOTHING: u16 = 0;

/// Packet sockets that stay in the router's namespace.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fresh: OwnedFd,
    kept: OwnedFd,
    send_marks: OwnedFd,
    receive_marks: OwnedFd,
}

impl PacketSocket {
    /// In the calling thread's namespace.
    pub(super) fn new() -> Result<Self, InjectError> {
        let sender = |ingress: Ingress| open(ingress.outer(), NOTHING);
        let receive_marks = open(Ingress::Marks.index(), MARK_TYPE)?;
        setsockopt(&receive_marks, sockopt::ReceiveTimeout, &PATIENCE)
            .map_err(|errno| InjectError::errno("set up a packet socket", errno))?;
        Ok(Self {
            fresh: sender(Ingress::Fresh)?,
            kept: sender(Ingress::Kept)?,
            send_marks: sender(Ingress::Marks)?,
            receive_marks,
        })
    }

    /// Sends frames round robin, `packets` (a multiple of [`BATCH`]) in all. Returns the nanoseconds of each batch, until all of it
    /// had gone its way. To be called on a thread that may be bound to a CPU.
    pub(super) fn send(
        &self,
        frames: &[Frame],
        ingress: Ingress,
        packets: u32,
    ) -> Result<Vec<u64>, InjectError> {
        pin_to_current_cpu()?;
        let mut frames = frames.iter().cycle();
        let batch = |_| {
            let start = Instant::now();
            for frame in frames.by_ref().take(BATCH as usize) {
                self.send_one(frame, ingress)?;
            }
            self.settle()?;
            Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
        };
        (0..packets / BATCH).map(batch).collect()
    }

    /// Sends one frame and returns when it has gone its way. To be called on a thread that stays on its CPU.
    pub(super) fn send_and_settle(&self, frame: &[u8]) -> Result<(), InjectError> {
        self.send_one(frame, Ingress::Fresh)?;
        self.settle()
    }

    fn send_one(&self, frame: &[u8], ingress: Ingress) -> Result<(), InjectError> {
        let socket = match ingress {
            Ingress::Fresh => &self.fresh,
            Ingress::Kept => &self.kept,
            Ingress::Marks => &self.send_marks,
        };
        loop {
            match send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(InjectError::errno("send a frame", errno)),
            }
        }
    }

    /// Returns when what this thread has sent has gone its way.
    fn settle(&self) -> Result<(), InjectError> {
        let [high, low] = MARK_TYPE.to_be_bytes();
        let mut mark = [MAC, MAC].concat();
        mark.extend([high, low]);
        mark.resize(60, 0);
        self.send_one(&mark, Ingress::Marks)?;
        let mut buffer = [0; 64];
        loop {
            match recv(self.receive_marks.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(InjectError::errno("wait for sent frames", errno)),
            }
        }
    }
}

/// A packet socket of an interface, which receives frames of one EtherType.
fn open(interface: u32, ethertype: u16) -> Result<OwnedFd, InjectError> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let opened = socket(AddressFamily::Packet, SockType::Raw, flags, None)
        .map_err(|errno| InjectError::errno("a packet socket", errno))?;
    sys::bind_packet(&opened, interface, ethertype)
        .map_err(|error| InjectError::io("bind a packet socket", error))?;
    Ok(opened)
}
