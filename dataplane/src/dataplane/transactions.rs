//! The operations that make whole tables, chains and sets.

use std::collections::BTreeSet;

use palisade_compiler::model::Family;
use palisade_compiler::program::Program;
use palisade_compiler::program::skeleton::{ChainName, SetName, rules};

use super::sizing::Sizing;
use crate::contents::Contents;
use crate::host::HostFacts;
use crate::ruleset::{ActualSet, ActualTable};
use crate::transaction::{
    Element, Generations, MAX_ELEMENTS_PER_TRANSACTION, Op, SetId, TableOp, Transaction,
};

/// Both tables from nothing: sets, elements in bounded transactions, and in the last one the rules.
pub(super) fn new_tables(program: &Program, host: &HostFacts, sizing: &Sizing) -> Vec<Transaction> {
    let contents = program.as_ref().map(|program| Contents { program, host });
    let mut transactions = Vec::new();
    let mut first = Vec::new();
    for family in Family::ALL {
        first.push(TableOp { family, op: Op::CreateTable });
        for set in SetName::ALL {
            let id = SetId { set, generation: 0 };
            let size = sizing.size(family, set, contents[family].count(set));
            first.push(TableOp { family, op: Op::CreateSet { id, size } });
            if set.has_catch_all() {
                first.push(TableOp { family, op: Op::Add(id, Element::CatchAll) });
            }
        }
    }
    transactions.push(Transaction { ops: first });
    let elements = Family::ALL.into_iter().flat_map(|family| {
        SetName::ALL.into_iter().flat_map(move |set| {
            let id = SetId { set, generation: 0 };
            let elements = contents[family].elements(set);
            elements.map(move |e| TableOp { family, op: Op::Add(id, e) })
        })
    });
    transactions.extend(chunks(elements));
    let ops = Family::ALL.into_iter().flat_map(|family| {
        let create = move |chain| TableOp { family, op: Op::CreateChain(chain) };
        let chains = ChainName::ALL.into_iter().map(create);
        chains.chain(add_rules(family, &Generations::default()))
    });
    transactions.push(Transaction { ops: ops.collect() });
    transactions
}

fn chunks(ops: impl Iterator<Item = TableOp>) -> Vec<Transaction> {
    let mut chunks: Vec<Transaction> = Vec::new();
    for op in ops {
        match chunks.last_mut() {
            Some(chunk) if chunk.ops.len() < MAX_ELEMENTS_PER_TRANSACTION => chunk.ops.push(op),
            _ => chunks.push(Transaction { ops: vec![op] }),
        }
    }
    chunks
}

fn add_rules(family: Family, generations: &Generations) -> Vec<TableOp> {
    let of_chain = |chain| {
        rules(family, chain).into_iter().map(move |rule| TableOp {
            family,
            op: Op::AddRule { chain, rule, generations: *generations },
        })
    };
    ChainName::ALL.into_iter().flat_map(of_chain).collect()
}

/// Takes a chain's rules away.
pub(super) fn flush(family: Family, chain: &str) -> TableOp {
    TableOp { family, op: Op::FlushChain(chain.to_owned()) }
}

/// The chains by which packets enter tables of ours.
pub(super) fn entrances(families: &[Family]) -> impl Iterator<Item = (Family, String)> {
    let base = ChainName::ALL.into_iter().filter(|chain| chain.is_base());
    base.flat_map(|chain| families.iter().map(move |&f| (f, chain.as_str().to_owned())))
}

/// The rules of all chains anew, naming these generations.
pub(super) fn reload(family: Family, generations: &Generations) -> Vec<TableOp> {
    let flushes = ChainName::ALL.into_iter().map(|chain| flush(family, chain.as_str()));
    flushes.chain(add_rules(family, generations)).collect()
}

/// Catch-alls and chains that are missing, all rules anew, and no other chains.
pub(super) fn mend(family: Family, table: &ActualTable, generations: &Generations) -> Vec<TableOp> {
    let is_ours = |name: &str| ChainName::ALL.into_iter().any(|chain| chain.as_str() == name);
    let missing = ChainName::ALL.into_iter().filter(|c| !table.chains.contains_key(c.as_str()));
    let mut ops: Vec<TableOp> =
        missing.map(|chain| TableOp { family, op: Op::CreateChain(chain) }).collect();
    let (ours, extra): (Vec<&String>, Vec<&String>) =
        table.chains.keys().partition(|name| is_ours(name));
    ops.extend(ours.into_iter().chain(extra.iter().copied()).map(|chain| flush(family, chain)));
    let delete = |chain: &String| TableOp { family, op: Op::DeleteChain(chain.clone()) };
    ops.extend(extra.into_iter().map(delete));
    ops.extend(add_rules(family, generations));
    for set in SetName::ALL.into_iter().filter(|set| set.has_catch_all()) {
        let id = generations.id(set);
        let is_missing = |set: &ActualSet| !set.elements.contains(&Element::CatchAll);
        if table.sets.get(&id).is_some_and(is_missing) {
            ops.push(TableOp { family, op: Op::Add(id, Element::CatchAll) });
        }
    }
    ops
}

/// A set with these elements, which no rule names yet, in bounded transactions.
pub(super) fn new_set(
    family: Family,
    id: SetId,
    size: Option<u32>,
    elements: BTreeSet<Element>,
) -> Vec<Transaction> {
    let mut ops = vec![TableOp { family, op: Op::CreateSet { id, size } }];
    if id.set.has_catch_all() {
        ops.push(TableOp { family, op: Op::Add(id, Element::CatchAll) });
    }
    ops.extend(elements.into_iter().map(|e| TableOp { family, op: Op::Add(id, e) }));
    chunks(ops.into_iter())
}

/// Makes a transaction's elements those of the sets of these generations, whatever sets it was made for.
pub(super) fn rename(transaction: &mut Transaction, generations: impl Fn(Family) -> Generations) {
    for TableOp { family, op } in &mut transaction.ops {
        if let Op::Add(id, _) | Op::Remove(id, _) = op {
            *id = generations(*family).id(id.set);
        }
    }
}
