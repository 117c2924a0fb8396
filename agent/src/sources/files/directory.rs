//! A directory -> which of its files are manifests, and which directory it is.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::problem::{EXTENSIONS, Problem};

/// Distinguishes a directory from others that have, or had, the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources) struct DirectoryIdentity {
    device: u64,
    inode: u64,
    /// Inode numbers are given again; `None` where the file system does not keep it.
    born: Option<SystemTime>,
}

impl DirectoryIdentity {
    /// `None` for what is no directory.
    pub(in crate::sources) fn of(path: &Path) -> Option<Self> {
        path.metadata().ok().filter(Metadata::is_dir).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for DirectoryIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok() }
    }
}

pub(super) struct Listing {
    /// The manifests of a directory, not of those inside it.
    pub(super) files: Vec<Arc<Path>>,
    /// The names of those inside it that are not hidden.
    directories: Vec<String>,
}

pub(super) fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing { files: Vec::new(), directories: Vec::new() };
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let Some(name) = path.file_name().filter(|n| !n.as_encoded_bytes().starts_with(b"."))
        else {
            continue;
        };
        let kind = entry.file_type()?;
        let is_directory = kind.is_dir() || (kind.is_symlink() && path.is_dir());
        if is_directory {
            listing.directories.push(name.to_string_lossy().into_owned());
        } else if is_manifest(&path) && (kind.is_file() || is_there(&path)) {
            listing.files.push(Arc::from(path));
        }
    }
    Ok(listing)
}

/// Whether a file of a directory is read, by its name.
pub(in crate::sources) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    !hidden && EXTENSIONS.contains(&extension)
}

/// Whether it is a file. A link that leads nowhere is one that cannot be read, and is reported as such.
pub(super) fn is_there(path: &Path) -> bool {
    match path.metadata() {
        Ok(metadata) => metadata.is_file(),
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// Directories inside one that are named, of those that are not read; the rest is counted.
const MAX_SKIPPED: usize = 5;

impl Listing {
    /// The directories inside this one, `path`, that are not `given` themselves.
    pub(super) fn skipped(self, path: &Path, given: &BTreeSet<PathBuf>) -> Option<Problem> {
        let unread = self.directories.into_iter().filter(|name| !given.contains(&path.join(name)));
        let mut unread: Vec<String> = unread.collect();
        unread.sort_unstable();
        if let Some(more) = unread.len().checked_sub(MAX_SKIPPED).filter(|&more| more > 0) {
            unread.truncate(MAX_SKIPPED);
            unread.push(format!("and {more} more"));
        }
        let path = path.to_path_buf();
        (!unread.is_empty()).then_some(Problem::Skipped { path, directories: unread })
    }
}
