//! `palisade apply`, and what it would do (`--dry-run`). Both take the same way to the preview; a dry run ends there.

mod consequences;
mod steps;

use palisade_compiler::compile::Compiler;
use palisade_dataplane::dataplane::{Dataplane, Way};
use palisade_dataplane::netlink::{Kernel, grace_method};
use palisade_dataplane::ruleset::{Ruleset as _, RulesetError};
use serde::Serialize;

use super::deny::Deny;
use super::guard::Guard;
use super::input::{Manifests, Node, compile};
use super::output::{Format, Progress, note, say, say_json};
use super::{Exit, Failure};
use crate::bridged::{self, HostView};
use crate::edits;
use crate::progress::{Done, ObservedRuleset};
use steps::describe;

/// Program this network namespace from manifests, once
///
/// Exits when the kernel has it; the rules stay. Only what differs from what is there is committed. It fails closed: a policy
/// with wrong fields isolates the pods it selects and allows nothing, and the exit status is then 1. Where it is not certain
/// what is declared (a document that is no object, a pod whose labels or addresses cannot be read, a file or directory
/// without a manifest), nothing is changed, and the exit status is 1 or 2. It is also 1 if traffic that policy speaks of is
/// not enforced though all was programmed, which is reported.
///
/// The tables that it makes belong to nobody, so that `nft` can list and replace them. Tables that an agent made and left keep
/// their flags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade apply -f examples/shop --dry-run
  palisade apply -f /etc/palisade/manifests --node-name node-1
  palisade status    # what the kernel holds now")]
pub(super) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    #[command(flatten)]
    node: Node,
    #[command(flatten)]
    deny: Deny,
    #[command(flatten)]
    guard: Guard,
    /// Print which pods would be isolated or freed, what would change in the tables and by which transactions, and change
    /// nothing. Works while an agent owns the tables, and says that it does
    #[arg(long)]
    dry_run: bool,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What was done, or would be done. `-o json` prints it.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Elements that come, go or change.
    changed: usize,
    /// Elements of the program, catch-alls not counted.
    elements: usize,
    /// `null` in a dry run that would make the tables anew: by how many transactions is not known before.
    transactions: Option<u64>,
    dry_run: bool,
    /// The live process that owns the tables, if `apply` is refused for it (dry run only).
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_by: Option<String>,
    /// Pods that become isolated in a direction, are not isolated any more, and by which policies: sentences.
    pods: Vec<String>,
    /// Traffic that policy speaks of and the kernel does not judge, though it was programmed.
    not_enforced: Vec<String>,
    /// What of local pods may send with a source that is not theirs, and what is no source though it is routed to a pod.
    source_guard: Vec<String>,
    /// What a dry run would do, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plan: Vec<String>,
    /// What a dry run would change in the tables; the text output shows it.
    #[serde(skip)]
    edits: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let input = args.manifests.load()?;
    if !args.dry_run {
        grace_method()?;
    }
    let mut progress = Progress::new("programming");
    let observed = ObservedRuleset::new(Kernel::open_without_owner()?, move |done| {
        if let Done::Commit { began, elements, .. } = done {
            progress.at(began, format_args!("{elements} elements"));
        }
    });
    let mut dataplane = Dataplane::inspect(observed, args.deny.options())?;
    if let Some(owner) = dataplane.owner().filter(|_| !args.dry_run) {
        return Err(RulesetError::Owned { owner }.into());
    }
    let mut compiler = Compiler::adopting(args.node.locality(), &dataplane.found());
    let lacks = compile(&mut compiler, &args.node.locality(), input.changes)?;
    let program = compiler.program();
    let features = dataplane.ruleset().features();
    let HostView { placement, sources, facts: host } =
        HostView::find(&compiler, &args.guard.settings(), features).map_err(Failure::bridges)?;
    let preview = dataplane.preview(program, &host);
    let mut outcome = Outcome {
        changed: preview.changed(),
        elements: program.elements() + host.len(),
        transactions: preview.transactions().map(|count| count as u64),
        dry_run: args.dry_run,
        refused_by: dataplane.owner(),
        pods: consequences::sentences(&preview.delta, compiler.snapshot()),
        not_enforced: Vec::new(),
        source_guard: sources.notes(),
        plan: Vec::new(),
        edits: Vec::new(),
    };
    for note_of_guard in &outcome.source_guard {
        note(format_args!("source guard: {note_of_guard}"));
    }
    if args.dry_run {
        outcome.plan = way(&preview.way);
        outcome.edits = edits::lines(&preview.delta, &preview.host);
    } else {
        let switched = bridged::switch_on(&placement, features);
        for family in switched.were_off {
            note(format_args!("bridged {family:?} packets now pass nftables (br_netfilter)"));
        }
        outcome.not_enforced = switched.gaps;
        for gap in &outcome.not_enforced {
            note(format_args!("warning: NOT ENFORCED: {gap}"));
        }
        dataplane.set_host(host);
        dataplane.ruleset().begin();
        dataplane.install(program)?;
        dataplane.settle()?;
        outcome.transactions = Some(dataplane.counters().transactions);
    }
    print(args.output, &outcome)?;
    let all = !input.has_errors && !lacks && outcome.not_enforced.is_empty();
    Ok(if all { Exit::Done } else { Exit::No })
}

/// The steps of a dry run, a line each.
fn way(way: &Way) -> Vec<String> {
    match way {
        Way::Anew => vec![
            "make the tables anew; where there are some in force, stand-in tables enforce meanwhile"
                .to_owned(),
        ],
        Way::InPlace { mends, steps } => {
            let mend = mends
                .then(|| "write chains and rules anew, which are not as they should be".to_owned());
            mend.into_iter().chain(steps.iter().map(describe)).collect()
        }
    }
}

/// Lines of each list that are printed.
const MAX_LINES: usize = 1000;

fn print(format: Format, outcome: &Outcome) -> Result<(), Failure> {
    if format == Format::Json {
        return say_json(outcome);
    }
    print_list(outcome.pods.iter().cloned())?;
    print_list(outcome.edits.iter().cloned())?;
    let verb = if outcome.dry_run { "would change" } else { "changed" };
    let of = format!("{verb} {} of {} elements", outcome.changed, outcome.elements);
    match outcome.transactions {
        Some(transactions) => say(format_args!("{of}, in {transactions} transactions"))?,
        None => say(of)?,
    }
    let steps = outcome.plan.iter().zip(1_usize..);
    print_list(steps.map(|(step, at)| format!("  {at}. {step}")))?;
    match &outcome.refused_by {
        Some(owner) => say(format_args!(
            "palisade apply would be refused now: the tables are owned by {owner}"
        )),
        None => Ok(()),
    }
}

fn print_list(mut lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    lines.by_ref().take(MAX_LINES).try_for_each(say)?;
    match lines.count() {
        0 => Ok(()),
        more => say(format_args!("... and {more} more")),
    }
}
