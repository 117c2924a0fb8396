use palisade_compiler::compile::Compiler;
use palisade_compiler::program::{Delta, Program};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::Ruleset;
use serde::Serialize;

use super::input::{Manifests, Node, compile};
use super::output::{Format, Progress, note, say, say_json};
use super::{Exit, Failure};
use crate::bridged;
use crate::progress::Heard;

/// Programs this network namespace from manifests, and exits when the kernel has it; the rules stay. Only what differs from what
/// is there is committed. A policy with wrong fields is enforced failing closed, and the exit status is then 1; a document
/// that is no object changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade apply -f examples/shop --dry-run
  palisade apply -f /etc/palisade/manifests --node-name node-1")]
pub(super) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    node: Node,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave the tables writable for everybody, also where the kernel could protect them
    #[arg(long)]
    no_owner: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Outcome {
    /// Elements that come, go or change.
    changed: usize,
    elements: usize,
    transactions: u64,
    dry_run: bool,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let input = args.manifests.load()?;
    let kernel = if args.no_owner { Kernel::open_without_owner()? } else { Kernel::open()? };
    let mut progress = Progress::new("programming");
    let heard = Heard::new(kernel, move |since, elements| {
        progress.at(since, format_args!("{elements} elements"));
    });
    let dataplane = Dataplane::start(heard)?;
    let found = dataplane.found();
    let mut compiler = Compiler::adopting(args.node.locality(), &found);
    compile(&mut compiler, input.changes)?;
    let mut program = compiler.program().clone();
    let placement = bridged::find(&program).map_err(Failure::bridges)?;
    bridged::guard(&mut program, &placement);
    let outcome = if args.dry_run {
        Outcome {
            changed: Delta::between(&found, &program).len(),
            elements: program.elements(),
            transactions: 0,
            dry_run: true,
        }
    } else {
        let switched = bridged::switch_on(&placement);
        for family in switched.were_off {
            note(format_args!("bridged {family:?} packets now pass nftables (br_netfilter)"));
        }
        for gap in switched.gaps {
            note(format_args!("warning: NOT ENFORCED: {gap}"));
        }
        install(dataplane, &found, &program)?
    };
    tell(args.output, &outcome, &Delta::between(&found, &program))?;
    Ok(if input.has_errors { Exit::No } else { Exit::Done })
}

fn install<R: Ruleset>(
    mut dataplane: Dataplane<Heard<R>>,
    found: &Program,
    program: &Program,
) -> Result<Outcome, Failure> {
    dataplane.ruleset().begin();
    dataplane.install(program)?;
    dataplane.settle()?;
    Ok(Outcome {
        changed: Delta::between(found, program).len(),
        elements: program.elements(),
        transactions: dataplane.counters().transactions,
        dry_run: false,
    })
}

/// Edits of a dry run that are printed one by one.
const MOST_EDITS: usize = 1000;

fn tell(format: Format, outcome: &Outcome, delta: &Delta) -> Result<(), Failure> {
    if format == Format::Json {
        return say_json(outcome);
    }
    if outcome.dry_run {
        let edits = crate::edits::lines(delta);
        edits.iter().take(MOST_EDITS).try_for_each(say)?;
        if edits.len() > MOST_EDITS {
            say(format_args!("... and {} more", edits.len() - MOST_EDITS))?;
        }
    }
    let verb = if outcome.dry_run { "would change" } else { "changed" };
    say(format_args!(
        "{verb} {} of {} elements, in {} transactions",
        outcome.changed, outcome.elements, outcome.transactions
    ))
}
