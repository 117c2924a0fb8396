//! The lock on a socket's path: one agent holds it at a time, as long as it lives.
//!
//! It is a lock on a file beside the socket, which the kernel drops with the process. Whoever holds it may make the socket and
//! remove it; so an agent that ends late cannot remove its successor's. The lock file stays: agents that wait for the
//! lock have it open.
//!
//! The socket is made under another name with its permissions and then renamed, so that it is never open to others.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum SocketError {
    #[error("some other program answers at {0}; name another path with --socket")]
    Foreign(PathBuf),
    #[error("the socket {path} cannot be made ({error}); name another with --socket")]
    Io { path: PathBuf, error: io::Error },
}

impl SocketError {
    /// Whether the disk is full, or may not be written to: enforcement needs no socket, and goes on without.
    pub fn lacks_room(&self) -> bool {
        matches!(self, Self::Io { error, .. } if lacks_room(error))
    }
}

fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

/// The right to a socket's path. The socket is removed when this is dropped.
#[derive(Debug)]
pub struct SocketLock {
    path: PathBuf,
    /// Whether the socket there is ours.
    bound: bool,
    /// `None` while the disk has no room for it.
    lock: Option<File>,
}

/// The result of an attempt to take the lock.
#[derive(Debug)]
pub enum Attempt {
    Locked(SocketLock),
    /// Another agent holds it: its process id, if it wrote it down.
    Held(Option<u32>),
}

impl SocketLock {
    /// Takes the lock, unless somebody holds it; does not wait.
    ///
    /// # Errors
    ///
    /// `Io`: the lock file cannot be used.
    pub fn try_lock(path: &Path) -> Result<Attempt, SocketError> {
        try_lock(path).map_err(|error| SocketError::Io { path: path.to_path_buf(), error })
    }

    /// Where the disk has no room for the lock. What keeps a second agent from the tables then is that the first one owns them.
    pub fn without_file(path: &Path) -> Self {
        Self { path: path.to_path_buf(), bound: false, lock: None }
    }

    /// Tries again to make the socket after a failure for want of room; whoever is without the lock must get it first.
    pub fn bind_again(&mut self) -> Option<UnixListener> {
        if self.lock.is_none() {
            let Ok(Attempt::Locked(locked)) = Self::try_lock(&self.path) else { return None };
            *self = locked;
        }
        self.bind().ok()
    }

    /// Makes the socket, for this user only. One at which nobody answers is replaced.
    ///
    /// # Errors
    ///
    /// `Foreign` if somebody answers there who does not use the lock.
    pub fn bind(&mut self) -> Result<UnixListener, SocketError> {
        if UnixStream::connect(&self.path).is_ok() {
            return Err(SocketError::Foreign(self.path.clone()));
        }
        let bound = bind(&self.path);
        self.bound |= bound.is_ok();
        bound.map_err(|error| SocketError::Io { path: self.path.clone(), error })
    }
}

impl Drop for SocketLock {
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

fn try_lock(path: &Path) -> io::Result<Attempt> {
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
            return Ok(Attempt::Held(pid.trim().parse().ok()));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (ours, there) = (file.metadata()?, fs::metadata(&name)?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        // The directory was made anew meanwhile, and the lock is of no use to anyone.
        return Ok(Attempt::Held(None));
    }
    file.set_len(0)?;
    file.rewind()?;
    match writeln!(file, "{}", std::process::id()) {
        // The number is for those who wait, to name it.
        Err(error) if !lacks_room(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    Ok(Attempt::Locked(SocketLock { path: path.to_path_buf(), bound: false, lock: Some(file) }))
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

    fn lock(path: &Path) -> SocketLock {
        match SocketLock::try_lock(path).unwrap() {
            Attempt::Locked(lock) => lock,
            Attempt::Held(pid) => panic!("held by {pid:?}"),
        }
    }

    /// A directory of the test's own, removed with all in it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("palisade-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_path_is_one_agents_until_it_ends_and_only_that_one_removes_the_socket() {
        let scratch = Scratch::new("lock");
        let path = scratch.0.join("agent.sock");
        let mut first = lock(&path);
        let listener = first.bind().unwrap();
        let own = std::process::id();
        assert!(matches!(SocketLock::try_lock(&path), Ok(Attempt::Held(Some(pid))) if pid == own));
        // It answers no more, but did not end yet.
        drop(listener);
        assert!(matches!(SocketLock::try_lock(&path), Ok(Attempt::Held(_))));
        drop(first);
        assert!(!path.exists());
        let mut second = lock(&path);
        let _listener = second.bind().unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_belongs_to_somebody_else_is_left_alone() {
        let scratch = Scratch::new("other");
        let path = scratch.0.join("other.sock");
        let other = UnixListener::bind(&path).unwrap();
        let mut ours = lock(&path);
        assert!(matches!(ours.bind(), Err(SocketError::Foreign(_))));
        drop(ours);
        assert!(UnixStream::connect(&path).is_ok());
        drop(other);
        let mut ours = lock(&path);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(matches!(ours.bind(), Err(SocketError::Io { .. })));
        drop(ours);
        assert!(path.exists());
    }
}
