use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::{Path, PathBuf};

use super::output::{Format, colours, say, say_json, styled};
use super::status::unexpected;
use super::{Exit, Failure};
use crate::connection::protocol_name;
use crate::flows::flow::FlowVerdict;
use crate::protocol::{Request, Response};
use crate::socket::{Client, DEFAULT};
use crate::sources::files::STDIN;
use crate::what_if::{EditKind, MAX_MANIFEST_BYTES, Proposal, WhatIf};

/// Say what policies would change, before they are applied
///
/// The running agent says which pods would become isolated or lose their isolation, and which of the connections that it has seen
/// would get another verdict, and why. Nothing is applied. It judges the connections that it has stored; what was never tried is
/// not among them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade what-if -f new-policy.yaml
  kubectl get netpol -n shop db -o yaml | sed s/app:.db/app:\\ database/ | palisade what-if -f -
  palisade what-if --remove shop/db")]
pub(super) struct Args {
    /// A file of NetworkPolicies, - for standard input, which would be added or take the place of those of their names; may be given more
    /// than once
    #[arg(short = 'f', long = "filename", value_name = "FILE", required_unless_present = "remove")]
    files: Vec<PathBuf>,
    /// A policy that would be removed; may be given more than once
    #[arg(long, value_name = "NAMESPACE/NAME")]
    remove: Vec<String>,
    /// Where the agent answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let texts = args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let proposal = Proposal { manifests: texts.join("\n---\n"), remove: args.remove.clone() };
    let answer = match Client::new(&args.socket).request(&Request::WhatIf(proposal))? {
        Response::WhatIf(answer) => *answer,
        other => return Err(unexpected(&other)),
    };
    match args.output {
        Format::Json => say_json(&answer)?,
        Format::Text => print(&answer)?,
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Io { what: file.display().to_string(), error };
    // One byte more says that it is too long.
    let limit = MAX_MANIFEST_BYTES as u64 + 1;
    let mut text = String::new();
    let read = if file == Path::new(STDIN) {
        stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        File::open(file).map_err(failed)?.take(limit).read_to_string(&mut text)
    };
    read.map_err(failed)?;
    if text.len() > MAX_MANIFEST_BYTES {
        let file = file.display();
        return Err(Failure::Usage(format!(
            "{file}: at most {MAX_MANIFEST_BYTES} bytes are tried"
        )));
    }
    Ok(text)
}

fn print(answer: &WhatIf) -> Result<(), Failure> {
    for edited in &answer.policies {
        let kind = match edited.edit {
            EditKind::Added => "would be added",
            EditKind::Changed => "would change",
            EditKind::Removed => "would be removed",
            EditKind::Unchanged => "is like this already",
            EditKind::Absent => "is not there",
        };
        let selects = match edited.edit {
            EditKind::Removed | EditKind::Absent => String::new(),
            _ => format!(", and selects {} pods", edited.selects),
        };
        say(format_args!("{} {kind}{selects}", edited.policy))?;
    }
    answer.warnings.iter().try_for_each(|warning| say(format_args!("warning: {warning}")))?;
    for change in &answer.isolation {
        let direction = change.direction.as_str();
        say(match change.isolated {
            true => format!(
                "pod {} becomes isolated for {direction} by {}",
                change.pod,
                change.by.join(", ")
            ),
            false => format!("pod {} is not isolated for {direction} any more", change.pod),
        })?;
    }
    let more = |count: usize, what: &str| match count {
        0 => Ok(()),
        count => say(format_args!("and {count} {what} more; -o json counts them")),
    };
    more(answer.further_isolation, "changes of isolation")?;
    for change in &answer.connections {
        let port = change.port.map_or(String::new(), |port| format!(" port {port}"));
        let protocol = protocol_name(change.protocol);
        let [before, after] = [change.before, change.after].map(painted);
        say(format_args!(
            "{} -> {} {protocol}{port}: {before} -> {after}",
            change.from, change.to
        ))?;
        let lines = change.reasons.iter().chain(&change.misses);
        lines.into_iter().try_for_each(|line| say(format_args!("  {line}")))?;
    }
    more(answer.further_connections, "connections")?;
    let changed = answer.connections.len() + answer.further_connections;
    say(format_args!(
        "{changed} of {} connections seen so far get another verdict",
        answer.judged
    ))?;
    answer.left_out.iter().try_for_each(|what| say(format_args!("left out: {what}")))
}

fn painted(verdict: FlowVerdict) -> String {
    let style = if verdict == FlowVerdict::Allow { "32" } else { "31" };
    styled(verdict.as_str(), style, colours())
}
