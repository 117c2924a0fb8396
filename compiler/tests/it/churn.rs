//! Random histories: after every batch of changes the program is what a compile from scratch gives, and means what the
//! specification says.

use std::net::Ipv4Addr;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::PolicyRule;
use palisade_compiler::oracle;
use palisade_compiler::program::Program;
use palisade_compiler::snapshot::{Change, ObjectKind, Snapshot, UndeclaredNamespaces};
use palisade_compiler::testkit::build::{pod, policy, rule};
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit, relist, widen};

use crate::parallel::{count, for_each_seed, guarded};
use crate::properties::{agree, locality};

/// Overridden by `PALISADE_HISTORIES`.
const HISTORIES: u64 = 3_000;
/// Batches of a history, and changes of a batch at most.
const BATCHES: usize = 12;
const BATCH: usize = 4;

#[test]
fn any_history_leads_to_the_same_program() {
    let regressions = include_str!("../regressions/histories.txt");
    for_each_seed(regressions, count("PALISADE_HISTORIES", HISTORIES), |seed| {
        let batches = history(seed);
        let steps = Cluster { changes: batches.concat() };
        let sizes = sizes(&batches, seed);
        let Err(message) = guarded(|| replay(&steps.changes, &sizes, seed)) else {
            return Ok(());
        };
        // Batches of one change are simpler, if they fail as well.
        let single = |steps: &Cluster| {
            guarded(|| replay(&steps.changes, &vec![1; steps.changes.len()], seed))
        };
        if single(&steps).is_ok() {
            return Err(format!("{message}\nin batches of {sizes:?}\n{steps}"));
        }
        let least = steps.minimized(|steps| single(steps).is_err());
        Err(format!("{}\none by one\n{least}", single(&least).err().unwrap_or_default()))
    });
}

/// One history in four has policies with long lists of ports.
pub(crate) fn history(seed: u64) -> Vec<Vec<Change>> {
    let is_wide = seed % 4 == 3;
    let mut rng = Rng::new(seed);
    let mut snapshot = Snapshot::new();
    let first = if is_wide { Cluster::random_wide(seed) } else { Cluster::random(seed) }.changes;
    first.iter().cloned().for_each(|change| snapshot.apply(change));
    let mut batches = vec![first];
    for _ in 0..BATCHES {
        let batch: Vec<Vec<Change>> = rng.many(1, BATCH, |rng| {
            let mut edit = random_edit(rng, &snapshot);
            if is_wide {
                edit.iter_mut().for_each(|change| widen(rng, change));
            }
            edit.iter().cloned().for_each(|change| snapshot.apply(change));
            edit
        });
        batches.push(batch.concat());
    }
    batches
}

/// The sizes of the batches that a history is applied in: as it was made, or cut elsewhere, so that a reset may begin in one
/// batch and end in another.
fn sizes(batches: &[Vec<Change>], seed: u64) -> Vec<usize> {
    let made: Vec<usize> = batches.iter().map(Vec::len).collect();
    let Some((&first, rest)) = made.split_first().filter(|_| seed.is_multiple_of(2)) else {
        return made;
    };
    let (mut rng, mut left) = (Rng::new(seed), rest.iter().sum::<usize>());
    let mut sizes = vec![first];
    while left > 0 {
        let size = (1 + rng.below(2 * BATCH)).min(left);
        sizes.push(size);
        left -= size;
    }
    sizes
}

/// Namespaces that nothing declares exist in two of three histories.
fn undeclared(seed: u64) -> UndeclaredNamespaces {
    if seed.is_multiple_of(3) {
        UndeclaredNamespaces::Absent
    } else {
        UndeclaredNamespaces::Implied
    }
}

/// Applies the changes in batches of these sizes. After each: the deltas add up to the program, it equals one compiled
/// from scratch, and it agrees with the oracle; also after housekeeping.
fn replay(changes: &[Change], batches: &[usize], seed: u64) -> Result<(), String> {
    let locality = locality(seed);
    let mode = undeclared(seed);
    let mut compiler = Compiler::new(locality.clone()).with_undeclared(mode);
    let mut mirror = Program::default();
    let mut rng = Rng::new(seed);
    let mut rest = changes;
    for &size in batches {
        let (batch, later) = rest.split_at(size);
        rest = later;
        compiler.apply(batch.iter().cloned()).apply_to(&mut mirror);
        check(&compiler, (&locality, mode), &mirror, &mut rng)?;
        if rng.chance(20) {
            compiler.tidy().apply_to(&mut mirror);
            check(&compiler, (&locality, mode), &mirror, &mut rng)
                .map_err(|m| format!("after tidy: {m}"))?;
        }
    }
    Ok(())
}

fn check(
    compiler: &Compiler,
    (locality, mode): (&Locality, UndeclaredNamespaces),
    mirror: &Program,
    rng: &mut Rng,
) -> Result<(), String> {
    let snapshot = compiler.snapshot();
    let counted = (snapshot.namespaces().count(), snapshot.policies().count());
    if counted != (snapshot.namespace_count(), snapshot.policy_count()) {
        return Err(format!("namespaces and policies are {counted:?}: {:?}", compiler.stats()));
    }
    if compiler.program() != mirror {
        return Err(format!("the deltas give {mirror:#?}\nnot {:#?}", compiler.program()));
    }
    let mut scratch = Compiler::new(locality.clone()).with_undeclared(mode);
    scratch.apply(contents(compiler.snapshot()));
    let (here, there) = (compiler.program().canonical(), scratch.program().canonical());
    if here != there {
        return Err(format!("this history gives {here:#?}\nfrom scratch it is {there:#?}"));
    }
    let adopting = Compiler::adopting(locality.clone(), scratch.program());
    let mut adopting = adopting.with_undeclared(mode);
    adopting.apply(contents(compiler.snapshot()));
    if adopting.program() != scratch.program() {
        return Err("a restart would change the program".to_owned());
    }
    let probes = probes(compiler.snapshot(), rng);
    let judged = probes.iter().filter(|_| *locality == Locality::Everywhere);
    for connection in judged {
        let (judged, decided) =
            (compiler.judge(connection), oracle::decide(compiler.snapshot(), connection));
        if judged != decided {
            return Err(format!("{connection:?}: the matrix: {judged:?}\nthe oracle: {decided:?}"));
        }
    }
    agree(compiler.snapshot(), locality, compiler.program(), &probes)
}

/// What is there, as the changes that make it from nothing.
pub(crate) fn contents(snapshot: &Snapshot) -> Vec<Change> {
    let policies = snapshot.policies().map(|p| Change::ApplyPolicy(p.as_ref().clone()));
    let namespaces = snapshot.namespaces().cloned().map(Change::ApplyNamespace);
    [
        relist(ObjectKind::Policy, policies),
        relist(ObjectKind::Pod, snapshot.pods().cloned().map(Change::ApplyPod)),
        relist(ObjectKind::Node, snapshot.nodes().cloned().map(Change::ApplyNode)),
        relist(ObjectKind::Namespace, namespaces),
    ]
    .concat()
}

/// Two classes that come to mean the same, of more addresses than are moved at a time otherwise.
#[test]
fn tidying_ends_also_where_classes_are_heavy() {
    let guard = |apps: &[&str]| {
        let all = |rule: PolicyRule, app: &&str| rule.pods(&format!("app={app}"));
        let from = apps.iter().fold(rule(), all);
        Change::ApplyPolicy(policy("x/guard").select("app=server").isolate_ingress().allow_in(from))
    };
    let with = |app: &str, at: u32| {
        let address = Ipv4Addr::from(0x0a00_0000 + at).to_string();
        Change::ApplyPod(pod(&format!("x/p{at}")).labelled(&format!("app={app}")).ip(&address))
    };
    let mut compiler = Compiler::new(Locality::Everywhere);
    let pods = (1000..2500).map(|at| with("a", at)).chain((3000..4500).map(|at| with("b", at)));
    compiler.apply([with("server", 1), guard(&["a"])].into_iter().chain(pods));
    compiler.apply([guard(&["a", "b"])]);
    for _ in 0..10 {
        compiler.tidy();
    }
    assert!(!compiler.is_untidy(), "{:?}", compiler.stats());
}
