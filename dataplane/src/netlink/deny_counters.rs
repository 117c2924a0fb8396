//! The counters of denied packets, as the kernel has them at this moment.

use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::{ChainName, TABLE};

use super::query::Query;
use super::wire::{Attribute, Attributes, msg, put_str};
use super::{query_failed, sys};
use crate::ruleset::RulesetError;

/// Packets that the rules denied, of both families. Counted from zero whenever the rules are loaded anew: when the tables
/// are made, and when a set grew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DenyCounters {
    pub ingress: u64,
    pub egress: u64,
}

impl DenyCounters {
    /// Reads them in the network namespace of the calling thread; zeros where there are no tables. It takes the kernel four
    /// short dumps, whatever the tables hold.
    ///
    /// # Errors
    ///
    /// Those of a netlink socket; `NotPermitted` without CAP_NET_ADMIN.
    pub fn read() -> Result<Self, RulesetError> {
        let mut query = Query::open()?;
        let mut sum = |chain: ChainName| {
            let each = Family::ALL.map(|family| packets(&mut query, family, chain));
            each.into_iter().sum::<Result<u64, _>>()
        };
        Ok(Self { ingress: sum(ChainName::DenyIn)?, egress: sum(ChainName::DenyOut)? })
    }
}

/// What the counters of a chain's rules add up to.
fn packets(query: &mut Query, family: Family, chain: ChainName) -> Result<u64, RulesetError> {
    let mut request = Vec::new();
    put_str(&mut request, 1, TABLE);
    put_str(&mut request, 2, chain.as_str());
    let mut packets = 0;
    query
        .dump_loosely(msg::GETRULE, sys::proto(family.into()) as u8, &request, |_, rule| {
            // A filter of the request is the kernel's to apply or not.
            if rule.get(2).and_then(Attribute::string) == Some(chain.as_str()) {
                packets += counted(rule);
            }
        })
        .map_err(query_failed)?;
    Ok(packets)
}

/// `nft_rule_attributes`, `nft_expr_attributes` and `nft_counter_attributes` (linux/netfilter/nf_tables.h).
fn counted(rule: Attributes<'_>) -> u64 {
    let expressions = rule.get(4).map(Attribute::nested).unwrap_or_default();
    let counter = |expression: Attribute<'_>| {
        let name = expression.nested().get(1).and_then(Attribute::string)?;
        let data = expression.nested().get(2).filter(|_| name == "counter")?;
        data.nested().get(2).and_then(Attribute::be_u64)
    };
    expressions.filter_map(counter).sum()
}
