//! A network namespace without a name. The kernel removes it when nothing uses it any more, however this process ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use crate::links::{Batch, LOOPBACK};
use crate::{LabError, tool};

/// The calling thread's network namespace (proc(5)). `/proc/self` would be that of the process's first thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// An anonymous network namespace, kept by an open file. The kernel removes it once this is dropped, and the sockets and processes in
/// it are gone.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new namespace with its loopback interface up, and without duplicate address detection, so that an address can be
    /// used at once. The calling thread stays in its own namespace.
    ///
    /// # Errors
    /// `NotPermitted` without CAP_SYS_ADMIN and CAP_NET_ADMIN; `Missing` without IPv6.
    pub fn new() -> Result<Self, LabError> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| LabError::of_errno("a new network namespace", errno))?;
            let namespace = Self::current()?;
            for (name, value) in EVERY_NAMESPACE {
                write_sysctl(name, value)?;
            }
            let mut links = Batch::new();
            links.up(LOOPBACK);
            links.commit()?;
            Ok(namespace)
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// That of opening a file of `/proc`.
    pub fn current() -> Result<Self, LabError> {
        match File::open(OWN_NAMESPACE) {
            Ok(file) => Ok(Self { file }),
            Err(error) => Err(LabError::io(format!("open {OWN_NAMESPACE}"), error)),
        }
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it opens stay in the namespace, whichever thread uses them later, and
    /// so do processes that it starts. A panic of `work` goes on in the calling thread.
    ///
    /// # Errors
    /// Where the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        in_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| LabError::of_errno("enter a network namespace", errno))?;
            Ok(work())
        })
    }

    /// Sets the sysctl `net.NAME` in the namespace; `name` has slashes in the place of dots.
    ///
    /// # Errors
    /// `Missing` where this kernel has no such sysctl.
    pub fn set(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.run(|| write_sysctl(name, value))?
    }

    /// Feeds text to `nft -f -` in the namespace, and returns what it prints.
    ///
    /// # Errors
    /// `Tool` with the messages of nft.
    pub fn nft(&self, text: &str) -> Result<String, LabError> {
        Ok(self.run(|| tool::run("nft", &["-f", "-"], text))??)
    }

    /// A path by which another process of root can enter the namespace while this value lives, for example by `nsenter --net=PATH`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// The same namespace, kept as long as either value lives.
    ///
    /// # Errors
    /// That of copying a file descriptor.
    pub fn try_clone(&self) -> Result<Self, LabError> {
        match self.file.try_clone() {
            Ok(file) => Ok(Self { file }),
            Err(error) => Err(LabError::io("copy a file descriptor", error)),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Set before there is any interface. Reverse path filters are off, because packets with forged source addresses are among those that tests send.
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
            let module = if name.starts_with("bridge/") { " (modprobe br_netfilter)" } else { "" };
            return LabError::Missing { what: format!("{}{module}", path.display()) };
        }
        LabError::io(format!("write {value} to {}", path.display()), error)
    })
}

/// Runs `work` on a new thread. A thread that has changed its namespace is not used for anything else.
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
