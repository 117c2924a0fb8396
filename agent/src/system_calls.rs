//! System calls that the agent never makes, refused by the kernel from its start on: a fault that lets somebody run code in the
//! agent does not let them run programs, load code into the kernel, look into other processes, or leave its namespaces.
//!
//! A container's seccomp profile and a systemd unit refuse some of them already; this holds wherever the agent runs.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use thiserror::Error;

/// The kinds of sockets that the agent opens: its own, netlink, HTTP and the API server, and the raw one that waits for packets
/// under way (`palisade_dataplane::netlink::grace_by`).
const SOCKET_FAMILIES: [i32; 5] =
    [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_INET, libc::AF_INET6, libc::AF_PACKET];

/// Running another program; a kubeconfig may name one that gives a token.
const PROGRAMS: [i64; 2] = [libc::SYS_execve, libc::SYS_execveat];

/// Never called.
const NEVER: [i64; 55] = [
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // The kernel's own code and memory.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_syslog,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    // The host's clock, name, swap, quotas, accounts and power.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_vhangup,
    // Who it runs as.
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_personality,
];

/// Whether other programs may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    Refused,
    /// For a kubeconfig whose user gets a token by a program.
    Allowed,
}

/// Why the calls are not refused: all else goes on.
#[derive(Debug, Error)]
#[error(
    "this kernel or processor refuses no system calls ({0}): CONFIG_SECCOMP_FILTER on x86-64 or arm64"
)]
pub struct FilterError(String);

impl From<BackendError> for FilterError {
    fn from(error: BackendError) -> Self {
        Self(error.to_string())
    }
}

/// Refuses the calls with `EPERM` to the calling thread and those that it starts, for as long as they live; nor do they get more
/// rights by running a program (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
///
/// `FilterError`: nothing is refused.
pub fn refuse(programs: Programs) -> Result<(), FilterError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        NEVER.into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![no_family_of_ours()?]);
    if programs == Programs::Refused {
        rules.extend(PROGRAMS.map(|call| (call, Vec::new())));
        rules.insert(libc::SYS_clone, vec![no_thread()?]);
    }
    apply(rules, libc::EPERM)?;
    // Its flags cannot be looked at; without it, the C library starts threads by `clone`.
    apply([(libc::SYS_clone3, Vec::new())].into(), libc::ENOSYS)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<(), FilterError> {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program).map_err(|error| FilterError(error.to_string()))
}

fn no_family_of_ours() -> Result<SeccompRule, BackendError> {
    let differs = |family: i32| {
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    SeccompRule::new(SOCKET_FAMILIES.into_iter().map(differs).collect::<Result<_, _>>()?)
}

/// A process of its own, rather than a thread.
fn no_thread() -> Result<SeccompRule, BackendError> {
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let condition =
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)?;
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::process::Command;
    use std::thread;

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    /// On a thread of its own, which takes the filter along.
    fn filtered<T: Send + 'static>(
        programs: Programs,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let run = move || {
            refuse(programs).unwrap();
            work()
        };
        thread::spawn(run).join().unwrap()
    }

    fn opens(family: AddressFamily, kind: SockType) -> nix::Result<()> {
        socket(family, kind, SockFlag::empty(), None).map(drop)
    }

    #[test]
    fn what_the_agent_never_does_is_refused() {
        filtered(Programs::Refused, || {
            let program = Command::new("/bin/true").status().unwrap_err();
            assert_eq!(program.kind(), io::ErrorKind::PermissionDenied);
            for namespace in [CloneFlags::CLONE_NEWNET, CloneFlags::CLONE_NEWUSER] {
                assert_eq!(unshare(namespace), Err(nix::Error::EPERM));
            }
            let others = (AddressFamily::Vsock, SockType::Stream);
            assert_eq!(opens(others.0, others.1), Err(nix::Error::EPERM));
        });
    }

    #[test]
    fn what_it_does_goes_on() {
        filtered(Programs::Refused, || {
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            assert!(!fs::read("/proc/self/status").unwrap().is_empty());
            for (family, kind) in [
                (AddressFamily::Unix, SockType::Stream),
                (AddressFamily::Netlink, SockType::Raw),
                (AddressFamily::Inet, SockType::Stream),
                (AddressFamily::Inet6, SockType::Stream),
                (AddressFamily::Packet, SockType::Raw),
            ] {
                assert_eq!(opens(family, kind), Ok(()), "{family:?}");
            }
        });
        let ran = filtered(Programs::Allowed, || Command::new("/bin/true").status());
        assert!(ran.unwrap().success());
    }
}
