//! Messages about chains and rules of our tables, as the `nftnl` crate writes them.

use nftnl::MsgType;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::Hook;

use super::instruction::Instruction;
use super::sys::{append_object, c_string, proto};

/// Appends a message about a chain of our table.
pub(super) fn put_chain(
    out: &mut Vec<u8>,
    (table, family): (&str, TableFamily),
    name: &str,
    hook: Option<Hook>,
    kind: MsgType,
    (sequence, flags): (u32, u16),
) {
    let table = nftnl::Table::new(c_string(table), proto(family));
    let mut chain = nftnl::Chain::new(c_string(name), &table);
    if let Some(hook) = hook {
        let at = match hook {
            Hook::Prerouting => nftnl::Hook::PreRouting,
            Hook::Forward => nftnl::Hook::Forward,
            Hook::Input => nftnl::Hook::In,
        };
        chain.set_hook(at, base_priority(family, hook));
        chain.set_type(nftnl::ChainType::Filter);
        chain.set_policy(nftnl::Policy::Accept);
    }
    append_object(out, &chain, kind, sequence, flags);
}

/// Appends a message about a rule of our table; deleting one without instructions deletes all of the chain.
pub(super) fn put_rule(
    out: &mut Vec<u8>,
    (table, family): (&str, TableFamily),
    chain: &str,
    instructions: &[Instruction],
    kind: MsgType,
    (sequence, flags): (u32, u16),
) {
    let table = nftnl::Table::new(c_string(table), proto(family));
    let chain = nftnl::Chain::new(c_string(chain), &table);
    let mut rule = nftnl::Rule::new(&chain);
    for instruction in instructions {
        rule.add_expr(instruction);
    }
    append_object(out, &rule, kind, sequence, flags);
}

/// The priority of a base chain: what nft calls `filter` in the family (`NF_IP_PRI_FILTER`, `NF_BR_PRI_FILTER_BRIDGED`), and
/// in the inet table before that; before routing what it calls `raw` (`NF_IP_PRI_RAW`).
pub(super) const fn base_priority(family: TableFamily, hook: Hook) -> i32 {
    match (hook, family) {
        // Before the hook by which a bridge has its packets pass the tables of IP, connection tracking among them (NF_BR_PRI_BRNF).
        (Hook::Prerouting | Hook::Forward | Hook::Input, TableFamily::Bridge) => -200,
        (Hook::Input, _) => 0,
        (Hook::Prerouting, _) => -300,
        (Hook::Forward, TableFamily::Ip | TableFamily::Ip6) => 0,
        (Hook::Forward, TableFamily::Inet) => -1,
    }
}
