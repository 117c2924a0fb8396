use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;

use super::output::note;
use super::{Exit, Failure};

/// Remove Palisade's tables and nothing else
///
/// Of this network namespace; nothing is isolated afterwards. While an agent owns the tables it is refused (exit status 3):
/// stop the agent first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn execute(_args: &Args) -> Result<Exit, Failure> {
    let mut dataplane = Dataplane::start(Kernel::open()?)?;
    dataplane.remove()?;
    note(
        "removed the tables palisade of the families ip, ip6 and bridge, as far as they were there",
    );
    Ok(Exit::Done)
}
