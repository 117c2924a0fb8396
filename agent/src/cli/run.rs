use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use palisade_compiler::lint;
use palisade_dataplane::netlink::conntrack::RECEIVE_BUFFER;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::writer::MakeWriterExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::deny::Deny;
use super::flow_log::FlowLog;
use super::guard::Guard;
use super::input::{Node, ReadOptions};
use super::lint::ServiceName;
use super::{Exit, Failure};
use crate::http::access::Token;
use crate::http::{self, Listen};
use crate::recent_log::RecentLog;
use crate::reconcile::TableSettings;
use crate::run::{Config, Follow, RunError, run};
use crate::socket::DEFAULT;
use crate::socket::lock::SocketError;
use crate::sources::files::STDIN;
use crate::sources::kubernetes::Access;
use crate::system_calls::{self, Programs};

/// Follow a cluster or manifests, and enforce their policies: the agent
///
/// Without -f it follows the Kubernetes API, and enforces the policies of the pods on its node. With -f it follows files: what is
/// saved is enforced; what breaks is reported, and what it last gave stays. The rules stay when the agent ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade run --node-name worker-1                        # in a pod of the cluster, as the DaemonSet does
  palisade run --node-name worker-1 --kubeconfig ~/.kube/config
  palisade run -f /etc/palisade/manifests
  palisade run -f pods.yaml policies/ --node-name worker-1 --log-format json
  palisade run -f pods.yaml --flow-log /var/log/palisade/flows.json --flow-log-only verdict=deny
  palisade status    # in another terminal

From the Kubernetes API, the agent needs list and watch of namespaces, nodes, pods and networkpolicies; where it may list and watch
services and endpointslices too, explain knows Services. The kernel is left as it is until all has been listed once. While the
server cannot be reached, what is known stays in force: palisade status says since when.

A directory stands for its .yaml, .yml and .json files; a file that is removed from it takes its objects along.
A file named by -f keeps its objects when it vanishes, and a file that becomes empty (0 bytes) keeps them too. Of an
object in two files the one that came first stands. A directory that is unmounted, or replaced by another, takes nothing
along. A file that declares less than before is believed once it was left alone for a second, as scripts write line by line.
An agent that starts with a broken file, or without any, changes nothing, and begins as soon as it is mended. One that
finds another at its socket waits until that ends, and takes over.")]
pub(super) struct Args {
    /// Files or directories (their .yaml, .yml and .json files) of Kubernetes objects, instead of the Kubernetes API
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
    /// How to reach the API server: this file, by its current context. Without it, as a pod of the cluster, by its service account
    #[arg(long, env = "KUBECONFIG", value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    options: ReadOptions,
    #[command(flatten)]
    node: Node,
    /// The ranges that addresses of this node's pods are from, in the place of the Node object's spec.podCIDRs. While a pod of the
    /// node that policies isolate has no address yet, packets from and to unknown addresses of these ranges are held
    #[arg(long = "pod-cidr", value_name = "CIDR")]
    pod_ranges: Vec<IpNet>,
    #[command(flatten)]
    deny: Deny,
    #[command(flatten)]
    guard: Guard,
    /// Write no Kubernetes Events on pods that are denied connections. Else there is one for a pod, a peer and a port in ten minutes,
    /// at most 20 in a row and then two a minute
    #[arg(long)]
    no_denial_events: bool,
    /// Make tables that belong to nobody. Else, where the kernel can (Linux 6.9), nobody but the agent can write to them, and
    /// listings show the flags of an owner also after the agent has ended, which nft before 1.1 prints wrongly. Tables that
    /// have the flags already keep them
    #[arg(long)]
    no_owner: bool,
    /// Where the agent answers status, explain and verify
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// Where metrics, health and the page are served by HTTP (/metrics, /healthz, /readyz, /), or off. A port that another process
    /// has is waited for
    #[arg(long, value_name = "ADDRESS:PORT", default_value = http::DEFAULT)]
    listen: Listen,
    #[command(flatten)]
    flow_log: FlowLog,
    /// A file with a token of 16 characters or more that the page asks for. Where others than this host reach --listen, the page
    /// is served with one only
    #[arg(long, value_name = "PATH")]
    page_token_file: Option<PathBuf>,
    /// The room, in bytes, for events of connections that the kernel tells faster than they are read. What is lost for want of it is
    /// counted, and found again by listing all connections
    #[arg(long, value_name = "BYTES", default_value_t = RECEIVE_BUFFER)]
    connection_event_buffer: usize,
    /// For how many seconds a policy, a rule or an isolation must not have been used to be a finding of palisade lint (PAL801 to
    /// PAL803)
    #[arg(long, value_name = "SECONDS", default_value_t = UNUSED_AFTER.as_secs())]
    unused_after: u64,
    /// The Service that pods ask for names, where it is not found by one of the usual names (kube-system/kube-dns) or by the label
    /// of its pods (k8s-app: kube-dns): for palisade lint
    #[arg(long, value_name = "NAMESPACE/NAME")]
    dns_service: Option<ServiceName>,
    /// How the log is written, on standard error
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Log more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// For how long something must not have been used to be a finding.
const UNUSED_AFTER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    if args.files.iter().any(|file| file == Path::new(STDIN)) {
        return Err(Failure::Usage(
            "-f -: standard input cannot be followed; name files or directories, or use palisade apply".into(),
        ));
    }
    let follow = follow(args)?;
    let page_token = args.page_token_file.as_deref().map(read_token).transpose()?;
    let log = RecentLog::default();
    log_to_stderr(args.log_format, args.verbose, log.clone());
    let config = Config {
        follow,
        node: args.node.node_name.clone(),
        pod_ranges: args.pod_ranges.iter().map(IpNet::trunc).collect(),
        tables: TableSettings {
            owned: !args.no_owner,
            deny_action: args.deny.deny_action,
            guard: args.guard.settings(),
        },
        listen: args.listen,
        flow_log: args.flow_log.settings()?,
        page_token,
        connection_event_buffer: args.connection_event_buffer,
        lint: lint::Settings { dns_service: args.dns_service.clone().map(|name| name.0) },
        unused_after: Duration::from_secs(args.unused_after),
        log,
    };
    // Before any thread of it is there, so that all are under it.
    let programs = match args.kubeconfig {
        Some(_) => Programs::Allowed,
        None => Programs::Refused,
    };
    if let Err(error) = system_calls::refuse(programs) {
        tracing::warn!("{error}");
    }
    run(config, &args.socket)?;
    Ok(Exit::Done)
}

fn follow(args: &Args) -> Result<Follow, Failure> {
    if !args.files.is_empty() {
        let limits = args.options.limits(false);
        return Ok(Follow::Files { paths: args.files.clone(), limits });
    }
    let Some(node) = args.node.node_name.clone() else {
        return Err(Failure::Usage(
            "name this node by --node-name or NODE_NAME, as in kubectl get nodes (or name manifests by -f)".into(),
        ));
    };
    let kubeconfig = args.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty());
    let access = kubeconfig.map_or(Access::InCluster, Access::Kubeconfig);
    Ok(Follow::Kubernetes { access, node, denial_events: !args.no_denial_events })
}

fn read_token(path: &Path) -> Result<Token, Failure> {
    Token::read(path)
        .map_err(|error| Failure::Usage(format!("--page-token-file {}: {error}", path.display())))
}

/// Keeps the last lines as well.
fn log_to_stderr(format: LogFormat, verbose: u8, recent: RecentLog) {
    // The client logs each failed attempt as an error; the source says what it means.
    let levels = |own: LevelFilter, others: LevelFilter| {
        Targets::new()
            .with_targets([("palisade", own), ("palisade_dataplane", own)])
            .with_target("kube_client", LevelFilter::OFF)
            .with_default(others)
    };
    let levels = match verbose {
        0 => levels(LevelFilter::INFO, LevelFilter::WARN),
        1 => levels(LevelFilter::DEBUG, LevelFilter::INFO),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr.and(recent))
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    let registry = tracing_subscriber::registry().with(levels);
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Ruleset(error) => Self::Ruleset(error),
            RunError::Socket(SocketError::Io { error: ref io, .. })
                if io.kind() == io::ErrorKind::PermissionDenied =>
            {
                Self::NotPermitted(error.to_string())
            }
            RunError::Socket(_) | RunError::Access(_) => Self::Usage(error.to_string()),
            RunError::Process(error) => Self::Io { what: "the agent's process".into(), error },
            RunError::Fault => Self::No(error.to_string()),
        }
    }
}
