//! A file of lines that is followed by another when it is full.
//!
//! The file that is written bears the name itself, those before it `NAME.1` (the latest), `NAME.2`, and so on. Own code, since the
//! crates for this drop lines in silence where a file cannot be opened, and cut lines in two where one is full.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::destination::write_rest;

/// Flows name pods, so that the file is its owner's alone.
const MODE: u32 = 0o600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotation {
    /// A line that would make the file longer begins the next one.
    pub(super) max_bytes: u64,
    /// Files in all.
    pub(super) files: usize,
}

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<Open>,
    rotations: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// Device and inode.
    identity: (u64, u64),
    /// Bytes of the line under way that are in it.
    written: usize,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, open: None, rotations: 0 }
    }

    pub(super) fn rotations(&self) -> u64 {
        self.rotations
    }

    /// As `Destination::write`. A file that somebody moved away or removed is begun anew.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let is_there =
            |open: &Open| fs::metadata(&self.path).is_ok_and(|at| identity(&at) == open.identity);
        let mut open = match self.open.take().filter(is_there) {
            Some(open) => open,
            None => Open::new(&self.path)?,
        };
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let is_full = open.length.saturating_add(length) > self.rotation.max_bytes;
        if is_full && open.length > 0 && open.written == 0 {
            if let Err(error) = self.rotate() {
                self.open = Some(open);
                return Err(error);
            }
            self.rotations += 1;
            open = Open::new(&self.path)?;
        }
        let before = open.written;
        let result = write_rest(&mut open.file, line, &mut open.written);
        open.length += u64::try_from(open.written - before).unwrap_or(0);
        if result.is_ok() {
            open.written = 0;
        }
        self.open = Some(open);
        result
    }

    /// Renames the files, each to the next number. A process that ends between two of these loses nothing: the gap that it left is
    /// filled first.
    fn rotate(&self) -> io::Result<()> {
        let last = self.rotation.files.saturating_sub(1).max(1);
        let is_free = |number: &usize| fs::symlink_metadata(self.numbered(*number)).is_err();
        let free = (1..last).find(is_free).unwrap_or(last);
        for number in (1..free).rev() {
            fs::rename(self.numbered(number), self.numbered(number + 1))?;
        }
        fs::rename(&self.path, self.numbered(1))?;
        // Those of a run that kept more.
        let mut number = last + 1;
        while fs::remove_file(self.numbered(number)).is_ok() {
            number += 1;
        }
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Open {
    /// Goes on at the end of what is there. A line that was cut short is ended, so that the next one is whole.
    fn new(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).append(true).create(true).mode(MODE).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let what = "it is no regular file (- stands for standard output)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut open =
            Self { file, length: metadata.len(), identity: identity(&metadata), written: 0 };
        if let Some(last) = open.length.checked_sub(1) {
            let mut byte = [0];
            open.file.read_exact_at(&mut byte, last)?;
            if byte != *b"\n" {
                write_rest(&mut open.file, b"\n", &mut 0)?;
                open.length += 1;
            }
        }
        Ok(open)
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests;
