//! A small, read-only Kubernetes API server for one cluster, for engines that list and watch. It speaks JSON over plain
//! HTTP.
//!
//! ```text
//! Change -> Store: objects, each with its version, and the events since the start -> lists, watches
//! ```
//!
//! It listens on loopback in the network namespace of the thread that starts it, so that only an engine in the same
//! namespace can reach it. Whatever it does not implement it refuses as a Kubernetes API server would: writes, selectors,
//! and watches that begin at a version that it does not have.

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

/// The server runs until this value is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    cluster: Cluster,
    version: watch::Sender<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Serves these objects in the network namespace of the calling thread, on a free port. The changes must add a node
    /// before its pods, which otherwise have no host address.
    ///
    /// # Errors
    /// If there is no loopback interface, or no thread can be started.
    pub fn start(objects: impl IntoIterator<Item = Change>) -> Result<Self, ApiServerError> {
        let store = Store::new(objects);
        let (version, versions) = watch::channel(store.version());
        let cluster = Cluster { store: Arc::new(Mutex::new(store)), versions };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(ApiServerError::of("listen on loopback"))?;
        let address = listener.local_addr().map_err(ApiServerError::of("determine its port"))?;
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

    /// Applies the change, and sends it to every watch that it concerns.
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
            // The thread ends together with all of its connections. If it panicked, it has ended too.
            let _ = thread.join();
        }
    }
}
