//! The verdict that real packets meet == the verdict of the oracle, for random clusters.
//!
//! Each cluster is compiled and loaded into the kernel of a lab's node, its connections are tried there, then it changes
//! and is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Connection, Family, Pod, Protocol, Verdict};
use palisade_compiler::oracle::{Decision, Reason, decide};
use palisade_compiler::snapshot::Snapshot;
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit, show};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::Kernel;
use palisade_lab::packet::GRE;
use palisade_lab::{Conversation, Host, Lab, LabSpec, Layout, unsupported};

use crate::scene::host_facts;

/// Clusters that a run tries; PALISADE_PACKET_CLUSTERS says otherwise.
const CLUSTERS: u64 = 200;
/// Of each cluster, connections with whole conversations over ordinary sockets.
const CONVERSATIONS: usize = 12;
/// Random edits after the first load, planned and committed as one change.
const EDITS: usize = 3;

#[test]
fn what_packets_meet_is_what_the_oracle_says() {
    let wanted = match std::env::var("PALISADE_PACKET_CLUSTERS") {
        Ok(text) => text.parse().expect("PALISADE_PACKET_CLUSTERS is a number"),
        Err(_) => CLUSTERS,
    };
    let begun = Instant::now();
    let mut total = Tally::default();
    let mut clusters = 0;
    let mut seed = 0;
    while clusters < wanted {
        seed += 1;
        if let Some(tally) = try_cluster(seed) {
            clusters += 1;
            total.add(&tally);
        }
    }
    println!("{clusters} clusters (of {seed} seeds) in {:?}: {total:?}", begun.elapsed());
    // A run that only ever saw one verdict, or one kind of connection, would prove little.
    for (what, [allowed, denied]) in &total.probes {
        assert!(
            *allowed >= wanted && *denied >= wanted,
            "{what:?}: {allowed} allowed, {denied} denied"
        );
    }
    assert_eq!(total.probes.len(), 2 * 2 * 3, "layouts, families, protocols with ports");
}

/// What was tried. For each layout, family and protocol: allowed and denied.
#[derive(Debug, Default)]
struct Tally {
    probes: BTreeMap<(bool, Family, Protocol), [u64; 2]>,
    conversations: u64,
    building: Duration,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for (&what, counts) in &other.probes {
            let sum = self.probes.entry(what).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.conversations += other.conversations;
        self.building += other.building;
    }
}

/// A cluster on its lab.
struct Trial {
    seed: u64,
    cluster: Cluster,
    locality: Locality,
    compiler: Compiler,
    lab: Lab,
}

/// `None` where there is nothing to try: no local pod with an address that a lab can have.
fn try_cluster(seed: u64) -> Option<Tally> {
    let mut rng = Rng::new(seed);
    let cluster = Cluster::random(seed);
    let snapshot = cluster.snapshot();
    let layout = if seed.is_multiple_of(2) { Layout::Routed } else { Layout::Bridged };
    let locality = match seed / 2 % 2 {
        0 => Locality::Everywhere,
        _ => Locality::Node("n1".into()),
    };
    let pods = local_hosts(&snapshot, &locality);
    if pods.is_empty() {
        return None;
    }
    let connections = probes(&snapshot, &mut rng);
    let own: BTreeSet<_> = pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
    let others = |a: &IpAddr| !own.contains(a) && unsupported(*a).is_none();
    let ends: BTreeSet<_> =
        connections.iter().flat_map(|c| [c.from, c.to]).filter(others).collect();
    let outside = ends.into_iter().collect();
    let begun = Instant::now();
    let lab = Lab::new(&LabSpec { outside, ..LabSpec::new(layout, pods) }).expect("a lab");
    let mut tally = Tally { building: begun.elapsed(), ..Tally::default() };
    let mut compiler = Compiler::new(locality.clone());
    compiler.apply(cluster.changes.iter().cloned());
    let mut trial = Trial { seed, cluster, locality, compiler, lab };
    let mut dataplane = trial.load();
    trial.try_all(&connections, &mut tally);
    let before = tally.probes.values().flatten().sum::<u64>();
    trial.change(&mut rng, &mut dataplane);
    // What has no ports has had its connections.
    let again: Vec<_> = connections.into_iter().filter(|c| c.protocol != GRE).collect();
    trial.try_all(&again, &mut tally);
    (before > 0).then_some(tally)
}

fn is_local(locality: &Locality, pod: &Pod) -> bool {
    match locality {
        Locality::Everywhere => true,
        Locality::Node(name) => pod.node.as_ref() == Some(name),
    }
}

/// The local pods with the addresses they own, as far as a lab can have these.
fn local_hosts(snapshot: &Snapshot, locality: &Locality) -> Vec<Host> {
    let mut hosts: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for address in snapshot.pods().flat_map(|pod| pod.addresses.iter()) {
        let owner = snapshot.owner(address).filter(|pod| is_local(locality, pod));
        if let Some(owner) = owner.filter(|_| unsupported(address).is_none()) {
            let name = format!("{}/{}", owner.namespace, owner.name);
            hosts.entry(name).or_default().insert(address);
        }
    }
    let host = |(name, addresses): (_, BTreeSet<_>)| Host {
        name,
        addresses: addresses.into_iter().collect(),
    };
    hosts.into_iter().map(host).collect()
}

impl Trial {
    /// What the node's tables must hold beside the program.
    fn host(&self) -> HostFacts {
        host_facts(&self.lab, &self.compiler)
    }

    /// Makes the tables in the node.
    fn load(&self) -> Dataplane<Kernel> {
        let kernel = self.lab.node().run(Kernel::open).expect("entered").expect("nf_tables");
        let mut dataplane = Dataplane::start(kernel).expect("started");
        dataplane.set_host(self.host());
        let installed = dataplane.install(self.compiler.program());
        installed.unwrap_or_else(|error| panic!("{error}\n{self}"));
        dataplane
    }

    /// Edits the cluster, and carries the change out in the kernel.
    fn change(&mut self, rng: &mut Rng, dataplane: &mut Dataplane<Kernel>) {
        for _ in 0..EDITS {
            let edit = random_edit(rng, self.compiler.snapshot());
            self.cluster.changes.extend(edit.iter().cloned());
            let delta = self.compiler.apply(edit);
            dataplane.set_host(self.host());
            dataplane.update(&delta).unwrap_or_else(|error| panic!("{error}\n{self}"));
        }
    }

    fn try_all(&self, connections: &[Connection], tally: &mut Tally) {
        let tried: Vec<_> = connections.iter().filter_map(|c| self.expectation(c)).collect();
        let tried = without_reverse(tried);
        let connections: Vec<_> = tried.iter().map(|(c, _)| *c).collect();
        let seen = self.lab.probe(&connections).expect("probed");
        for (&(connection, verdict), seen) in tried.iter().zip(seen) {
            assert_eq!(seen, verdict, "{connection:?}\n{self}");
            if let Some(protocol) = Protocol::from_number(connection.protocol) {
                let routed = self.lab.layout() == Layout::Routed;
                let what = (routed, Family::of(connection.from), protocol);
                tally.probes.entry(what).or_default()[usize::from(verdict == Verdict::Deny)] += 1;
            }
        }
        let ordinary =
            |(c, _): &&(Connection, Verdict)| matches!(c.protocol, 6 | 17) && c.port != 0;
        let ordinary: Vec<_> = tried.iter().filter(ordinary).take(CONVERSATIONS).collect();
        let connections: Vec<_> = ordinary.iter().map(|(c, _)| *c).collect();
        let outcomes = self.lab.converse(&connections).expect("tried");
        for (&&(connection, verdict), outcome) in ordinary.iter().zip(outcomes) {
            let expected = match verdict {
                Verdict::Allow => Conversation::Answered,
                Verdict::Deny => Conversation::Dropped,
            };
            assert_eq!(outcome, expected, "{connection:?}\n{self}");
        }
        tally.conversations += ordinary.len() as u64;
    }

    /// The verdict of this node, which judges for its own pods alone; `None` for what does not pass its forwarding.
    fn expectation(&self, connection: &Connection) -> Option<(Connection, Verdict)> {
        let (from, to) = (connection.from, connection.to);
        let (source, target) = (self.lab.machine_of(from)?, self.lab.machine_of(to)?);
        if source.name == target.name {
            return None;
        }
        let snapshot = self.compiler.snapshot();
        let local = |address| snapshot.owner(address).is_some_and(|p| is_local(&self.locality, p));
        let Decision { egress, ingress, .. } = decide(snapshot, connection);
        let mut verdict = Verdict::Allow;
        for (end, decision) in [(from, egress), (to, ingress)] {
            if local(end) {
                // A host's own packets pass other hooks.
                if decision.reason == Reason::OwnNode {
                    return None;
                }
                verdict = verdict.and(decision.verdict);
            }
        }
        Some((*connection, verdict))
    }
}

/// Leaves out what without ports would be the answer of another connection, or the same once more.
fn without_reverse(tried: Vec<(Connection, Verdict)>) -> Vec<(Connection, Verdict)> {
    let mut pairs = BTreeSet::new();
    let mut first = |c: &Connection| pairs.insert((c.from.min(c.to), c.from.max(c.to)));
    tried.into_iter().filter(|(c, _)| c.protocol != GRE || first(c)).collect()
}

/// What is needed to see a failure again.
impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}, {:?}, {:?}", self.seed, self.lab.layout(), self.locality)?;
        for machine in self.lab.machines() {
            writeln!(f, "machine {} {:?}", machine.name, machine.addresses)?;
        }
        self.cluster.changes.iter().try_for_each(|change| writeln!(f, "{}", show::show(change)))
    }
}
