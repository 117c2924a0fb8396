//! The agent's HTTP listener: metrics and health.
//!
//! ```text
//! listen (again until it succeeds) -> accept -> one task a connection -> routes
//! ```
//!
//! Each connection carries one request. There are few at a time, each within a time: where more come, the oldest goes, so that
//! clients that send nothing keep nobody out.

mod routes;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::metrics::Metrics;
use crate::published_status::PublishedStatus;

/// Where the agent listens unless told otherwise.
pub const DEFAULT: &str = "127.0.0.1:9674";

/// Connections at a time.
pub const MAX_CONNECTIONS: usize = 32;
/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last, the answer included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How often to try to listen.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// How many attempts are made between two lines of the log about it.
const LOGGED_ATTEMPTS: u64 = 300;

/// Where to listen, if anywhere (`--listen`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_invalid| {
            format!("{text:?} is neither ADDRESS:PORT, as in {DEFAULT} or [::1]:9674, nor off")
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Listens and serves until the task is dropped. Where that fails (another process has the port, an agent that is about to end, say;
/// the host does not have the address yet; a sandbox forbids it), it is tried again: enforcement waits for no metrics.
pub async fn serve(address: SocketAddr, published: PublishedStatus) {
    let metrics = published.metrics.clone();
    let router = routes::router(published);
    let listener = listen(address).await;
    tracing::info!(%address, "serving metrics and health by HTTP");
    accept(&listener, &router, &metrics).await;
}

fn log_wait(address: SocketAddr, error: &io::Error) {
    tracing::warn!(
        "metrics and health are not served at {address} yet ({error}); trying again each second (or give this agent another --listen)"
    );
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut attempts: u64 = 0;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if attempts.is_multiple_of(LOGGED_ATTEMPTS) => log_wait(address, &error),
            Err(_) => {}
        }
        attempts += 1;
        sleep(LISTEN_EVERY).await;
    }
}

async fn accept(listener: &TcpListener, router: &Router, metrics: &Metrics) {
    // The oldest first.
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "an HTTP connection was lost");
                // Out of file descriptors, most likely: they come back when clients go.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= MAX_CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
            metrics.dropped_connection();
        }
        let serving = serve_connection(stream, router.clone(), metrics.clone());
        connections.push_back(tokio::spawn(serving).abort_handle());
    }
}

async fn serve_connection(stream: TcpStream, router: Router, metrics: Metrics) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_timeout() => metrics.dropped_connection(),
        // The client went, or sent no HTTP.
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended"),
        Err(_elapsed) => metrics.dropped_connection(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen_is_an_address_with_a_port_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        let at = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(at(DEFAULT), Ok(DEFAULT.to_owned()));
        assert_eq!(at("[::]:80"), Ok("[::]:80".to_owned()));
        for wrong in ["", "9674", "localhost:9674", "127.0.0.1", "127.0.0.1:99999", "no"] {
            assert!(at(wrong).is_err_and(|why| why.contains("ADDRESS:PORT")), "{wrong}");
        }
    }
}
