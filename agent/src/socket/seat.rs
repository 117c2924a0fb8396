//! Whose a socket's path is: one agent's at a time, as long as it lives.
//!
//! A lock on a file beside the socket decides it, which the kernel drops with the process. Whoever holds it may make the socket
//! and remove it; so an agent that ends late cannot remove its successor's. The lock file stays: who waits for it has it open.
//!
//! The socket is made under another name with its permissions and then renamed, so that it is never open to others.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum BindError {
    #[error("some other program answers at {0}; name another path with --socket")]
    Foreign(PathBuf),
    #[error("the socket {path} cannot be made ({error}); name another with --socket")]
    Io { path: PathBuf, error: io::Error },
}

/// The right to a socket's path.
#[derive(Debug)]
pub struct Seat {
    path: PathBuf,
    /// Whether the socket there is ours.
    bound: bool,
    _lock: File,
}

/// What came of asking for a seat.
#[derive(Debug)]
pub enum Asked {
    Taken(Seat),
    /// Another agent has it; its process id, if it wrote it down.
    Held(Option<u32>),
}

impl Seat {
    /// Takes the seat, unless somebody has it.
    ///
    /// # Errors
    ///
    /// Those of the lock file.
    pub fn ask(path: &Path) -> Result<Asked, BindError> {
        lock(path).map_err(|error| BindError::Io { path: path.to_path_buf(), error })
    }

    /// Makes the socket, for this user only. One that nobody answers is replaced.
    ///
    /// # Errors
    ///
    /// `Foreign` if somebody answers there who takes no seat.
    pub fn bind(&mut self) -> Result<UnixListener, BindError> {
        if UnixStream::connect(&self.path).is_ok() {
            return Err(BindError::Foreign(self.path.clone()));
        }
        let bound = bind(&self.path);
        self.bound |= bound.is_ok();
        bound.map_err(|error| BindError::Io { path: self.path.clone(), error })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.bound {
            _ = fs::remove_file(&self.path);
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

fn lock(path: &Path) -> io::Result<Asked> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let name = beside(path, ".lock");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&name)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Empty for a moment after it was locked.
            _ = file.take(20).read_to_string(&mut pid);
            return Ok(Asked::Held(pid.trim().parse().ok()));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (ours, there) = (file.metadata()?, fs::metadata(&name)?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        // The directory was made anew meanwhile, and the lock is of no use to anyone.
        return Ok(Asked::Held(None));
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Asked::Taken(Seat { path: path.to_path_buf(), bound: false, _lock: file }))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|m| !m.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no socket"));
    }
    let passing = beside(path, &format!(".{}", std::process::id()));
    _ = fs::remove_file(&passing);
    let listener = UnixListener::bind(&passing)?;
    fs::set_permissions(&passing, Permissions::from_mode(0o600))?;
    fs::rename(&passing, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn seat(path: &Path) -> Seat {
        match Seat::ask(path).unwrap() {
            Asked::Taken(seat) => seat,
            Asked::Held(pid) => panic!("held by {pid:?}"),
        }
    }

    #[test]
    fn a_path_is_one_agents_until_it_ends_and_only_that_one_removes_the_socket() {
        let directory = std::env::temp_dir().join(format!("palisade-seat-{}", std::process::id()));
        let path = directory.join("agent.sock");
        let mut first = seat(&path);
        let listener = first.bind().unwrap();
        let own = std::process::id();
        assert!(matches!(Seat::ask(&path), Ok(Asked::Held(Some(pid))) if pid == own));
        // It answers no more, but did not end yet.
        drop(listener);
        assert!(matches!(Seat::ask(&path), Ok(Asked::Held(_))));
        drop(first);
        assert!(!path.exists());
        let mut second = seat(&path);
        let _listener = second.bind().unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_somebody_elses_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("palisade-other-{}", std::process::id()));
        let path = directory.join("other.sock");
        fs::create_dir(&directory).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        let mut ours = seat(&path);
        assert!(matches!(ours.bind(), Err(BindError::Foreign(_))));
        drop(ours);
        assert!(UnixStream::connect(&path).is_ok());
        drop(other);
        let mut ours = seat(&path);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(matches!(ours.bind(), Err(BindError::Io { .. })));
        drop(ours);
        assert!(path.exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
