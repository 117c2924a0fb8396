//! Answers those who connect: the status at once, everything else by way of the loop.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use crate::protocol::{Envelope, MAX_REQUEST_BYTES, Request, Response, Status, VERSION};
use crate::reconcile::Event;

/// Connections that are answered at a time; further ones wait in the kernel's queue.
const MAX_CLIENTS: usize = 16;
/// How long a client may take to ask and to read.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take between questions.
const SERVER_IDLE: Duration = Duration::from_secs(60);

/// What the loop publishes and the server tells.
pub type Published = Arc<Mutex<Posted>>;

/// A status, which is read some time after it was written.
#[derive(Debug, Clone, Default)]
pub struct Posted {
    pub status: Status,
    /// When the agent started.
    pub started: Option<Instant>,
    /// When the kernel was last compared with the program.
    pub checked: Option<Instant>,
}

impl Posted {
    /// The status with its times as they are now.
    pub fn now(&self) -> Status {
        let mut status = self.status.clone();
        status.up_seconds = self.started.map_or(0, |at| at.elapsed().as_secs());
        status.drift.seconds_since_check = self.checked.map(|at| at.elapsed().as_secs());
        status
    }
}

/// How questions reach the loop.
#[derive(Debug, Clone)]
pub struct Desk {
    pub status: Published,
    pub events: SyncSender<Event>,
}

/// Serves until the task is dropped.
pub async fn serve(listener: UnixListener, desk: Desk) {
    let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the socket was lost");
                // Out of file descriptors, most likely: they come back when clients go.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &desk).await {
                tracing::debug!(%error, "a client of the socket went");
            }
            drop(slot);
        });
    }
}

async fn converse(mut stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let (peer, own) = (stream.peer_cred()?.uid(), nix::unistd::geteuid().as_raw());
    if peer != 0 && peer != own {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    let (reader, mut writer) = stream.split();
    let limit = u64::try_from(MAX_REQUEST_BYTES).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(reader.take(limit));
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.get_mut().set_limit(limit);
        let read = reader.read_until(b'\n', &mut line);
        if tokio::time::timeout(SERVER_IDLE, read).await?? == 0 {
            return Ok(());
        }
        let complete = line.ends_with(b"\n");
        let response = if complete { answer(&line, desk).await } else { too_long() };
        let mut text = serde_json::to_vec(&Envelope::new(response))?;
        text.push(b'\n');
        tokio::time::timeout(SERVER_PATIENCE, writer.write_all(&text)).await??;
        if !complete {
            return Ok(());
        }
    }
}

fn too_long() -> Response {
    Response::Bad { reason: format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes") }
}

async fn answer(line: &[u8], desk: &Desk) -> Response {
    let request = match understand(line) {
        Ok(request) => request,
        Err(reason) => return Response::Bad { reason },
    };
    if request == Request::Status {
        let status = desk.status.lock().unwrap_or_else(PoisonError::into_inner).now();
        return Response::Status(Box::new(status));
    }
    let (reply, answer) = oneshot::channel();
    match desk.events.try_send(Event::Request(request, reply)) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return Response::Failed { reason: "too many requests wait; try again".into() };
        }
        Err(TrySendError::Disconnected(_)) => {
            return Response::Failed { reason: "the agent is stopping".into() };
        }
    }
    answer.await.unwrap_or_else(|_gone| Response::Failed { reason: "the agent is stopping".into() })
}

fn understand(line: &[u8]) -> Result<Request, String> {
    let envelope: Envelope<serde_json::Value> =
        serde_json::from_slice(line).map_err(|error| format!("no request: {error}"))?;
    if envelope.version != VERSION {
        return Err(format!(
            "protocol {} is not spoken here, {VERSION} is: use the palisade of the agent's version",
            envelope.version
        ));
    }
    serde_json::from_value(envelope.content).map_err(|error| format!("no request: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_its_times_as_they_are_when_it_is_read() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        let posted = Posted { status: Status::default(), started: ago(100), checked: ago(7) };
        let status = posted.now();
        assert!(status.up_seconds >= 100, "{status:?}");
        assert!(status.drift.seconds_since_check >= Some(7), "{status:?}");
        assert_eq!(Posted::default().now(), Status::default());
    }
}
