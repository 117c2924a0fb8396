//! The machine on which the figures were measured.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cpus: usize,
    pub memory_bytes: u64,
    /// Whether the CPU reports that it is virtual.
    pub virtual_machine: bool,
    /// System name, release and version, as given by uname(2).
    pub kernel: String,
    pub distribution: String,
    /// The versions of the installed tools that load contenders.
    pub tools: Vec<String>,
    /// How packets were injected, and why it was not the better method.
    pub method: String,
    pub fallback: Option<String>,
    /// The average number of processes that were running or waiting to run in the minute before the run began. More than
    /// the harness itself means that other processes used the CPUs.
    pub load: f64,
    pub version: String,
    /// The commit of the sources, if the run was started in their repository.
    pub commit: Option<String>,
    /// Whether the harness was compiled with optimisation. Otherwise its own times mean nothing.
    pub optimized: bool,
    /// The beginning of the run, in seconds since 1970, UTC.
    pub began: u64,
}

impl Machine {
    /// What can be found out without privileges. The caller must set the method.
    pub fn detect() -> Self {
        let cpu = read("/proc/cpuinfo");
        let first = |key: &str| field(&cpu, key, ':').unwrap_or_default();
        let flags = first("flags");
        Self {
            cpu: first("model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: meminfo("MemTotal").unwrap_or(0),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            kernel: kernel(),
            distribution: field(&read("/etc/os-release"), "PRETTY_NAME", '=')
                .map(|name| name.trim_matches('"').to_owned())
                .unwrap_or_default(),
            tools: TOOLS.iter().filter_map(|(tool, flag)| first_line(tool, &[flag])).collect(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(0.0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: first_line("git", &["rev-parse", "--short=12", "HEAD"]),
            optimized: !cfg!(debug_assertions),
            began: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            ..Self::default()
        }
    }

    /// The values that must be equal for figures of the same run.
    pub fn identity(&self) -> [&str; 4] {
        [&self.cpu, &self.kernel, &self.version, &self.method]
    }
}

const TOOLS: [(&str, &str); 3] =
    [("nft", "--version"), ("iptables", "--version"), ("ipset", "--version")];

/// A value of /proc/meminfo, in bytes.
pub fn meminfo(key: &str) -> Option<u64> {
    kibibytes(&read("/proc/meminfo"), key)
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = field(text, key, ':')?;
    Some(value.strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn field(text: &str, key: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn kernel() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| String::new(),
        |name| {
            let parts = [name.sysname(), name.release(), name.version()];
            parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
        },
    )
}

/// The first line that a program prints. `None` if the program is missing or fails.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_proc_are_bytes() {
        let text = "MemTotal:       24 kB\nSlab:            3 kB\n";
        assert_eq!(kibibytes(text, "Slab"), Some(3072));
        assert_eq!(kibibytes(text, "Sla"), None);
        assert!(meminfo("MemTotal").unwrap() > 1 << 20);
        let here = Machine::detect();
        assert!(here.kernel.starts_with("Linux ") && here.cpus > 0, "{here:?}");
    }
}
