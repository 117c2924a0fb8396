use std::path::PathBuf;

use palisade_compiler::compile::Compiler;
use palisade_dataplane::compare;
use palisade_dataplane::dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset, TableName};
use serde::Serialize;

use super::input::{Manifests, Node, compile};
use super::output::{Format, say, say_json};
use super::status::unexpected;
use super::{Exit, Failure};
use crate::bridged;
use crate::ipvs;
use crate::protocol::{MAX_LISTED, Request, Response, Verified};
use crate::socket::{Client, DEFAULT};
use crate::sources::files::MAX_FILE_BYTES;

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
    /// The largest file that is read, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FILE_BYTES)]
    max_file_size: u64,
    /// Where the agent answers that is asked without -f
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    #[command(flatten)]
    node: Node,
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
    /// All of them, told or not.
    count: usize,
    /// Traffic that policy speaks of and that does not meet the tables, whatever they hold.
    not_enforced: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let (outcome, has_errors) =
        if args.files.is_empty() { (ask(args)?, false) } else { compare_with_files(args)? };
    tell(args.output, &outcome)?;
    let is_enforced = outcome.not_enforced.is_empty();
    Ok(if outcome.equal && is_enforced && !has_errors { Exit::Done } else { Exit::No })
}

fn ask(args: &Args) -> Result<Outcome, Failure> {
    match Client::new(&args.socket).request(&Request::Verify)? {
        Response::Verified(Verified { elements, differences, count, not_enforced, .. }) => {
            Ok(Outcome { equal: count == 0, elements, differences, count, not_enforced })
        }
        other => Err(unexpected(&other)),
    }
}

/// The outcome, and whether the manifests have errors.
fn compare_with_files(args: &Args) -> Result<(Outcome, bool), Failure> {
    let manifests = Manifests { files: args.files.clone(), max_file_size: args.max_file_size };
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
    compile(&mut compiler, input.changes)?;
    let program = compiler.program();
    let placement = bridged::find(program).map_err(Failure::bridges)?;
    let features = kernel.features();
    let host = bridged::facts(&placement, features);
    let not_enforced = bridged::gaps(&placement, features).into_iter().chain(ipvs::gap()).collect();
    let differences = dataplane::verify(&mut kernel, program, &host)?;
    let outcome = Outcome {
        equal: differences.is_empty(),
        elements: program.elements() + host.len(),
        count: differences.len(),
        differences: differences.iter().take(MAX_LISTED).map(ToString::to_string).collect(),
        not_enforced,
    };
    Ok((outcome, input.has_errors))
}

fn tell(format: Format, outcome: &Outcome) -> Result<(), Failure> {
    if format == Format::Json {
        return say_json(outcome);
    }
    outcome.differences.iter().try_for_each(say)?;
    if let Some(more) = outcome.count.checked_sub(outcome.differences.len()).filter(|&n| n > 0) {
        say(format_args!("... and {more} more"))?;
    }
    outcome.not_enforced.iter().try_for_each(|gap| say(format_args!("NOT ENFORCED: {gap}")))?;
    let but = if outcome.not_enforced.is_empty() { "" } else { ", but not all of it is enforced" };
    if outcome.equal {
        say(format_args!(
            "the kernel holds exactly these {} elements and the skeleton{but}",
            outcome.elements
        ))
    } else {
        say(format_args!("{} differences{but}", outcome.count))
    }
}
