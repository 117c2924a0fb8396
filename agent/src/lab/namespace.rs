//! A network namespace without a name: it lives as long as something holds it, so that nothing is left behind however
//! this process ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use super::LabError;
use super::rtnetlink::{Batch, LOOPBACK};

/// Where a thread finds its own network namespace (proc(5)); `/proc/self` would be the process's first thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// An anonymous network namespace, kept by an open file. It is gone once this is dropped and the sockets and processes
/// in it have ended.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new namespace with its loopback interface up and duplicate address detection off, so that an address can be
    /// used at once. The namespace of the caller stays as it is.
    ///
    /// # Errors
    /// `NotPermitted` without CAP_SYS_ADMIN and CAP_NET_ADMIN; `Missing` without IPv6.
    pub fn new() -> Result<Self, LabError> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| LabError::of_errno("a new network namespace", errno))?;
            let file = File::open(OWN_NAMESPACE)
                .map_err(|error| LabError::io(format!("open {OWN_NAMESPACE}"), error))?;
            for (name, value) in EVERY_NAMESPACE {
                write_sysctl(name, value)?;
            }
            let mut links = Batch::new();
            links.up(LOOPBACK);
            links.commit()?;
            Ok(Self { file })
        })
    }

    /// Runs `work` on a thread inside the namespace. Sockets made there stay in it, wherever they are used later, and
    /// so do processes started there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        in_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| LabError::of_errno("enter a network namespace", errno))?;
            Ok(work())
        })
    }

    /// Sets `net.NAME` (with slashes) inside the namespace.
    ///
    /// # Errors
    /// `Missing` where this kernel has no such setting.
    pub fn set(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.run(|| write_sysctl(name, value))?
    }

    /// The path by which another process of this user can enter it, for example `nsenter --net=PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Set before any interface is there. Reverse path filters are off since forged sources are part of what is tested.
const EVERY_NAMESPACE: [(&str, &str); 8] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];

fn write_sysctl(name: &str, value: &str) -> Result<(), LabError> {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return LabError::Missing { what: path.display().to_string() };
        }
        LabError::io(format!("write {value} to {}", path.display()), error)
    })
}

/// A thread of its own, since a thread that changed its namespace is of no other use.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T, LabError> + Send) -> Result<T, LabError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, work)
            .map_err(|error| LabError::io("start a thread", error))?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
