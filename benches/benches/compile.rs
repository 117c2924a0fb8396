//! `compile/<pods>-pods-<policies>-policies/<shape>`: from objects in memory to the program of one node, from scratch, on
//! one thread. What it allocates is printed as well.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, criterion_group, criterion_main};
use palisade_benches::allocations::{Counting, counted};
use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;
use palisade_compiler::snapshot::Change;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn compile(c: &mut Criterion) {
    let sizes = [1_000, 10_000, 100_000]
        .into_iter()
        .flat_map(|pods| [100, 1_000, 10_000].map(|policies| (pods, policies)));
    let apps = sizes.map(|(pods, policies)| Universe::new(pods, policies, Shape::Apps));
    let shapes = [
        Universe::new(100_000, 1_000, Shape::Blocks),
        Universe::new(100_000, 250, Shape::EveryNamespace),
        Universe::new(100_000, 10_000, Shape::Names),
        Universe::new(100_000, 10_000, Shape::Negations),
        Universe::new(100_000, 10_000, Shape::NamedPorts),
    ];
    for universe in apps.chain(shapes) {
        let size = format!("compile/{}-pods-{}-policies", universe.pods, universe.policies);
        let mut group = c.benchmark_group(&size);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(4));
        let changes = universe.changes();
        let (_, allocations) = counted(|| from_scratch(universe.changes()));
        let (_, input) = counted(|| universe.changes());
        let name = universe.shape.name();
        println!(
            "{size}/{name}: {} allocations, {} bytes",
            allocations.count - input.count,
            allocations.bytes - input.bytes
        );
        group.bench_function(name, |b| {
            b.iter_batched(|| changes.clone(), from_scratch, BatchSize::PerIteration);
        });
        group.finish();
    }
}

fn from_scratch(changes: Vec<Change>) -> Compiler {
    let mut compiler = Compiler::new(Universe::locality());
    black_box(compiler.apply(changes));
    compiler
}

criterion_group!(benches, compile);
criterion_main!(benches);
