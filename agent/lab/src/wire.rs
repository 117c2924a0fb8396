//! Whole frames at a machine's interface, as they are sent and as they come in.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto,
    setsockopt, socket, sockopt,
};

use crate::frame::Frame;
use crate::{LabError, Machine};

/// The receive buffer, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// A frame of the largest size, and room.
const FRAME: usize = 4096;

/// A packet socket of a machine. It needs no more than CAP_NET_RAW, which container runtimes grant.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    eth0: LinkAddr,
}

/// A frame that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFrame {
    /// From the Ethernet header on. The kernel has taken the outermost VLAN tag off.
    pub bytes: Vec<u8>,
    /// Whether it is for this machine: to its hardware address, to a group or to all. Others are seen by packet sockets only.
    pub is_addressed: bool,
}

impl SeenFrame {
    pub fn contains(&self, text: &[u8]) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text)
    }
}

impl Wire {
    /// Opens a socket at the `eth0` of a machine.
    ///
    /// # Errors
    /// `NotPermitted` without CAP_NET_RAW; `Missing` where the machine has no `eth0`.
    pub fn open(machine: &Machine) -> Result<Self, LabError> {
        machine.namespace().run(Self::open_here)?
    }

    fn open_here() -> Result<Self, LabError> {
        let failed = |errno| LabError::of_errno("open a packet socket", errno);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let family = AddressFamily::Packet;
        let socket = socket(family, SockType::Raw, flags, SockProtocol::EthAll).map_err(failed)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(failed)?;
        let mut interfaces = getifaddrs().map_err(failed)?;
        let eth0 = interfaces.find_map(|interface| {
            let is_eth0 = interface.interface_name == "eth0";
            interface.address.filter(|_| is_eth0)?.as_link_addr().copied()
        });
        let eth0 = eth0.ok_or_else(|| LabError::Missing { what: "an interface eth0".into() })?;
        Ok(Self { socket, eth0 })
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// `Io` where it is too long for the interface.
    pub fn send(&self, frame: &Frame) -> Result<(), LabError> {
        let bytes = frame.bytes();
        match sendto(self.socket.as_raw_fd(), &bytes, &self.eth0, MsgFlags::empty()) {
            Ok(_) => Ok(()),
            Err(errno) => Err(LabError::of_errno("send a frame", errno)),
        }
    }

    /// The frames that came in since the last call.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn receive(&self) -> Result<Vec<SeenFrame>, LabError> {
        let mut seen = Vec::new();
        let mut buffer = [0; FRAME];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, sender)) => {
                    let kind = sender.map(|sender| sender.pkttype());
                    if kind == Some(libc::PACKET_OUTGOING) {
                        continue;
                    }
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    let is_addressed = kind != Some(libc::PACKET_OTHERHOST);
                    seen.push(SeenFrame { bytes, is_addressed });
                }
                Err(Errno::EAGAIN) => return Ok(seen),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(LabError::of_errno("read a packet socket", errno)),
            }
        }
    }
}
