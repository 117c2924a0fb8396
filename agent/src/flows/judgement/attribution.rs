//! Whom flows are put down to, in random clusters and after random changes: a denial names every policy that isolates, and an
//! allowed connection the rules that the specification says decide.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::compile::Locality;
use palisade_compiler::model::{Connection, Protocol};
use palisade_compiler::oracle::{self, DirectionDecision, Reason};
use palisade_compiler::program::live::LiveConnection;
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit};
use palisade_dataplane::netlink::nflog::PacketHeader;

use super::*;
use crate::flows::allowed::{self, AllowedConnection};

const CLUSTERS: u64 = 60;
/// Batches of changes after the first, and changes of one.
const BATCHES: usize = 5;
const CHANGES: usize = 4;
const PROBES: usize = 40;

#[test]
fn flows_are_put_down_to_what_decides_also_after_churn() {
    let mut found = Found::default();
    for seed in 0..CLUSTERS {
        let mut rng = Rng::new(seed);
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(Cluster::random(seed).changes);
        for _ in 0..=BATCHES {
            let all = probes(compiler.snapshot(), &mut rng);
            for connection in all.iter().take(PROBES) {
                check(&compiler, connection, seed, &mut found);
            }
            for _ in 0..CHANGES {
                let edit = random_edit(&mut rng, compiler.snapshot());
                compiler.apply(edit);
            }
        }
    }
    // It would prove nothing if there were none.
    assert!(found.denied > 1000 && found.allowed > 300, "{found:?}");
}

/// How many attributions were compared.
#[derive(Debug, Default)]
struct Found {
    denied: usize,
    allowed: usize,
}

fn check(compiler: &Compiler, connection: &Connection, seed: u64, found: &mut Found) {
    let decision = oracle::decide(compiler.snapshot(), connection);
    let pending = Delta::default();
    let revisions = RevisionLog::default();
    let evidence = Evidence { compiler, revision: 1, revisions: &revisions, pending: &pending };
    let sides = allowed::judge(evidence, &[of_allowed(connection)]).remove(0);
    for (direction, expected) in
        [(Direction::Egress, &decision.egress), (Direction::Ingress, &decision.ingress)]
    {
        let context = || format!("seed {seed}: {direction} of {connection:?}: {expected:?}");
        match &expected.reason {
            Reason::Denied { isolated_by } => {
                let [judged] =
                    judge(evidence, &[of_denied(connection, direction)]).try_into().unwrap();
                let judgement: Judgement = judged.judgement;
                let named: Vec<String> = isolated_by.iter().map(ToString::to_string).collect();
                assert_eq!(judgement.isolated_by, named, "{}", context());
                assert_eq!(judgement.misses.len(), named.len(), "{}", context());
                assert_eq!((judgement.further, judgement.divergence), (0, None), "{}", context());
                found.denied += 1;
            }
            Reason::Allowed { .. } => {
                let side = sides.iter().find(|side| side.direction == direction).unwrap();
                assert_eq!(
                    rules(&side.judged.judgement),
                    expected_rules(expected),
                    "{}",
                    context()
                );
                assert_eq!(side.judged.judgement.divergence, None, "{}", context());
                found.allowed += 1;
            }
            Reason::NotAPod | Reason::NotIsolated | Reason::OwnNode | Reason::Itself => {
                for side in sides.iter().filter(|side| side.direction == direction) {
                    assert_eq!(rules(&side.judged.judgement), [], "{}", context());
                }
            }
        }
    }
}

fn rules(judgement: &Judgement) -> Vec<(String, usize)> {
    judgement.allowed_by.iter().map(|rule| (rule.policy.clone(), rule.rule)).collect()
}

fn expected_rules(expected: &DirectionDecision) -> Vec<(String, usize)> {
    let Reason::Allowed { by } = &expected.reason else { return Vec::new() };
    by.iter().map(|rule| (rule.policy.to_string(), rule.rule)).collect()
}

fn of_allowed(connection: &Connection) -> AllowedConnection {
    let live = LiveConnection { connection: *connection, dnat: false, midstream: None };
    AllowedConnection { live, is_expected: false, service: None, at: Instant::now() }
}

fn of_denied(connection: &Connection, direction: Direction) -> Observation {
    let Connection { from, to, protocol, port } = *connection;
    let upper = match Protocol::from_number(protocol) {
        Some(_) => Upper::Ports { source: 40_000, destination: port, tcp_flags: 2 },
        None => Upper::Other,
    };
    Observation {
        direction,
        header: PacketHeader {
            source: from,
            destination: to,
            protocol,
            tos: 0,
            hop_limit: 63,
            upper,
        },
        at: Instant::now(),
        time: Timestamp::now(),
    }
}
