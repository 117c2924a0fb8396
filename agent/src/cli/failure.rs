//! Why a command ends without its result, and the exit status that tells it.

use std::io;
use std::process::ExitCode;

use palisade_dataplane::ruleset::RulesetError;
use thiserror::Error;

/// The exit status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// The answer is no.
    No = 1,
    /// Usage, or input that cannot be read.
    Usage = 2,
    NotPermitted = 3,
    /// The kernel refused.
    Refused = 4,
    /// The agent cannot be reached.
    NoAgent = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug, Error)]
pub enum Failure {
    /// Manifests that cannot be read; each problem was told already.
    #[error("the manifests cannot be read: nothing was done")]
    Unreadable,
    /// A document in them is no object; told already.
    #[error("the manifests have errors: nothing was done")]
    Manifests,
    #[error("{0}")]
    Usage(String),
    /// Beyond a bound of the kernel's tables; told already.
    #[error("the program is beyond a bound: nothing was done")]
    Bound,
    #[error("{error}{remedy}", error = .0, remedy = remedy(.0))]
    Ruleset(#[from] RulesetError),
    #[error("{what}: {error}")]
    Kernel { what: &'static str, error: io::Error },
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    /// What was asked has no answer, or the answer is no.
    #[error("{0}")]
    No(String),
    #[error("{0}")]
    NotPermitted(String),
    #[error("{0}")]
    NoAgent(String),
}

impl Failure {
    /// Why it is not known which bridges carry pods.
    pub(super) fn bridges(error: io::Error) -> Self {
        Self::Kernel { what: "finding the bridges of this host (rtnetlink)", error }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreadable | Self::Usage(_) | Self::Io { .. } => Exit::Usage,
            Self::Manifests | Self::Bound | Self::No(_) => Exit::No,
            Self::NotPermitted(_) => Exit::NotPermitted,
            Self::NoAgent(_) => Exit::NoAgent,
            Self::Kernel { .. } => Exit::Refused,
            Self::Ruleset(error) => match error {
                RulesetError::NotPermitted { .. }
                | RulesetError::Owned { .. }
                | RulesetError::Unsupported { .. } => Exit::NotPermitted,
                RulesetError::Retry { .. }
                | RulesetError::Unknown { .. }
                | RulesetError::Full { .. }
                | RulesetError::Refused { .. }
                | RulesetError::Io(_) => Exit::Refused,
            },
        }
    }
}

fn remedy(error: &RulesetError) -> &'static str {
    match error {
        RulesetError::Owned { .. } => {
            ": stop that first, or ask it (palisade status, explain, verify); what it follows, it enforces when it is saved"
        }
        RulesetError::NotPermitted { .. }
        | RulesetError::Unsupported { .. }
        | RulesetError::Retry { .. }
        | RulesetError::Unknown { .. }
        | RulesetError::Full { .. }
        | RulesetError::Refused { .. }
        | RulesetError::Io(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_say_where_pods_are_has_refused() {
        let failure = Failure::bridges(io::ErrorKind::PermissionDenied.into());
        assert_eq!(failure.exit(), Exit::Refused);
    }
}
