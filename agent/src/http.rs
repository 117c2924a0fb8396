//! The agent's HTTP listener: metrics, health and the page.
//!
//! ```text
//! listen (again until it succeeds) -> accept -> one task a connection -> routes -> metrics, health
//!                                                                           |
//!                                                                           +---> access -> page (files, state, flow_events, findings, views)
//! ```
//!
//! Each connection carries one request. There are few at a time, each within a time: where more come, the oldest goes, so that
//! clients that send nothing keep nobody out. A stream of flows lasts; there is another bound for their readers, and one that
//! takes nothing is dropped.

pub mod access;
mod connection;
#[cfg(feature = "testkit")]
pub(crate) mod decoders;
mod findings;
mod flow_events;
mod page;
mod pod_lists;
mod routes;
mod shared;
mod state;
mod views;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::http::access::Token;
use crate::http::connection::{Lasting, serve_connection};
use crate::published_status::PublishedStatus;
use crate::socket::server::Server;

pub use connection::MAX_HEAD_BYTES;

/// Where the agent listens unless told otherwise.
pub const DEFAULT: &str = "127.0.0.1:9674";

/// Connections at a time.
pub const MAX_CONNECTIONS: usize = 32;
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
///
/// Where others than this host reach the address, the page is for those who have the token, and for nobody without one.
pub async fn serve(address: SocketAddr, server: Server, token: Option<Token>) {
    let published = server.status.clone();
    let router = routes::router(server, access::Access::new(address, token));
    let listener = listen(address).await;
    tracing::info!(%address, "serving metrics, health and the page by HTTP");
    accept(&listener, &router, &published).await;
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

async fn accept(listener: &TcpListener, router: &Router, published: &PublishedStatus) {
    // The oldest first.
    let mut connections: VecDeque<(AbortHandle, Lasting)> = VecDeque::new();
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
        connections.retain(|(task, lasting)| !task.is_finished() && !lasting.is_set());
        if connections.len() >= MAX_CONNECTIONS
            && let Some((oldest, _)) = connections.pop_front()
        {
            oldest.abort();
            published.metrics.dropped_connection();
        }
        let lasting = Lasting::default();
        let serving = serve_connection(stream, router.clone(), lasting.clone(), published.clone());
        connections.push_back((tokio::spawn(serving).abort_handle(), lasting));
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
