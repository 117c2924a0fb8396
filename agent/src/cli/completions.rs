use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: palisade completions bash > /etc/bash_completion.d/palisade")]
pub(super) struct Args {
    shell: Shell,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    clap_complete::generate(args.shell, &mut Cli::command(), "palisade", &mut io::stdout());
    Ok(Exit::Done)
}
