//! Sends frames with a packet socket through a veth, with one system call for each.
//!
//! The sending thread stays on one CPU. A veth puts a frame into the backlog of the CPU that sends it, and the kernel
//! processes the backlog in order, each packet to its end. So when a marker that was sent last has arrived at its own
//! interface, all earlier frames have been processed.

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

/// How long a marker may take. Markers arrive within microseconds, so this only limits how long a failure takes.
const PATIENCE: TimeVal = TimeVal::new(10, 0);
/// The EtherType of markers. It is reserved for local experiments (IEEE 802), so no protocol handles them.
const MARK_TYPE: u16 = 0x88b5;
/// A packet socket that is bound to protocol 0 receives nothing (packet(7)).
const NOTHING: u16 = 0;

/// The packet sockets of a router. They stay in its namespace.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fresh: OwnedFd,
    kept: OwnedFd,
    send_marks: OwnedFd,
    receive_marks: OwnedFd,
}

impl PacketSocket {
    /// Opens the sockets in the calling thread's namespace.
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

    /// Sends frames in turn, `packets` in all (a multiple of [`BATCH`]). Returns the nanoseconds of each batch, until all
    /// of its frames have been processed. Binds the calling thread to a CPU.
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
            self.wait_until_processed()?;
            Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
        };
        (0..packets / BATCH).map(batch).collect()
    }

    /// Sends one frame and returns when it has been processed. The calling thread must stay on its CPU.
    pub(super) fn send_and_wait(&self, frame: &[u8]) -> Result<(), InjectError> {
        self.send_one(frame, Ingress::Fresh)?;
        self.wait_until_processed()
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

    /// Returns when all frames that this thread sent have been processed.
    fn wait_until_processed(&self) -> Result<(), InjectError> {
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

/// Opens a packet socket on an interface, which receives frames of one EtherType.
fn open(interface: u32, ethertype: u16) -> Result<OwnedFd, InjectError> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let opened = socket(AddressFamily::Packet, SockType::Raw, flags, None)
        .map_err(|errno| InjectError::errno("a packet socket", errno))?;
    sys::bind_packet(&opened, interface, ethertype)
        .map_err(|error| InjectError::io("bind a packet socket", error))?;
    Ok(opened)
}
