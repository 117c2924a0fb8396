//! The agent's process as the kernel accounts for it (proc(5)), under the names that Prometheus' clients use.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::samples::{Named, Samples, named};

/// Reads `/proc/self` when asked.
#[derive(Debug)]
pub(super) struct ProcessSamples;

impl Collector for ProcessSamples {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = Samples(encoder);
        let process = Process::read(Path::new("/proc"));
        samples.gauge(
            &Named::in_bytes(
                "process_resident_memory",
                "Resident memory. If it grows without end, please report it with the output of palisade support-bundle.",
            ),
            process.resident_bytes,
        )?;
        samples.gauge(
            &Named::in_bytes(
                "process_virtual_memory",
                "Virtual memory. Of no concern by itself; resident memory is what counts.",
            ),
            process.virtual_bytes,
        )?;
        samples.counter(
            &Named::in_seconds(
                "process_cpu",
                "Processor time of user and system. If its rate stays high, see which of palisade_compile_seconds and \
                 palisade_verify_seconds grows.",
            ),
            process.cpu_seconds,
        )?;
        samples.gauge(
            &named(
                "process_open_fds",
                "Open file descriptors. If they come near process_max_fds, please report it.",
            ),
            process.open_files,
        )?;
        samples.gauge(
            &named(
                "process_max_fds",
                "File descriptors that may be open. Raise LimitNOFILE if it is below 1024.",
            ),
            process.max_files,
        )?;
        samples.gauge(
            &named("process_threads", "Threads. If they grow without end, please report it."),
            process.threads,
        )?;
        samples.gauge(
            &Named::in_seconds(
                "process_start_time",
                "Start of the process since 1970. If it changes often, the agent crashes: see its log.",
            ),
            process.started,
        )
    }
}

/// What is read; `None` where it cannot be.
#[derive(Debug, Default)]
struct Process {
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    cpu_seconds: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
    threads: Option<f64>,
    /// Seconds since 1970.
    started: Option<f64>,
}

impl Process {
    fn read(proc: &Path) -> Self {
        let own = proc.join("self");
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let (stat, of_host) = (text(&own.join("stat")), text(&proc.join("stat")));
        let setting = |variable| sysconf(variable).ok().flatten().map(|value| value as f64);
        let (ticks, page) = (setting(SysconfVar::CLK_TCK), setting(SysconfVar::PAGE_SIZE));
        // Behind the name in parentheses, which may hold anything: state is field 3.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let (user, system, since_boot) = (field(14), field(15), field(22));
        let per_tick = |value: Option<f64>| Some(value? / ticks?);
        let booted = of_host.lines().find_map(|line| line.strip_prefix("btime "));
        let booted: Option<f64> = booted.and_then(|seconds| seconds.trim().parse().ok());
        Self {
            resident_bytes: field(24).zip(page).map(|(pages, page)| pages * page),
            virtual_bytes: field(23),
            cpu_seconds: per_tick(user.zip(system).map(|(user, system)| user + system)),
            open_files: fs::read_dir(own.join("fd")).ok().map(|files| files.count() as f64),
            max_files: max_files(&text(&own.join("limits"))),
            threads: field(20),
            started: booted.zip(per_tick(since_boot)).map(|(booted, since)| booted + since),
        }
    }
}

/// The soft limit.
fn max_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_is_read() {
        let process = Process::read(Path::new("/proc"));
        assert!(process.resident_bytes.unwrap() > 100_000.0, "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.cpu_seconds.is_some() && process.threads >= Some(1.0), "{process:?}");
        assert!(process.open_files.unwrap() >= 3.0, "{process:?}");
        assert!(process.max_files >= process.open_files, "{process:?}");
        let age = SystemTime::now()
            .duration_since(UNIX_EPOCH + Duration::from_secs_f64(process.started.unwrap()))
            .unwrap();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        let nothing = Process::read(Path::new("/nonexistent"));
        assert!(nothing.resident_bytes.is_none() && nothing.started.is_none());
    }
}
