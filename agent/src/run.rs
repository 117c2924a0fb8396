//! The agent's process: the socket and the signals on this thread, the loop on its own.

use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use palisade_dataplane::ruleset::RulesetError;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::reconcile::{self, Config, Event, MAX_WAITING};
use crate::socket::seat::{Asked, BindError, Seat};
use crate::socket::server::{Desk, Posted, serve};

/// How often to ask whether another agent's socket is free.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the loop may take to end, once told. What it reads then for longer it reads for nothing, and a commit that is cut
/// short is finished by the next agent.
const LAST_WORK: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Socket(#[from] BindError),
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error("the process lacks what it needs ({0})")]
    Process(#[from] io::Error),
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
    tell_start(&config, socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            seat = take_seat(socket) => lead(config, seat?, &mut signals).await,
            () = signals.any() => Ok(()),
        }
    })
}

fn tell_start(config: &Config, socket: &Path) {
    let files: Vec<_> = config.files.iter().map(|file| file.display().to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        files = files.join(" "),
        node = config.node.as_deref().unwrap_or("unnamed: every pod with an address is local"),
        socket = %socket.display(),
        "palisade starts"
    );
}

/// Waits until no other agent has the socket: in a rolling update two overlap.
async fn take_seat(socket: &Path) -> Result<Seat, BindError> {
    let mut told = None;
    loop {
        let holder = match Seat::ask(socket)? {
            Asked::Taken(seat) => return Ok(seat),
            Asked::Held(holder) => holder,
        };
        if told != Some(holder) {
            told = Some(holder);
            let holder = holder.map_or("unknown".to_owned(), |pid| pid.to_string());
            tracing::warn!(
                process = holder,
                "another agent has the socket {}; waiting until it ends (or give this one another --socket)",
                socket.display()
            );
        }
        sleep(ASK_EVERY).await;
    }
}

/// Runs the loop, and serves until a signal comes or the loop ends.
async fn lead(config: Config, mut seat: Seat, signals: &mut Signals) -> Result<(), RunError> {
    let listener = UnixListener::from_std(seat.bind()?)?;
    let (events, received) = sync_channel(MAX_WAITING);
    let status = Arc::new(Mutex::new(Posted::default()));
    let (ended, mut end) = oneshot::channel::<()>();
    let (sender, published) = (events.clone(), Arc::clone(&status));
    let reconciler = thread::Builder::new().name("reconcile".into()).spawn(move || {
        // Dropped at the end, however it comes.
        let _ended = ended;
        reconcile::run(config, &sender, &received, published)
    })?;
    tokio::select! {
        () = serve(listener, Desk { status, events: events.clone() }) => {}
        () = signals.any() => {
            if timeout(LAST_WORK, stop(&events, &mut end)).await.is_err() {
                tracing::info!("ended in the middle of its work; the next agent goes on");
                return Ok(());
            }
        }
        _ = &mut end => {}
    }
    Ok(reconciler.join().map_err(|_panic| RunError::Fault)??)
}

/// Tells the loop to end, as soon as it has room to be told, and waits for its end.
async fn stop(events: &SyncSender<Event>, end: &mut oneshot::Receiver<()>) {
    while let Err(TrySendError::Full(_)) = events.try_send(Event::Shutdown) {
        sleep(ASK_EVERY / 10).await;
    }
    // An error says that the other side is gone, which is what is waited for.
    _ = end.await;
}

/// What tells the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    async fn any(&mut self) {
        let told = tokio::select! {
            _ = self.terminate.recv() => "told to stop",
            _ = self.interrupt.recv() => "interrupted",
        };
        tracing::info!("{told}; the rules in the kernel stay");
    }
}
