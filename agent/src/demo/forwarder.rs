//! Brings the agent's page to an address of this host, since the lab's node has no way there; and answers the live demo's edits.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use palisade_lab::{Lab, Namespace};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::DemoError;
use super::agent::PAGE;
use super::editing::Editing;
use crate::http::access::Access;

/// Connections at a time; the agent has a bound of its own.
const MAX_CONNECTIONS: usize = 64;
/// Requests for edits begin with one of these.
const EDITS: [&[u8]; 2] = [b"GET /demo/", b"POST /demo/"];
/// How long a client may take to say what it wants, and an edit to be answered.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const EDIT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait for more of a request that came in parts.
const PART: Duration = Duration::from_millis(5);

/// Forwards until it is dropped.
#[derive(Debug)]
pub(super) struct Forwarder {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Listens on loopback at the agent's own port, or at another if somebody has it.
    pub(super) fn start(lab: &Lab, editing: Option<&Editing>) -> Result<Self, DemoError> {
        let failed = |error| DemoError::io("listen for the page on 127.0.0.1", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let bind = |port| runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        let listener = bind(PAGE.port()).or_else(|_taken| bind(0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let edits = editing.map(|editing| editing.router(Access::new(address, None)));
        let node = Arc::new(lab.node().try_clone()?);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(&listener, &node, edits.as_ref()) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, node: &Arc<Namespace>, edits: Option<&Router>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            sleep(PART).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (node, edits) = (Arc::clone(node), edits.cloned());
        tokio::spawn(async move {
            // Either end may go at any time.
            _ = serve(client, &node, edits).await;
            drop(slot);
        });
    }
}

async fn serve(mut client: TcpStream, node: &Namespace, edits: Option<Router>) -> io::Result<()> {
    if let Some(router) = edits
        && timeout(HEAD_TIMEOUT, is_edit(&client)).await??
    {
        return serve_edit(client, router).await;
    }
    let agent = node.run(|| std::net::TcpStream::connect(PAGE)).map_err(io::Error::other)??;
    agent.set_nonblocking(true)?;
    let mut agent = TcpStream::from_std(agent)?;
    copy_bidirectional(&mut client, &mut agent).await.map(|_bytes| ())
}

/// Whether the request is for an edit, by its first bytes, which stay to be read.
async fn is_edit(client: &TcpStream) -> io::Result<bool> {
    let mut head = [0; 11];
    loop {
        let read = client.peek(&mut head).await?;
        let head = head.get(..read).unwrap_or_default();
        if EDITS.iter().any(|edit| head.starts_with(edit)) {
            return Ok(true);
        }
        if read == 0 || !EDITS.iter().any(|edit| edit.starts_with(head)) {
            return Ok(false);
        }
        sleep(PART).await;
    }
}

async fn serve_edit(client: TcpStream, router: Router) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(client), TowerToHyperService::new(router));
    timeout(EDIT_TIMEOUT, connection).await?.map_err(io::Error::other)
}
