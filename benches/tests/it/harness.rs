//! The harness: runs that stop and continue, consistent reports, comparisons, and contenders that must not be timed.

mod comparing;
mod end_to_end;
mod judging;
mod refusing;
mod resuming;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use palisade_benches::harness::measure::{Edits, Measure, Path};
use palisade_benches::harness::progress::Progress;
use palisade_benches::harness::report::{Absence, CellReport, Description, Made, Packets, Series};
use palisade_benches::harness::run::{Bench, BenchError};
use palisade_benches::harness::settings::{Cell, Settings};
use palisade_benches::scenario::{EditKind, ScenarioShape};
use palisade_compiler::model::{Family, Verdict};

/// A directory that is removed when this value is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("palisade-bench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

const NEW_ONE: Measure = Measure::Match { path: Path::NewOne, family: Family::V4, flows: 64 };

fn settings(seed: u64) -> Settings {
    let cells = [10, 100, 1_000, 10_000].map(|n| Cell::new(ScenarioShape::OpenToNamespaces, n));
    Settings { seed, cells: cells.to_vec(), ..Settings::quick() }
}

/// A bench whose figures follow from a formula: forwarding costs 250, conntrack 50 more, Palisade 200 more than that, and
/// chains 2 more for each policy.
struct Formula {
    /// A factor for every figure.
    factor: f64,
    measured: Vec<Cell>,
    /// Asks the run to stop once this many cells were measured.
    stop: Option<(usize, &'static AtomicBool)>,
}

impl Formula {
    fn new(factor: f64) -> Self {
        Self { factor, measured: Vec::new(), stop: None }
    }
}

impl Bench for Formula {
    fn contenders(&self) -> (Vec<Description>, Vec<Absence>) {
        let names = ["none", "conntrack", "palisade", "nft-policy-chains"];
        let description = |name: &str| Description {
            name: name.into(),
            what: format!("what <{name}> is"),
            enforces: !["none", "conntrack"].contains(&name),
        };
        let absence =
            Absence { contender: "calico".into(), measure: None, reason: "not here".into() };
        (names.map(description).to_vec(), vec![absence])
    }

    fn measure(
        &mut self,
        cell: Cell,
        progress: &mut Progress<'_>,
    ) -> Result<CellReport, BenchError> {
        progress.step(String::new)?;
        let n = cell.policies as f64;
        let samples = |value: f64| (0..9).map(|i| self.factor * (value + f64::from(i))).collect();
        let series = |contender: &str, measure, value, packets| Series {
            contender: contender.into(),
            measure,
            samples: samples(value),
            packets,
        };
        let deny = Measure::Enforced(EditKind::PodGone, Verdict::Deny);
        let packets = Some(Packets { timed: 640, arrived: 640 });
        let made = Made {
            contender: "palisade".into(),
            chains: 12,
            rules: 40,
            sets: 9,
            elements: cell.pods,
        };
        let report = CellReport {
            cell,
            series: vec![
                series("none", NEW_ONE, 250.0, packets),
                series("conntrack", NEW_ONE, 300.0, packets),
                series("palisade", NEW_ONE, 500.0, packets),
                series("nft-policy-chains", NEW_ONE, 300.0 + 2.0 * n, packets),
                series("palisade", deny, 2e5, None),
                series("palisade", Measure::Load, 1e3 * n, None),
                series("palisade", Measure::Churn(Edits::RemotePods), 3e4, None),
            ],
            absent: vec![Absence {
                contender: "iptables-linear".into(),
                measure: None,
                reason: "too large & \"more\"".into(),
            }],
            made: vec![made],
            seconds: 0.0,
        };
        self.measured.push(cell);
        if let Some((after, stop)) = self.stop
            && self.measured.len() >= after
        {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(report)
    }
}

/// Never asks a run to stop.
static NEVER_STOP: AtomicBool = AtomicBool::new(false);
