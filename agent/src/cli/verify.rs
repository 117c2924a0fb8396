use std::path::PathBuf;

use palisade_compiler::compile::Compiler;
use palisade_dataplane::compare;
use palisade_dataplane::dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset, TableName};
use serde::Serialize;

use super::deny::Deny;
use super::guard::Guard;
use super::input::{Manifests, Node, ReadOptions, compile};
use super::output::{Format, say, say_json};
use super::status::unexpected;
use super::{Exit, Failure};
use crate::bridged::{self, HostView};
use crate::protocol::{MAX_LISTED, Request, Response, Verified};
use crate::socket::{Client, DEFAULT};

/// Prove the kernel equal to the agent's program, or to manifests
///
/// Reads the kernel back and compares it with the running agent's program, or with -f with what these manifests mean. Every
/// rule and element that is missing or too many is named, up to a thousand, and the rest counted. Ids are the kernel's own, so that equal means equal in effect and
/// contents. Exit status 0 only if it is equal, 1 if it differs, 5 if no agent answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade verify
  palisade verify -f /etc/palisade/manifests --node-name node-1")]
pub(super) struct Args {
    /// Files or directories of Kubernetes objects, - for standard input. Without it the running agent compares
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: ReadOptions,
    /// Where the agent answers that is asked without -f
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    #[command(flatten)]
    node: Node,
    // A running agent knows what it was started with.
    #[command(flatten)]
    deny: Deny,
    #[command(flatten)]
    guard: Guard,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Outcome {
    equal: bool,
    elements: usize,
    /// At most `MAX_LISTED`.
    differences: Vec<String>,
    /// All of them, listed or not.
    count: usize,
    /// Traffic that policy speaks of and that does not meet the tables, whatever they hold.
    not_enforced: Vec<String>,
    /// What of local pods may send with a source that is not theirs, and what is no source though it is routed to a pod.
    source_guard: Vec<String>,
    /// Whether the manifests have errors: what they got wrong is closed, and the exit status is 1 whatever the kernel holds.
    manifest_errors: bool,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let outcome = if args.files.is_empty() { ask(args)? } else { compare_with_files(args)? };
    print(args.output, &outcome)?;
    let is_enforced = outcome.not_enforced.is_empty() && !outcome.manifest_errors;
    Ok(if outcome.equal && is_enforced { Exit::Done } else { Exit::No })
}

fn ask(args: &Args) -> Result<Outcome, Failure> {
    match Client::new(&args.socket).request(&Request::Verify)? {
        Response::Verified(Verified {
            elements,
            differences,
            count,
            not_enforced,
            source_guard,
            ..
        }) => {
            let (equal, manifest_errors) = (count == 0, false);
            Ok(Outcome {
                equal,
                elements,
                differences,
                count,
                not_enforced,
                source_guard,
                manifest_errors,
            })
        }
        other => Err(unexpected(&other)),
    }
}

fn compare_with_files(args: &Args) -> Result<Outcome, Failure> {
    let manifests = Manifests { files: args.files.clone(), options: args.options.clone() };
    let input = manifests.load()?;
    // Whether the tables have an owner is no matter of what they hold.
    let mut kernel = Kernel::open_without_owner()?;
    let actual = kernel.read(TableName::Main)?;
    let mut found = palisade_compiler::program::Program::default();
    for (family, table) in &actual {
        if let Some(family) = family.family() {
            found[family] = compare::tables(table);
        }
    }
    let mut compiler = Compiler::adopting(args.node.locality(), &found);
    let lacks = compile(&mut compiler, &args.node.locality(), input.changes)?;
    let program = compiler.program();
    let features = kernel.features();
    let HostView { placement, sources, facts: host } =
        HostView::find(&compiler, &args.guard.settings(), features).map_err(Failure::bridges)?;
    let not_enforced = bridged::gaps(&placement, features);
    let differences = dataplane::verify(&mut kernel, program, &host, args.deny.deny_action)?;
    Ok(Outcome {
        equal: differences.is_empty(),
        elements: program.elements() + host.len(),
        count: differences.len(),
        differences: differences.iter().take(MAX_LISTED).map(ToString::to_string).collect(),
        not_enforced,
        source_guard: sources.notes(),
        manifest_errors: input.has_errors || lacks,
    })
}

fn print(format: Format, outcome: &Outcome) -> Result<(), Failure> {
    if format == Format::Json {
        return say_json(outcome);
    }
    outcome.differences.iter().try_for_each(say)?;
    if let Some(more) = outcome.count.checked_sub(outcome.differences.len()).filter(|&n| n > 0) {
        say(format_args!("... and {more} more"))?;
    }
    outcome.not_enforced.iter().try_for_each(|gap| say(format_args!("NOT ENFORCED: {gap}")))?;
    outcome.source_guard.iter().try_for_each(|note| say(format_args!("source guard: {note}")))?;
    let but = if outcome.not_enforced.is_empty() { "" } else { ", but not all of it is enforced" };
    let elements = outcome.elements;
    match (outcome.equal, outcome.manifest_errors) {
        (true, false) => say(format_args!(
            "the kernel holds exactly these {elements} elements and the rules{but}"
        )),
        (true, true) => say(format_args!(
            "the kernel holds exactly what these manifests mean ({elements} elements and the rules){but}; the manifests have errors: \
             what they got wrong is closed, not enforced as it was meant"
        )),
        (false, _) => say(format_args!("{} differences{but}", outcome.count)),
    }
}
