use clap::ValueEnum;
use palisade_lab::{LabError, Layout};

use super::output::colours;
use super::{Exit, Failure};
use crate::demo::{self, DemoError, Lasts};

/// Show it at work: pods, the agent and real connections on this host
///
/// Pods are network namespaces; the agent, the servers and the connections are real. Every pod and port is tried, then policies are
/// edited and everything is tried again. Exit status 0 only if every connection met the verdict that the specification gives it. Needs root;
/// touches nothing of the host's own network.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade demo
  palisade demo --keep
  palisade demo --live
  palisade demo --live --tour
  palisade demo --layout bridged")]
pub(super) struct Args {
    /// How the pods are connected
    #[arg(long, value_enum, default_value_t)]
    layout: PodLayout,
    /// Keep the pods, their servers and the agent until Ctrl-C, and print the page's address and the commands that look inside
    #[arg(long)]
    keep: bool,
    /// Try nothing, but make connections until Ctrl-C, to be seen in the page whose address is printed, which edits policies and labels
    #[arg(long, conflicts_with = "keep")]
    live: bool,
    /// With --live, go through four traps of network policies step by step
    #[arg(long, requires = "live")]
    tour: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum PodLayout {
    /// Each pod on a link of its own, as with Calico
    #[default]
    Routed,
    /// All pods on one bridge, as with Flannel
    Bridged,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let layout = match args.layout {
        PodLayout::Routed => Layout::Routed,
        PodLayout::Bridged => Layout::Bridged,
    };
    let lasts = match (args.live, args.keep) {
        (true, _) => Lasts::Live { has_tour: args.tour },
        (false, true) => Lasts::Kept,
        (false, false) => Lasts::No,
    };
    let options = demo::Options { layout, lasts, colours: colours() };
    match demo::run(options) {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::No),
        // Ctrl-C is how a demo that lasts ends.
        Err(DemoError::Interrupted) if lasts != Lasts::No => Ok(Exit::Done),
        Err(error) => Err(error.into()),
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        let text = error.to_string();
        match error {
            DemoError::Lab(LabError::NotPermitted { .. } | LabError::Missing { .. }) => {
                Self::NotPermitted(text)
            }
            DemoError::Io { what, source } => Self::Io { what, error: source },
            DemoError::Lab(_) | DemoError::Failed(_) | DemoError::Interrupted => Self::No(text),
        }
    }
}
