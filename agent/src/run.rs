//! The agent's process: the socket and the signals on this thread, the loop on its own.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use palisade_dataplane::ruleset::RulesetError;
use thiserror::Error;
use tokio::net::UnixListener as TokioListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::reconcile::{self, Config, Event, MAX_WAITING};
use crate::socket::server::{Desk, Posted, serve};
use crate::socket::{BindError, bind};

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Socket(#[from] BindError),
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error("the process lacks what it needs ({0})")]
    Process(#[from] std::io::Error),
    #[error(
        "the loop ended by a fault of Palisade; please report it with the log; the rules in the kernel stay"
    )]
    Fault,
}

/// Runs the agent until SIGTERM or SIGINT; the kernel's tables outlive it.
///
/// # Errors
///
/// `RunError`: nothing in the kernel was changed then, or it holds the last good program.
pub fn run(config: Config, socket: &Path) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = bind(socket)?;
    let _name = SocketName(socket.to_path_buf());
    let (events, received) = sync_channel(MAX_WAITING);
    let status = Arc::new(Mutex::new(Posted::default()));
    let (ended, end) = oneshot::channel();
    let (sender, published) = (events.clone(), Arc::clone(&status));
    let reconciler = thread::Builder::new().name("reconcile".into()).spawn(move || {
        let result = reconcile::run(config, &sender, &received, published);
        // The other side is gone when the process ends by itself.
        _ = ended.send(());
        result
    })?;
    let served = runtime.block_on(attend(listener, Desk { status, events: events.clone() }, end));
    stop(&events);
    let result = reconciler.join().map_err(|_panic| RunError::Fault)?;
    served?;
    Ok(result?)
}

/// Serves until a signal comes or the loop ends.
async fn attend(
    listener: UnixListener,
    desk: Desk,
    end: oneshot::Receiver<()>,
) -> Result<(), std::io::Error> {
    let listener = TokioListener::from_std(listener)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = serve(listener, desk) => {}
        _ = terminate.recv() => tracing::info!("told to stop; the rules in the kernel stay"),
        _ = interrupt.recv() => tracing::info!("interrupted; the rules in the kernel stay"),
        _ = end => {}
    }
    Ok(())
}

fn stop(events: &SyncSender<Event>) {
    // Blocks while the channel is full, until the loop takes from it; fails if the loop is gone already.
    _ = events.send(Event::Shutdown);
}

/// Removes the socket when the agent ends.
struct SocketName(PathBuf);

impl Drop for SocketName {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}
