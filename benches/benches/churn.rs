//! `churn/<event>`: one change of a cluster of 100,000 pods and 10,000 policies, to the change of the program.
//!
//! An event and what undoes it are timed together, so that the cluster stays as it was: the figure is for the two.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::namespace;

fn churn(c: &mut Criterion) {
    let universe = Universe::new(100_000, 10_000, Shape::Apps);
    let mut compiler = Compiler::new(Universe::locality());
    compiler.apply(universe.changes());
    let remote: Vec<usize> = (0..universe.pods).filter(|&i| !universe.is_local(i)).collect();
    let mut group = c.benchmark_group("churn");
    let mut at = 0;
    let mut next = move || {
        at = (at + 7919) % remote.len();
        remote.get(at).copied().unwrap_or_default()
    };
    group.bench_function("pod-gone-and-born", |b| {
        b.iter(|| {
            let i = next();
            black_box(compiler.apply([universe.delete(i)]));
            black_box(compiler.apply([Change::ApplyPod(universe.pod(i))]));
        });
    });
    group.bench_function("pod-relabelled-and-back", |b| {
        b.iter(|| {
            let i = next();
            black_box(compiler.apply([Change::ApplyPod(universe.relabelled(i))]));
            black_box(compiler.apply([Change::ApplyPod(universe.pod(i))]));
        });
    });
    let mut local = 0;
    group.bench_function("local-pod-gone-and-born", |b| {
        b.iter(|| {
            local += 1;
            let i = universe.local(local);
            black_box(compiler.apply([universe.delete(i)]));
            black_box(compiler.apply([Change::ApplyPod(universe.pod(i))]));
        });
    });
    group.bench_function("policy-of-a-local-pod-gone-and-back", |b| {
        let policy = universe.policy(0);
        b.iter(|| {
            black_box(compiler.apply([Change::DeletePolicy(policy.key.clone())]));
            black_box(compiler.apply([Change::ApplyPolicy(policy.clone())]));
        });
    });
    group.bench_function("namespace-relabelled-and-back", |b| {
        b.iter(|| {
            let relabelled = namespace("ns-7", "team=team-8");
            black_box(compiler.apply([Change::ApplyNamespace(relabelled)]));
            let back = namespace("ns-7", "team=team-7");
            black_box(compiler.apply([Change::ApplyNamespace(back)]));
        });
    });
    group.bench_function("open-to-all-namespaces-and-gone", |b| {
        let policy = universe.everywhere_open();
        b.iter(|| {
            black_box(compiler.apply([Change::ApplyPolicy(policy.clone())]));
            black_box(compiler.apply([Change::DeletePolicy(policy.key.clone())]));
        });
    });
    group.finish();
}

criterion_group!(benches, churn);
criterion_main!(benches);
