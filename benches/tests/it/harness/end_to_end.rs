use std::process::Command;

use palisade_benches::contender::NAMES;
use palisade_benches::harness::measure::{Moment, Unit};
use palisade_benches::harness::report::{BASE, PALISADE, Report};

use super::*;

/// A tiny run of everything with the built binary. The figures are checked only for what holds on every machine.
#[test]
fn a_tiny_run_from_end_to_end() {
    let scratch = Scratch::new();
    let out = scratch.0.display().to_string();
    let arguments = [
        "run",
        "--quick",
        "--shape",
        "apps",
        "--policies",
        "10,20,40",
        "--rounds",
        "3",
        "--out",
        &out,
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_palisade-bench"))
        .args(arguments)
        .output()
        .expect("started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("[3/3] apps/40-policies/400-pods"), "{stderr}");

    let report = Report::read(&scratch.0.join("report.json")).expect("a report");
    assert_eq!(report.cells.len(), 3);
    assert!(report.machine.kernel.starts_with("Linux"));
    let described: Vec<&str> = report.names().collect();
    let left_out = |name: &str| report.left_out.iter().any(|a| a.contender == name);
    assert!(NAMES.iter().all(|name| described.contains(name) || left_out(name)), "{described:?}");
    for cell in &report.cells {
        cell.series.iter().for_each(check_series);
        check_palisade(cell);
    }
    let growth = report.growth(report.cells[0].cell, PALISADE, NEW_ONE);
    assert!(growth.is_some_and(|growth| growth.exponent.is_finite()));
    assert!(scratch.0.join("plots/apps-match-new-one-ipv4-64-flows.svg").exists());
}

/// Checks what must hold for any series.
fn check_series(series: &Series) {
    let Series { contender, measure, samples, packets } = series;
    let about = format!("{contender} {measure} {samples:?}");
    assert!(!samples.is_empty() && samples.iter().all(|s| s.is_finite() && *s >= 0.0), "{about}");
    if let Measure::Match { path, .. } = measure {
        let Packets { timed, arrived } = packets.expect("match measures count packets");
        let enforces = ![BASE, "conntrack"].contains(&contender.as_str());
        let denied = *path == Path::Denied && enforces;
        assert_eq!(arrived, if denied { 0 } else { timed }, "{about}");
        assert!(timed >= 64 * samples.len() as u64, "{about}");
        assert_eq!(samples.len(), 3, "{about}");
    }
    if measure.unit() != Unit::Bytes {
        assert!(samples.iter().all(|sample| *sample < 600e9), "{about}");
    }
}

/// Palisade has all figures, and parts do not exceed the whole.
fn check_palisade(cell: &CellReport) {
    let has = |measure| {
        let samples = cell.samples(PALISADE, measure);
        samples.unwrap_or_else(|| panic!("{} has no {measure}: {:?}", cell.cell, cell.absent))
    };
    for path in Path::ALL {
        has(Measure::Match { path, family: Family::V4, flows: 64 });
    }
    for moment in Moment::ALL {
        has(Measure::Latency(moment));
    }
    assert!(has(Measure::UserMemory)[0] > 1e6);
    assert!(has(Measure::Churn(Edits::RemotePods))[0] > 0.0);
    for (commit, load) in has(Measure::LoadCommit).iter().zip(has(Measure::Load)) {
        assert!(commit <= load);
    }
    let kind = EditKind::PodBorn;
    for (ours, all) in has(Measure::Computed(kind)).iter().zip(has(Measure::Acknowledged(kind))) {
        assert!(ours <= all);
    }
    assert!(cell.made(PALISADE).is_some_and(|made| made.rules > 40 && made.elements > 0));
}
