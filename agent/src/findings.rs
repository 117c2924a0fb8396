//! What the linter finds in the objects of a running agent, and what lost its match there.

use std::collections::BTreeMap;

use palisade_compiler::lint::{Finding, Report, Severity};
use serde::{Deserialize, Serialize};

/// What lost its match that is kept; the latest are.
pub const MAX_LOST_MATCHES: usize = 256;

/// The agent's answer to `palisade lint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// As it is now.
    #[serde(flatten)]
    pub report: Report,
    /// The latest first.
    pub lost_matches: Vec<LostMatch>,
    #[serde(default)]
    pub usage: UsageStatus,
}

/// What was not used for as long as the agent counted, and whether that is known. Each agent looks at the policies that select pods
/// of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageStatus {
    /// For how many seconds something must not have been used to count here.
    pub after_seconds: u64,
    /// Policies that are looked at.
    pub watched: usize,
    /// Policies none of whose rules allowed a connection.
    pub policies: usize,
    /// Rules that allowed none, of policies with others that did.
    pub rules: usize,
    /// Policies whose isolation denied nothing, in a direction or in both.
    pub isolations: usize,
    /// Since when no allowed connection was missed, in RFC 3339, UTC; `null` while that is not known.
    pub allowed_since: Option<String>,
    /// Why it is not known which rules are not used; `null` if it is.
    pub allowed_unknown: Option<String>,
    /// The same for denied packets, and isolation that denies none.
    pub denied_since: Option<String>,
    pub denied_unknown: Option<String>,
}

/// A selector that matches nothing any more, or a pod that no policy isolates any more, since labels changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostMatch {
    /// When the agent saw it, in RFC 3339, UTC.
    pub time: String,
    #[serde(flatten)]
    pub finding: Finding,
}

/// What the linter found when it looked last, and what lost its match since the agent began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintStatus {
    /// How many findings of each severity there are; empty until the linter looked.
    pub findings: BTreeMap<Severity, usize>,
    /// How long the last look took, in microseconds.
    pub last_us: Option<u64>,
    /// How often something lost its match.
    pub lost_matches: u64,
    /// Objects with changed labels, and selectors, that were too many at a time to be looked at.
    pub unexamined: u64,
    /// What was not used; its findings are among `findings`.
    #[serde(default)]
    pub usage: UsageStatus,
}
