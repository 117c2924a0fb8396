//! Whether this host can enforce policy, and what on it gets in the way.
//!
//! Nothing is changed: what the kernel can do is tried with transactions that it checks and discards, in a network namespace of
//! their own where that is permitted; everything else is read.

mod cluster;
mod engines;
pub mod finding;
mod forwarding;
mod kernel;
mod other_paths;
mod own_tables;
mod privileges;
mod resources;

use std::path::{Path, PathBuf};

pub use cluster::ClusterOptions;
pub use finding::{Finding, Severity};

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where a running agent answers.
    pub socket: PathBuf,
    pub cluster: ClusterOptions,
}

/// Looks at the network namespace of the calling thread. The worst findings come last.
pub fn run(options: &Options) -> Vec<Finding> {
    let proc = Path::new("/proc");
    let mut findings = Vec::new();
    findings.push(kernel::version());
    findings.extend(privileges::findings(proc));
    findings.extend(kernel::features());
    findings.extend(forwarding::findings(proc));
    findings.extend(other_paths::findings());
    findings.extend(engines::findings(proc));
    findings.extend(own_tables::findings(&options.socket));
    findings.extend(resources::findings(proc));
    findings.extend(cluster::findings(&options.cluster));
    // Stable: of equal ones, as they were found.
    findings.sort_by_key(|finding| finding.severity);
    findings
}
