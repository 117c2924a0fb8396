//! A machine's raw sockets, and threads that stay on one CPU so that packets stay in order.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrIn, SockaddrIn6, recvmsg, sendto, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use crate::LabError;
use crate::links::ETH0;
use crate::packet::Arrival;

/// The receive buffer of a machine's packet socket, in bytes.
const RECEIVE_BUFFER: usize = 16 << 20;

/// A machine's raw sockets. They stay in its namespace, and any thread may use them.
#[derive(Debug)]
pub(crate) struct Sockets {
    raw_v4: OwnedFd,
    raw_v6: OwnedFd,
    /// Receives a copy of every packet that arrives at the machine's interfaces.
    packets: OwnedFd,
}

impl Sockets {
    /// Opens the sockets in the calling thread's namespace.
    pub(crate) fn new() -> Result<Self, LabError> {
        let open = |what: &str, family, kind, protocol| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(family, kind, flags, protocol).map_err(|errno| LabError::of_errno(what, errno))
        };
        // IPPROTO_RAW: each packet brings its own IP header (raw(7)).
        let raw = |family| open("a raw socket", family, SockType::Raw, SockProtocol::Raw);
        let (family, all) = (AddressFamily::Packet, SockProtocol::EthAll);
        let packets = open("a packet socket", family, SockType::Datagram, all)?;
        let failed = |errno| LabError::of_errno("set up a packet socket", errno);
        setsockopt(&packets, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(failed)?;
        setsockopt(&packets, sockopt::RxqOvfl, &1).map_err(failed)?;
        Ok(Self { raw_v4: raw(AddressFamily::Inet)?, raw_v6: raw(AddressFamily::Inet6)?, packets })
    }

    /// Sends a packet as it is, from its IP header on, to the destination that the header names.
    pub(crate) fn send(&self, packet: &[u8]) -> Result<(), LabError> {
        let sent = match destination(packet) {
            Some(IpAddr::V4(to)) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(self.raw_v4.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
            Some(IpAddr::V6(to)) => {
                let scoped = to.is_unicast_link_local() || to.is_multicast();
                let scope = if scoped { ETH0 } else { 0 };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, scope));
                sendto(self.raw_v6.as_raw_fd(), packet, &to, MsgFlags::empty())
            }
            None => Err(Errno::EINVAL),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(errno) => Err(LabError::of_errno("send a raw packet", errno)),
        }
    }

    /// Appends the packets that came in since the last call to `arrivals`. Returns how many packets the socket has lost in its life.
    pub(crate) fn receive(&self, arrivals: &mut Vec<Arrival>) -> Result<u32, LabError> {
        let mut buffer = [0; 2048];
        let mut lost = 0;
        loop {
            let mut space = nix::cmsg_space!(u32);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let fd = self.packets.as_raw_fd();
            let received = recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut space), MsgFlags::empty());
            let length = match received {
                Ok(message) => {
                    for control in message.cmsgs().into_iter().flatten() {
                        if let ControlMessageOwned::RxqOvfl(count) = control {
                            lost = lost.max(count);
                        }
                    }
                    let outgoing =
                        message.address.is_none_or(|a| a.pkttype() == libc::PACKET_OUTGOING);
                    if outgoing { 0 } else { message.bytes }
                }
                Err(Errno::EAGAIN) => return Ok(lost),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(LabError::of_errno("read a packet socket", errno)),
            };
            arrivals.extend(buffer.get(..length).and_then(Arrival::read));
        }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// Keeps the calling thread on the CPU that it runs on, so that what it sends from now on stays in order.
///
/// # Errors
/// `Io` where the kernel refuses, which it does not without cgroup limits that forbid this CPU.
pub fn pin_to_current_cpu() -> Result<(), LabError> {
    let failed = |errno| LabError::of_errno("keep a thread on its CPU", errno);
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu().map_err(failed)?).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).map_err(failed)
}

/// Runs `work` on a thread that stays on one CPU.
pub(crate) fn on_one_cpu<T: Send>(
    work: impl FnOnce() -> Result<T, LabError> + Send,
) -> Result<T, LabError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin_to_current_cpu()?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
