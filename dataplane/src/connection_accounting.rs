//! What connection tracking must be told to count, in the network namespace of the calling thread.

use std::fs;
use std::io;

/// Settings that say how much a connection carried, how long it lasted, and that it ended. They apply to connections that begin
/// later. The directory is that of the network namespace of whoever opens it.
const SETTINGS: [&str; 3] = ["nf_conntrack_acct", "nf_conntrack_timestamp", "nf_conntrack_events"];
const DIRECTORY: &str = "/proc/sys/net/netfilter";

/// What was done to the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Settings that were turned on.
    pub turned_on: Vec<String>,
    /// Settings that are off and could not be turned on, with why, and what to do.
    pub off: Vec<String>,
}

/// Turns on what is off. `nf_conntrack_events` must be 1: with 2, the kernel's default, it tells no end of a connection that
/// began before anybody listened.
pub fn turn_on() -> Accounting {
    let mut accounting = Accounting::default();
    for name in SETTINGS {
        match turn_on_one(name) {
            Ok(false) => {}
            Ok(true) => accounting.turned_on.push(format!("net.netfilter.{name}")),
            Err(error) => accounting.off.push(format!(
                "net.netfilter.{name} is off and cannot be written ({error}): set it to 1 on the host (sysctl), or run with a \
                 writable /proc/sys"
            )),
        }
    }
    accounting
}

/// Whether it was off.
fn turn_on_one(name: &str) -> io::Result<bool> {
    let path = format!("{DIRECTORY}/{name}");
    if fs::read_to_string(&path)?.trim() == "1" {
        return Ok(false);
    }
    fs::write(&path, "1")?;
    Ok(true)
}
