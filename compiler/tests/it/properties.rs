//! Random small clusters: the oracle, the matrix and the program give one verdict for every probe.

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Connection;
use palisade_compiler::oracle::{self, Decision, Reason};
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::testkit::{Cluster, Rng, probes};

use crate::seeds::{self, REGRESSIONS};

/// Clusters in one run, beside the regressions.
const CLUSTERS: u64 = 100_000;

#[test]
fn the_program_gives_the_verdict_of_the_oracle() {
    let probed = seeds::for_each(CLUSTERS, "PALISADE_CLUSTERS", REGRESSIONS, |seed| {
        let cluster = Cluster::random(seed);
        disagreement(&cluster, seed).map(|_| {
            let small = cluster.minimized(|cluster| disagreement(cluster, seed).is_some());
            let found = disagreement(&small, seed).unwrap_or_default();
            format!("{found}\n{small:#?}")
        })
    });
    println!("{probed} clusters: oracle == matrix == program");
}

fn disagreement(cluster: &Cluster, seed: u64) -> Option<String> {
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(cluster.changes.iter().cloned());
    disagreement_in(&compiler, &mut Rng::new(!seed))
}

/// The first probe on which the three do not agree.
pub(crate) fn disagreement_in(compiler: &Compiler, rng: &mut Rng) -> Option<String> {
    probes(compiler.snapshot(), rng).into_iter().find_map(|connection| {
        let decision = oracle::decide(compiler.snapshot(), &connection);
        let judged = compiler.judge(&connection);
        if judged != decision {
            return Some(format!("{connection:?}\noracle: {decision:?}\nmatrix: {judged:?}"));
        }
        if never_forwarded(&decision) {
            return None;
        }
        let evaluation = eval_program(compiler.program(), &first_packet(connection));
        (evaluation.verdict != decision.verdict)
            .then(|| format!("{connection:?}\noracle: {decision:?}\nprogram: {evaluation:?}"))
    })
}

/// Traffic of a pod with its own node passes the input and output hooks.
fn never_forwarded(decision: &Decision) -> bool {
    [&decision.egress, &decision.ingress].iter().any(|d| d.reason == Reason::OwnNode)
}

/// A pod's packets to itself meet the forward hook only where a Service sent them there.
pub(crate) fn first_packet(connection: Connection) -> Packet {
    Packet { dnat: connection.from == connection.to, ..Packet::first(connection) }
}
