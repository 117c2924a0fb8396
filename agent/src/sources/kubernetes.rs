//! The Kubernetes API as a source of the loop, on threads of its own.
//!
//! ```text
//! watch of each kind (list, follow, go on after failures) --messages--> collector --inputs--> inbox
//!                                                                          |
//! Events about faulty policies <--------------faults-----------------------+
//! Events about denied connections <--------- flows
//! ```
//!
//! The watches share a thread, whose runtime waits for the server; the collector has another, which waits for the loop. Both
//! ways are bounded, so that a slow loop slows the reading, and nothing is dropped.

mod access;
mod collector;
#[cfg(feature = "testkit")]
pub(crate) mod decoders;
mod denial_events;
mod events;
mod failure;
mod fault_events;
mod items;
mod kind;
mod lines;
mod local_namespaces;
mod objects;
mod request;
mod retry;
mod watch;

use std::io;
use std::thread;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use access::{Access, AccessError};
use collector::Collector;
use kind::watched;
use watch::Watch;

use crate::flows::store::FlowStore;
use crate::inbox::Sender;
use crate::watch_state::WatchState;

/// Messages that wait for the collector at most.
const MAX_MESSAGES: usize = 256;

/// Why the source cannot begin.
#[derive(Debug, Error)]
pub enum SourceError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the process lacks what it needs ({0})")]
    Thread(#[from] io::Error),
}

/// A running source. It ends when this is dropped, or when the loop ends.
#[derive(Debug)]
pub struct KubernetesSource {
    /// Dropped to end the watches.
    _stop: oneshot::Sender<()>,
    /// Closed when the watches have ended.
    end: oneshot::Receiver<()>,
}

impl KubernetesSource {
    /// Follows the API server for the node of this name from now on, and writes Events about denied connections there, where flows
    /// are given.
    ///
    /// # Errors
    ///
    /// It is not known how to reach the server (whether it answers is no matter), or threads cannot be made.
    pub async fn spawn(
        access: Access,
        node: String,
        inbox: Sender,
        flows: Option<FlowStore>,
    ) -> Result<Self, SourceError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ended, end) = oneshot::channel::<()>();
        let (begun, begin) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("kubernetes".into()).spawn(move || {
            // Dropped at the end, however it comes.
            let _ended = ended;
            runtime.block_on(async {
                let server = match access.open().await {
                    Ok(server) => server,
                    Err(error) => return drop(begun.send(Err(error.into()))),
                };
                let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
                let kinds = watched(&node);
                let states = kinds.map(|kind| WatchState::new(kind.kind, kind.decides)).collect();
                let (reporter, faults) = fault_events::channel();
                let collector = Collector::new(server.url.clone(), node.clone(), states, reporter);
                let collecting = thread::Builder::new()
                    .name("collect".into())
                    .spawn(move || collector.run(receiver, &inbox));
                let is_begun = collecting.is_ok();
                _ = begun.send(collecting.map(drop).map_err(SourceError::Thread));
                if !is_begun {
                    return;
                }
                let mut watches = JoinSet::new();
                for kind in watched(&node) {
                    watches.spawn(Watch::new(server.clone(), kind, sender.clone()).run());
                }
                drop(sender);
                if let Some(flows) = flows {
                    tokio::spawn(denial_events::run(server.clone(), node.clone(), flows));
                }
                tokio::spawn(fault_events::run(server, node, faults));
                tokio::select! {
                    // Sent never; the other end was dropped.
                    _ = stopped => {}
                    // A watch ends when the loop has, or by a fault.
                    _ = watches.join_next() => {}
                }
            });
            runtime.shutdown_background();
        })?;
        match begin.await {
            Ok(begun) => begun.map(|()| Self { _stop: stop, end }),
            Err(_closed) => Err(SourceError::Thread(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Waits until the watches have ended: by a fault, if neither this was dropped nor the loop ended.
    pub async fn ended(&mut self) {
        // An error says that the other side is gone.
        _ = (&mut self.end).await;
    }
}
