//! Opening the kernel: what it can do is tried, not read from a version.

use std::io;
use std::ops::ControlFlow;

use palisade_compiler::program::TableFamily;

use super::Kernel;
use super::batch::{OWNER, PERSIST, rehearsal};
use super::query::Query;
use super::sys::{Bus, Socket};
use super::wire::{self, ERROR};
use crate::ruleset::{Features, RulesetError};

/// Room for the errors of a batch in which every message fails, and for what others commit while a large table is read.
pub(super) const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

impl Kernel {
    /// Opens nf_tables in the network namespace of the calling thread. Tables that it creates are owned by it where
    /// the kernel has the flags `owner` and `persist` (Linux 6.9).
    ///
    /// # Errors
    ///
    /// `NotPermitted` without CAP_NET_ADMIN; `Unsupported` where the kernel has no nf_tables, or no catch-all elements
    /// (Linux 5.13).
    pub fn open() -> Result<Self, RulesetError> {
        let socket = Socket::open(Bus::Netfilter).map_err(unopened)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        let query = Query::open().map_err(unopened)?;
        // Nobody else has the port id, so nobody else has the name.
        let name = format!("palisade-probe-{}", socket.port());
        match rehearse(&socket, TableFamily::Ip, &name, 0, true)? {
            0 => {}
            libc::EPERM => {
                return Err(RulesetError::NotPermitted { what: "changing nftables".to_owned() });
            }
            libc::EINVAL => {
                return Err(unsupported("catch-all elements of nftables maps (Linux 5.13)"));
            }
            errno => {
                let error = nix::Error::from_raw(errno);
                return Err(unsupported(&format!("nf_tables (CONFIG_NF_TABLES): {error}")));
            }
        }
        let persistent_owner =
            rehearse(&socket, TableFamily::Ip, &name, OWNER | PERSIST, false)? == 0;
        let bridge_tables = rehearse(&socket, TableFamily::Bridge, &name, 0, false)? == 0;
        Ok(Self {
            socket,
            query,
            features: Features { persistent_owner, bridge_tables },
            sequence: 1,
            send_buffer: 0,
            generation: None,
            watch: None,
            owned: std::collections::BTreeSet::new(),
            acknowledges_end: false,
        })
    }

    /// As `open`, but its tables belong to nobody, so that others can write to them, whatever the kernel has.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub fn open_without_owner() -> Result<Self, RulesetError> {
        let mut kernel = Self::open()?;
        kernel.features.persistent_owner = false;
        Ok(kernel)
    }
}

fn unsupported(what: &str) -> RulesetError {
    RulesetError::Unsupported { what: what.to_owned() }
}

fn unopened(error: io::Error) -> RulesetError {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            unsupported("netlink sockets to netfilter (CONFIG_NETFILTER_NETLINK)")
        }
        Some(libc::EPERM | libc::EACCES) => {
            RulesetError::NotPermitted { what: "opening a netlink socket to netfilter".to_owned() }
        }
        _ => RulesetError::Io(error),
    }
}

/// Has the kernel check a table with these flags, and perhaps a catch-all element, without creating anything: the
/// first error number, or 0.
fn rehearse(
    socket: &Socket,
    family: TableFamily,
    table: &str,
    flags: u32,
    catch_all: bool,
) -> io::Result<i32> {
    socket.grow_send_buffer(16 * 1024)?;
    socket.send(&rehearsal(1, (family, table), flags, catch_all))?;
    let mut buffer = [0; 8192];
    let mut first = 0;
    loop {
        match socket.receive(&mut buffer, false) {
            Ok(length) => {
                let _: ControlFlow<()> =
                    wire::messages(buffer.get(..length).unwrap_or_default(), |message| {
                        if message.kind == ERROR && first == 0 {
                            first = message.errno();
                        }
                        ControlFlow::Continue(())
                    });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(first),
            Err(error) => return Err(error),
        }
    }
}
