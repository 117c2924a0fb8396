//! Where lines are written, whatever it is.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use super::log_file::LogFile;

#[derive(Debug)]
pub(super) enum Destination {
    File(LogFile),
    Stream {
        stream: File,
        /// Bytes of the line under way that are written.
        written: usize,
    },
}

impl Destination {
    pub(super) fn standard_output() -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::Stream { stream: descriptor.into(), written: 0 })
    }

    /// Writes a line, its newline included. After an error the same line must be given again: what is written of it is not
    /// written twice.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(line),
            Self::Stream { stream, written } => {
                write_rest(stream, line, written)?;
                *written = 0;
                Ok(())
            }
        }
    }

    /// How often a file was full and another was begun.
    pub(super) fn rotations(&self) -> u64 {
        match self {
            Self::File(file) => file.rotations(),
            Self::Stream { .. } => 0,
        }
    }
}

/// Writes what is not written of a line, and notes how far that came.
pub(super) fn write_rest(out: &mut File, line: &[u8], written: &mut usize) -> io::Result<()> {
    while let Some(rest) = line.get(*written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => *written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
