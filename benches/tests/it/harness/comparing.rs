use std::process::Command;

use palisade_benches::harness::compare::{Change, Comparison};
use palisade_benches::harness::machine::Machine;
use palisade_benches::harness::progress::Progress;
use palisade_benches::harness::report::{PALISADE, Report};
use palisade_benches::harness::run::{Output, run};

use super::*;

pub(super) fn report(scratch: &Scratch, factor: f64) -> Report {
    let settings = settings(1);
    let output =
        Output::open(&scratch.0, &settings, &Machine::default(), false).expect("a directory");
    let mut progress = Progress::new(&NEVER_STOP).quiet();
    run(&settings, Machine::default(), &mut Formula::new(factor), &output, &mut progress)
        .expect("runs")
}

fn slower(mut report: Report, contender: &str, by: f64) -> Report {
    for series in report.cells.iter_mut().flat_map(|cell| &mut cell.series) {
        if series.contender == contender {
            series.samples.iter_mut().for_each(|sample| *sample *= by);
        }
    }
    report
}

#[test]
fn a_report_is_no_worse_than_itself() {
    let report = report(&Scratch::new(), 1.0);
    let comparison = Comparison::of(&report, &report, 0.05);
    let series: usize = report.cells.iter().map(|cell| cell.series.len()).sum();
    assert_eq!(comparison.differences.len(), series);
    assert!(comparison.differences.iter().all(|d| d.change == Change::Same));
    assert_eq!((comparison.notes.len(), comparison.unmatched), (0, 0));
}

#[test]
fn what_became_slower_is_worse_and_a_higher_rate_is_better() {
    let before = report(&Scratch::new(), 1.0);
    let comparison = Comparison::of(&before, &slower(before.clone(), PALISADE, 1.5), 0.05);
    let of = |measure: Measure| -> Vec<Change> {
        let same = comparison
            .differences
            .iter()
            .filter(|d| d.measure == measure && d.contender == PALISADE);
        same.map(|d| d.change).collect()
    };
    assert_eq!(of(NEW_ONE), [Change::Worse; 4]);
    assert_eq!(of(Measure::Churn(Edits::RemotePods)), [Change::Better; 4]);
    let others = comparison.differences.iter().filter(|d| d.contender != PALISADE);
    assert!(others.into_iter().all(|d| d.change == Change::Same));
    // Too small to count, although it is significant.
    let little = Comparison::of(&before, &slower(before.clone(), PALISADE, 1.5), 0.6);
    assert_eq!(little.regressions().count(), 0);
}

/// On a machine of half the speed packets cost twice as much. That is not a regression of any contender.
#[test]
fn a_slower_machine_is_no_regression_of_match_costs() {
    let (before, after) = (report(&Scratch::new(), 1.0), report(&Scratch::new(), 2.0));
    let comparison = Comparison::of(&before, &after, 0.05);
    let matches =
        comparison.differences.iter().filter(|d| d.measure == NEW_ONE && d.contender != "none");
    let changes: Vec<Change> = matches.map(|d| d.change).collect();
    assert_eq!(changes, [Change::Same; 12]);
}

#[test]
fn the_command_exits_by_what_it_found() {
    let (a, b) = (Scratch::new(), Scratch::new());
    let before = report(&a, 1.0);
    let worse = slower(before, PALISADE, 1.5);
    std::fs::write(b.0.join("worse.json"), serde_json::to_vec(&worse).unwrap()).unwrap();
    let json = |scratch: &Scratch, name: &str| scratch.0.join(name).display().to_string();
    let (good, bad) = (json(&a, "report.json"), json(&b, "worse.json"));
    let bench = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_palisade-bench")).args(arguments).output();
        let output = output.expect("started");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(bench(&["compare", &good, &good]).0, Some(0));
    let (code, text) = bench(&["compare", &good, &bad]);
    assert_eq!(code, Some(1));
    assert!(text.contains("worse") && text.contains("match/new-one/ipv4/64-flows"), "{text}");
    let (code, text) = bench(&["compare", &good, &bad, "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, value["differences"][0]["change"].as_str()), (Some(1), Some("worse")));
    // Wrong usage, files that do not exist, and files that are no reports.
    std::fs::write(b.0.join("other.json"), "{\"format\":999}").unwrap();
    for wrong in [
        vec!["compare", &good],
        vec!["compare", &good, "nowhere.json"],
        vec!["compare", &good, &json(&b, "other.json")],
        vec!["run", "--out", "nowhere", "--shape", "round"],
        vec!["run", "--out", "nowhere", "--contender", "nobody"],
    ] {
        assert_eq!(bench(&wrong).0, Some(2), "{wrong:?}");
    }
    assert_eq!(bench(&["completions", "bash"]).0, Some(0));
    let page = b.0.join("page").display().to_string();
    assert_eq!(bench(&["render", &good, "--out", &page]).0, Some(0));
    assert!(b.0.join("page/report.html").exists());
}
