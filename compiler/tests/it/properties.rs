//! Random clusters: the compiled program gives every connection the verdict that the specification gives it.

use palisade_compiler::compile::{Compiler, Judge, Locality, count_subjects};
use palisade_compiler::explain::{Explanation, Outcome, explain};
use palisade_compiler::model::{Connection, Family, Pod, Verdict};
use palisade_compiler::oracle::{self, Decision, Reason};
use palisade_compiler::program::Program;
use palisade_compiler::program::eval::{Packet, eval_program, run};
use palisade_compiler::snapshot::Snapshot;
use palisade_compiler::testkit::{Cluster, Rng, probes};

use crate::churn::contents;
use crate::parallel::{count, for_each_seed, guarded};

/// Overridden by `PALISADE_CLUSTERS`.
const CLUSTERS: u64 = 100_000;
const WIDE_CLUSTERS: u64 = 3_000;

#[test]
fn the_program_means_what_the_specification_says() {
    let regressions = include_str!("../regressions/clusters.txt");
    for_each_seed(regressions, count("PALISADE_CLUSTERS", CLUSTERS), |seed| {
        check_cluster(&Cluster::random(seed), seed)
    });
}

#[test]
fn the_program_means_what_the_specification_says_of_many_ports_too() {
    let regressions = include_str!("../regressions/wide_clusters.txt");
    for_each_seed(regressions, count("PALISADE_WIDE_CLUSTERS", WIDE_CLUSTERS), |seed| {
        check_cluster(&Cluster::random_wide(seed), seed)
    });
}

fn check_cluster(cluster: &Cluster, seed: u64) -> Result<(), String> {
    let check = |cluster: &Cluster| guarded(|| check(cluster, seed));
    if check(cluster).is_ok() {
        return Ok(());
    }
    // The probes follow the cluster, so a smaller one may fail at another of them.
    let least = cluster.minimized(|smaller| check(smaller).is_err());
    let message = check(&least).err().unwrap_or_default();
    Err(format!("{message}\nin the cluster\n{least}"))
}

fn check(cluster: &Cluster, seed: u64) -> Result<(), String> {
    let locality = locality(seed);
    let mut compiler = Compiler::new(locality.clone());
    compiler.apply(cluster.changes.iter().cloned());
    let probes = probes(compiler.snapshot(), &mut Rng::new(seed));
    agree(compiler.snapshot(), &locality, compiler.program(), &probes)?;
    counts_and_loads_alike(&compiler, &locality)?;
    let everywhere = locality == Locality::Everywhere;
    let mut judge = Judge::new(compiler.snapshot());
    for connection in &probes {
        let decision = oracle::decide(compiler.snapshot(), connection);
        if everywhere {
            same("the matrix", connection, &compiler.judge(connection), &decision)?;
        }
        same("the judge", connection, &judge.judge(connection), &decision)?;
        let explanation = explain(&mut judge, connection, None);
        same("the explanation", connection, &explanation.decision(), &decision)?;
        names_its_reasons(&explanation)?;
    }
    Ok(())
}

/// Subjects are counted before a compile as the compile has them; and an input that is loaded whole is compiled alike.
fn counts_and_loads_alike(compiler: &Compiler, locality: &Locality) -> Result<(), String> {
    let counted = count_subjects(compiler.snapshot(), locality);
    for family in Family::ALL {
        let tables = compiler.program().family(family);
        let subjects = tables.local_in.len().max(tables.local_out.len());
        if counted[family] != subjects {
            return Err(format!("{} subjects were counted, {subjects} are there", counted[family]));
        }
    }
    let mut loaded = Compiler::new(locality.clone());
    let mut mirror = Program::default();
    let mut snapshot = Snapshot::new();
    contents(compiler.snapshot()).into_iter().for_each(|change| snapshot.apply(change));
    loaded.load(snapshot).apply_to(&mut mirror);
    if loaded.program().canonical() != compiler.program().canonical() {
        return Err("what is loaded is compiled otherwise than what is applied".to_owned());
    }
    if *loaded.program() != mirror {
        return Err("the delta of a load does not give its program".to_owned());
    }
    Ok(())
}

fn same(
    what: &str,
    connection: &Connection,
    found: &Decision,
    expected: &Decision,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{connection:?}\n  the oracle: {expected:?}\n  {what}: {found:?}"))
}

/// Each policy that isolates says of each of its rules what differs, in peers, ports or both.
fn names_its_reasons(explanation: &Explanation) -> Result<(), String> {
    for side in [&explanation.egress, &explanation.ingress] {
        let Outcome::Denied { misses, further } = &side.outcome else { continue };
        if misses.len() + further != side.isolated_by.len() {
            return Err(format!("not every policy is there: {side:?}"));
        }
        for miss in misses.iter().flat_map(|policy| &policy.rules) {
            if miss.peers.is_none() && miss.ports.is_none() {
                return Err(format!("nothing differs: {side:?}"));
            }
        }
    }
    Ok(())
}

/// A standalone host, and one of the nodes that random pods are bound to, by turns.
pub(crate) fn locality(seed: u64) -> Locality {
    match seed % 2 {
        0 => Locality::Everywhere,
        _ => Locality::Node("n1".into()),
    }
}

/// What the specification asks of this node, which judges for its own pods alone. Most of what a node and its pods exchange
/// never meets the rules; what does, as a packet to an external address of the node, is allowed.
pub(crate) fn asked(snapshot: &Snapshot, locality: &Locality, connection: &Connection) -> Verdict {
    let is_local = |pod: &Pod| match locality {
        Locality::Everywhere => true,
        Locality::Node(name) => pod.node.as_ref() == Some(name),
    };
    let Decision { egress, ingress, .. } = oracle::decide(snapshot, connection);
    let mut verdict = Verdict::Allow;
    for (end, decision) in [(connection.from, egress), (connection.to, ingress)] {
        if snapshot.owner(end).is_some_and(is_local) {
            verdict = verdict.and(decision.verdict);
        }
    }
    verdict
}

/// Oracle and program agree on every probe.
pub(crate) fn agree(
    snapshot: &Snapshot,
    locality: &Locality,
    program: &Program,
    probes: &[Connection],
) -> Result<(), String> {
    for connection in probes {
        let verdict = asked(snapshot, locality, connection);
        let dnat = connection.from == connection.to;
        let packet = Packet { dnat, ..Packet::first(*connection) };
        let family = Family::of(connection.to);
        if run(&mut program.family(family), family, &packet, &mut ()).0 != verdict {
            let Decision { egress, ingress, .. } = oracle::decide(snapshot, connection);
            let reasons = [&egress.reason, &ingress.reason];
            return Err(differ(connection, &packet, program, verdict, reasons));
        }
    }
    Ok(())
}

fn differ(
    connection: &Connection,
    packet: &Packet,
    program: &Program,
    verdict: Verdict,
    [egress, ingress]: [&Reason; 2],
) -> String {
    let found = eval_program(program, packet);
    let Connection { from, to, protocol, port } = connection;
    format!(
        "{from} -> {to} protocol {protocol} port {port}\n  \
         the oracle: {verdict} (egress: {egress}; ingress: {ingress})\n  \
         the program: {} ({found})",
        found.verdict
    )
}
