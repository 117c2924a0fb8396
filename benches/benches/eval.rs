//! `eval/<way>`: one verdict in memory, by the program's walk and by the matrix. It is a model of the kernel, not the
//! kernel's match path.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Connection, Protocol};
use palisade_compiler::program::eval::{Packet, eval_program};

fn eval(c: &mut Criterion) {
    let universe = Universe::new(100_000, 10_000, Shape::Apps);
    let mut compiler = Compiler::new(Universe::locality());
    compiler.apply(universe.changes());
    let connections: Vec<Connection> = (0..1024)
        .filter_map(|n| {
            let address = |i| universe.pod(i).addresses.iter().next();
            let (from, to) = (address(n * 97 % universe.pods)?, address(universe.local(n))?);
            Some(Connection { from, to, protocol: Protocol::Tcp.number(), port: 8080 })
        })
        .collect();
    let mut group = c.benchmark_group("eval");
    let mut flow = connections.iter().cycle();
    group.bench_function("program", |b| {
        b.iter(|| {
            flow.next().map(|connection| {
                black_box(eval_program(compiler.program(), &Packet::first(*connection)).verdict)
            })
        });
    });
    group.bench_function("matrix", |b| {
        b.iter(|| flow.next().map(|connection| black_box(compiler.judge(connection).verdict)));
    });
    group.finish();
}

criterion_group!(benches, eval);
criterion_main!(benches);
