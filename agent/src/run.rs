//! The agent's process: the socket and the signals on this thread, the loop and the files on threads of their own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use palisade_compiler::lint;
use palisade_compiler::snapshot::UndeclaredNamespaces;
use palisade_dataplane::ruleset::RulesetError;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::flow_log;
use crate::flows::recorder;
use crate::flows::store::FlowStore;
use crate::http::access::Token;
use crate::http::{self, Listen};
use crate::inbox::{Sender, inbox};
use crate::link_events;
use crate::published_status::PublishedStatus;
use crate::recent_log::RecentLog;
use crate::reconcile::{self, Settings, TableSettings};
use crate::socket::lock::{Attempt, SocketError, SocketLock};
use crate::socket::server::Server;
use crate::sources::file_source::FileSource;
use crate::sources::files::Limits;
use crate::sources::kubernetes::{Access, AccessError, KubernetesSource, SourceError};

/// How often to try whether another agent's socket is free.
const LOCK_EVERY: Duration = Duration::from_millis(100);
/// How often to try to make the socket for which the disk had no room.
const BIND_EVERY: Duration = Duration::from_secs(5);
/// How long the loop may take to end. A commit that is cut short is finished by the next agent.
const MAX_LAST_WORK: Duration = Duration::from_secs(1);

/// What the agent follows.
#[derive(Debug, Clone)]
pub enum Follow {
    /// Files and directories of manifests.
    Files { paths: Vec<PathBuf>, limits: Limits },
    /// The API server, for the node of this name.
    Kubernetes {
        access: Access,
        node: String,
        /// Whether Events about denied connections are written.
        denial_events: bool,
    },
}

#[derive(Debug, Clone)]
pub struct Config {
    pub follow: Follow,
    /// The node whose pods are local; every pod with an address is where there is none.
    pub node: Option<String>,
    /// The ranges of the node's pods; those of the Node object apply where there are none.
    pub pod_ranges: Vec<IpNet>,
    pub tables: TableSettings,
    /// Where metrics and health are served by HTTP.
    pub listen: Listen,
    /// Where flows are written, if they are.
    pub flow_log: Option<flow_log::Settings>,
    /// What opens the page to who is not on this host.
    pub page_token: Option<Token>,
    /// The size, in bytes, of the receive buffer for events of connections.
    pub connection_event_buffer: usize,
    pub lint: lint::Settings,
    /// For how long a policy, rule or isolation must not have been used to be a finding of the linter.
    pub unused_after: Duration,
    /// Where the last lines of the log are kept.
    pub log: RecentLog,
}

#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the process lacks what it needs ({0})")]
    Process(#[from] io::Error),
    #[error(
        "a thread ended by a fault of Palisade; please report it with the log; the rules in the kernel stay"
    )]
    Fault,
}

impl From<SourceError> for RunError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Access(error) => Self::Access(error),
            SourceError::Thread(error) => Self::Process(error),
        }
    }
}

/// A running source.
enum Source {
    Files(FileSource),
    Kubernetes(KubernetesSource),
}

impl Source {
    async fn begin(follow: Follow, inbox: Sender, flows: FlowStore) -> Result<Self, RunError> {
        Ok(match follow {
            Follow::Files { paths, limits } => {
                Self::Files(FileSource::spawn(paths, limits, inbox)?)
            }
            Follow::Kubernetes { access, node, denial_events } => {
                let flows = denial_events.then_some(flows);
                Self::Kubernetes(KubernetesSource::spawn(access, node, inbox, flows).await?)
            }
        })
    }

    /// What to do at SIGHUP.
    fn reread(&self) -> impl Fn() + use<> {
        let files = match self {
            Self::Files(files) => Some(files.reread_handle()),
            Self::Kubernetes(_) => None,
        };
        move || match &files {
            Some(files) => files.reread(),
            None => tracing::info!("SIGHUP: the API server is followed, and no file is read again"),
        }
    }

    async fn ended(&mut self) {
        match self {
            Self::Files(files) => files.ended().await,
            Self::Kubernetes(kubernetes) => kubernetes.ended().await,
        }
    }
}

/// Runs the agent until SIGTERM or SIGINT; the kernel's tables outlive it. At SIGHUP it reads all files again.
///
/// # Errors
///
/// `RunError`: nothing in the kernel was changed then, or it holds the last good program.
pub fn run(config: Config, socket: &Path) -> Result<(), RunError> {
    log_start(&config, socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let lock = tokio::select! {
            lock = lock_socket(socket) => lock?,
            () = signals.end(|| {}) => return Ok(()),
        };
        serve(config, lock, &mut signals).await
    })
}

fn log_start(config: &Config, socket: &Path) {
    let source = match &config.follow {
        Follow::Files { paths, .. } => {
            let files: Vec<_> = paths.iter().map(|file| file.display().to_string()).collect();
            files.join(" ")
        }
        Follow::Kubernetes { access: Access::Kubeconfig(path), .. } => {
            format!("the API server of {}", path.display())
        }
        Follow::Kubernetes { access: Access::InCluster, .. } => {
            "the API server of this cluster".to_owned()
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        source,
        node = config.node.as_deref().unwrap_or("unnamed: every pod with an address is local"),
        socket = %socket.display(),
        listen = %config.listen,
        "palisade starts"
    );
}

/// Waits until no other agent has the socket: in a rolling update two overlap.
async fn lock_socket(socket: &Path) -> Result<SocketLock, SocketError> {
    let mut logged = None;
    loop {
        let holder = match SocketLock::try_lock(socket) {
            Ok(Attempt::Locked(lock)) => return Ok(lock),
            Ok(Attempt::Held(holder)) => holder,
            Err(error) if error.lacks_room() => return Ok(SocketLock::without_file(socket)),
            Err(error) => return Err(error),
        };
        if logged != Some(holder) {
            logged = Some(holder);
            let holder = holder.map_or("unknown".to_owned(), |pid| pid.to_string());
            tracing::warn!(
                process = holder,
                "another agent has the socket {}; waiting until it ends (or give this one another --socket)",
                socket.display()
            );
        }
        sleep(LOCK_EVERY).await;
    }
}

/// Runs the loop and its source, and serves clients until a signal comes or the loop ends.
async fn serve(
    config: Config,
    mut lock: SocketLock,
    signals: &mut Signals,
) -> Result<(), RunError> {
    let listener = match lock.bind() {
        Ok(listener) => Some(UnixListener::from_std(listener)?),
        Err(error) if error.lacks_room() => {
            tracing::warn!("{error}; policy is enforced without it, and it is tried again");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let (sender, receiver) = inbox();
    let status = PublishedStatus::default();
    let server = Server {
        status: status.clone(),
        inbox: sender.clone(),
        log: config.log,
        judging: Arc::default(),
    };
    // Only who has the socket listens: until then probes reach the agent that is about to end.
    if let Listen::At(address) = config.listen {
        tokio::spawn(http::serve(address, server.clone(), config.page_token));
    }
    let (ended, mut end) = oneshot::channel::<()>();
    let undeclared = match &config.follow {
        Follow::Files { .. } => UndeclaredNamespaces::Implied,
        Follow::Kubernetes { .. } => UndeclaredNamespaces::Absent,
    };
    let settings = Settings {
        node: config.node,
        tables: config.tables,
        pod_ranges: config.pod_ranges,
        undeclared,
        lint: config.lint,
        unused_after: config.unused_after,
    };
    let published = status.clone();
    let reconciler = thread::Builder::new().name("reconcile".into()).spawn(move || {
        // Dropped at the end, however it comes.
        let _ended = ended;
        reconcile::run(settings, &receiver, published)
    })?;
    // Ends last.
    let begin = |settings| flow_log::begin(settings, status.flows.clone());
    let _flow_log = config.flow_log.map(begin).transpose()?;
    link_events::forward(sender.clone(), status.metrics.clone());
    recorder::spawn(sender.clone(), status.clone(), config.connection_event_buffer);
    let mut source = Source::begin(config.follow, sender.clone(), status.flows.clone()).await?;
    let reread = source.reread();
    let is_source_lost = tokio::select! {
        () = serve_clients(server, &mut lock, listener) => false,
        () = signals.end(reread) => {
            if timeout(MAX_LAST_WORK, stop(&sender, &mut end)).await.is_err() {
                tracing::info!("ended in the middle of its work; the next agent goes on");
                return Ok(());
            }
            false
        }
        _ = &mut end => false,
        () = source.ended() => {
            stop(&sender, &mut end).await;
            true
        }
    };
    reconciler.join().map_err(|_panic| RunError::Fault)??;
    if is_source_lost { Err(RunError::Fault) } else { Ok(()) }
}

/// Serves clients, as soon as there is a socket.
async fn serve_clients(server: Server, lock: &mut SocketLock, mut made: Option<UnixListener>) {
    let listener = loop {
        if let Some(listener) = made {
            break listener;
        }
        sleep(BIND_EVERY).await;
        made = lock.bind_again().and_then(|listener| UnixListener::from_std(listener).ok());
        if made.is_some() {
            tracing::info!("the socket is there now");
        }
    };
    server.serve(listener).await;
}

/// Asks the loop to end, and waits for its end.
async fn stop(inbox: &Sender, end: &mut oneshot::Receiver<()>) {
    inbox.shut_down();
    // An error says that the other side is gone, which is what is waited for.
    _ = end.await;
}

/// The signals that the process answers to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the signal to end; calls `reread` whenever files should be read again.
    async fn end(&mut self, reread: impl Fn()) {
        let reason = loop {
            tokio::select! {
                _ = self.terminate.recv() => break "SIGTERM",
                _ = self.interrupt.recv() => break "interrupted",
                _ = self.hang_up.recv() => reread(),
            }
        };
        tracing::info!("ending ({reason}); the rules in the kernel stay");
    }
}
