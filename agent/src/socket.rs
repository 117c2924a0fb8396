//! The agent's unix socket, seen by a client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::protocol::{
    Envelope, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response, VERSION,
};

mod flow_stream;
pub mod lock;
mod response;
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
        let mut responses = self.send(request)?;
        let garbled = |why: &str| ClientError::Garbled { path: self.path.clone(), why: why.into() };
        responses.next()?.ok_or_else(|| garbled("it closed the connection"))
    }

    /// Asks for a stream of responses. It waits for each as long as it takes, once the first has come.
    ///
    /// # Errors
    ///
    /// `ClientError`; what the agent itself refuses is a response.
    pub fn stream(&self, request: &Request) -> Result<Responses, ClientError> {
        let responses = self.send(request)?;
        let unlimited = responses.lines.get_ref().set_read_timeout(None);
        unlimited.map_err(|error| failure(&self.path, error))?;
        Ok(responses)
    }

    fn send(&self, request: &Request) -> Result<Responses, ClientError> {
        let stream = self.try_send(request).map_err(|error| failure(&self.path, error))?;
        Ok(Responses { path: self.path.clone(), lines: BufReader::new(stream) })
    }

    fn try_send(&self, request: &Request) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let mut text = serde_json::to_vec(&Envelope::new(request))?;
        text.push(b'\n');
        debug_assert!(text.len() <= MAX_REQUEST_BYTES, "a request of the command line is short");
        stream.write_all(&text)?;
        Ok(stream)
    }
}

/// The agent's responses, one after another.
#[derive(Debug)]
pub struct Responses {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

impl Responses {
    /// Waits for the next response; `None` where the agent has closed the connection.
    ///
    /// # Errors
    ///
    /// `ClientError`: there will be no more.
    #[expect(
        clippy::should_implement_trait,
        reason = "an error ends the stream, which `for` would go on with"
    )]
    pub fn next(&mut self) -> Result<Option<Response>, ClientError> {
        let garbled = |why: String| ClientError::Garbled { path: self.path.clone(), why };
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_RESPONSE_BYTES).unwrap_or(u64::MAX);
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut line);
        if read.map_err(|error| failure(&self.path, error))? == 0 {
            return Ok(None);
        }
        let envelope: Envelope<serde_json::Value> =
            serde_json::from_slice(&line).map_err(|error| garbled(error.to_string()))?;
        if envelope.version != VERSION {
            return Err(garbled(format!("protocol {}, not {VERSION}", envelope.version)));
        }
        let response = serde_json::from_value(envelope.content);
        response.map(Some).map_err(|error| garbled(error.to_string()))
    }
}

fn failure(path: &Path, error: io::Error) -> ClientError {
    let path = path.to_path_buf();
    match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
        // The timeout passed, or too many wait to be accepted.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Late { path },
        _ => ClientError::NoAgent { path, error },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    struct RemovedAtTheEnd<'a>(&'a Path);

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
