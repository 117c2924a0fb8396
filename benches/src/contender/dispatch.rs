//! `nft-pod-dispatch`: a verdict map finds the chain of a pod's class, which looks up concatenated sets of what the class
//! is allowed.
//!
//! No engine uses these rules. They are the best that we know with one chain for each class. A class consists of the local
//! pods that the same policies isolate in a direction. Its set holds (peer, protocol, port), so that the number of rules
//! does not grow with the policies, but the number of elements grows with the product of peers and ports. Ranges are in a
//! second set, of intervals, and peers that are allowed every port are in a third.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_compiler::model::{Direction, Family, Pod};
use palisade_compiler::snapshot::Snapshot;

use super::ContenderError;
use super::blocks::{self, Range};
use super::chains::{End, address_of, letter, span};
use super::nft::{BASE, Ruleset, Set, Table, address_type};
use super::resolve::{
    PortRange, Resolved, ResolvedPeers, ResolvedPorts, ResolvedRule, Scope, addresses, hash,
};

/// The greatest number of elements that is tried. nft first holds each of them as text.
const MAX_ELEMENTS: usize = 3_000_000;

/// The ruleset for a cluster.
///
/// # Errors
/// `TooLarge` if the products of peers and ports exceed `MAX_ELEMENTS`.
pub(super) fn ruleset(snapshot: &Snapshot, families: &[Family]) -> Result<Ruleset, ContenderError> {
    let resolved = Resolved::new(snapshot, Scope::Node);
    let mut tables = BTreeMap::new();
    let mut elements = 0;
    for &family in families {
        let mut writer = Writer { family, table: Table::default(), elements };
        writer.write(&resolved)?;
        elements = writer.elements;
        tables.insert(family, writer.table);
    }
    Ok(Ruleset { tables })
}

struct Writer {
    family: Family,
    table: Table,
    /// The number of elements so far, of all families.
    elements: usize,
}

/// What a class allows: a union of products.
#[derive(Default)]
struct Allowed {
    exact: BTreeSet<(IpAddr, u8, u16)>,
    /// For these protocols (0-255 for every protocol), ports for whole ranges of addresses, or whole ranges of ports.
    ranges: Vec<(Range, PortRange)>,
    peers: BTreeSet<IpAddr>,
    blocks: Vec<Range>,
}

impl Writer {
    fn write(&mut self, resolved: &Resolved<'_>) -> Result<(), ContenderError> {
        let mut base = vec!["ct state established,related accept".to_owned()];
        for direction in [Direction::Egress, Direction::Ingress] {
            let mut classes: BTreeMap<Vec<(usize, usize)>, Vec<&Pod>> = BTreeMap::new();
            for (pod, policies) in resolved.isolating(direction) {
                let rules = rules_of(resolved, pod, &policies, direction);
                classes.entry(rules).or_default().push(pod);
            }
            let mut elements = BTreeSet::new();
            for (rules, pods) in classes {
                let chain = self.class(resolved, &rules, direction)?;
                for address in addresses(&pods, self.family) {
                    elements.insert(format!("{address} : jump {chain}"));
                }
            }
            let near = address_of(End::Subject, direction, self.family);
            let map = format!("pods_{}", letter(direction));
            base.push(format!("{near} vmap @{map}"));
            self.set(
                "map",
                map,
                format!("type {} : verdict;", address_type(self.family)),
                elements,
            );
        }
        self.table.chains.insert(BASE.to_owned(), base);
        Ok(())
    }

    fn class(
        &mut self,
        resolved: &Resolved<'_>,
        rules: &[(usize, usize)],
        direction: Direction,
    ) -> Result<String, ContenderError> {
        let rules: Vec<(String, &ResolvedRule<'_>)> = rules
            .iter()
            .filter_map(|&(policy, n)| {
                let policy = resolved.policies.get(policy)?;
                Some((format!("{} {n}", policy.key), policy.rules.get(n)?))
            })
            .collect();
        let names: Vec<&str> = rules.iter().map(|(name, _)| name.as_str()).collect();
        let class = format!("{}{:016x}", letter(direction), hash(&names.join(",")));
        let mut allowed = Allowed::default();
        for (_, rule) in &rules {
            self.allow(rule, &mut allowed)?;
        }
        let rules = self.sets_of(&class, allowed, address_of(End::Peer, direction, self.family));
        let chain = format!("class_{class}");
        self.table.chains.insert(chain.clone(), rules);
        Ok(chain)
    }

    fn allow(
        &mut self,
        rule: &ResolvedRule<'_>,
        allowed: &mut Allowed,
    ) -> Result<(), ContenderError> {
        let (pods, ranges) = match &rule.peers {
            ResolvedPeers::Everyone => (Vec::new(), vec![blocks::everything(self.family)]),
            ResolvedPeers::Some { pods, blocks } => {
                let pods = pods.iter().flat_map(|set| addresses(&set.pods, self.family)).collect();
                (pods, blocks::ranges(blocks, self.family))
            }
        };
        let ResolvedPorts::Ranges(ports) = &rule.ports else {
            allowed.peers.extend(pods);
            allowed.blocks.extend(ranges);
            return Ok(());
        };
        self.elements += (pods.len() + ranges.len()) * ports.len();
        if self.elements > MAX_ELEMENTS {
            let what = "elements of (peer, protocol, port)";
            let (count, limit) = (self.elements, MAX_ELEMENTS);
            return Err(ContenderError::TooLarge { what, count, limit });
        }
        for port in ports {
            if port.first == port.last {
                let exact = |peer: &IpAddr| (*peer, port.protocol.number(), port.first);
                allowed.exact.extend(pods.iter().map(exact));
            } else {
                let one = |peer: &IpAddr| (blocks::number(*peer), blocks::number(*peer));
                allowed.ranges.extend(pods.iter().map(|peer| (one(peer), *port)));
            }
            allowed.ranges.extend(ranges.iter().map(|range| (*range, *port)));
        }
        Ok(())
    }

    /// Creates the sets of a class. Returns the rules that look them up.
    fn sets_of(&mut self, class: &str, allowed: Allowed, far: &str) -> Vec<String> {
        let family = self.family;
        let address = address_type(family);
        let triple = format!("type {address} . inet_proto . inet_service;");
        let mut rules = Vec::new();
        let mut kinds = [
            (
                "exact",
                triple.clone(),
                format!("{far} . meta l4proto . th dport"),
                allowed
                    .exact
                    .iter()
                    .map(|(a, proto, port)| format!("{a} . {proto} . {port}"))
                    .collect(),
            ),
            (
                "ranges",
                format!("{triple} flags interval;"),
                format!("{far} . meta l4proto . th dport"),
                disjoint(&allowed.ranges, family),
            ),
            (
                "peers",
                format!("type {address};"),
                far.to_owned(),
                allowed.peers.iter().map(ToString::to_string).collect::<BTreeSet<String>>(),
            ),
            (
                "blocks",
                format!("type {address}; flags interval;"),
                far.to_owned(),
                blocks::merged(allowed.blocks).iter().map(|r| blocks::text(*r, family)).collect(),
            ),
        ];
        for (kind, declaration, key, elements) in &mut kinds {
            if !elements.is_empty() {
                let name = format!("{kind}_{class}");
                rules.push(format!("{key} @{name} return"));
                self.set("set", name, std::mem::take(declaration), std::mem::take(elements));
            }
        }
        rules.push("drop".to_owned());
        rules
    }

    fn set(
        &mut self,
        kind: &'static str,
        name: String,
        declaration: String,
        elements: BTreeSet<String>,
    ) {
        self.table.sets.insert(name, Set { kind, declaration, elements });
    }
}

/// The rules that apply to a pod, by the indexes of the policies and of the rules in them.
fn rules_of(
    resolved: &Resolved<'_>,
    pod: &Pod,
    policies: &[usize],
    direction: Direction,
) -> Vec<(usize, usize)> {
    let mut rules = Vec::new();
    for &at in policies {
        let Some(policy) = resolved.policies.get(at) else { continue };
        for (n, rule) in policy.rules.iter().enumerate() {
            let is_subject =
                || rule.subjects.pods.iter().any(|subject| std::ptr::eq(*subject, pod));
            if rule.direction == direction && is_subject() {
                rules.push((at, n));
            }
        }
    }
    rules
}

/// Turns ranges into elements of an interval set, which must not overlap. Addresses are split wherever a range begins or
/// ends, and the ports of each piece are merged.
fn disjoint(ranges: &[(Range, PortRange)], family: Family) -> BTreeSet<String> {
    let mut cuts: BTreeSet<u128> = BTreeSet::new();
    let everything = blocks::everything(family).1;
    for ((first, last), _) in ranges {
        cuts.insert(*first);
        if *last < everything {
            cuts.insert(last + 1);
        }
    }
    let mut pieces: BTreeMap<u128, BTreeMap<u8, Vec<Range>>> = BTreeMap::new();
    for ((first, last), port) in ranges {
        let ports = (u128::from(port.first), u128::from(port.last));
        for &cut in cuts.range(first..=last) {
            let protocols = pieces.entry(cut).or_default();
            protocols.entry(port.protocol.number()).or_default().push(ports);
        }
    }
    let mut elements = BTreeSet::new();
    for (first, protocols) in pieces {
        let next = cuts.range(first + 1..).next();
        let address = blocks::text((first, next.map_or(everything, |next| next - 1)), family);
        for (protocol, ports) in protocols {
            for (low, high) in blocks::merged(ports) {
                let ports = span(low, high);
                elements.insert(format!("{address} . {protocol} . {ports}"));
            }
        }
    }
    elements
}
