//! `encode/elements/<n>`: from elements to the bytes of one transaction. `commit/...`: from the bytes to the kernel's
//! acknowledgement, in a network namespace whose map has 100,000 pods; and whole events of pods, from the program's change
//! to the acknowledgement. `load/<pods>-pods-<policies>-policies`: a whole program into empty tables. Needs root.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]
#![allow(clippy::expect_used, reason = "a bench that measures nothing must not go on")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use palisade_benches::allocations::{Counting, counted};
use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;
use palisade_compiler::program::ClassId;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::snapshot::Change;
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset, TableName};
use palisade_dataplane::transaction::{
    Element, MAX_ELEMENTS_PER_TRANSACTION, Op, SetId, TableOp, Transaction,
};
use palisade_lab::Namespace;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZES: [usize; 3] = [1, 100, MAX_ELEMENTS_PER_TRANSACTION];

/// A compiled cluster in the kernel, in a namespace that lives as long as this value.
struct Programmed {
    universe: Universe,
    compiler: Compiler,
    dataplane: Dataplane<Kernel>,
    _namespace: Namespace,
}

impl Programmed {
    fn new(pods: usize, policies: usize) -> Self {
        let universe = Universe::new(pods, policies, Shape::Apps);
        let mut compiler = Compiler::new(Universe::locality());
        compiler.apply(universe.changes());
        let namespace = Namespace::new().expect("a network namespace: run it as root");
        let mut dataplane = empty(&namespace);
        dataplane.install(compiler.program()).expect("the program");
        Self { universe, compiler, dataplane, _namespace: namespace }
    }
}

fn empty(namespace: &Namespace) -> Dataplane<Kernel> {
    let start = || Dataplane::start(Kernel::open().expect("nf_tables")).expect("no tables");
    namespace.run(start).expect("in the namespace")
}

/// Operations on the classes of addresses that no pod has.
fn transaction(set: SetId, count: usize, op: fn(SetId, Element) -> Op) -> Transaction {
    let element = |i: usize| {
        let address = Ipv4Addr::from(0xac10_0000 + u32::try_from(i).unwrap_or(u32::MAX));
        Element::Class(address.into(), ClassId(ClassId::FIRST))
    };
    let op = |i| TableOp { family: TableFamily::Ip, op: op(set, element(i)) };
    Transaction { ops: (0..count).map(op).collect() }
}

fn elements(c: &mut Criterion) {
    let mut kernel = Programmed::new(100_000, 10_000).dataplane.into_ruleset();
    let actual = kernel.read(TableName::Main).expect("readable");
    let set = actual.get(&TableFamily::Ip).expect("a table").generations().id(SetName::Class);

    let mut group = c.benchmark_group("encode/elements");
    for count in SIZES.into_iter().chain([100_000]) {
        let add = transaction(set, count, Op::Add);
        let (encoded, allocations) =
            counted(|| kernel.encode(TableName::Main, &add).expect("bytes"));
        println!("encode/elements/{count}: {} bytes; {allocations}", encoded.size());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| black_box(kernel.encode(TableName::Main, black_box(&add))));
        });
    }
    group.finish();

    for (name, timed_add) in [("commit/elements-added", true), ("commit/elements-removed", false)] {
        let mut group = c.benchmark_group(name);
        for count in SIZES {
            let (add, remove) =
                (transaction(set, count, Op::Add), transaction(set, count, Op::Remove));
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter_custom(|iterations| {
                    let mut time = Duration::ZERO;
                    for _ in 0..iterations {
                        let added = commit(&mut kernel, &add);
                        let removed = commit(&mut kernel, &remove);
                        time += if timed_add { added } else { removed };
                    }
                    time
                });
            });
        }
        group.finish();
    }
}

/// The time from the bytes to the acknowledgement.
fn commit(kernel: &mut Kernel, transaction: &Transaction) -> Duration {
    let encoded = kernel.encode(TableName::Main, transaction).expect("bytes");
    let start = Instant::now();
    kernel.commit_encoded(TableName::Main, transaction, &encoded).expect("committed");
    start.elapsed()
}

/// The time from the change of the program to the acknowledgement, without work that waits for a grace period.
fn pod_events(c: &mut Criterion) {
    let Programmed { universe, mut compiler, mut dataplane, _namespace } =
        Programmed::new(100_000, 10_000);
    let remote: Vec<usize> = (0..universe.pods).filter(|&i| !universe.is_local(i)).collect();
    let local: Vec<usize> = (0..universe.pods).filter(|&i| universe.is_local(i)).collect();
    let mut group = c.benchmark_group("commit/100000-pods-10000-policies");
    group.sample_size(10);
    for (name, pods, timed_birth) in [
        ("remote-pod-born", &remote, true),
        ("remote-pod-gone", &remote, false),
        ("local-pod-born", &local, true),
        ("local-pod-gone", &local, false),
    ] {
        let mut pods = pods.iter().cycle().step_by(7919);
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for &pod in pods.by_ref().take(usize::try_from(iterations).unwrap_or(0)) {
                    let gone = compiler.apply([universe.delete(pod)]);
                    let start = Instant::now();
                    dataplane.update(&gone).expect("committed");
                    let death = start.elapsed();
                    let born = compiler.apply([Change::ApplyPod(universe.pod(pod))]);
                    let start = Instant::now();
                    dataplane.update(&born).expect("committed");
                    let birth = start.elapsed();
                    time += if timed_birth { birth } else { death };
                }
                time
            });
        });
        dataplane.settle().expect("settled");
    }
    group.finish();
}

fn load(c: &mut Criterion) {
    for (pods, policies) in [(1_000, 100), (10_000, 1_000), (100_000, 10_000)] {
        let mut compiler = Compiler::new(Universe::locality());
        compiler.apply(Universe::new(pods, policies, Shape::Apps).changes());
        let mut group = c.benchmark_group("load");
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements(compiler.program().elements() as u64));
        group.bench_function(format!("{pods}-pods-{policies}-policies"), |b| {
            b.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    let namespace = Namespace::new().expect("a network namespace");
                    let mut dataplane = empty(&namespace);
                    let start = Instant::now();
                    dataplane.install(compiler.program()).expect("the program");
                    time += start.elapsed();
                }
                time
            });
        });
        group.finish();
    }
}

criterion_group!(benches, elements, pod_events, load);
criterion_main!(benches);
