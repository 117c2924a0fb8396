use std::path::PathBuf;

use super::output::{Format, colours, say, say_json};
use super::{Exit, Failure};
use crate::protocol::{MAX_LISTED, Request, Response, State, Status};
use crate::socket::{Client, ClientError, DEFAULT};

/// Tell what the running agent enforces
///
/// And how quickly, and what is wrong. Exit status 1 unless the kernel holds the program of the latest manifests and judges all
/// that policy speaks of (nothing is listed as not enforced), 5 if no agent answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: palisade status -o json")]
pub(super) struct Args {
    /// Where the agent answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let status = match Client::new(&args.socket).request(&Request::Status)? {
        Response::Status(status) => *status,
        other => return Err(unexpected(&other)),
    };
    match args.output {
        Format::Json => say_json(&status)?,
        Format::Text => print(&status)?,
    }
    Ok(if status.enforces_all() { Exit::Done } else { Exit::No })
}

/// A response that is no answer to what was asked.
pub(super) fn unexpected(response: &Response) -> Failure {
    match response {
        Response::NotReady { reason } => Failure::No(format!("the agent is not ready: {reason}")),
        Response::Bad { reason } => Failure::Usage(reason.clone()),
        Response::Failed { reason } => Failure::No(format!("the agent failed: {reason}")),
        Response::Status(_) | Response::Explanation(_) | Response::Verified(_) => {
            Failure::No("the agent answered something else than was asked".into())
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

/// Lines of a list that a person is shown.
const MOST_LINES: usize = 20;

fn print(status: &Status) -> Result<(), Failure> {
    let state = match status.state {
        State::Starting => "starting",
        State::WaitingForManifests => "waiting for manifests",
        State::WaitingForTable => "waiting for the table",
        State::Enforcing if status.enforces_all() => "enforcing",
        State::Enforcing => "enforcing, BUT NOT ALL: see what is not enforced below",
        State::Behind => "behind: an earlier program is enforced",
    };
    let paint = |good: bool, text: &str| match (colours(), good) {
        (true, true) => format!("\x1b[32m{text}\x1b[0m"),
        (true, false) => format!("\x1b[31m{text}\x1b[0m"),
        (false, _) => text.to_owned(),
    };
    say(format_args!("state       {}", paint(status.enforces_all(), state)))?;
    if let Some(detail) = &status.detail {
        say(format_args!("            {detail}"))?;
    }
    say(format_args!(
        "agent       {}, pid {}, up {} s, node {}",
        status.agent,
        status.pid,
        status.up_seconds,
        status.node.as_deref().unwrap_or("unnamed: every pod with an address is local")
    ))?;
    say(format_args!(
        "revision    {}; the kernel holds {}",
        status.revision, status.enforced_revision
    ))?;
    let sizes = &status.sizes;
    say(format_args!(
        "input       {} files, {} namespaces, {} pods ({} local), {} policies",
        status.files, sizes.namespaces, sizes.pods, sizes.local_pods, sizes.policies
    ))?;
    say(format_args!(
        "program     {} subjects in, {} out; {} classes, {} profiles, {} rows, {} atoms; {} elements",
        sizes.subjects_in,
        sizes.subjects_out,
        sizes.classes,
        sizes.profiles,
        sizes.rows,
        sizes.atoms,
        sizes.elements
    ))?;
    print_times(status)?;
    let bridges = if status.bridges.is_empty() { "none".into() } else { status.bridges.join(", ") };
    say(format_args!("bridges     {bridges}"))?;
    let held: Vec<String> =
        status.held_files.iter().map(|held| format!("{} {}", held.file, held.reason)).collect();
    print_list("not enforced", &status.not_enforced, status.not_enforced.len())?;
    print_list("warnings", &status.warnings, status.warnings.len())?;
    print_list("held (an earlier version counts)", &held, status.held_count)?;
    print_list("problems", &status.problems, status.problem_count)
}

fn print_times(status: &Status) -> Result<(), Failure> {
    let time = &status.time_to_enforce;
    let millis = |micros: Option<u64>| match micros {
        Some(micros) => format!("{}.{:03} ms", micros / 1000, micros % 1000),
        None => "-".to_owned(),
    };
    say(format_args!(
        "enforced    last change in {}, slowest in {}, {} changes",
        millis(time.last_us),
        millis(time.max_us),
        time.count
    ))?;
    let drift = &status.drift;
    let ago = drift.seconds_since_check.map_or(String::new(), |s| format!(", last {s} s ago"));
    say(format_args!(
        "verified    {} times{ago}; drift found {} times",
        drift.checks, drift.found
    ))?;
    match &drift.last {
        Some(last) => say(format_args!("            last: {last}")),
        None => Ok(()),
    }
}

fn print_list(title: &str, lines: &[String], count: usize) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    say(format_args!("{title} ({count}):"))?;
    lines.iter().take(MOST_LINES).try_for_each(|line| say(format_args!("  {line}")))?;
    match count.checked_sub(MOST_LINES) {
        Some(more) if more > 0 => {
            say(format_args!("  and {more} more; -o json has up to {MAX_LISTED}"))
        }
        Some(_) | None => Ok(()),
    }
}
