//! The steps of a plan in words.

use std::collections::BTreeMap;

use palisade_dataplane::plan::Step;
use palisade_dataplane::transaction::{Op, SetId, Transaction};

pub(super) fn describe(step: &Step) -> String {
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
