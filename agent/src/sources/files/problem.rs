//! What is wrong with the sources, in words that name the path and the remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_compiler::parse::{Diagnostic, Severity};

use super::read::FileError;
use crate::sources::declarations::Conflict;

/// Names of files that are read in a directory. Those that begin with a dot are editors' own.
pub(super) const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Something that a human should know about the sources.
#[derive(Debug)]
pub enum Problem {
    /// Something in the manifest is wrong; if `kept`, none of it was taken over and what the file last gave stays.
    Manifest {
        diagnostic: Diagnostic,
        kept: bool,
    },
    /// The file cannot be read; what it last gave stays.
    File {
        file: Arc<Path>,
        error: FileError,
    },
    /// A named file or a directory is not there; what it last gave stays.
    Gone {
        path: PathBuf,
        directory: bool,
    },
    /// The directory cannot be listed; what its files last gave stays.
    Directory {
        path: PathBuf,
        error: io::Error,
    },
    /// The directory never had a manifest.
    Empty {
        path: PathBuf,
    },
    /// The directory had manifests, and all of them were removed from it.
    Emptied {
        path: PathBuf,
    },
    /// The directory is another one than that which the files were in; what they last gave stays.
    Replaced {
        path: PathBuf,
        /// One of them.
        file: Arc<Path>,
        count: usize,
    },
    /// What is inside these directories of a directory is not read.
    Skipped {
        path: PathBuf,
        directories: Vec<String>,
    },
    Conflict(Conflict),
}

impl Problem {
    pub fn severity(&self) -> Severity {
        match self {
            Self::Manifest { diagnostic, .. } => diagnostic.severity,
            Self::File { .. }
            | Self::Gone { .. }
            | Self::Directory { .. }
            | Self::Replaced { .. }
            | Self::Conflict(_) => Severity::Error,
            Self::Empty { .. } | Self::Emptied { .. } | Self::Skipped { .. } => Severity::Warning,
        }
    }

    /// Whether the input could not be read at all (exit status 2), rather than read and found wrong (1).
    pub fn is_unreadable_input(&self) -> bool {
        match self {
            Self::File { .. }
            | Self::Gone { .. }
            | Self::Directory { .. }
            | Self::Replaced { .. } => true,
            Self::Manifest { .. }
            | Self::Empty { .. }
            | Self::Emptied { .. }
            | Self::Skipped { .. }
            | Self::Conflict(_) => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest { diagnostic, .. } => diagnostic.fmt(f),
            Self::File { file, error } => write!(f, "{}: error: {error}", file.display()),
            Self::Gone { path, directory } => {
                let what = if *directory { "directory" } else { "file" };
                write!(
                    f,
                    "{}: error: there is no such {what}; create it, or correct the path given by -f",
                    path.display()
                )
            }
            Self::Directory { path, error } => write!(
                f,
                "{}: error: the directory cannot be listed ({error}); make it readable",
                path.display()
            ),
            Self::Empty { path } => write!(
                f,
                "{}: warning: there is no manifest in this directory ({}); correct the path given by -f, or put one there",
                path.display(),
                EXTENSIONS.map(|extension| format!("*.{extension}")).join(", ")
            ),
            Self::Emptied { path } => write!(
                f,
                "{}: warning: the last manifest was removed from this directory, and nothing that it declared is enforced any more; \
                 put the manifests back if that is a mistake",
                path.display()
            ),
            Self::Replaced { path, file, count } => write!(
                f,
                "{}: error: the directory is another one than before (unmounted, or replaced), and {count} of its manifests are not in \
                 it ({}, ...); what they last gave stays: put them back, or restart the agent to do without them",
                path.display(),
                file.file_name().unwrap_or_default().display()
            ),
            Self::Skipped { path, directories } => write!(
                f,
                "{}: warning: directories inside a directory are not read ({}); give each to -f if it counts",
                path.display(),
                directories.join(", ")
            ),
            Self::Conflict(conflict) => write!(
                f,
                "{}: error: {}: it is declared in {} too, whose declaration counts (the first to come, and of those that come at \
                 once the first path); remove one of the two",
                conflict.file.display(),
                conflict.object,
                conflict.counts.display()
            ),
        }
    }
}
