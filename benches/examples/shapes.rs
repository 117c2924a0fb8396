//! Prints sizes and times of difficult shapes in one table, to be looked at by eye. `cargo run --release -p
//! palisade-benches --example shapes`.

#![allow(clippy::print_stdout, reason = "its output is the point")]

use std::time::{Duration, Instant};

use palisade_benches::{Shape, Universe};
use palisade_compiler::compile::Compiler;
use palisade_compiler::snapshot::Change;

/// The number of events of each kind for the percentiles.
const EVENTS: usize = 2_000;

fn main() {
    println!(
        "{:<32} {:>9} {:>7} {:>7} {:>8} {:>7} {:>8} {:>9}",
        "shape", "compile", "kinds", "classes", "rows", "atoms", "profiles", "elements"
    );
    for shape in Shape::ALL {
        let policies = match shape {
            Shape::EveryNamespace => 250,
            Shape::Blocks => 1_000,
            Shape::Apps | Shape::Names | Shape::Negations | Shape::NamedPorts => 10_000,
        };
        let universe = Universe::new(100_000, policies, shape);
        let changes = universe.changes();
        let mut compiler = Compiler::new(Universe::locality());
        let started = Instant::now();
        compiler.apply(changes);
        let compiled = started.elapsed();
        let stats = compiler.stats();
        println!(
            "{:<32} {:>6} ms {:>7} {:>7} {:>8} {:>7} {:>8} {:>9}",
            shape.name(),
            compiled.as_millis(),
            stats.kinds,
            stats.classes,
            stats.rows,
            stats.atoms,
            stats.profiles,
            stats.elements
        );
        events(&universe, &mut compiler);
    }
}

fn events(universe: &Universe, compiler: &mut Compiler) {
    let pods = |n: usize| (n * 7919) % universe.pods;
    let remote = |n: usize| Some(pods(n)).filter(|&i| !universe.is_local(i));
    let local = |n: usize| Some(universe.local(n));
    let open = universe.everywhere_open();
    report(
        "  remote pod gone",
        compiler,
        remote,
        |i| universe.delete(i),
        |i| Change::ApplyPod(universe.pod(i)),
    );
    report(
        "  remote pod relabelled",
        compiler,
        remote,
        |i| Change::ApplyPod(universe.relabelled(i)),
        |i| Change::ApplyPod(universe.pod(i)),
    );
    report(
        "  local pod gone",
        compiler,
        local,
        |i| universe.delete(i),
        |i| Change::ApplyPod(universe.pod(i)),
    );
    report(
        "  namespaceSelector {} opened",
        compiler,
        |n| (n < 20).then_some(0),
        |_| Change::ApplyPolicy(open.clone()),
        |_| Change::DeletePolicy(open.key.clone()),
    );
}

/// Times an event and, separately, the event that reverts it.
fn report(
    name: &str,
    compiler: &mut Compiler,
    pick: impl Fn(usize) -> Option<usize>,
    event: impl Fn(usize) -> Change,
    undo: impl Fn(usize) -> Change,
) {
    let mut times: [Vec<(Duration, usize)>; 2] = [Vec::new(), Vec::new()];
    for i in (0..EVENTS).filter_map(pick) {
        for (times, change) in times.iter_mut().zip([event(i), undo(i)]) {
            let started = Instant::now();
            let delta = compiler.apply([change]);
            times.push((started.elapsed(), delta.len()));
        }
    }
    for (times, what) in times.iter_mut().zip(["", ", undone"]) {
        times.sort_unstable();
        let at = |percent: usize| {
            times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
        };
        let ((p50, elements50), (p99, elements99)) = (at(50), at(99));
        println!(
            "{:<44} p50 {:>9.1} us ({elements50} elements)  p99 {:>9.1} us ({elements99} elements)  n={}",
            format!("{name}{what}"),
            p50.as_secs_f64() * 1e6,
            p99.as_secs_f64() * 1e6,
            times.len()
        );
    }
}
