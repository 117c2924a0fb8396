//! `nft-policy-chains`: one chain for each policy and direction, and one for each pod that jumps to those of its policies.
//!
//! These are the rules of Calico's nftables mode (Felix), and except for the dispatch those of kube-router. A verdict map
//! finds the chains of the pod at each end. The chain of a pod accepts established connections and jumps to the group of
//! policies that select the pod; pods with the same policies share a group. The chain of a policy sets a mark if it allows
//! the packet, and packets without the mark are dropped. Peers are sets, one for each selector. Only policies that select a
//! pod of this node are included. As in Felix, changes are committed as differences, with one `nft` process for each.

use std::collections::BTreeMap;

use palisade_compiler::model::{Direction, Family};
use palisade_compiler::snapshot::Snapshot;

use super::blocks;
use super::nft::{BASE, Ruleset, Set, Table, address_type};
use super::resolve::{
    PodSet, PortRange, Resolved, ResolvedPeers, ResolvedPolicy, ResolvedPorts, ResolvedRule, Scope,
    addresses, hash,
};

/// The bit of the mark that a policy's chain sets if it allows the packet.
const ALLOWED: &str = "0x10000";
/// The number of policies of a group between two tests of the mark.
const STRIDE: usize = 5;

/// The ruleset for a cluster.
pub(super) fn ruleset(snapshot: &Snapshot, families: &[Family]) -> Ruleset {
    let resolved = Resolved::new(snapshot, Scope::Node);
    let table = |&family: &Family| {
        let mut writer = Writer { family, table: Table::default() };
        writer.write(&resolved);
        (family, writer.table)
    };
    Ruleset { tables: families.iter().map(table).collect() }
}

struct Writer {
    family: Family,
    table: Table,
}

/// One end of a packet: the subject or its peer.
#[derive(Clone, Copy)]
pub(super) enum End {
    Subject,
    Peer,
}

/// The expression for the address of an end, such as `ip saddr`.
pub(super) fn address_of(end: End, direction: Direction, family: Family) -> &'static str {
    let is_source = match (direction, end) {
        (Direction::Egress, End::Subject) | (Direction::Ingress, End::Peer) => true,
        (Direction::Egress, End::Peer) | (Direction::Ingress, End::Subject) => false,
    };
    match (family, is_source) {
        (Family::V4, true) => "ip saddr",
        (Family::V4, false) => "ip daddr",
        (Family::V6, true) => "ip6 saddr",
        (Family::V6, false) => "ip6 daddr",
    }
}

/// `i` or `o`, with which the names of chains begin.
pub(super) fn letter(direction: Direction) -> char {
    match direction {
        Direction::Ingress => 'i',
        Direction::Egress => 'o',
    }
}

impl Writer {
    fn write(&mut self, resolved: &Resolved<'_>) {
        let mut base = Vec::new();
        for direction in [Direction::Egress, Direction::Ingress] {
            for policy in resolved.policies.iter().filter(|p| p.isolates.in_direction(direction)) {
                self.policy(policy, direction);
            }
            self.pods(resolved, direction);
            let near = address_of(End::Subject, direction, self.family);
            base.push(format!("{near} vmap @{}", dispatch(direction)));
        }
        self.table.chains.insert(BASE.to_owned(), base);
    }

    /// The chain of each pod, the groups that these chains jump to, and the map that finds them.
    fn pods(&mut self, resolved: &Resolved<'_>, direction: Direction) {
        let mut elements = Vec::new();
        let mut groups: BTreeMap<Vec<usize>, String> = BTreeMap::new();
        for (pod, policies) in resolved.isolating(direction) {
            let Some(address) = pod.addresses.get(self.family) else { continue };
            let group = match groups.get(&policies) {
                Some(group) => group.clone(),
                None => {
                    let group = self.group(resolved, &policies, direction);
                    groups.insert(policies, group.clone());
                    group
                }
            };
            let id = hash(&format!("{}/{}", pod.namespace, pod.name));
            let chain = format!("pod_{}_{id:016x}", letter(direction));
            let rules = vec![
                "ct state established,related accept".to_owned(),
                "ct state invalid drop".to_owned(),
                format!("meta mark set meta mark and {:#x}", !0x10000_u32),
                format!("jump {group}"),
                format!("meta mark and {ALLOWED} == {ALLOWED} return"),
                "drop".to_owned(),
            ];
            elements.push(format!("{address} : jump {chain}"));
            self.table.chains.insert(chain, rules);
        }
        let map = Set {
            kind: "map",
            declaration: format!("type {} : verdict;", address_type(self.family)),
            elements: elements.into_iter().collect(),
        };
        self.table.sets.insert(dispatch(direction), map);
    }

    fn group(
        &mut self,
        resolved: &Resolved<'_>,
        policies: &[usize],
        direction: Direction,
    ) -> String {
        let policies: Vec<&ResolvedPolicy<'_>> =
            policies.iter().filter_map(|&at| resolved.policies.get(at)).collect();
        let names: Vec<String> = policies.iter().map(|policy| policy.key.to_string()).collect();
        let mut rules = Vec::new();
        for (n, policy) in policies.iter().enumerate() {
            // At the beginning of a stride the mark is known to be clear.
            let clear = if n % STRIDE == 0 { "" } else { "meta mark and 0x10000 == 0 " };
            if n % STRIDE == 0 && n > 0 {
                rules.push(format!("meta mark and {ALLOWED} == {ALLOWED} return"));
            }
            rules.push(format!("{clear}jump {}", chain_of(policy, direction)));
        }
        let name = format!("group_{}_{:016x}", letter(direction), hash(&names.join(",")));
        self.table.chains.insert(name.clone(), rules);
        name
    }

    fn policy(&mut self, policy: &ResolvedPolicy<'_>, direction: Direction) {
        let mut rules = Vec::new();
        for (n, rule) in policy.rules(direction).enumerate() {
            let mut subjects = String::new();
            if rule.subjects.id != policy.subjects.id {
                let near = address_of(End::Subject, direction, self.family);
                subjects = format!("{near} @{} ", self.pod_set(&rule.subjects));
            }
            for peers in self.peers(policy, rule, n) {
                for ports in port_matches(&rule.ports) {
                    rules.push(format!(
                        "{subjects}{peers}{ports}meta mark set meta mark or {ALLOWED} return"
                    ));
                }
            }
        }
        self.table.chains.insert(chain_of(policy, direction), rules);
    }

    /// One match for each set of peers.
    fn peers(
        &mut self,
        policy: &ResolvedPolicy<'_>,
        rule: &ResolvedRule<'_>,
        n: usize,
    ) -> Vec<String> {
        let far = address_of(End::Peer, rule.direction, self.family);
        match &rule.peers {
            ResolvedPeers::Everyone => vec![String::new()],
            ResolvedPeers::Some { pods, blocks } => {
                let mut matches: Vec<String> =
                    pods.iter().map(|set| format!("{far} @{} ", self.pod_set(set))).collect();
                let ranges = blocks::ranges(blocks, self.family);
                if !ranges.is_empty() {
                    let name = format!("b{:016x}_{}{n}", policy.id, letter(rule.direction));
                    let set = Set {
                        kind: "set",
                        declaration: format!("type {}; flags interval;", address_type(self.family)),
                        elements: ranges.iter().map(|r| blocks::text(*r, self.family)).collect(),
                    };
                    self.table.sets.insert(name.clone(), set);
                    matches.push(format!("{far} @{name} "));
                }
                matches
            }
        }
    }

    fn pod_set(&mut self, set: &PodSet<'_>) -> String {
        let name = format!("s{:016x}", set.id);
        let family = self.family;
        self.table.sets.entry(name.clone()).or_insert_with(|| Set {
            kind: "set",
            declaration: format!("type {};", address_type(family)),
            elements: addresses(&set.pods, family).map(|address| address.to_string()).collect(),
        });
        name
    }
}

fn dispatch(direction: Direction) -> String {
    format!("pods_{}", letter(direction))
}

fn chain_of(policy: &ResolvedPolicy<'_>, direction: Direction) -> String {
    format!("policy_{}_{:016x}", letter(direction), policy.id)
}

/// One match for each protocol of the ports. For all ports the list has one empty text.
fn port_matches(ports: &ResolvedPorts) -> Vec<String> {
    let ResolvedPorts::Ranges(ranges) = ports else { return vec![String::new()] };
    let mut by_protocol: BTreeMap<u8, Vec<blocks::Range>> = BTreeMap::new();
    for PortRange { protocol, first, last } in ranges {
        let range = (u128::from(*first), u128::from(*last));
        by_protocol.entry(protocol.number()).or_default().push(range);
    }
    let one = |(protocol, ranges): (u8, Vec<blocks::Range>)| {
        // The intervals of an anonymous set must not overlap or be adjacent.
        let merged = blocks::merged(ranges).into_iter();
        let list: Vec<String> = merged.map(|(first, last)| span(first, last)).collect();
        format!("meta l4proto {protocol} th dport {{ {} }} ", list.join(", "))
    };
    by_protocol.into_iter().map(one).collect()
}

/// A range of ports in the syntax of nft.
pub(super) fn span(first: u128, last: u128) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
