//! `palisade status`: of the running agent, or of the kernel where no agent runs.

mod text;

use std::path::PathBuf;

use palisade_compiler::model::Family;
use palisade_compiler::program::Tables;
use palisade_dataplane::dataplane::{Dataplane, Options};
use palisade_dataplane::netlink::{DenyCounters, Kernel};
use serde::Serialize;

use super::output::{Format, note, say_json};
use super::{Exit, Failure};
use crate::protocol::{Denied, Request, Response};
use crate::socket::{Client, ClientError, DEFAULT};

/// Show what is enforced now
///
/// Which pods are isolated, what was denied, what changed last, and what is not enforced. Exit status 1 unless the kernel holds
/// the program of the latest manifests and judges all that policy speaks of (nothing is listed as not enforced). Where no agent
/// answers, it shows what the kernel holds, which stays enforced without one, and the exit status is 5.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade status
  palisade status -v          # with sizes of the tables, revisions and times
  palisade status -o json")]
pub(super) struct Args {
    /// Where the agent answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// Show sizes of the tables, revisions and times as well
    #[arg(short, long)]
    verbose: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What the kernel holds where no agent answers. `-o json` prints it.
#[derive(Debug, Serialize)]
struct KernelStatus {
    /// Always `no-agent`.
    state: &'static str,
    /// Whether tables of Palisade are there and judge packets.
    enforced: bool,
    /// Isolated addresses of either family, in either direction.
    isolated_ingress: usize,
    isolated_egress: usize,
    denied: Denied,
    /// Elements of both tables, catch-alls not counted.
    elements: usize,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let status = match Client::new(&args.socket).request(&Request::Status) {
        Ok(Response::Status(status)) => *status,
        Ok(other) => return Err(unexpected(&other)),
        Err(error @ ClientError::NoAgent { .. }) => return without_agent(args.output, error),
        Err(error) => return Err(error.into()),
    };
    match args.output {
        Format::Json => say_json(&status)?,
        Format::Text => text::print(&status, args.verbose)?,
    }
    Ok(if status.enforces_all() { Exit::Done } else { Exit::No })
}

/// Shows what the kernel holds. Who may not read that is told about the agent only.
fn without_agent(format: Format, error: ClientError) -> Result<Exit, Failure> {
    let Ok(status) = kernel_status() else { return Err(error.into()) };
    match format {
        Format::Json => say_json(&status)?,
        Format::Text => text::print_kernel(&status)?,
    }
    note(format_args!("palisade: {error}"));
    Ok(Exit::NoAgent)
}

fn kernel_status() -> Result<KernelStatus, Failure> {
    let dataplane = Dataplane::inspect(Kernel::open_without_owner()?, Options::default())?;
    let program = dataplane.found();
    let counters = DenyCounters::read()?;
    let sum = |count: fn(&Tables) -> usize| {
        Family::ALL.into_iter().map(|family| count(&program[family])).sum()
    };
    Ok(KernelStatus {
        state: "no-agent",
        enforced: dataplane.is_in_force(),
        isolated_ingress: sum(|tables| tables.local_in.len()),
        isolated_egress: sum(|tables| tables.local_out.len()),
        denied: Denied { ingress: counters.ingress.packets, egress: counters.egress.packets },
        elements: program.elements(),
    })
}

/// A response that is no answer to what was asked.
pub(super) fn unexpected(response: &Response) -> Failure {
    match response {
        Response::NotReady { reason } => Failure::No(format!("the agent is not ready: {reason}")),
        Response::Bad { reason } => Failure::Usage(reason.clone()),
        Response::Failed { reason } => Failure::No(format!("the agent failed: {reason}")),
        Response::Status(_)
        | Response::Explanation(_)
        | Response::Verified(_)
        | Response::Findings(_)
        | Response::Support(_)
        | Response::Pods(_)
        | Response::WhatIf(_)
        | Response::Flow(_)
        | Response::Missed { .. }
        | Response::End => {
            Failure::No("the agent answered another question than the one that was asked".into())
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::NotPermitted { .. } => Self::NotPermitted(error.to_string()),
            ClientError::NoAgent { .. }
            | ClientError::Late { .. }
            | ClientError::Garbled { .. } => Self::NoAgent(error.to_string()),
        }
    }
}
