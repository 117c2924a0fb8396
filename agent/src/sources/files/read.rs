//! One file -> the objects it declares and the diagnostics about it.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use palisade_compiler::parse::{Object, Parsed, Settings, parse_with};
use thiserror::Error;

use super::{Limits, STDIN};

/// Distinguishes the versions of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` for what is not there, and for pipes, which have no versions.
    pub fn of(file: &Path) -> Option<Self> {
        file.metadata().ok().filter(Metadata::is_file).map(|metadata| Self::from(&metadata))
    }

    /// Whether it is another version of the same file, not of one that took its place.
    pub(super) fn is_same_file_as(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether the file was `before` and got longer.
    pub(super) fn is_growth_of(&self, before: &Self) -> bool {
        self.is_same_file_as(before) && self.bytes > before.bytes
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[derive(Debug, Error)]
pub enum FileError {
    #[error("the file cannot be read ({0}); correct the path or its permissions")]
    Io(#[from] io::Error),
    #[error(
        "the file is larger than {max} bytes; split it, or raise --max-file-size (now {max}) if this much memory may be used"
    )]
    TooLarge { max: u64 },
    /// What was read may be half of what is meant.
    #[error("somebody writes to the file at this moment; it is read again when that ends")]
    Changing,
    /// A file is empty before it is written.
    #[error(
        "the file is empty, as a file is that somebody begins to write; remove it, or write a comment into it (# nothing) if it \
         should declare nothing"
    )]
    Empty,
    #[error("it is {what} and no file; name a manifest, or a directory of manifests")]
    NoFile { what: &'static str },
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct Read {
    /// `None` for pipes.
    pub(super) stamp: Option<Stamp>,
    pub(super) parsed: Parsed,
    pub(super) objects: Vec<Object>,
}

/// Reads a file, or standard input for `-`. `each` is called for each object with the number of objects read so far.
///
/// # Errors
///
/// `FileError`; nothing of the file is known then.
pub(super) fn read_file(
    file: &Path,
    limits: &Limits,
    each: &mut dyn FnMut(usize),
) -> Result<Read, FileError> {
    let max_bytes = limits.bytes;
    if file == Path::new(STDIN) {
        let bytes = read_all(io::stdin().lock(), max_bytes)?;
        return Ok(parsed("standard input", None, &bytes, limits, each));
    }
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(FileError::NoFile { what: "a directory" });
    }
    if kind.is_socket() || kind.is_block_device() {
        return Err(FileError::NoFile { what: "a device or a socket" });
    }
    if !limits.pipes && !kind.is_file() {
        return Err(FileError::NoFile { what: "a pipe, which cannot be watched" });
    }
    let opened = File::open(file)?;
    let before = Stamp::from(&opened.metadata()?);
    if before.bytes > max_bytes {
        return Err(FileError::TooLarge { max: max_bytes });
    }
    let bytes = read_all(&opened, max_bytes)?;
    if !kind.is_file() {
        return Ok(parsed(&file.to_string_lossy(), None, &bytes, limits, each));
    }
    if Stamp::from(&opened.metadata()?) != before {
        return Err(FileError::Changing);
    }
    if bytes.is_empty() {
        return Err(FileError::Empty);
    }
    Ok(parsed(&file.to_string_lossy(), Some(before), &bytes, limits, each))
}

fn read_all(from: impl io::Read, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    from.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(FileError::TooLarge { max: max_bytes });
    }
    Ok(bytes)
}

fn parsed(
    source: &str,
    stamp: Option<Stamp>,
    bytes: &[u8],
    limits: &Limits,
    each: &mut dyn FnMut(usize),
) -> Read {
    let mut objects = Vec::new();
    let settings = Settings { namespace: limits.namespace.clone(), ..Settings::default() };
    let parsed = parse_with(source, bytes, &settings, &mut |object| {
        objects.push(object);
        each(objects.len());
    });
    Read { stamp, parsed, objects }
}
