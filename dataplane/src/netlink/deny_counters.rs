//! The counters of denied packets, as the kernel has them at this moment.

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, TABLE};

use super::query::Query;
use super::wire::{Attribute, Attributes, msg, put_str};
use super::{query_failed, sys};
use crate::ruleset::RulesetError;

/// What the rules denied, of both families. Counted from zero whenever the rules are loaded anew: when the tables
/// are made, and when a set grew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DenyCounters {
    pub ingress: DenyCounter,
    pub egress: DenyCounter,
    /// Held because an address was not known. Counted from zero whenever the inet table is made anew.
    pub held: DenyCounter,
    /// Dropped because they would have opened a connection that was cut. Counted as `held`.
    pub revoked: DenyCounter,
    /// Dropped by the source guard: they came by a pod's interface with a source that is not that pod's.
    pub forged: DenyCounter,
    /// Packets of an overlay network from a pod to a node.
    pub encapsulated: DenyCounter,
}

/// What was denied in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DenyCounter {
    pub packets: u64,
    /// Of the packets from their IP header on.
    pub bytes: u64,
}

impl std::ops::AddAssign for DenyCounter {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl DenyCounters {
    /// Reads them in the network namespace of the calling thread; zeros where there are no tables. It takes the kernel twelve
    /// short dumps, whatever the tables hold.
    ///
    /// # Errors
    ///
    /// Those of a netlink socket; `NotPermitted` without CAP_NET_ADMIN.
    pub fn read() -> Result<Self, RulesetError> {
        let mut query = Query::open()?;
        let mut sum = |tables: &[TableFamily], chain: ChainName| {
            let mut sum = DenyCounter::default();
            for &table in tables {
                sum += of_chain(&mut query, table, chain)?;
            }
            Ok::<_, RulesetError>(sum)
        };
        let mut forged = sum(&TableFamily::OF_PROGRAM, ChainName::SourceGuard)?;
        forged += sum(&[TableFamily::Bridge], ChainName::Forged)?;
        let encapsulating = [TableFamily::Ip, TableFamily::Ip6, TableFamily::Bridge].as_slice();
        Ok(Self {
            ingress: sum(&TableFamily::OF_PROGRAM, ChainName::DenyIn)?,
            egress: sum(&TableFamily::OF_PROGRAM, ChainName::DenyOut)?,
            held: sum(&[TableFamily::Inet], ChainName::Hold)?,
            revoked: sum(&[TableFamily::Inet], ChainName::Revoked)?,
            forged,
            encapsulated: sum(encapsulating, ChainName::Encapsulated)?,
        })
    }
}

/// What the counters of a chain's rules add up to.
fn of_chain(
    query: &mut Query,
    table: TableFamily,
    chain: ChainName,
) -> Result<DenyCounter, RulesetError> {
    let mut request = Vec::new();
    put_str(&mut request, 1, TABLE);
    put_str(&mut request, 2, chain.as_str());
    let mut sum = DenyCounter::default();
    query
        .dump_loosely(msg::GETRULE, sys::proto(table) as u8, &request, |_, rule| {
            // A filter of the request is the kernel's to apply or not.
            if rule.get(2).and_then(Attribute::string) == Some(chain.as_str()) {
                counters(rule).for_each(|counter| sum += counter);
            }
        })
        .map_err(query_failed)?;
    Ok(sum)
}

/// `nft_rule_attributes`, `nft_expr_attributes` and `nft_counter_attributes` (linux/netfilter/nf_tables.h).
pub(super) fn counters(rule: Attributes<'_>) -> impl Iterator<Item = DenyCounter> + '_ {
    let expressions = rule.get(4).map(Attribute::nested).unwrap_or_default();
    expressions.filter_map(|expression: Attribute<'_>| {
        let name = expression.nested().get(1).and_then(Attribute::string)?;
        let data = expression.nested().get(2).filter(|_| name == "counter")?.nested();
        let number = |kind| data.get(kind).and_then(Attribute::be_u64);
        Some(DenyCounter { bytes: number(1)?, packets: number(2)? })
    })
}
