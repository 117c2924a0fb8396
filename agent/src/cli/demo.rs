use clap::ValueEnum;

use super::{Exit, Failure};
use crate::demo;
use palisade_lab as lab;

/// Show it at work: pods, the agent and real connections on this host
///
/// Pods are network namespaces; the agent, the servers and the connections are real, and the policies are edited. Every pod
/// and port is tried, and what was seen stands beside what is expected: exit status 0 only if they are equal. Needs root;
/// touches nothing of the host's own network.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: palisade demo --layout bridged")]
pub(super) struct Args {
    /// How the pods are connected
    #[arg(long, value_enum, default_value_t)]
    layout: Layout,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Layout {
    /// Each pod on a link of its own, as with Calico
    #[default]
    Routed,
    /// All pods on one bridge, as with Flannel
    Bridged,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let layout = match args.layout {
        Layout::Routed => lab::Layout::Routed,
        Layout::Bridged => lab::Layout::Bridged,
    };
    Ok(if demo::run(layout)? { Exit::Done } else { Exit::No })
}
