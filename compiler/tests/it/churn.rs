//! After any history the program is that of compiling the input from scratch.

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{Cluster, Rng, random_change};

use crate::properties::disagreement_in;
use crate::seeds;

/// Histories in one run, of this many batches each.
const HISTORIES: u64 = 4_000;
const BATCHES: usize = 12;

#[test]
fn incremental_is_from_scratch_after_any_history() {
    let ran = seeds::for_each(HISTORIES, "PALISADE_HISTORIES", seeds::REGRESSIONS, |seed| {
        history(seed).err()
    });
    println!("{ran} histories of {BATCHES} batches: incremental == from scratch == adopted");
}

fn history(seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(Cluster::random(seed).changes);
    let mut mirror = compiler.program().clone();
    for step in 0..BATCHES {
        let delta = if rng.chance(10) {
            compiler.tidy()
        } else {
            let batch: Vec<Change> =
                (0..=rng.below(3)).map(|_| random_change(&mut rng, compiler.snapshot())).collect();
            compiler.apply(batch)
        };
        delta.apply_to(&mut mirror);
        if mirror != *compiler.program() {
            return Err(format!("step {step}: the delta does not lead to the program"));
        }
        if let Some(text) = disagreement_in(&compiler, &mut rng) {
            return Err(format!("step {step}: {text}"));
        }
        let all = objects(compiler.snapshot());
        let mut fresh = Compiler::new(Locality::Everywhere);
        fresh.apply(all.clone());
        if fresh.program().canonical() != compiler.program().canonical() {
            let (fresh, ours) = (fresh.program(), compiler.program());
            return Err(format!("step {step}: from scratch {fresh:#?}\nincremental {ours:#?}"));
        }
        let mut adopting = Compiler::adopting(Locality::Everywhere, fresh.program());
        adopting.apply(all);
        if adopting.program() != fresh.program() {
            return Err(format!("step {step}: a restart would change the program"));
        }
    }
    Ok(())
}

/// The objects of a snapshot, as changes to an empty one.
pub(crate) fn objects(snapshot: &Snapshot) -> Vec<Change> {
    let namespaces = snapshot.namespaces().cloned().map(Change::ApplyNamespace);
    let nodes = snapshot.nodes().cloned().map(Change::ApplyNode);
    let pods = snapshot.pods().cloned().map(Change::ApplyPod);
    let policies = snapshot.policies().map(|policy| Change::ApplyPolicy((**policy).clone()));
    namespaces.chain(nodes).chain(pods).chain(policies).collect()
}
