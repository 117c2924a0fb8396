//! The agent's unix socket, seen by a client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::protocol::{
    Envelope, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response, VERSION,
};

pub mod lock;
pub mod server;

/// Where the agent answers (`--socket`).
pub const DEFAULT: &str = "/run/palisade/agent.sock";

/// How long a client waits for a response: a read of a million elements takes some seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Error)]
pub enum ClientError {
    #[error(
        "no agent answers at {path} ({error}); start one with palisade run, or name its socket with --socket"
    )]
    NoAgent { path: PathBuf, error: io::Error },
    #[error(
        "the agent at {path} has not answered for {} s: it is there, and busy (it reads or loads something large); ask again later, \
         palisade status is answered at any time", RESPONSE_TIMEOUT.as_secs()
    )]
    Late { path: PathBuf },
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
    timeout: Duration,
}

impl Client {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), timeout: RESPONSE_TIMEOUT }
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
            // The timeout passed, or too many wait to be accepted.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Late { path: self.path.clone() }
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
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    struct RemovedAtTheEnd<'a>(&'a std::path::Path);

    impl Drop for RemovedAtTheEnd<'_> {
        fn drop(&mut self) {
            _ = std::fs::remove_file(self.0);
        }
    }

    #[test]
    fn an_agent_that_answers_late_is_not_one_that_is_not_there() {
        let path = std::env::temp_dir().join(format!("palisade-late-{}", std::process::id()));
        let _removed = RemovedAtTheEnd(&path);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = Client { path: path.clone(), timeout: Duration::from_millis(20) };
        let late = client.request(&Request::Verify).unwrap_err();
        assert!(matches!(late, ClientError::Late { .. }), "{late}");
        drop(listener);
        let none = client.request(&Request::Verify).unwrap_err();
        assert!(matches!(none, ClientError::NoAgent { .. }), "{none}");
    }
}
