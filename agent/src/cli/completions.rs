use clap::CommandFactory;
use clap_complete::Shell;

use super::output::say;
use super::{Cli, Exit, Failure};

/// Print a completion script for a shell
///
/// The shell reads it at its start, from where the example puts it or its own manual says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: palisade completions bash > /etc/bash_completion.d/palisade")]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "palisade", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
