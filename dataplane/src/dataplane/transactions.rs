//! The operations that make whole tables, chains and sets.

use std::collections::BTreeSet;

use palisade_compiler::program::Program;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, DenyAction, rules};

use super::sizing::Sizing;
use crate::contents::Contents;
use crate::host::HostFacts;
use crate::ruleset::{ActualSet, ActualTable};
use crate::transaction::{
    Element, Generations, MAX_ELEMENTS_PER_TRANSACTION, Op, SetId, TableOp, Transaction,
};

/// The tables that must be there to hold these facts of the host: those of the program, and others where they hold something.
pub(super) fn needed(host: &HostFacts) -> impl Iterator<Item = TableFamily> {
    TableFamily::ALL
        .into_iter()
        .filter(|table| TableFamily::OF_PROGRAM.contains(table) || host.has_any_within(*table))
}

/// Tables from nothing: sets, elements in bounded transactions, and in the last one the rules.
pub(super) fn new_tables(
    tables: &[TableFamily],
    program: &Program,
    host: &HostFacts,
    sizing: &Sizing,
    deny_action: DenyAction,
) -> Vec<Transaction> {
    let (mut first, mut elements, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for &family in tables {
        let facts = host.within(family);
        let contents = Contents::of(family, program, &facts);
        first.push(TableOp { family, op: Op::CreateTable });
        for set in family.sets() {
            let id = SetId { set, generation: 0 };
            let size = sizing.size(family, set, contents.count(set));
            first.push(TableOp { family, op: Op::CreateSet { id, size } });
            if set.has_catch_all() {
                first.push(TableOp { family, op: Op::Add(id, Element::CatchAll) });
            }
            let add = |element| TableOp { family, op: Op::Add(id, element) };
            append(&mut elements, contents.elements(set).map(add));
        }
        let create = |chain| TableOp { family, op: Op::CreateChain(chain) };
        rules.extend(ChainName::of(family).map(create));
        rules.extend(add_rules(family, &Generations::default(), deny_action));
    }
    let mut transactions = vec![Transaction { ops: first }];
    transactions.append(&mut elements);
    transactions.push(Transaction { ops: rules });
    transactions
}

/// Appends operations in bounded transactions.
fn append(transactions: &mut Vec<Transaction>, ops: impl Iterator<Item = TableOp>) {
    for op in ops {
        match transactions.last_mut() {
            Some(last) if last.ops.len() < MAX_ELEMENTS_PER_TRANSACTION => last.ops.push(op),
            _ => transactions.push(Transaction { ops: vec![op] }),
        }
    }
}

fn add_rules(
    family: TableFamily,
    generations: &Generations,
    deny_action: DenyAction,
) -> Vec<TableOp> {
    let of_chain = |chain| {
        rules(family, chain, deny_action).into_iter().map(move |rule| TableOp {
            family,
            op: Op::AddRule { chain, rule, generations: *generations },
        })
    };
    ChainName::of(family).flat_map(of_chain).collect()
}

/// Takes a chain's rules away.
pub(super) fn flush(family: TableFamily, chain: &str) -> TableOp {
    TableOp { family, op: Op::FlushChain(chain.to_owned()) }
}

/// The chains by which packets enter tables of ours.
pub(super) fn entrances(families: &[TableFamily]) -> impl Iterator<Item = (TableFamily, String)> {
    let of_table = |&family: &TableFamily| {
        let base = ChainName::of(family).filter(|chain| chain.is_base());
        base.map(move |chain| (family, chain.as_str().to_owned()))
    };
    families.iter().flat_map(of_table)
}

/// The rules of all chains anew, naming these generations.
pub(super) fn reload(
    family: TableFamily,
    generations: &Generations,
    deny_action: DenyAction,
) -> Vec<TableOp> {
    let flushes = ChainName::of(family).map(|chain| flush(family, chain.as_str()));
    flushes.chain(add_rules(family, generations, deny_action)).collect()
}

/// Catch-alls and chains that are missing, all rules anew, and no other chains.
pub(super) fn mend(
    family: TableFamily,
    table: &ActualTable,
    generations: &Generations,
    deny_action: DenyAction,
) -> Vec<TableOp> {
    let is_ours = |name: &str| ChainName::of(family).any(|chain| chain.as_str() == name);
    let missing = ChainName::of(family).filter(|c| !table.chains.contains_key(c.as_str()));
    let mut ops: Vec<TableOp> =
        missing.map(|chain| TableOp { family, op: Op::CreateChain(chain) }).collect();
    let (ours, extra): (Vec<&String>, Vec<&String>) =
        table.chains.keys().partition(|name| is_ours(name));
    ops.extend(ours.into_iter().chain(extra.iter().copied()).map(|chain| flush(family, chain)));
    let delete = |chain: &String| TableOp { family, op: Op::DeleteChain(chain.clone()) };
    ops.extend(extra.into_iter().map(delete));
    ops.extend(add_rules(family, generations, deny_action));
    for set in family.sets().filter(|set| set.has_catch_all()) {
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
    family: TableFamily,
    id: SetId,
    size: Option<u32>,
    elements: BTreeSet<Element>,
) -> Vec<Transaction> {
    let mut ops = vec![TableOp { family, op: Op::CreateSet { id, size } }];
    if id.set.has_catch_all() {
        ops.push(TableOp { family, op: Op::Add(id, Element::CatchAll) });
    }
    ops.extend(elements.into_iter().map(|e| TableOp { family, op: Op::Add(id, e) }));
    let mut transactions = Vec::new();
    append(&mut transactions, ops.into_iter());
    transactions
}

/// Makes a transaction's elements those of the sets of these generations, whatever sets it was made for.
pub(super) fn rename(
    transaction: &mut Transaction,
    generations: impl Fn(TableFamily) -> Generations,
) {
    for TableOp { family, op } in &mut transaction.ops {
        if let Op::Add(id, _) | Op::Remove(id, _) = op {
            *id = generations(*family).id(id.set);
        }
    }
}
