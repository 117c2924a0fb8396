//! All chains of nftables, whoever made them: by their names and hooks one knows which other programs filter packets.

use super::query::Query;
use super::query_failed;
use super::wire::{Attribute, Attributes, msg};
use crate::ruleset::RulesetError;

/// `enum nft_chain_attributes` and `enum nft_hook_attributes` (linux/netfilter/nf_tables.h).
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

/// `NF_INET_FORWARD` (linux/netfilter.h).
const FORWARD: u32 = 2;
/// `NF_DROP`.
const DROP: u32 = 0;

/// A chain of somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// As nft names it: `ip`, `ip6`, `inet`, `bridge`, `arp` or `netdev`.
    pub family: &'static str,
    pub table: String,
    pub name: String,
    /// Its priority, if it is a base chain that sees forwarded IP packets.
    pub forward_priority: Option<i32>,
    /// Whether it is a base chain that drops what none of its rules decides.
    pub drops_by_default: bool,
}

impl std::fmt::Display for ForeignChain {
    /// As nft names it: `ip filter FORWARD`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// All chains of the calling thread's network namespace, ours among them, sorted.
///
/// # Errors
///
/// Those of reading nftables; `NotPermitted` without CAP_NET_ADMIN.
pub fn all_chains() -> Result<Vec<ForeignChain>, RulesetError> {
    let mut chains = Query::open()?.dump(msg::GETCHAIN, 0, &[], read).map_err(query_failed)?;
    chains.sort();
    Ok(chains)
}

pub(super) fn read(family: u8, chain: Attributes<'_>) -> Option<ForeignChain> {
    let text = |kind| chain.get(kind).and_then(Attribute::string).map(str::to_owned);
    let family = family_name(family);
    let hook = chain.get(CHAIN_HOOK).map(Attribute::nested).filter(|_| is_ip(family));
    let is_forward =
        |hook: Attributes<'_>| hook.get(HOOK_NUMBER).and_then(Attribute::be_u32) == Some(FORWARD);
    let priority = |hook: Attributes<'_>| {
        hook.get(HOOK_PRIORITY).and_then(Attribute::be_u32).map(u32::cast_signed)
    };
    Some(ForeignChain {
        family,
        table: text(CHAIN_TABLE)?,
        name: text(CHAIN_NAME)?,
        forward_priority: hook.filter(|hook| is_forward(*hook)).and_then(priority),
        drops_by_default: chain.get(CHAIN_POLICY).and_then(Attribute::be_u32) == Some(DROP),
    })
}

fn is_ip(family: &str) -> bool {
    matches!(family, "ip" | "ip6" | "inet")
}

/// `NFPROTO_*` (linux/netfilter.h), as nft names them.
const fn family_name(family: u8) -> &'static str {
    match family {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "of another family",
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{close_nest, open_nest, put, put_str};
    use super::*;

    /// As `nf_tables_fill_chain_info` writes one.
    fn chain(hook: Option<(u32, i32)>, policy: Option<u32>) -> Vec<u8> {
        let mut out = Vec::new();
        put_str(&mut out, CHAIN_TABLE, "filter");
        put(&mut out, 2, &7u64.to_be_bytes());
        put_str(&mut out, CHAIN_NAME, "FORWARD");
        if let Some((number, priority)) = hook {
            let nest = open_nest(&mut out, CHAIN_HOOK);
            put(&mut out, HOOK_NUMBER, &number.to_be_bytes());
            put(&mut out, HOOK_PRIORITY, &priority.to_be_bytes());
            close_nest(&mut out, nest);
        }
        if let Some(policy) = policy {
            put(&mut out, CHAIN_POLICY, &policy.to_be_bytes());
        }
        out
    }

    #[test]
    fn a_chain_is_read_with_its_hook_and_policy() {
        let read = |family, bytes: &[u8]| read(family, Attributes(bytes)).unwrap();
        let regular = read(2, &chain(None, None));
        assert_eq!(regular.to_string(), "ip filter FORWARD");
        assert_eq!((regular.forward_priority, regular.drops_by_default), (None, false));
        let base = read(1, &chain(Some((FORWARD, -10)), Some(DROP)));
        assert_eq!((base.family, base.forward_priority), ("inet", Some(-10)));
        assert!(base.drops_by_default);
        let input = read(10, &chain(Some((1, 0)), Some(1)));
        assert_eq!((input.forward_priority, input.drops_by_default), (None, false));
        let netdev = read(5, &chain(Some((FORWARD, 0)), Some(1)));
        assert_eq!(netdev.forward_priority, None, "another hook of that number");
        assert_eq!(super::read(2, Attributes(&[])), None);
    }
}
