//! What `apply --dry-run` says of the way to the program: transactions and grace periods, in their order.

use std::collections::BTreeMap;

use palisade_compiler::program::{Delta, Program};
use palisade_dataplane::compare::{self, Soundness};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::plan::{Planner, Step};
use palisade_dataplane::ruleset::{Ruleset, RulesetError, TableName};
use palisade_dataplane::transaction::{Op, SetId, Transaction};

/// How a delta would be put into force.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// `None` where the tables are made anew: by how many is not known before.
    pub(super) transactions: Option<u64>,
    /// A line each.
    pub(super) steps: Vec<String>,
}

/// The way from what the kernel has, `found`, by the delta. Reads the kernel, and changes nothing.
pub(super) fn plan<R: Ruleset>(
    ruleset: &mut R,
    found: &Program,
    delta: &Delta,
    host: &HostFacts,
) -> Result<Plan, RulesetError> {
    let owned = ruleset.features().persistent_owner;
    let actual = ruleset.read(TableName::Main)?;
    let soundness = compare::soundness(&actual, owned);
    let held = actual.iter().map(|(&family, table)| (family, compare::host_facts(table)));
    let mut planner = Planner::new(found.clone()).holding(held.collect());
    planner.set_host(host);
    let steps = match soundness {
        Soundness::Sound | Soundness::Mendable => planner.plan(delta),
        Soundness::Table => None,
    };
    let Some(mut steps) = steps else {
        let anew =
            "make the tables anew; where there are some in force, a stand-in enforces meanwhile";
        return Ok(Plan { transactions: None, steps: vec![anew.to_owned()] });
    };
    steps.extend(planner.idle());
    let commits = steps.iter().filter(|step| matches!(step, Step::Commit(_))).count() as u64;
    let mut lines: Vec<String> = steps.iter().map(describe).collect();
    if soundness == Soundness::Mendable {
        lines.insert(0, "mend the chains and rules, which are not as they should be".to_owned());
    }
    Ok(Plan { transactions: Some(commits), steps: lines })
}

fn describe(step: &Step) -> String {
    match step {
        Step::Grace => "wait until no packet holds what it read before".to_owned(),
        Step::Commit(transaction) => format!("commit {}", contents(transaction)),
    }
}

/// As in `ip class +2 -1, ip6 ports +1`.
fn contents(transaction: &Transaction) -> String {
    let mut sets: BTreeMap<(&str, String), (usize, usize)> = BTreeMap::new();
    let mut others = 0;
    for op in &transaction.ops {
        let set = |id: &SetId| (op.family.as_str(), id.to_string());
        match &op.op {
            Op::Add(id, _) => sets.entry(set(id)).or_default().0 += 1,
            Op::Remove(id, _) => sets.entry(set(id)).or_default().1 += 1,
            Op::CreateTable
            | Op::DeleteTable
            | Op::CreateSet { .. }
            | Op::DeleteSet(_)
            | Op::CreateChain(_)
            | Op::DeleteChain(_)
            | Op::FlushChain(_)
            | Op::AddRule { .. } => others += 1,
        }
    }
    let signed = |sign: char, count: usize| match count {
        0 => String::new(),
        _ => format!(" {sign}{count}"),
    };
    let set = |((family, set), (adds, removes)): ((&str, String), (usize, usize))| {
        format!("{family} {set}{}{}", signed('+', adds), signed('-', removes))
    };
    let mut parts: Vec<String> = sets.into_iter().map(set).collect();
    if others > 0 {
        parts.push(format!("{others} of sets, chains and rules"));
    }
    parts.join(", ")
}
