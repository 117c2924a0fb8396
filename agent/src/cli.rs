//! The command line: what was said, and which command does it.

mod apply;
mod check;
mod completions;
mod demo;
mod deny;
mod eval;
mod explain;
mod failure;
mod flow_log;
mod flush;
mod guard;
pub(crate) mod input;
mod lint;
mod man;
mod observe;
pub(crate) mod output;
mod render;
mod run;
mod status;
mod support_bundle;
mod verify;
mod what_if;

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
  palisade lint -f examples/shop
  kubectl get ns,nodes,pods,netpol -A -o yaml | palisade apply -f - --node-name $(hostname) --dry-run
  palisade run -f /etc/palisade/manifests

Exit status:
  0  done
  1  the answer is no: verify differs, a connection could not be judged, a manifest has errors, check found a failure, lint found
     something, or not all that policy speaks of is enforced
  2  usage, or input that cannot be read
  3  not permitted: CAP_NET_ADMIN or nf_tables is missing, or another process owns the table
  4  the kernel refused
  5  the agent cannot be reached";

// Not a word about each here: it would take the place of the whole text that its `Args` have.
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Status(status::Args),
    Observe(observe::Args),
    Check(check::Args),
    Apply(apply::Args),
    Flush(flush::Args),
    Verify(verify::Args),
    Render(render::Args),
    Eval(eval::Args),
    Explain(explain::Args),
    WhatIf(what_if::Args),
    Lint(lint::Args),
    SupportBundle(support_bundle::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
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
        Command::Observe(args) => observe::execute(&args),
        Command::Check(args) => check::execute(&args),
        Command::Apply(args) => apply::execute(&args),
        Command::Flush(args) => flush::execute(&args),
        Command::Verify(args) => verify::execute(&args),
        Command::Render(args) => render::execute(&args),
        Command::Eval(args) => eval::execute(&args),
        Command::Explain(args) => explain::execute(&args),
        Command::WhatIf(args) => what_if::execute(&args),
        Command::Lint(args) => lint::execute(&args),
        Command::SupportBundle(args) => support_bundle::execute(&args),
        Command::Demo(args) => demo::execute(&args),
        Command::Completions(args) => completions::execute(&args),
        Command::Man(args) => man::execute(&args),
    };
    result.unwrap_or_else(|failure| {
        output::complain(&failure);
        failure.exit()
    })
}
