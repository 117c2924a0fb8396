//! Operations and elements in nft's words, for error messages.

use crate::ruleset::TableName;
use crate::transaction::{Op, SetId, TableOp};

/// `add element ip palisade class { 10.0.0.1 : 1:1 }`
pub(super) fn operation(name: TableName, TableOp { family, op }: &TableOp) -> String {
    let table = format!("{} {}", family.as_str(), name.as_str());
    match op {
        Op::CreateTable => format!("add table {table}"),
        Op::DeleteTable => format!("delete table {table}"),
        Op::CreateSet { id, size } => {
            let size = size.map_or_else(String::new, |size| format!(" {{ size {size}; }}"));
            format!("add {} {table} {id}{size}", kind(*id))
        }
        Op::DeleteSet(id) => format!("delete {} {table} {id}", kind(*id)),
        Op::CreateChain(chain) => format!("add chain {table} {}", chain.as_str()),
        Op::DeleteChain(chain) => format!("delete chain {table} {chain}"),
        Op::FlushChain(chain) => format!("flush chain {table} {chain}"),
        Op::AddRule { chain, rule, .. } => {
            format!("add rule {table} {} {rule:?}", chain.as_str())
        }
        Op::Add(id, one) => format!("add element {table} {id} {{ {one} }}"),
        Op::Remove(id, one) => format!("delete element {table} {id} {{ {one} }}"),
    }
}

fn kind(id: SetId) -> &'static str {
    if id.set.is_map() { "map" } else { "set" }
}
