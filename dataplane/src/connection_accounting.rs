//! What connection tracking must be told to count, in the network namespace of the calling thread.

use std::fs;
use std::io;

use crate::netlink::turn_on_byte_counters;

/// Where the settings are: those of the network namespace of whoever opens it.
const DIRECTORY: &str = "/proc/sys/net/netfilter";

/// Settings that say how much a connection carried, how long it lasted, and that it ended. They apply to connections that begin
/// later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Bytes,
    Times,
    Events,
}

/// What was done to the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Settings that were turned on.
    pub turned_on: Vec<String>,
    /// Settings that are off and could not be turned on, with why, and what to do.
    pub off: Vec<String>,
}

/// Turns on what is off: by `/proc/sys`, and what connections carry also where that is not writable.
pub fn turn_on() -> Accounting {
    let mut accounting = Accounting::default();
    for setting in [Setting::Bytes, Setting::Times, Setting::Events] {
        let name = setting.name();
        match setting.turn_on() {
            Ok(false) => {}
            Ok(true) => accounting.turned_on.push(format!("net.netfilter.{name}")),
            Err(error) => accounting.off.push(format!(
                "net.netfilter.{name} is off, so that {}, and cannot be written ({error}): set it to 1 on the host by sysctl",
                setting.lack()
            )),
        }
    }
    accounting
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "nf_conntrack_acct",
            Self::Times => "nf_conntrack_timestamp",
            Self::Events => "nf_conntrack_events",
        }
    }

    /// What is not known without it.
    const fn lack(self) -> &'static str {
        match self {
            Self::Bytes => "it is not known what connections carry",
            Self::Times => "it is not known how long connections last",
            Self::Events => "allowed connections are not seen",
        }
    }

    /// Whether this value does. With 2, the kernel's default, it tells no end of a connection that began before anybody
    /// listened: 1 is better, and not worth a warning.
    fn suffices(self, value: &str) -> bool {
        value == "1" || (self == Self::Events && value == "2")
    }

    /// Whether it was off.
    fn turn_on(self) -> io::Result<bool> {
        let path = format!("{DIRECTORY}/{}", self.name());
        let read = || fs::read_to_string(&path).map(|text| text.trim().to_owned());
        let before = read()?;
        if before == "1" {
            return Ok(false);
        }
        let Err(error) = fs::write(&path, "1") else { return Ok(true) };
        if self.suffices(&before) {
            return Ok(false);
        }
        if self == Self::Bytes {
            turn_on_byte_counters()?;
            if self.suffices(&read()?) {
                return Ok(true);
            }
        }
        Err(error)
    }
}
