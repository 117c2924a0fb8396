//! `match_path/<policies>-policies/<contender>/<path>/<family>/<flows>-flows`: nanoseconds of kernel time for a packet from
//! the interface, where it is injected, to the end of the forward hook. Needs root.
//!
//! Before criterion measures each contender alone, all contenders of a size are measured in alternating rounds, and the
//! medians are printed. Quote these, as differences and ratios within one line. The bench stops if the expected number of
//! packets (all or none) does not arrive in a round.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]
#![allow(clippy::expect_used, reason = "a bench that measures nothing must not go on")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use palisade_benches::inject::{Flow, Method, Router, Stage, rotation};
use palisade_benches::scenario::{Scenario, ScenarioShape, Selected};
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Family, Verdict};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_lab::tool;

/// Policies, pods, and numbers of flows. The state of 64 flows stays in the caches, that of 1,024 flows of a large cluster
/// does not.
const SIZES: [(usize, usize, &[usize]); 4] =
    [(10, 100, &[64]), (100, 1_000, &[64]), (1_000, 10_000, &[64]), (10_000, 100_000, &[64, 1024])];
/// The number of packets in a round. With so many, the resolution of the kernel's clock and a single interrupt matter
/// little.
const PACKETS: u32 = 16_384;
const ROUNDS: usize = 9;
const SEED: u64 = 1;

/// The rules that each path is compared with.
const CONNTRACK: &str = "
table inet bare {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established accept
    }
}";

/// Packets of one kind, and whether they must arrive.
struct Path {
    name: &'static str,
    stage: Stage,
    arrives: bool,
    family: Family,
    flows: Vec<Flow>,
}

impl Path {
    fn name(&self) -> String {
        let family = if self.family == Family::V4 { "ipv4" } else { "ipv6" };
        format!("{}/{family}/{}-flows", self.name, self.flows.len())
    }
}

struct Contender {
    name: &'static str,
    router: Router,
    /// The times of the path that is being measured.
    times: Vec<f64>,
    /// Keeps the rules in the kernel.
    _rules: Option<Dataplane<Kernel>>,
}

impl Contender {
    fn new(name: &'static str, load: impl FnOnce() -> Option<Dataplane<Kernel>> + Send) -> Self {
        let router = Router::new().expect("a router: run it as root");
        if router.method() != Method::LiveFrames {
            eprintln!(
                "not measured in the kernel, but by the {}: {:?}",
                router.method(),
                router.fallback()
            );
        }
        let rules = router.run(load).expect("in the router's namespace");
        Self { name, router, times: Vec::new(), _rules: rules }
    }

    /// Nanoseconds for each packet.
    fn round(&mut self, path: &Path, packets: u32) -> f64 {
        let round = self.router.measure(&path.flows, path.stage, packets).expect("a round");
        let arrives = path.arrives || self.name != "palisade";
        let expected = if arrives { round.packets } else { 0 };
        assert_eq!(round.arrived, expected, "{} gives {} a wrong verdict", self.name, path.name());
        round.per_packet()
    }
}

fn contenders(scenario: &Scenario) -> [Contender; 3] {
    let palisade = || {
        let mut compiler = Compiler::new(scenario.locality());
        compiler.apply(scenario.changes());
        let kernel = Kernel::open().expect("nf_tables");
        let mut dataplane = Dataplane::start(kernel).expect("an empty namespace");
        dataplane.install(compiler.program()).expect("the program");
        Some(dataplane)
    };
    let conntrack = || {
        tool::run("nft", &["-f", "-"], CONNTRACK).expect("nft");
        None
    };
    [
        Contender::new("none", || None),
        Contender::new("conntrack", conntrack),
        Contender::new("palisade", palisade),
    ]
}

/// One path for each kind, family and number of flows, with fewer flows if the scenario has fewer.
fn paths(scenario: &Scenario, counts: &[usize]) -> Vec<Path> {
    // Enough for each of the two families that are drawn.
    let wanted = counts.iter().max().map_or(0, |most| most * 2 + most / 4);
    let (new, established) = (Stage::New, Stage::Established);
    let kinds = [
        ("new-both", new, Selected::Both, Verdict::Allow),
        ("new-one", new, Selected::One, Verdict::Allow),
        ("new-none", new, Selected::None, Verdict::Allow),
        ("denied", new, Selected::One, Verdict::Deny),
        ("established", established, Selected::Both, Verdict::Allow),
    ];
    let mut paths = Vec::new();
    for (name, stage, selected, verdict) in kinds {
        let all = scenario.flows_selected(selected, wanted, verdict);
        for family in Family::ALL {
            let of_family: Vec<Flow> =
                all.iter().filter(|flow| Family::of(flow.from) == family).copied().collect();
            for &count in counts {
                let flows: Vec<Flow> = of_family.iter().take(count).copied().collect();
                let arrives = verdict == Verdict::Allow;
                if !flows.is_empty() {
                    paths.push(Path { name, stage, arrives, family, flows });
                }
            }
        }
    }
    paths
}

/// Prints medians of alternating rounds: one line for each path, one column for each contender.
fn compare(policies: usize, contenders: &mut [Contender], paths: &[Path]) {
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    println!(
        "\n{policies} policies, ns a packet (medians of {ROUNDS} rounds of {PACKETS}): {}",
        names.join(", ")
    );
    for path in paths {
        for round in 0..ROUNDS {
            for index in rotation(contenders.len(), round) {
                if let Some(contender) = contenders.get_mut(index) {
                    let time = contender.round(path, PACKETS);
                    contender.times.push(time);
                }
            }
        }
        let medians = contenders.iter_mut().map(|contender| median(&mut contender.times));
        let columns: Vec<String> = medians.map(|time| format!("{time:6.0}")).collect();
        println!("  {:36} {}", path.name(), columns.join(" "));
    }
}

/// Also empties the times.
fn median(times: &mut Vec<f64>) -> f64 {
    let mut times = std::mem::take(times);
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn match_path(c: &mut Criterion) {
    let comparing = !std::env::args().any(|argument| argument == "--test" || argument == "--list");
    let sizes = if comparing { &SIZES[..] } else { &SIZES[..1] };
    for &(policies, pods, flows) in sizes {
        let scenario = Scenario::new(ScenarioShape::Apps, policies, pods, SEED).dual_stack();
        let mut contenders = contenders(&scenario);
        let paths = paths(&scenario, flows);
        if comparing {
            compare(policies, &mut contenders, &paths);
        }
        let mut group = c.benchmark_group(format!("match_path/{policies}-policies"));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
        for contender in &mut contenders {
            for path in &paths {
                group.bench_function(BenchmarkId::new(contender.name, path.name()), |b| {
                    b.iter_custom(|iterations| {
                        let packets = u32::try_from(iterations).unwrap_or(PACKETS).max(PACKETS);
                        let nanoseconds = contender.round(path, packets);
                        Duration::from_nanos((nanoseconds * iterations as f64) as u64)
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, match_path);
criterion_main!(benches);
