//! `churn/<pods>-pods-<policies>-policies/<event>`: one event in a compiled cluster, until the program has changed. What it
//! allocates is printed as well. The change that reverts the event is not timed.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_benches::allocations::{Allocations, Counting, counted};
use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Policy;
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{namespace, rule};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The number of events whose allocations are averaged.
const COUNTED: usize = 100;

/// The changes around an event: one that makes it possible, the event, and one that reverts it.
struct Event {
    before: Option<Change>,
    timed: Change,
    after: Option<Change>,
}

impl Event {
    fn undone(timed: Change, after: Change) -> Self {
        Self { before: None, timed, after: Some(after) }
    }

    fn prepared(before: Change, timed: Change) -> Self {
        Self { before: Some(before), timed, after: None }
    }

    fn run(self, compiler: &mut Compiler) -> Duration {
        compiler.apply(self.before);
        let start = Instant::now();
        black_box(compiler.apply([self.timed]));
        let time = start.elapsed();
        compiler.apply(self.after);
        time
    }

    fn count(self, compiler: &mut Compiler) -> Allocations {
        compiler.apply(self.before);
        let (_, allocations) = counted(|| black_box(compiler.apply([self.timed])));
        compiler.apply(self.after);
        allocations
    }
}

/// What events are created from, each by its number.
struct Cluster {
    universe: Universe,
    remote: Vec<usize>,
    /// The numbers of policies that select local pods.
    policies: Vec<usize>,
}

type Make = fn(&Cluster, usize) -> Event;

const EVENTS: [(&str, Make); 10] = [
    ("pod-born", |c, n| {
        let i = c.remote(n);
        Event::prepared(c.universe.delete(i), Change::ApplyPod(c.universe.pod(i)))
    }),
    ("pod-gone", |c, n| {
        let i = c.remote(n);
        Event::undone(c.universe.delete(i), Change::ApplyPod(c.universe.pod(i)))
    }),
    ("pod-relabelled", |c, n| {
        let (relabelled, back) = (c.universe.relabelled(c.remote(n)), c.universe.pod(c.remote(n)));
        Event::undone(Change::ApplyPod(relabelled), Change::ApplyPod(back))
    }),
    ("local-pod-born", |c, n| {
        let i = c.universe.local(n);
        Event::prepared(c.universe.delete(i), Change::ApplyPod(c.universe.pod(i)))
    }),
    ("local-pod-gone", |c, n| {
        let i = c.universe.local(n);
        Event::undone(c.universe.delete(i), Change::ApplyPod(c.universe.pod(i)))
    }),
    ("namespace-relabelled", |c, n| {
        let space = n % c.universe.namespaces;
        let team = |team| {
            let labels = format!("team=team-{team}");
            Change::ApplyNamespace(namespace(&format!("ns-{space}"), &labels))
        };
        Event::undone(team((space + 1) % 20), team(space % 20))
    }),
    ("policy-added", |c, n| {
        let policy = c.policy(n);
        Event::prepared(Change::DeletePolicy(policy.key.clone()), Change::ApplyPolicy(policy))
    }),
    ("policy-changed", |c, n| {
        let policy = c.policy(n);
        let changed = policy.clone().isolate_ingress().allow_in(rule().pods("tier=tier-0").tcp(81));
        Event::undone(Change::ApplyPolicy(changed), Change::ApplyPolicy(policy))
    }),
    ("policy-removed", |c, n| {
        let policy = c.policy(n);
        Event::undone(Change::DeletePolicy(policy.key.clone()), Change::ApplyPolicy(policy))
    }),
    ("policy-open-to-all-added", |c, _| {
        let policy = c.universe.everywhere_open();
        let key = policy.key.clone();
        Event::undone(Change::ApplyPolicy(policy), Change::DeletePolicy(key))
    }),
];

impl Cluster {
    fn new(universe: Universe) -> Self {
        let remote = (0..universe.pods).filter(|&i| !universe.is_local(i)).collect();
        Self { universe, remote, policies: universe.policies_of_local_pods() }
    }

    fn remote(&self, n: usize) -> usize {
        self.remote.get(n * 7919 % self.remote.len().max(1)).copied().unwrap_or_default()
    }

    fn policy(&self, n: usize) -> Policy {
        let k = self.policies.get(n % self.policies.len().max(1));
        self.universe.policy(k.copied().unwrap_or_default())
    }
}

fn churn(c: &mut Criterion) {
    for pods in [1_000, 10_000, 100_000] {
        for policies in [100, 1_000, 10_000] {
            let cluster = Cluster::new(Universe::new(pods, policies, Shape::Apps));
            let mut compiler = Compiler::new(Universe::locality());
            compiler.apply(cluster.universe.changes());
            let size = format!("churn/{pods}-pods-{policies}-policies");
            let mut group = c.benchmark_group(&size);
            group.sample_size(20);
            group.warm_up_time(Duration::from_millis(300));
            group.measurement_time(Duration::from_secs(1));
            for (name, make) in EVENTS {
                let all = (0..COUNTED).map(|n| make(&cluster, n).count(&mut compiler));
                let counts: Vec<Allocations> = all.collect();
                let mean = |of: fn(&Allocations) -> u64| {
                    counts.iter().map(of).sum::<u64>() / COUNTED as u64
                };
                let (count, bytes) = (mean(|a| a.count), mean(|a| a.bytes));
                println!("{size}/{name}: {count} allocations, {bytes} bytes (mean)");
                let mut numbers = 0..;
                group.bench_function(name, |b| {
                    b.iter_custom(|iterations| {
                        let events = numbers.by_ref().zip(0..iterations);
                        events.map(|(n, _)| make(&cluster, n).run(&mut compiler)).sum()
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, churn);
criterion_main!(benches);
