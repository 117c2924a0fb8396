//! What may run out: memory, and room for tracked connections.

use std::fs;
use std::path::Path;

use super::finding::{Finding, Severity};

/// What an agent of 100,000 pods and 10,000 policies takes while it lists everything anew, in bytes.
const NEEDED_MEMORY: u64 = 128 << 20;
/// How full the connection tracking is, in percent, when it is worth a warning.
const NEARLY_FULL: u64 = 90;

pub(super) fn findings(proc: &Path) -> Vec<Finding> {
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let memory = fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
    let tracked = proc.join("sys/net/netfilter");
    let number = |name: &str| fs::read_to_string(tracked.join(name)).ok()?.trim().parse().ok();
    let usage = number("nf_conntrack_count").zip(number("nf_conntrack_max"));
    vec![judge_memory(&memory, &limit), conntrack(usage)]
}

fn judge_memory(meminfo: &str, limit: &str) -> Finding {
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
    let free: Option<u64> = kilobytes.map(|kilobytes: u64| kilobytes << 10);
    let limit: Option<u64> = limit.trim().parse().ok();
    let megabytes = |bytes: u64| bytes >> 20;
    let Some(least) = free.into_iter().chain(limit).min() else {
        return Finding::new(Severity::Note, "memory", "memory cannot be read", "", "");
    };
    if least < NEEDED_MEMORY {
        return Finding::new(
            Severity::Warning,
            "memory",
            format!("{} MiB of memory are to be had", megabytes(least)),
            format!(
                "An agent that follows 100,000 pods and 10,000 policies takes up to {} MiB for a moment; a small cluster takes 20.",
                megabytes(NEEDED_MEMORY)
            ),
            "Give the agent more memory, if the cluster is large.",
        );
    }
    Finding::ok("memory", format!("{} MiB of memory are to be had", megabytes(least)))
}

/// Entries, and the most that there may be; `None` where connections are not tracked yet.
fn conntrack(usage: Option<(u64, u64)>) -> Finding {
    let Some((entries, bound)) = usage else {
        let seen =
            "connections are not tracked yet: the first rule that needs it loads nf_conntrack";
        return Finding::new(Severity::Note, "conntrack", seen, "", "");
    };
    let seen = format!("{entries} of {bound} connections are tracked");
    if entries.saturating_mul(100) >= bound.saturating_mul(NEARLY_FULL) {
        return Finding::new(
            Severity::Warning,
            "conntrack",
            seen,
            "When it is full, the kernel drops new connections of everybody.",
            "Raise net.netfilter.nf_conntrack_max, or find out what opens so many connections.",
        );
    }
    Finding::ok("conntrack", seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_memory_and_a_full_tracking_are_warnings() {
        let severity = |meminfo: &str, limit: &str| judge_memory(meminfo, limit).severity;
        let plenty = "MemTotal: 9 kB\nMemAvailable:    8000000 kB\n";
        assert_eq!(severity(plenty, "max\n"), Severity::Ok);
        assert_eq!(severity(plenty, "67108864\n"), Severity::Warning);
        assert_eq!(severity("MemAvailable: 1000 kB\n", ""), Severity::Warning);
        assert_eq!(severity("", ""), Severity::Note);
        assert_eq!(conntrack(None).severity, Severity::Note);
        assert_eq!(conntrack(Some((10, 100))).severity, Severity::Ok);
        assert_eq!(conntrack(Some((90, 100))).severity, Severity::Warning);
    }
}
