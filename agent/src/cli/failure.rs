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
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
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
        Self::Io { what: "finding the bridges of this host (rtnetlink)".to_owned(), error }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreadable | Self::Usage(_) | Self::Io { .. } => Exit::Usage,
            Self::Manifests | Self::Bound | Self::No(_) => Exit::No,
            Self::NotPermitted(_) => Exit::NotPermitted,
            Self::NoAgent(_) => Exit::NoAgent,
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
