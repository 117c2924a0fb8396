use nix::sys::signal::{SigSet, Signal};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;

use super::output::note;
use super::{Exit, Failure};

/// Remove Palisade's tables and nothing else
///
/// Of this network namespace; nothing is isolated afterwards. While an agent owns the tables it is refused (exit status 3):
/// stop the agent first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on running afterwards, until SIGTERM or SIGINT: for a container that is expected to, as one of a DaemonSet
    #[arg(long)]
    stay: bool,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    // Blocked first, so that none is missed; a process 1, whose unhandled signals the kernel drops, gets them too.
    let end: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let failed = |errno: nix::Error| Failure::Io { what: "signals".into(), error: errno.into() };
    if args.stay {
        end.thread_block().map_err(failed)?;
    }
    let mut dataplane = Dataplane::start(Kernel::open()?)?;
    dataplane.remove()?;
    // Closes the sockets: who stays holds nothing.
    drop(dataplane);
    note(
        "removed the tables palisade of the families ip, ip6, bridge and inet, as far as they were there",
    );
    if args.stay {
        end.wait().map_err(failed)?;
    }
    Ok(Exit::Done)
}
