//! `compile/<pods>-pods-<policies>-policies/<shape>`: from objects in memory to the program of one node, from scratch, on one thread.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;

fn compile(c: &mut Criterion) {
    let sizes = [(1_000, 100), (10_000, 1_000), (100_000, 10_000)];
    let apps = sizes.map(|(pods, policies)| Universe::new(pods, policies, Shape::Apps));
    let shapes = [
        Universe::new(100_000, 1_000, Shape::Blocks),
        Universe::new(100_000, 250, Shape::EveryNamespace),
        Universe::new(100_000, 10_000, Shape::Names),
        Universe::new(100_000, 10_000, Shape::Negations),
        Universe::new(100_000, 10_000, Shape::NamedPorts),
    ];
    for universe in apps.into_iter().chain(shapes) {
        let (pods, policies) = (universe.pods, universe.policies);
        let mut group = c.benchmark_group(format!("compile/{pods}-pods-{policies}-policies"));
        group.sample_size(10).warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(8));
        let changes = universe.changes();
        group.bench_function(universe.shape.name(), |b| {
            b.iter_batched(
                || changes.clone(),
                |changes| {
                    let mut compiler = Compiler::new(Universe::locality());
                    black_box(compiler.apply(changes));
                    compiler
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, compile);
criterion_main!(benches);
