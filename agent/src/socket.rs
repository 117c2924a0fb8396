//! The agent's unix socket: who may ask, and how a question reaches the loop.
//!
//! The socket is made under another name with its permissions and then renamed, so that it is never open to others.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::protocol::{
    Envelope, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response, VERSION,
};

pub mod server;

/// Where the agent answers (`--socket`).
pub const DEFAULT: &str = "/run/palisade/agent.sock";

/// How long a client waits for a response: a read of a million elements takes some seconds.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "no agent answers at {path} ({error}); start one with palisade run, or name its socket with --socket"
    )]
    NoAgent { path: PathBuf, error: io::Error },
    #[error("{path} may not be used: the agent answers root, and the user it runs as, only")]
    NotPermitted { path: PathBuf },
    #[error(
        "the agent at {path} does not answer in a way that is understood ({why}); compare its version with this one's"
    )]
    Garbled { path: PathBuf, why: String },
}

/// Asks the agents at sockets.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Asks, and waits for the response.
    ///
    /// # Errors
    ///
    /// `ClientError`; what the agent itself refuses is a response.
    pub fn request(&self, request: &Request) -> Result<Response, ClientError> {
        let no_agent = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ClientError::NotPermitted { path: self.path.clone() }
            }
            _ => ClientError::NoAgent { path: self.path.clone(), error },
        };
        let line = self.exchange(request).map_err(no_agent)?;
        let garbled = |why: String| ClientError::Garbled { path: self.path.clone(), why };
        if line.is_empty() {
            return Err(garbled("it closed the connection".into()));
        }
        let envelope: Envelope<serde_json::Value> =
            serde_json::from_slice(&line).map_err(|error| garbled(error.to_string()))?;
        if envelope.version != VERSION {
            return Err(garbled(format!("protocol {}, not {VERSION}", envelope.version)));
        }
        serde_json::from_value(envelope.content).map_err(|error| garbled(error.to_string()))
    }

    fn exchange(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
        let mut text = serde_json::to_vec(&Envelope::new(request))?;
        text.push(b'\n');
        debug_assert!(text.len() <= MAX_REQUEST_BYTES, "a request of the command line is short");
        stream.write_all(&text)?;
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_RESPONSE_BYTES).unwrap_or(u64::MAX);
        BufReader::new(stream.take(limit)).read_until(b'\n', &mut line)?;
        Ok(line)
    }
}

#[derive(Debug, Error)]
pub enum BindError {
    #[error("an agent answers at {0} already; stop it, or give this one another --socket")]
    Taken(PathBuf),
    #[error("the socket {path} cannot be made ({error}); name another with --socket")]
    Io { path: PathBuf, error: io::Error },
}

/// Makes the socket at `path`, for this user only. One that nobody answers is replaced.
///
/// # Errors
///
/// `Taken` if an agent answers there.
pub fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, BindError> {
    if UnixStream::connect(path).is_ok() {
        return Err(BindError::Taken(path.to_path_buf()));
    }
    let make = || {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        if fs::symlink_metadata(path).is_ok_and(|m| !is_socket(&m)) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no socket"));
        }
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".{}", std::process::id()));
        let passing = PathBuf::from(name);
        _ = fs::remove_file(&passing);
        let listener = std::os::unix::net::UnixListener::bind(&passing)?;
        fs::set_permissions(&passing, Permissions::from_mode(0o600))?;
        fs::rename(&passing, path)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    make().map_err(|error| BindError::Io { path: path.to_path_buf(), error })
}

fn is_socket(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
}
