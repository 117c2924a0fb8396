//! `source_guard/<pairs>-pairs/<contender>/<stage>/<family>`: nanoseconds of kernel time for a packet from the interface, where it
//! is injected, to the end of the forward hook, by what the source guard holds. Needs root.
//!
//! All contenders are measured in alternating rounds, and the medians are printed. Quote these, as differences within one line:
//! `off` has the rules and nothing in them, `others` guards other interfaces than the packets', `first` and `all` guard theirs.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]
#![allow(clippy::expect_used, reason = "a bench that measures nothing must not go on")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use palisade_benches::inject::{Flow, Method, Router, Stage, rotation};
use palisade_compiler::model::Family;
use palisade_compiler::program::Program;
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::Kernel;

/// Pairs of interface and address that the guard holds: of a full node, and many more.
const SIZES: [u32; 2] = [250, 10_000];
/// Senders of the packets, all by the interfaces that they are injected at.
const FLOWS: u32 = 64;
const PACKETS: u32 = 16_384;
const ROUNDS: usize = 15;
/// The first of the addresses that are sent to.
const ANSWERING: u32 = 0x8000;
/// An interface that there is not.
const OTHER: u32 = 60_000;

#[derive(Debug, Clone, Copy)]
enum Guarded {
    Nothing,
    Others,
    First,
    All,
}

struct Contender {
    name: &'static str,
    router: Router,
    times: Vec<f64>,
    _rules: Option<Dataplane<Kernel>>,
}

fn address(family: Family, n: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0a01_0000 + n).into(),
        Family::V6 => Ipv6Addr::from_bits((0xfd00_0001 << 96) + u128::from(n)).into(),
    }
}

fn facts(guarded: Guarded, pairs: u32) -> HostFacts {
    let mut facts = HostFacts::default();
    let own = Router::interfaces();
    let interfaces = match guarded {
        Guarded::Nothing => return facts,
        Guarded::Others => vec![OTHER],
        Guarded::First | Guarded::All => own.clone(),
    };
    match guarded {
        Guarded::First => facts.first_interfaces.extend(interfaces),
        Guarded::Nothing | Guarded::Others | Guarded::All => {
            facts.pod_interfaces.extend(interfaces)
        }
    }
    for n in 0..pairs {
        for &interface in if n < FLOWS { own.as_slice() } else { &[OTHER] } {
            // Answers are injected there, too.
            for n in [n, ANSWERING + n] {
                facts.sources_ipv4.insert((interface, address(Family::V4, n)));
                facts.sources_ipv6.insert((interface, address(Family::V6, n)));
            }
        }
    }
    facts
}

impl Contender {
    fn new(name: &'static str, guarded: Option<Guarded>, pairs: u32) -> Self {
        let router = Router::new().expect("a router: run it as root");
        if router.method() != Method::LiveFrames {
            eprintln!("not measured in the kernel: {:?}", router.fallback());
        }
        let load = || {
            let guarded = guarded?;
            let kernel = Kernel::open().expect("nf_tables");
            let mut dataplane = Dataplane::start(kernel).expect("an empty namespace");
            dataplane.set_host(facts(guarded, pairs));
            dataplane.install(&Program::default()).expect("the program");
            Some(dataplane)
        };
        let rules = router.run(load).expect("in the router's namespace");
        Self { name, router, times: Vec::new(), _rules: rules }
    }

    /// Nanoseconds for each packet.
    fn round(&mut self, flows: &[Flow], stage: Stage, packets: u32) -> f64 {
        let round = self.router.measure(flows, stage, packets).expect("a round");
        assert_eq!(round.arrived, round.packets, "{} drops", self.name);
        round.per_packet()
    }
}

fn contenders(pairs: u32) -> [Contender; 5] {
    [
        Contender::new("none", None, pairs),
        Contender::new("off", Some(Guarded::Nothing), pairs),
        Contender::new("others", Some(Guarded::Others), pairs),
        Contender::new("first", Some(Guarded::First), pairs),
        Contender::new("all", Some(Guarded::All), pairs),
    ]
}

fn flows(family: Family) -> Vec<Flow> {
    let flow = |n| Flow {
        from: address(family, n),
        to: address(family, ANSWERING + n),
        protocol: 17,
        source_port: 4000,
        port: 53,
    };
    (0..FLOWS).map(flow).collect()
}

/// Also empties the times.
fn median(times: &mut Vec<f64>) -> f64 {
    let mut times = std::mem::take(times);
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn source_guard(c: &mut Criterion) {
    let comparing = !std::env::args().any(|argument| argument == "--test" || argument == "--list");
    let rounds = if comparing { ROUNDS } else { 1 };
    let sizes = if comparing { &SIZES[..] } else { &SIZES[..1] };
    for &pairs in sizes {
        let mut contenders = contenders(pairs);
        let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
        println!(
            "\n{pairs} pairs, ns a packet (medians of {ROUNDS} rounds of {PACKETS}): {}",
            names.join(", ")
        );
        let mut group = c.benchmark_group(format!("source_guard/{pairs}-pairs"));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(200));
        for (name, stage) in [("established", Stage::Established), ("new", Stage::New)] {
            for family in Family::ALL {
                let flows = flows(family);
                for round in 0..rounds {
                    for index in rotation(contenders.len(), round) {
                        if let Some(contender) = contenders.get_mut(index) {
                            let time = contender.round(&flows, stage, PACKETS);
                            contender.times.push(time);
                        }
                    }
                }
                let medians = contenders.iter_mut().map(|contender| median(&mut contender.times));
                let columns: Vec<String> = medians.map(|time| format!("{time:6.0}")).collect();
                println!("  {:24} {}", format!("{name}/{family:?}"), columns.join(" "));
                if let Some(all) = contenders.last_mut() {
                    group.bench_function(format!("all/{name}/{family:?}"), |b| {
                        b.iter_custom(|iterations| {
                            let packets = u32::try_from(iterations).unwrap_or(PACKETS).max(PACKETS);
                            let nanoseconds = all.round(&flows, stage, packets);
                            Duration::from_nanos((nanoseconds * iterations as f64) as u64)
                        });
                    });
                }
            }
        }
        group.finish();
    }
}

criterion_group!(benches, source_guard);
criterion_main!(benches);
