mod plan;

use palisade_compiler::compile::Compiler;
use palisade_compiler::program::{Delta, Program};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::host::HostDelta;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::Ruleset;
use serde::Serialize;

use super::input::{Manifests, Node, compile};
use super::output::{Format, Progress, note, say, say_json};
use super::{Exit, Failure};
use crate::bridged;
use crate::edits;
use crate::ipvs;
use crate::progress::ObservedRuleset;

/// Program this network namespace from manifests, once
///
/// Exits when the kernel has it; the rules stay. Only what differs from what is there is committed. It fails closed: a policy
/// with wrong fields isolates the pods it selects and allows nothing, and the exit status is then 1; where it is not certain
/// what is declared (a document that is no object, a pod whose labels or addresses cannot be read, a file or directory
/// without a manifest), nothing is changed, and the exit status is 1 or 2. It is 1, too, if traffic that policy speaks of is
/// not enforced though all was programmed, which is told.
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
    /// Print what would change, and by which transactions, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make tables without an owner. Else, where the kernel can (Linux 6.9), others cannot write to them while this works (as
    /// while an agent runs), and listings show the flags also afterwards. Tables that have the flags already keep them
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
    /// Unknown before tables are made anew.
    transactions: Option<u64>,
    dry_run: bool,
    /// Traffic that policy speaks of and the kernel does not judge, though it was programmed.
    not_enforced: Vec<String>,
    /// What a dry run would do, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let input = args.manifests.load()?;
    let kernel = if args.no_owner { Kernel::open_without_owner()? } else { Kernel::open()? };
    let mut progress = Progress::new("programming");
    let heard = ObservedRuleset::new(kernel, move |since, elements| {
        progress.at(since, format_args!("{elements} elements"));
    });
    let mut dataplane = Dataplane::start(heard)?;
    let found = dataplane.found();
    let mut compiler = Compiler::adopting(args.node.locality(), &found);
    compile(&mut compiler, input.changes)?;
    let program = compiler.program();
    let placement = bridged::find(program).map_err(Failure::bridges)?;
    let features = dataplane.ruleset().features();
    let host = bridged::facts(&placement, features);
    let delta = Delta::between(&found, program);
    let host_delta = HostDelta::between(dataplane.host(), &host);
    let (changed, elements) = (delta.len() + host_delta.len(), program.elements() + host.len());
    let outcome = if args.dry_run {
        let plan = plan::plan(&mut dataplane.into_ruleset(), &found, &delta, &host)?;
        Outcome {
            changed,
            elements,
            transactions: plan.transactions,
            dry_run: true,
            not_enforced: Vec::new(),
            plan: plan.steps,
        }
    } else {
        let switched = bridged::switch_on(&placement, features);
        for family in switched.were_off {
            note(format_args!("bridged {family:?} packets now pass nftables (br_netfilter)"));
        }
        let not_enforced: Vec<String> = switched.gaps.into_iter().chain(ipvs::gap()).collect();
        for gap in &not_enforced {
            note(format_args!("warning: NOT ENFORCED: {gap}"));
        }
        dataplane.set_host(host);
        Outcome { not_enforced, ..install(dataplane, program, changed, elements)? }
    };
    tell(args.output, &outcome, &edits::lines(&delta, &host_delta))?;
    let all = !input.has_errors && outcome.not_enforced.is_empty();
    Ok(if all { Exit::Done } else { Exit::No })
}

fn install<R: Ruleset>(
    mut dataplane: Dataplane<ObservedRuleset<R>>,
    program: &Program,
    changed: usize,
    elements: usize,
) -> Result<Outcome, Failure> {
    dataplane.ruleset().begin();
    dataplane.install(program)?;
    dataplane.settle()?;
    Ok(Outcome {
        changed,
        elements,
        transactions: Some(dataplane.counters().transactions),
        dry_run: false,
        not_enforced: Vec::new(),
        plan: Vec::new(),
    })
}

/// Edits of a dry run that are printed one by one.
const MOST_EDITS: usize = 1000;

fn tell(format: Format, outcome: &Outcome, edits: &[String]) -> Result<(), Failure> {
    if format == Format::Json {
        return say_json(outcome);
    }
    if outcome.dry_run {
        edits.iter().take(MOST_EDITS).try_for_each(say)?;
        if edits.len() > MOST_EDITS {
            say(format_args!("... and {} more", edits.len() - MOST_EDITS))?;
        }
    }
    let verb = if outcome.dry_run { "would change" } else { "changed" };
    let of = format!("{verb} {} of {} elements", outcome.changed, outcome.elements);
    match outcome.transactions {
        Some(transactions) => say(format_args!("{of}, in {transactions} transactions"))?,
        None => say(of)?,
    }
    let steps = outcome.plan.iter().zip(1_usize..);
    steps.take(MOST_EDITS).try_for_each(|(step, at)| say(format_args!("  {at}. {step}")))
}
