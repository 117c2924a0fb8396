use palisade_compiler::compile::Compiler;
use palisade_compiler::program::render::render;

use super::deny::Deny;
use super::input::{Manifests, Node, compile};
use super::output::say;
use super::{Exit, Failure};

/// Print the whole ruleset as nft text
///
/// What `palisade apply` would program, as text that `nft -f` loads in one transaction, in the place of the tables that are
/// there. Touches nothing. Only `run` and `apply` find the bridges of pods and see to br_netfilter.
///
/// The kernel lets `nft` replace tables that `apply` or `nft` made. Tables that an agent owns, or made and left, belong to it:
/// there `nft` answers "Operation not permitted" or "Operation not supported", and `palisade flush` removes them first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: palisade render -f examples/shop | unshare -n nft -c -f -")]
pub(super) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    deny: Deny,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let input = args.manifests.load()?;
    let mut compiler = Compiler::new(args.node.locality());
    let lacks = compile(&mut compiler, &args.node.locality(), input.changes)?;
    say(render(compiler.program(), args.deny.deny_action))?;
    Ok(if input.has_errors || lacks { Exit::No } else { Exit::Done })
}
