//! Who may reach a pod, and whom it may reach: a matrix of workloads and ports.
//!
//! Pods of one namespace with the same labels and ports are one row, and one of them is judged for all: they differ only where
//! a rule names a block of addresses that holds some of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_compiler::compile::Judge;
use palisade_compiler::explain::excerpt_of;
use palisade_compiler::model::{
    Connection, Direction, Family, Peer, Peers, Pod, Policy, PortSpec, Ports, Protocol, Verdict,
};
use palisade_compiler::snapshot::{Change, Snapshot};
use serde::{Deserialize, Serialize};

/// Rows of workloads; those of the pod's own namespace first.
pub const MAX_WORKLOADS: usize = 300;
/// Columns.
pub const MAX_PORTS: usize = 12;
/// Rows of address blocks.
pub const MAX_BLOCKS: usize = 24;
/// Policies of the namespaces in the matrix.
pub const MAX_POLICIES: usize = 5000;
/// Addresses of a block that are tried, to find one that no exception and no pod has.
const MAX_TRIED: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The revision of the objects that it is made from.
    pub revision: u64,
    /// `namespace/name`
    pub pod: String,
    /// Who may reach it.
    pub ingress: Matrix,
    /// Whom it may reach.
    pub egress: Matrix,
    /// What was left out, in sentences.
    pub left_out: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// The ports that rules or pods name; and one that none of them names, whose number is `null`.
    pub ports: Vec<PortColumn>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortColumn {
    pub protocol: String,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `null` of addresses.
    pub namespace: Option<String>,
    /// The labels of its pods, or a block of addresses.
    pub name: String,
    /// The pod or address that is judged for all.
    pub end: String,
    /// How many pods it stands for; 0 of addresses.
    pub pods: usize,
    /// By port.
    pub cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    Allow,
    Deny,
    /// Allowed over one IP version and not over the other.
    Mixed,
}

/// The part of a snapshot that a matrix is made from.
#[derive(Debug)]
pub struct Part {
    revision: u64,
    changes: Vec<Change>,
    namespace: Arc<str>,
    name: Arc<str>,
    workloads: Vec<Workload>,
    left_out: Vec<String>,
}

#[derive(Debug)]
struct Workload {
    namespace: Arc<str>,
    name: Arc<str>,
    pods: usize,
}

impl Part {
    /// Takes what the matrix of a pod needs.
    ///
    /// # Errors
    ///
    /// Why there is no matrix of it: a sentence.
    pub fn take(snapshot: &Snapshot, revision: u64, pod: &str) -> Result<Self, String> {
        let named = pod.split_once('/').and_then(|(ns, name)| snapshot.pod_named(ns, name));
        let pod = named.ok_or_else(|| format!("there is no pod {pod}; write namespace/name"))?;
        let name = format!("{}/{}", pod.namespace, pod.name);
        if pod.host_network {
            return Err(format!("{name} is on its host's network: no policy selects it"));
        }
        if !pod.has_identity() || pod.addresses.is_empty() {
            return Err(format!("{name} has no address of its own"));
        }
        let (mut peers, mut left_out) = (representatives(snapshot, pod), Vec::new());
        if peers.len() > MAX_WORKLOADS {
            let more = peers.len() - MAX_WORKLOADS;
            left_out.push(format!("{more} workloads more, beyond the first {MAX_WORKLOADS}"));
            peers.truncate(MAX_WORKLOADS);
        }
        let namespaces: BTreeSet<&str> =
            peers.iter().map(|(pod, _)| &*pod.namespace).chain([&*pod.namespace]).collect();
        let policies: usize = namespaces.iter().map(|it| snapshot.policies_of(it).count()).sum();
        if policies > MAX_POLICIES {
            left_out.push(format!("other namespaces: there are more than {MAX_POLICIES} policies"));
            peers.retain(|(peer, _)| peer.namespace == pod.namespace);
        }
        let ends = peers.iter().map(|(pod, _)| *pod).chain([pod]);
        let changes = excerpt_of(snapshot, ends.flat_map(|pod| pod.addresses.iter()));
        let workloads = peers.into_iter().map(|(pod, pods)| {
            let (namespace, name) = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
            Workload { namespace, name, pods }
        });
        let workloads = workloads.collect();
        let (namespace, name) = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
        Ok(Self { revision, changes, namespace, name, workloads, left_out })
    }

    /// Judges everything: of the largest clusters, some hundred milliseconds.
    pub fn judge(self) -> Reach {
        let mut snapshot = Snapshot::new();
        self.changes.into_iter().for_each(|change| snapshot.apply(change));
        let pod_name = format!("{}/{}", self.namespace, self.name);
        let Some(pod) = snapshot.pod_named(&self.namespace, &self.name) else {
            return Reach::default();
        };
        let mut judge = Judge::new(&snapshot);
        let matrix = |direction| matrix(&snapshot, &mut judge, pod, direction, &self.workloads);
        let [ingress, egress] = [Direction::Ingress, Direction::Egress].map(matrix);
        let (revision, left_out) = (self.revision, self.left_out);
        Reach { revision, pod: pod_name, ingress, egress, left_out }
    }
}

/// A pod of each kind, with how many there are of it: those of the pod's own namespace first.
fn representatives<'s>(snapshot: &'s Snapshot, own: &Pod) -> Vec<(&'s Pod, usize)> {
    // A snapshot holds each set of labels and of ports once.
    let mut kinds: HashMap<_, (&Pod, usize)> = HashMap::new();
    let with_address =
        snapshot.pods().filter(|pod| pod.has_identity() && !pod.addresses.is_empty());
    for pod in with_address.filter(|pod| (&pod.namespace, &pod.name) != (&own.namespace, &own.name))
    {
        let kind = (&pod.namespace, Arc::as_ptr(&pod.labels), pod.ports.as_ptr());
        let (first, count) = kinds.entry(kind).or_insert((pod, 0));
        *count += 1;
        if pod.name < first.name {
            *first = pod;
        }
    }
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.sort_unstable_by_key(|(pod, _)| {
        (pod.namespace != own.namespace, &pod.namespace, &pod.labels, &pod.name)
    });
    kinds
}

fn matrix(
    snapshot: &Snapshot,
    judge: &mut Judge<'_>,
    pod: &Pod,
    direction: Direction,
    workloads: &[Workload],
) -> Matrix {
    let selecting: Vec<&Policy> = snapshot
        .policies_of(&pod.namespace)
        .map(AsRef::as_ref)
        .filter(|it| it.isolates.in_direction(direction) && it.subjects.matches(&pod.labels))
        .collect();
    let peers = workloads.iter().filter_map(|it| snapshot.pod_named(&it.namespace, &it.name));
    let servers: Vec<&Pod> = match direction {
        Direction::Ingress => vec![pod],
        Direction::Egress => peers.collect(),
    };
    let ports = columns(&selecting, direction, &servers);
    let mut row = |end: &[IpAddr]| -> Vec<Cell> {
        ports.iter().map(|column| cell(judge, pod, direction, end, column)).collect()
    };
    let mut rows = Vec::new();
    for workload in workloads {
        let Some(peer) = snapshot.pod_named(&workload.namespace, &workload.name) else { continue };
        let addresses: Vec<IpAddr> = peer.addresses.iter().collect();
        let cells = row(&addresses);
        if !cells.is_empty() && shares_family(pod, &addresses) {
            let (namespace, end) =
                (workload.namespace.to_string(), format!("{}/{}", peer.namespace, peer.name));
            let (name, pods) = (labels(peer), workload.pods);
            rows.push(Row { namespace: Some(namespace), name, end, pods, cells });
        }
    }
    for (name, address) in blocks(snapshot, &selecting, direction) {
        if shares_family(pod, &[address]) {
            let cells = row(&[address]);
            rows.push(Row { namespace: None, name, end: address.to_string(), pods: 0, cells });
        }
    }
    Matrix { ports: ports.iter().map(Column::shown).collect(), rows }
}

fn labels(pod: &Pod) -> String {
    let labels: Vec<String> = pod.labels.iter().take(4).map(|(k, v)| format!("{k}={v}")).collect();
    if labels.is_empty() { format!("{} (no labels)", pod.name) } else { labels.join(", ") }
}

fn shares_family(pod: &Pod, addresses: &[IpAddr]) -> bool {
    addresses.iter().any(|address| pod.addresses.get(Family::of(*address)).is_some())
}

/// A column of a matrix, as it is judged.
struct Column {
    protocol: Protocol,
    port: u16,
    /// It stands for all ports that have no column.
    is_other: bool,
}

impl Column {
    fn shown(&self) -> PortColumn {
        let port = (!self.is_other).then_some(self.port);
        PortColumn { protocol: self.protocol.to_string(), port }
    }
}

fn columns(selecting: &[&Policy], direction: Direction, servers: &[&Pod]) -> Vec<Column> {
    let mut numbers: BTreeSet<(Protocol, u16)> = BTreeSet::new();
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for rule in selecting.iter().flat_map(|policy| policy.rules(direction)) {
        let Ports::AnyOf(ports) = &rule.ports else { continue };
        for port in ports {
            match &port.port {
                PortSpec::Any => {}
                PortSpec::Range { first, last } => {
                    ranges.push((*first, *last));
                    numbers.extend([(port.protocol, *first), (port.protocol, *last)]);
                }
                PortSpec::Named(name) => {
                    let named = servers.iter().flat_map(|pod| pod.named_ports(name, port.protocol));
                    numbers.extend(named.map(|number| (port.protocol, number)));
                }
            }
        }
    }
    let named = servers.iter().flat_map(|pod| pod.ports.iter());
    let rest: BTreeSet<_> = named.map(|port| (port.protocol, port.port)).collect();
    let mut chosen: Vec<(Protocol, u16)> = numbers.iter().copied().collect();
    chosen.extend(rest.difference(&numbers));
    chosen.truncate(MAX_PORTS - 1);
    chosen.sort_unstable();
    let is_named = |number: &u16| {
        ranges.iter().any(|(first, last)| (first..=last).contains(&number))
            || numbers.iter().chain(&rest).any(|(_, port)| port == number)
    };
    let column = |(protocol, port)| Column { protocol, port, is_other: false };
    let mut columns: Vec<_> = chosen.into_iter().map(column).collect();
    let other = (1..=u16::MAX).find(|number| !is_named(number));
    columns.extend(other.map(|port| Column { protocol: Protocol::Tcp, port, is_other: true }));
    columns
}

/// The verdict over every IP version that both ends have.
fn cell(
    judge: &mut Judge<'_>,
    pod: &Pod,
    direction: Direction,
    end: &[IpAddr],
    &Column { protocol, port, .. }: &Column,
) -> Cell {
    let mut verdicts = BTreeSet::new();
    for &other in end {
        let Some(own) = pod.addresses.get(Family::of(other)) else { continue };
        let (from, to) = match direction {
            Direction::Ingress => (other, own),
            Direction::Egress => (own, other),
        };
        let connection = Connection { from, to, protocol: protocol.number(), port };
        verdicts.insert(judge.judge(&connection).verdict);
    }
    match (verdicts.contains(&Verdict::Allow), verdicts.contains(&Verdict::Deny)) {
        (true, true) => Cell::Mixed,
        (true, false) => Cell::Allow,
        (false, _) => Cell::Deny,
    }
}

/// The blocks that rules name, their exceptions, and what is in none of them: each with an address of no pod.
fn blocks(
    snapshot: &Snapshot,
    selecting: &[&Policy],
    direction: Direction,
) -> Vec<(String, IpAddr)> {
    let rules = selecting.iter().flat_map(|policy| policy.rules(direction));
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Everyone => &[][..],
        Peers::AnyOf(peers) => peers,
    });
    let blocks: Vec<_> = peers
        .filter_map(|peer| match peer {
            Peer::Block(block) => Some(block),
            Peer::Pods { .. } => None,
        })
        .collect();
    let is_free = |address: &IpAddr| snapshot.owner(*address).is_none();
    let mut rows: BTreeMap<String, IpAddr> = BTreeMap::new();
    for block in blocks.iter().take(MAX_BLOCKS) {
        let inside = hosts(block.cidr).filter(is_free).find(|it| block.contains(*it));
        rows.extend(inside.map(|address| (block.cidr.to_string(), address)));
        for except in &block.except {
            let address = hosts(*except).find(is_free);
            let name = format!("{except}, an exception of {}", block.cidr);
            rows.extend(address.map(|address| (name, address)));
        }
    }
    let mut rows: Vec<_> = rows.into_iter().take(MAX_BLOCKS).collect();
    for (name, address) in elsewhere() {
        if is_free(&address) && !blocks.iter().any(|block| block.cidr.contains(&address)) {
            rows.push((name, address));
        }
    }
    rows
}

/// The first addresses of a block, but for that of the network itself.
fn hosts(block: IpNet) -> impl Iterator<Item = IpAddr> {
    let only = (block.prefix_len() == block.max_prefix_len()).then(|| block.addr());
    only.into_iter().chain(block.hosts().take(MAX_TRIED))
}

/// Addresses of no network (RFC 5737, RFC 3849).
fn elsewhere() -> [(String, IpAddr); 2] {
    [
        ("other IPv4 addresses".to_owned(), Ipv4Addr::new(203, 0, 113, 77).into()),
        (
            "other IPv6 addresses".to_owned(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77).into(),
        ),
    ]
}

#[cfg(test)]
mod tests;
