//! One HTTP connection, within bounds of time and size.

use std::error::Error as _;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use crate::published_status::PublishedStatus;

/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last, the answer included, unless it is `Lasting`.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client may take nothing of what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kernel holds of what was sent and not taken, in bytes; it doubles it. So a reader that takes nothing is noticed.
const SEND_BUFFER_BYTES: usize = 32 << 10;

/// Whether a connection's answer lasts as long as the client listens. Its handler says so.
#[derive(Debug, Clone, Default)]
pub(super) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) async fn serve_connection(
    stream: TcpStream,
    router: Router,
    lasting: Lasting,
    published: PublishedStatus,
) {
    if let Err(error) = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the size of a send buffer cannot be set");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false);
    let service = TowerToHyperService::new(router.layer(Extension(lasting.clone())));
    let mut connection = pin!(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let mut ended = timeout(CONNECTION_TIMEOUT, connection.as_mut()).await;
    if ended.is_err() && lasting.is_set() {
        ended = Ok(connection.await);
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) if lasting.is_set() && has_stalled(&error) => {
            published.flows.dropped_reader();
            tracing::info!("a reader of flows was dropped, since it does not read");
        }
        Ok(Err(error)) if error.is_timeout() || has_stalled(&error) => {
            published.metrics.dropped_connection();
        }
        // The client went, or sent no HTTP.
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended"),
        Err(_elapsed) => published.metrics.dropped_connection(),
    }
}

/// Whether the client took nothing for `WRITE_TIMEOUT`.
fn has_stalled(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}
