//! Why the demo ended before its end.

use std::io;

use palisade_lab::LabError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum DemoError {
    #[error("the lab: {0}")]
    Lab(#[from] LabError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Failed(String),
    #[error("interrupted: everything that the demo made has been removed")]
    Interrupted,
}

impl DemoError {
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
