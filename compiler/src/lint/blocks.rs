//! Blocks of addresses: exceptions that remove all or nothing, and blocks over addresses of pods and Services.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::code::Code;
use super::finding::{Finding, Report};
use super::words::{self, finding, peer_field};
use crate::model::{Direction, Family, IpBlock, Peer, Peers, PerFamily, Policy, PolicyRule, Ports};
use crate::snapshot::Snapshot;

/// Blocks with fewer bits of prefix are meant for the whole world or a whole private network (10.0.0.0/8), and hold a Service's
/// address by chance.
const LEAST_SERVICE_PREFIX: PerFamily<u8> = PerFamily { v4: 9, v6: 32 };

/// Blocks of a policy that are compared with an exception inside them.
const MOST_WIDER: usize = 64;

/// The addresses that blocks may hold, sorted.
#[derive(Debug, Default)]
pub(super) struct AddressIndex {
    pods: Vec<IpAddr>,
    services: Vec<IpAddr>,
}

impl AddressIndex {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let with_identity = snapshot.pods().filter(|pod| pod.has_identity());
        let mut pods: Vec<IpAddr> = with_identity.flat_map(|pod| pod.addresses.iter()).collect();
        let of_services = snapshot.services().flat_map(|service| &service.cluster_ips);
        // A pod's own address is judged as that.
        let mut services: Vec<IpAddr> =
            of_services.copied().filter(|address| snapshot.owner(*address).is_none()).collect();
        for list in [&mut pods, &mut services] {
            list.sort_unstable();
            list.dedup();
        }
        Self { pods, services }
    }
}

/// Those of the sorted addresses that the network holds.
fn within(addresses: &[IpAddr], net: IpNet) -> &[IpAddr] {
    let (first, last) = (net.network(), net.broadcast());
    let begin = addresses.partition_point(|address| *address < first);
    let end = addresses.partition_point(|address| *address <= last);
    addresses.get(begin..end).unwrap_or_default()
}

/// A block, with the networks that it loses: disjoint and sorted.
struct Cut {
    cidr: IpNet,
    lost: Vec<IpNet>,
}

impl Cut {
    fn of(block: &IpBlock) -> Self {
        Self { cidr: block.cidr, lost: IpNet::aggregate(&block.except) }
    }

    fn is_empty(&self) -> bool {
        self.lost.first() == Some(&self.cidr)
    }

    fn loses_some_of(&self, net: &IpNet) -> bool {
        let after = self.lost.partition_point(|lost| lost.network() <= net.broadcast());
        let before = after.checked_sub(1).and_then(|at| self.lost.get(at));
        before.is_some_and(|lost| lost.broadcast() >= net.network())
    }

    /// How many of the sorted addresses it holds.
    fn count(&self, addresses: &[IpAddr]) -> usize {
        let lost = self.lost.iter().map(|net| within(addresses, *net).len()).sum::<usize>();
        within(addresses, self.cidr).len().saturating_sub(lost)
    }

    /// The first few of the sorted addresses that it holds.
    fn some<'a>(&'a self, addresses: &'a [IpAddr]) -> impl Iterator<Item = IpAddr> + 'a {
        let inside = within(addresses, self.cidr).iter().copied();
        inside.filter(|address| !self.loses_some_of(&IpNet::from(*address)))
    }
}

pub(super) fn check(
    snapshot: &Snapshot,
    index: &AddressIndex,
    policy: &Policy,
    report: &mut Report,
) {
    for direction in Direction::ALL {
        let rules = policy.rules(direction);
        let blocks: Vec<Block<'_>> =
            rules.iter().enumerate().flat_map(|(at, rule)| blocks(at, rule)).collect();
        if blocks.is_empty() {
            continue;
        }
        for block in &blocks {
            let field = peer_field(direction, block.rule, block.entry) + ".ipBlock";
            let cut = &block.cut;
            let found = |code, message: &str| finding(code, policy, field.clone(), message);
            if cut.is_empty() {
                let message = format!("is {}, and its except removes all of it", cut.cidr);
                report.add_to(policy, found(Code::ExceptRemovesEverything, &message));
                continue;
            }
            for (at, message) in nested(&block.block.except) {
                let field = format!("{field}.except[{at}]");
                report.add_to(policy, finding(Code::ExceptRemovesNothing, policy, field, &message));
            }
            let held = if cut.count(&index.pods) > 0 {
                Some(over_pods(snapshot, index, cut, &found))
            } else if direction == Direction::Egress {
                over_services(snapshot, index, cut, &found)
            } else {
                None
            };
            held.into_iter().for_each(|found| report.add_to(policy, found));
        }
        allowed_elsewhere(policy, direction, &blocks, report);
    }
}

/// An `ipBlock` and where it stands.
struct Block<'p> {
    rule: usize,
    entry: usize,
    ports: &'p Ports,
    block: &'p IpBlock,
    cut: Cut,
}

fn blocks(at: usize, rule: &PolicyRule) -> impl Iterator<Item = Block<'_>> {
    let peers = match &rule.peers {
        Peers::Everyone => &[][..],
        Peers::AnyOf(peers) => peers,
    };
    let ports = &rule.ports;
    peers.iter().enumerate().filter_map(move |(entry, peer)| match peer {
        Peer::Block(block) => Some(Block { rule: at, entry, ports, block, cut: Cut::of(block) }),
        Peer::Pods { .. } => None,
    })
}

fn over_pods(
    snapshot: &Snapshot,
    index: &AddressIndex,
    cut: &Cut,
    found: &dyn Fn(Code, &str) -> Finding,
) -> Finding {
    let count = cut.count(&index.pods);
    let named = |address: IpAddr| {
        let pod = snapshot.owner(address).map(words::pod).unwrap_or_default();
        format!("{pod} {address}")
    };
    let cidr = cut.cidr;
    if cidr.prefix_len() == cidr.max_prefix_len() {
        let pod = named(cidr.addr());
        return found(Code::BlockIsPod, &format!("is the address of a pod ({pod})"));
    }
    let some = words::some_of(cut.some(&index.pods).map(named), count);
    let plural = if count == 1 { "address of a pod" } else { "addresses of pods" };
    let message = format!("is {cidr}, which holds {count} {plural} ({some})");
    found(Code::BlockHoldsPods, &message)
}

fn over_services(
    snapshot: &Snapshot,
    index: &AddressIndex,
    cut: &Cut,
    found: &dyn Fn(Code, &str) -> Finding,
) -> Option<Finding> {
    let cidr = cut.cidr;
    let count = cut.count(&index.services);
    if count == 0 || cidr.prefix_len() < LEAST_SERVICE_PREFIX[Family::of(cidr.addr())] {
        return None;
    }
    let named = |address: IpAddr| {
        let service = snapshot.services_at(address).next();
        let name = service.map(|service| format!("{}/{}", service.namespace, service.name));
        format!("{} {address}", name.unwrap_or_default())
    };
    let some = words::some_of(cut.some(&index.services).map(named), count);
    let message = format!(
        "is {cidr}, which holds no address of a pod, but addresses of Services ({some}), which are translated before policy is judged"
    );
    Some(found(Code::BlockHoldsServices, &message))
}

/// The exceptions that lie within another one, with a sentence.
fn nested(except: &[IpNet]) -> Vec<(usize, String)> {
    let mut sorted: Vec<(IpNet, usize)> = except.iter().copied().zip(0..).collect();
    // The wider first of those that begin alike, and of equal ones the first that was written.
    sorted.sort_unstable_by_key(|(net, at)| (net.network(), net.prefix_len(), *at));
    let mut widest: Option<IpNet> = None;
    let mut found = Vec::new();
    for (net, at) in sorted {
        match widest {
            Some(wider) if wider.contains(&net) => {
                found.push((at, format!("is {net}, which the except {wider} removes already")));
            }
            Some(_) | None => widest = Some(net),
        }
    }
    found.sort_unstable();
    found
}

/// Exceptions that another block of the policy allows again, on the same ports or on every port.
fn allowed_elsewhere(
    policy: &Policy,
    direction: Direction,
    blocks: &[Block<'_>],
    report: &mut Report,
) {
    let mut by_cidr: HashMap<IpNet, Vec<usize>> = HashMap::new();
    for (at, block) in blocks.iter().enumerate() {
        by_cidr.entry(block.block.cidr).or_default().push(at);
    }
    for (at, block) in blocks.iter().enumerate() {
        for (number, except) in block.block.except.iter().enumerate() {
            let wider = (0..=except.prefix_len()).filter_map(|prefix| {
                let cidr = IpNet::new(except.addr(), prefix).ok()?.trunc();
                by_cidr.get(&cidr)
            });
            let others = wider.flatten().filter(|other| **other != at).take(MOST_WIDER);
            let mut others = others.filter_map(|other| blocks.get(*other));
            let Some(other) = others.find(|other| allows(other, block, except)) else { continue };
            let by = peer_field(direction, other.rule, other.entry);
            let message = format!("removes {except}, which {by} ({}) allows", other.block.cidr);
            let field = peer_field(direction, block.rule, block.entry);
            let field = format!("{field}.ipBlock.except[{number}]");
            report.add_to(policy, finding(Code::ExceptAllowedElsewhere, policy, field, &message));
        }
    }
}

/// Whether the other block allows all of the exception, wherever the block would have.
fn allows(other: &Block<'_>, block: &Block<'_>, except: &IpNet) -> bool {
    let on_its_ports =
        other.rule == block.rule || *other.ports == Ports::Every || other.ports == block.ports;
    on_its_ports && !other.cut.loses_some_of(except)
}
