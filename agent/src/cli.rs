//! The command line: what was said, and which command does it.

mod apply;
mod completions;
mod demo;
mod eval;
mod explain;
mod failure;
mod flush;
pub(crate) mod input;
pub(crate) mod output;
mod render;
mod run;
mod status;
mod verify;

use clap::{Parser, Subcommand};

pub use failure::{Exit, Failure};
pub use output::Format;

/// Enforces Kubernetes NetworkPolicy with plain nftables, and proves that the kernel holds what was written.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, max_term_width = 100, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  palisade explain -f examples/shop shop/frontend shop/api --port 8080
  palisade render -f examples/shop | less
  kubectl get ns,nodes,pods,netpol -A -o yaml | palisade apply -f - --node-name $(hostname) --dry-run
  palisade run -f /etc/palisade/manifests

Exit status:
  0  done
  1  the answer is no: verify differs, a connection could not be judged, a manifest has errors
  2  usage, or input that cannot be read
  3  not permitted: CAP_NET_ADMIN or nf_tables is missing, or another process owns the table
  4  the kernel refused
  5  the agent cannot be reached";

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow manifests and enforce them: the agent
    Run(run::Args),
    /// Tell what the running agent enforces
    Status(status::Args),
    /// Program this network namespace from manifests, once
    Apply(apply::Args),
    /// Remove Palisade's tables and nothing else
    Flush(flush::Args),
    /// Prove the kernel equal to the agent's program, or to manifests
    Verify(verify::Args),
    /// Print the whole ruleset as nft text
    Render(render::Args),
    /// Judge many connections: JSON lines in and out
    Eval(eval::Args),
    /// Show one verdict with its whole reasoning, both directions
    Explain(explain::Args),
    /// Show it at work: pods, the agent and real connections on this host
    Demo(demo::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Runs the command that the process was given, and says on standard error why it failed.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; if the terminal is gone, so is who asked.
            _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let result = match cli.command {
        Command::Run(args) => run::execute(&args),
        Command::Status(args) => status::execute(&args),
        Command::Apply(args) => apply::execute(&args),
        Command::Flush(args) => flush::execute(&args),
        Command::Verify(args) => verify::execute(&args),
        Command::Render(args) => render::execute(&args),
        Command::Eval(args) => eval::execute(&args),
        Command::Explain(args) => explain::execute(&args),
        Command::Demo(args) => demo::execute(&args),
        Command::Completions(args) => completions::execute(&args),
    };
    result.unwrap_or_else(|failure| {
        output::complain(&failure);
        failure.exit()
    })
}
