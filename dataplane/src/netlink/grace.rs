//! The wait for packets that may still use what a commit replaced: an RCU grace period.
//!
//! Netfilter's hooks run inside RCU read sections, so a packet that looked something up before a commit is through
//! when every section that was open then has been left (`synchronize_rcu` in the kernel).

use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{SysconfVar, sysconf};

use super::sys;
use crate::ruleset::RulesetError;

/// How the wait is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraceMethod {
    /// `membarrier(MEMBARRIER_CMD_GLOBAL)`, which calls `synchronize_rcu`. A kernel with `nohz_full` does not offer it;
    /// with one processor online it returns at once.
    Membarrier,
    /// Closing a packet socket, which never received anything: the kernel calls `synchronize_net` before it frees one
    /// (`packet_release`). Needs CAP_NET_RAW.
    PacketSocket,
}

/// The method in use here and now.
///
/// # Errors
///
/// `Unsupported` where the kernel offers neither.
pub fn grace_method() -> Result<GraceMethod, RulesetError> {
    let offered = sys::membarrier(libc::MEMBARRIER_CMD_QUERY).unwrap_or(0);
    if offered & libc::c_long::from(libc::MEMBARRIER_CMD_GLOBAL) != 0 && processors() > 1 {
        return Ok(GraceMethod::Membarrier);
    }
    packet_socket().map(|_| GraceMethod::PacketSocket)
}

/// Waits by that method.
pub fn grace_by(method: GraceMethod) -> Result<(), RulesetError> {
    match method {
        GraceMethod::Membarrier => sys::membarrier(libc::MEMBARRIER_CMD_GLOBAL).map(|_| ())?,
        GraceMethod::PacketSocket => drop(packet_socket()?),
    }
    Ok(())
}

fn processors() -> libc::c_long {
    sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1)
}

/// Protocol 0: it takes no packets.
fn packet_socket() -> Result<OwnedFd, RulesetError> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).map_err(|errno| {
        RulesetError::Unsupported {
            what: format!(
                "waiting for packets under way: membarrier(2) does not offer MEMBARRIER_CMD_GLOBAL here (nohz_full, or \
                 one processor), and a packet socket cannot be opened ({errno}; CAP_NET_RAW is needed)"
            ),
        }
    })
}
