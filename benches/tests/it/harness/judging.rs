use palisade_benches::harness::goals::judge;

use super::comparing::report;
use super::*;

/// Many flows are compared with the BPF program if one was measured, and the goal names the contender.
#[test]
fn the_reference_of_many_flows_is_a_bpf_program_if_there_is_one() {
    let cell = Cell::new(ScenarioShape::Apps, 10_000);
    let measure = Measure::Match { path: Path::NewOne, family: Family::V4, flows: 1_024 };
    let series = |(contender, cost): (&str, f64)| Series {
        contender: contender.into(),
        measure,
        samples: vec![cost; 5],
        packets: None,
    };
    let costs = [
        ("conntrack", 300.0),
        ("palisade", 700.0),
        ("nft-pod-dispatch", 500.0),
        ("ebpf-hash", 400.0),
    ];
    let mut report = report(&Scratch::new(), 1.0);
    for (measured, reached, name) in [(3, 2.0, "nft-pod-dispatch"), (4, 4.0, "ebpf-hash")] {
        let series = costs.into_iter().take(measured).map(series).collect();
        let (absent, made) = Default::default();
        report.cells = vec![CellReport { cell, series, absent, made, seconds: 0.0 }];
        let outcomes = judge(&report);
        let outcome = outcomes.iter().find(|outcome| outcome.goal.contains("1,024 flows"));
        let outcome = outcome.expect("the goal");
        assert_eq!((outcome.reached, outcome.met()), (Some(reached), Some(reached <= 2.5)));
        assert!(outcome.of.contains(name), "{outcome:?}");
        assert_eq!(outcome.goal.contains("eBPF"), name == "ebpf-hash", "{outcome:?}");
    }
}
