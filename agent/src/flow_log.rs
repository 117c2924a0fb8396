//! The flows as lines of a file or of standard output, for other programs to keep: the lines of `palisade observe -o json`.
//!
//! ```text
//! store --queue--> writer --line--> destination: a file that is followed by another when it is full, or standard output
//!   |                |
//!   +-- lost         +-- failure: said, and tried again until it succeeds
//! ```
//!
//! The writer has a thread of its own, and nobody waits for it. What finds no room in its queue while it cannot write is counted,
//! and a line says so at the place where it is missing.

mod destination;
mod log_file;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::flows::filter::Filter;
use crate::flows::store::FlowStore;
use destination::Destination;
use log_file::{LogFile, Rotation};
use writer::Writer;

pub use writer::FlowLog;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    StandardOutput,
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// What is written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub target: Target,
    /// The size of a file in bytes before which the next one is begun, as far as one line fits.
    pub max_bytes: u64,
    /// Files that are kept, the one that is written among them; at least 2.
    pub files: usize,
    pub filter: Filter,
}

/// Begins to write the flows that are seen from now on, until the log is dropped.
///
/// # Errors
///
/// Those of starting a thread, and of a standard output that is not open. What hinders a file is no error here: it is said by the
/// status, and tried again.
pub fn begin(settings: Settings, flows: FlowStore) -> io::Result<FlowLog> {
    let Settings { target, max_bytes, files, filter } = settings;
    let name = target.to_string();
    let destination = match target {
        Target::StandardOutput => Destination::standard_output()?,
        Target::File(path) => Destination::File(LogFile::new(path, Rotation { max_bytes, files })),
    };
    let subscription = flows.subscribe_log(name, filter);
    Writer::new(destination, subscription, flows).spawn()
}
