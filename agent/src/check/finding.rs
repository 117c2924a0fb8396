//! What was found, and how bad it is.

use std::fmt;

use palisade_compiler::wording::listed;
use serde::Serialize;

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
    pub(in crate::check) fn ok(id: &'static str, seen: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Ok,
            seen: seen.into(),
            matters: String::new(),
            remedy: String::new(),
        }
    }

    pub(in crate::check) fn new(
        severity: Severity,
        id: &'static str,
        seen: impl Into<String>,
        matters: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { id, severity, seen: seen.into(), matters: matters.into(), remedy: remedy.into() }
    }
}

/// The first few of a list in words, and how many there are beyond.
pub(in crate::check) fn list<T: fmt::Display>(items: &[T]) -> String {
    const NAMED: usize = 5;
    listed(items.iter().take(NAMED), items.len())
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
