//! Answers clients: the status, flows and what a bug report needs at once, everything else by way of the loop.

use std::sync::Arc;
use std::time::Duration;

use palisade_dataplane::netlink::DenyCounters;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::inbox::{Ask, Look, Refused, Sender, View};
use crate::metrics::exposition::Exposition;
use crate::protocol::{
    Denied, Envelope, MAX_REQUEST_BYTES, Request, Response, Status, Support, VERSION,
};
use crate::published_status::PublishedStatus;
use crate::reach::{self, Reach};
use crate::recent_log::RecentLog;
use crate::socket::flow_stream::stream_flows;
use crate::socket::response::write;
use crate::what_if::{self, Edit, Proposal, WhatIf};

/// Connections that are answered at a time; further ones wait in the kernel's queue.
const MAX_CLIENTS: usize = 16;
const STOPPING: &str = "the agent is stopping";
/// How long a client may take between questions.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the answers come from.
#[derive(Debug, Clone)]
pub struct Server {
    pub status: PublishedStatus,
    pub inbox: Sender,
    pub log: RecentLog,
    /// Held by who judges a part of a snapshot: one at a time.
    pub judging: Arc<Mutex<()>>,
}

impl Server {
    /// Serves until the task is dropped.
    pub async fn serve(self, listener: UnixListener) {
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
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.serve_client(stream, slot).await {
                    tracing::debug!(%error, "a client of the socket went");
                }
            });
        }
    }

    async fn serve_client(
        &self,
        mut stream: UnixStream,
        slot: OwnedSemaphorePermit,
    ) -> std::io::Result<()> {
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
            if tokio::time::timeout(IDLE_TIMEOUT, read).await?? == 0 {
                return Ok(());
            }
            let complete = line.ends_with(b"\n");
            let request = if complete { parse(&line) } else { Err(too_long()) };
            let response = match request {
                Ok(Request::Observe(observe)) => {
                    // A reader that stays takes nobody's place who asks; there is another bound for readers.
                    drop(slot);
                    return stream_flows(&self.status.flows, observe, reader, writer).await;
                }
                Ok(request) => self.answer(request).await,
                Err(reason) => Response::Bad { reason },
            };
            write(&mut writer, response).await?;
            if !complete {
                return Ok(());
            }
        }
    }

    /// Answers a request that one response answers.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let question = match request {
            Request::Status => return Response::Status(Box::new(self.status())),
            Request::Support => return Response::Support(Box::new(self.support())),
            Request::WhatIf(proposal) => {
                return match self.what_if(proposal).await {
                    Ok(Ok(answer)) => Response::WhatIf(Box::new(answer)),
                    Ok(Err(refused)) => Response::Bad { reason: refused.to_string() },
                    Err(reason) => Response::Failed { reason },
                };
            }
            request => request,
        };
        let (answer, received) = oneshot::channel();
        match self.inbox.ask(Ask { question, answer }) {
            Ok(()) => received
                .await
                .unwrap_or_else(|_dropped| Response::Failed { reason: STOPPING.to_owned() }),
            Err(refused) => Response::Failed { reason: self.refused(&refused) },
        }
    }

    /// Why the loop takes no question, which is counted.
    fn refused(&self, refused: &Refused) -> String {
        match refused {
            Refused::Full => {
                self.status.metrics.refused_request();
                "too many requests wait; try again".to_owned()
            }
            Refused::Ended(_) => STOPPING.to_owned(),
        }
    }

    /// What somebody sees who looks at what the loop has; see `Look`.
    ///
    /// # Errors
    ///
    /// Why there is nothing to see: a sentence.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(View<'_>) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (seen, received) = oneshot::channel();
        let look = Look::new(|view| {
            // The client may be gone.
            _ = seen.send(look(view));
        });
        match self.inbox.look(look) {
            Ok(()) => received.await.map_err(|_dropped| "the agent knows nothing yet".to_owned()),
            Err(refused) => Err(self.refused(&refused)),
        }
    }

    /// What an edit would change, judged off the loop.
    ///
    /// # Errors
    ///
    /// Why there is no answer: a sentence.
    pub(crate) async fn what_if(
        &self,
        proposal: Proposal,
    ) -> Result<Result<WhatIf, what_if::Refused>, String> {
        let _turn = self.judging.lock().await;
        let flows = self.status.flows.clone();
        let parsed = aside(move || {
            let edit = Edit::parse(&proposal)?;
            let flows = edit.concerned(&flows);
            Ok((edit, flows))
        });
        let (edit, flows) = match parsed.await? {
            Ok(parsed) => parsed,
            Err(refused) => return Ok(Err(refused)),
        };
        let look = move |view: View<'_>| {
            (what_if::Part::take(view.snapshot, view.revision, &edit, flows), edit)
        };
        let (part, edit) = self.look(look).await?;
        aside(move || Ok(part.judge(edit))).await
    }

    /// The matrix of a pod, judged off the loop.
    ///
    /// # Errors
    ///
    /// Why there is no answer: a sentence.
    pub(crate) async fn reach(&self, pod: String) -> Result<Result<Reach, String>, String> {
        let _turn = self.judging.lock().await;
        let look = move |view: View<'_>| reach::Part::take(view.snapshot, view.revision, &pod);
        match self.look(look).await? {
            Ok(part) => aside(move || Ok(part.judge())).await,
            Err(reason) => Ok(Err(reason)),
        }
    }

    fn support(&self) -> Support {
        let (log, log_dropped) = self.log.lines();
        Support {
            command_line: std::env::args().collect(),
            log,
            log_dropped,
            metrics: Exposition::new(&self.status).text(),
        }
    }

    /// The status as it was last published, with the kernel's counters as they are now.
    fn status(&self) -> Status {
        let mut status = self.status.read();
        match DenyCounters::read() {
            Ok(counters) => {
                let (ingress, egress) = (counters.ingress.packets, counters.egress.packets);
                status.denied = Some(Denied { ingress, egress });
                status.hold.packets += counters.held.packets;
                status.source_guard.dropped = counters.forged.packets;
                status.source_guard.encapsulated = counters.encapsulated.packets;
            }
            Err(error) => tracing::debug!(%error, "denied packets cannot be counted"),
        }
        status
    }
}

/// Works on a thread for work that takes long.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    spawn_blocking(work).await.map_err(|_panicked| "the question could not be judged".to_owned())
}

fn too_long() -> String {
    format!("a request is one line of at most {MAX_REQUEST_BYTES} bytes")
}

pub(crate) fn parse(line: &[u8]) -> Result<Request, String> {
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
