//! Flow tables of nftables: established connections in them pass no hook.

use super::query::Query;
use super::query_failed;
use super::wire::{Attribute, Attributes, msg};
use crate::ruleset::RulesetError;

/// `enum nft_flowtable_attributes` (linux/netfilter/nf_tables.h).
const TABLE: u16 = 1;
const NAME: u16 = 2;

/// A flow table of somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowTable {
    /// `ip`, `ip6` or `inet`, as nft names it.
    pub family: &'static str,
    pub table: String,
    pub name: String,
}

impl std::fmt::Display for FlowTable {
    /// As nft names it: `inet filter offload`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// All flow tables of the calling thread's network namespace, sorted.
///
/// # Errors
///
/// Those of reading nftables.
pub fn flow_tables() -> Result<Vec<FlowTable>, RulesetError> {
    let mut found = Query::open()?.dump(msg::GETFLOWTABLE, 0, &[], read).map_err(query_failed)?;
    found.sort();
    Ok(found)
}

pub(super) fn read(family: u8, attributes: Attributes<'_>) -> Option<FlowTable> {
    let text = |kind| attributes.get(kind).and_then(Attribute::string).map(str::to_owned);
    // `NFPROTO_*` of linux/netfilter.h.
    let family = match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "of another family",
    };
    Some(FlowTable { family, table: text(TABLE)?, name: text(NAME)? })
}

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;

    /// As `nf_tables_fill_flowtable_info` writes one: table, name, use, handle.
    #[test]
    fn a_flow_table_is_named_by_family_table_and_name() {
        let mut bytes = Vec::new();
        wire::put_str(&mut bytes, TABLE, "filter");
        wire::put_str(&mut bytes, NAME, "fastpath");
        wire::put(&mut bytes, 4, &1u32.to_be_bytes());
        wire::put(&mut bytes, 5, &7u64.to_be_bytes());
        let found = read(1, Attributes(&bytes)).unwrap();
        assert_eq!(found.to_string(), "inet filter fastpath");
        assert_eq!(read(1, Attributes(&bytes[..12])), None);
    }
}
