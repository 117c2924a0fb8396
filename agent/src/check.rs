//! Whether this host can enforce policy, and what on it gets in the way.
//!
//! Nothing is changed: what the kernel can do is tried with transactions that it checks and discards, in a network namespace of
//! their own where that is permitted; everything else is read.

mod cluster;
mod engines;
mod forwarding;
mod kernel;
mod other_paths;
mod own_tables;
mod privileges;
mod resources;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use cluster::ClusterOptions;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where a running agent answers.
    pub socket: PathBuf,
    pub cluster: ClusterOptions,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Ok,
    /// To know; nothing needs to be done.
    Note,
    /// Something may not work as expected, or some traffic is not judged.
    Warning,
    /// Policy cannot be enforced here, or not as it is written.
    Failure,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        })
    }
}

/// What was found in one respect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stays the same from version to version, as in `bridge-filter`.
    pub id: &'static str,
    pub severity: Severity,
    /// What was seen.
    pub seen: String,
    /// Why it matters; empty where nothing needs to be known.
    pub matters: String,
    /// What to do about it; empty where nothing needs to be done.
    pub remedy: String,
}

impl Finding {
    fn ok(id: &'static str, seen: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Ok,
            seen: seen.into(),
            matters: String::new(),
            remedy: String::new(),
        }
    }

    fn new(
        severity: Severity,
        id: &'static str,
        seen: impl Into<String>,
        matters: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { id, severity, seen: seen.into(), matters: matters.into(), remedy: remedy.into() }
    }
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

/// The first few of a list in words, and how many there are beyond.
fn list<T: fmt::Display>(items: &[T]) -> String {
    const NAMED: usize = 5;
    let named: Vec<String> = items.iter().take(NAMED).map(ToString::to_string).collect();
    match items.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_counted() {
        assert_eq!(list(&[1, 2]), "1, 2");
        assert_eq!(list(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!(list::<u8>(&[]), "");
    }
}
