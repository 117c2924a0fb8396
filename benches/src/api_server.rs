//! A small Kubernetes API server of one cluster, for engines that list and watch: read-only, JSON, over plain HTTP.
//!
//! ```text
//! Change -> Store: objects, each at its version, and the events since the start -> lists, watches
//! ```
//!
//! It listens on loopback in the network namespace of the thread that starts it, so that an engine in the namespace of a contender
//! reaches it and nobody else does. What it leaves out it refuses in the protocol's own words: writes, selectors, watches from a
//! version that it has not.

mod resource;
mod serve;
mod store;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use palisade_compiler::snapshot::Change;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use serve::Cluster;
use store::Store;

#[derive(Debug, Error)]
#[error("the API server cannot {what}: {source}")]
pub struct ApiServerError {
    what: &'static str,
    source: io::Error,
}

impl ApiServerError {
    fn of(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// It serves until it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    cluster: Cluster,
    version: watch::Sender<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Serves these objects in the network namespace of the calling thread, at a port that is free there. Nodes come before their
    /// pods, which otherwise have no host address.
    ///
    /// # Errors
    /// Where there is no loopback, or no thread to be had.
    pub fn start(objects: impl IntoIterator<Item = Change>) -> Result<Self, ApiServerError> {
        let store = Store::new(objects);
        let (version, versions) = watch::channel(store.version());
        let cluster = Cluster { store: Arc::new(Mutex::new(store)), versions };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(ApiServerError::of("listen on loopback"))?;
        let address = listener.local_addr().map_err(ApiServerError::of("tell its port"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ApiServerError::of("start its runtime"))?;
        let (stop, stopped) = oneshot::channel();
        let served = cluster.clone();
        let thread = std::thread::Builder::new()
            .name("api-server".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve::serve(listener, served) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(ApiServerError::of("start a thread"))?;
        Ok(Self { address, cluster, version, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the change and tells every watch that it concerns.
    pub fn apply(&self, change: Change) {
        let mut store = self.cluster.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.apply(change);
        self.version.send_replace(store.version());
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends with all of its connections; one that panicked has ended too.
            let _ = thread.join();
        }
    }
}
