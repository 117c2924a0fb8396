//! Every decoder of bytes that come from outside, by name: what the kernel writes, what clients and the API server send, and manifests.
//!
//! `benches/fuzz` has a fuzz target for each, and a test replays the inputs that are kept there.

use palisade::decoders as agent;
use palisade_compiler::compile::{Compiler, Judge, Locality};
use palisade_compiler::explain::explain;
use palisade_compiler::lint::lint;
use palisade_compiler::model::Family;
use palisade_compiler::oracle;
use palisade_compiler::parse::parse;
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{Rng, probes};
use palisade_dataplane::netlink::decoders as netlink;

/// A decoder by its name. It panics where a promise about what it decoded does not hold.
pub type Decoder = (&'static str, fn(&[u8]));

/// Connections that are tried in each cluster.
const PROBES: usize = 32;
/// Objects of a cluster that is compiled: larger ones are only read.
const MAX_OBJECTS: usize = 64;

/// Sorted by name.
pub fn all() -> Vec<Decoder> {
    let own: [Decoder; 2] = [("cluster", cluster), ("manifests", manifests)];
    let mut all = [&netlink::DECODERS[..], &agent::DECODERS[..], &own[..]].concat();
    all.sort_unstable_by_key(|&(name, _)| name);
    all
}

/// Has the decoder of that name decode the input.
///
/// # Panics
///
/// If there is none of that name, or if it breaks a promise.
#[allow(clippy::panic, reason = "a wrong name is a mistake in a fuzz target and must stop it")]
pub fn decode(name: &str, input: &[u8]) {
    match all().into_iter().find(|&(known, _)| known == name) {
        Some((_, decoder)) => decoder(input),
        None => panic!("no decoder is named {name}"),
    }
}

/// Manifests, with what is wrong with them.
fn manifests(bytes: &[u8]) {
    for source in ["in.yaml", "in.json", "kustomization.yaml"] {
        let mut objects = 0;
        let parsed = parse(source, bytes, &mut |_| objects += 1);
        for diagnostic in &parsed.diagnostics {
            assert!(!diagnostic.to_string().is_empty());
        }
        assert!(parsed.readable || objects == 0 || !parsed.diagnostics.is_empty(), "{source}");
    }
}

/// What manifests declare, compiled: its verdicts are those of the specification, and whatever it is, it is explained and linted.
fn cluster(bytes: &[u8]) {
    let mut changes = Vec::new();
    parse("in.yaml", bytes, &mut |object| changes.push(Change::from(object)));
    if changes.is_empty() || changes.len() > MAX_OBJECTS {
        return;
    }
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(changes);
    let snapshot: &Snapshot = compiler.snapshot();
    let probes = probes(snapshot, &mut Rng::new(bytes.len() as u64));
    let mut judge = Judge::new(snapshot);
    for connection in probes.iter().take(PROBES) {
        let decision = oracle::decide(snapshot, connection);
        let dnat = connection.from == connection.to;
        let packet = Packet { dnat, ..Packet::first(*connection) };
        let verdict = eval_program(compiler.program(), &packet).verdict;
        let family = Family::of(connection.to);
        assert_eq!(verdict, decision.verdict, "{family:?} {connection:?}");
        assert_eq!(explain(&mut judge, connection, None).decision(), decision, "{connection:?}");
    }
    lint(snapshot);
}
