use palisade_compiler::compile::Compiler;
use palisade_dataplane::compare;
use palisade_dataplane::dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::Ruleset;
use serde::Serialize;

use super::input::{Manifests, Node, compile};
use super::output::{Format, say, say_json};
use super::{Exit, Failure};
use crate::bridged;

/// Reads the kernel back and proves it equal to what these manifests mean: exit status 0 only if it is. Every rule and
/// element that is missing or too many is named. Ids are the kernel's own, so that equal means equal in effect and contents.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: palisade verify -f /etc/palisade/manifests --node-name node-1")]
pub(super) struct Args {
    #[command(flatten)]
    manifests: Manifests,
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
    differences: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let input = args.manifests.load()?;
    // Whether the tables have an owner is no matter of what they hold.
    let mut kernel = Kernel::open_without_owner()?;
    let actual = kernel.read()?;
    let mut found = palisade_compiler::program::Program::default();
    for (&family, table) in &actual {
        *found.family_mut(family) = compare::tables(table);
    }
    let mut compiler = Compiler::adopting(args.node.locality(), &found);
    compile(&mut compiler, input.changes)?;
    let mut program = compiler.program().clone();
    let bridges = bridged::find(&program);
    (program.v4.bridges, program.v6.bridges) = (bridges.v4, bridges.v6);
    let differences = dataplane::verify(&mut kernel, &program)?;
    let outcome = Outcome {
        equal: differences.is_empty(),
        elements: program.elements(),
        differences: differences.iter().map(ToString::to_string).collect(),
    };
    tell(args.output, &outcome)?;
    Ok(if outcome.equal && !input.has_errors { Exit::Done } else { Exit::No })
}

fn tell(format: Format, outcome: &Outcome) -> Result<(), Failure> {
    if format == Format::Json {
        return say_json(outcome);
    }
    outcome.differences.iter().try_for_each(say)?;
    if outcome.equal {
        say(format_args!(
            "the kernel holds exactly these {} elements and the skeleton",
            outcome.elements
        ))
    } else {
        say(format_args!("{} differences", outcome.differences.len()))
    }
}
