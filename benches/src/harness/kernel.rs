//! Measures cells in this kernel. Each contender gets its own network namespace. All are loaded and checked, and then timed
//! in alternating rounds.

mod edits;
mod matching;
pub mod memory;
mod testbed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::measure::{Measure, Moment};
use super::progress::Progress;
use super::report::{Absence, CellReport, Description, Packets, Series};
use super::run::{Bench, BenchError};
use super::settings::{Cell, Settings};
use crate::contender::{self, Contender, LeftOut};
use crate::inject::{InjectError, Method, Observation, Router};
use crate::scenario::Scenario;

pub use edits::one_round;
use testbed::{Expected, Testbed};

/// A function that creates the contenders, not loaded yet.
pub type MakeContenders = fn() -> Vec<Result<Box<dyn Contender>, LeftOut>>;

/// The bench of this kernel.
pub struct KernelBench {
    settings: Settings,
    make: MakeContenders,
    method: Method,
    fallback: Option<String>,
    /// The path of `palisade-bench`, which measures memory in a separate process. If it is `None`, memory is not measured.
    program: Option<PathBuf>,
}

impl KernelBench {
    /// # Errors
    /// Why this kernel or this user cannot forward packets in a network namespace.
    pub fn new(
        settings: Settings,
        make: MakeContenders,
        program: Option<PathBuf>,
    ) -> Result<Self, InjectError> {
        let router = Router::new()?;
        let (method, fallback) = (router.method(), router.fallback().map(str::to_owned));
        Ok(Self { settings, make, method, fallback, program })
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    fn is_wanted(&self, name: &str) -> bool {
        let wanted = &self.settings.contenders;
        wanted.is_empty() || wanted.iter().any(|w| w == name)
    }

    /// New contenders: those that are wanted and available.
    fn fresh(&self) -> Vec<Box<dyn Contender>> {
        let all = (self.make)().into_iter().flatten();
        all.filter(|contender| self.is_wanted(contender.name())).collect()
    }
}

impl Bench for KernelBench {
    fn contenders(&self) -> (Vec<Description>, Vec<Absence>) {
        let (mut there, mut left_out) = (Vec::new(), Vec::new());
        for contender in (self.make)() {
            match contender {
                Ok(contender) if self.is_wanted(contender.name()) => there.push(Description {
                    name: contender.name().to_owned(),
                    what: contender.describe(),
                    enforces: contender.enforces(),
                }),
                Ok(contender) => left_out.push(Absence {
                    contender: contender.name().to_owned(),
                    measure: None,
                    reason: "it was not asked for".to_owned(),
                }),
                Err(absent) => left_out.push(absence(absent)),
            }
        }
        left_out.extend(contender::engines().into_iter().map(absence));
        (there, left_out)
    }

    fn measure(
        &mut self,
        cell: Cell,
        progress: &mut Progress<'_>,
    ) -> Result<CellReport, BenchError> {
        progress.step(|| "making the cluster".into())?;
        let scenario = cell.scenario(self.settings.seed);
        let mut findings = Findings::new(cell);
        let mut testbeds = self.load(&scenario, &mut findings, progress)?;
        self.match_costs(&scenario, &mut testbeds, &mut findings, progress)?;
        self.edit_times(&scenario, &mut testbeds, &mut findings, progress)?;
        drop(testbeds);
        self.memory(&mut findings, progress)?;
        Ok(findings.report)
    }
}

fn absence(left_out: LeftOut) -> Absence {
    Absence { contender: left_out.name.to_owned(), measure: None, reason: left_out.reason }
}

fn failed(error: &InjectError) -> BenchError {
    BenchError::Failed(error.to_string())
}

/// The report of a cell while it is being written.
struct Findings {
    report: CellReport,
}

impl Findings {
    fn new(cell: Cell) -> Self {
        let (series, absent, made) = Default::default();
        Self { report: CellReport { cell, series, absent, made, seconds: 0.0 } }
    }

    fn sample(&mut self, contender: &str, measure: Measure, value: f64) {
        self.samples(contender, measure, &[value], None);
    }

    fn samples(
        &mut self,
        contender: &str,
        measure: Measure,
        values: &[f64],
        packets: Option<Packets>,
    ) {
        let same = |s: &&mut Series| s.contender == contender && s.measure == measure;
        match self.report.series.iter_mut().find(same) {
            Some(series) => {
                series.samples.extend(values);
                if let (Some(sum), Some(packets)) = (&mut series.packets, packets) {
                    sum.timed += packets.timed;
                    sum.arrived += packets.arrived;
                }
            }
            None if values.is_empty() => {}
            None => self.report.series.push(Series {
                contender: contender.to_owned(),
                measure,
                samples: values.to_vec(),
                packets,
            }),
        }
    }

    fn absent(&mut self, contender: &str, measure: Option<Measure>, reason: impl ToString) {
        let (contender, reason) = (contender.to_owned(), reason.to_string());
        self.report.absent.push(Absence { contender, measure, reason });
    }

    /// Removes all results of a contender whose verdicts turned out to be wrong, or that failed.
    fn refuse(&mut self, contender: &str, reason: impl ToString) {
        self.report.series.retain(|series| series.contender != contender);
        self.report.made.retain(|made| made.contender != contender);
        self.absent(contender, None, reason);
    }

    /// The median time of a contender's loads.
    fn load_time(&self, contender: &str) -> Duration {
        let nanoseconds = self.report.median(contender, Measure::Load).unwrap_or(0.0);
        Duration::from_nanos(nanoseconds as u64)
    }

    fn refused(&self) -> BTreeSet<&str> {
        let all = self.report.absent.iter().filter(|absence| absence.measure.is_none());
        all.map(|absence| absence.contender.as_str()).collect()
    }
}

/// Loads a contender while packets pass that are always allowed. If that fails, records the reason and returns `None`.
fn load_observed(
    contender: Box<dyn Contender>,
    scenario: &Scenario,
    expected: &Expected,
    patience: Duration,
    findings: &mut Findings,
) -> Result<Option<Testbed>, BenchError> {
    let name = contender.name();
    let mut testbed = Testbed::new(contender).map_err(|error| failed(&error))?;
    let earlier = findings.load_time(name);
    match testbed.load_observed(scenario, expected, patience, earlier) {
        Ok(observations) => {
            let (samples, packets) = (latencies(&observations), latency_packets(&observations));
            findings.samples(name, Measure::Latency(Moment::Loading), &samples, Some(packets));
            Ok(Some(testbed))
        }
        Err(error) => {
            findings.refuse(name, error);
            Ok(None)
        }
    }
}

/// The number of latency samples of one measurement that are kept: evenly spread ones, and the greatest.
const MAX_SAMPLES: usize = 4_000;

/// The latencies of packets in nanoseconds.
fn latencies(observations: &[Observation]) -> Vec<f64> {
    let all = || observations.iter().map(|observation| observation.took.as_nanos() as f64);
    let mut kept: Vec<f64> =
        all().step_by(observations.len().div_ceil(MAX_SAMPLES).max(1)).collect();
    let worst = all().fold(0.0, f64::max);
    if kept.len() < observations.len() && !kept.contains(&worst) {
        kept.push(worst);
    }
    kept
}

fn latency_packets(observations: &[Observation]) -> Packets {
    let arrived = observations.iter().filter(|observation| observation.arrived).count();
    Packets { timed: observations.len() as u64, arrived: arrived as u64 }
}

impl KernelBench {
    /// Loads every contender as often as requested, the last time while packets pass. Checks the verdicts and keeps the
    /// contender loaded.
    fn load(
        &self,
        scenario: &Scenario,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<Testbed>, BenchError> {
        let expected = Expected::of(scenario);
        let patience = self.settings.engine_patience();
        let mut slow = self.repeat_loads(scenario, &expected, findings, progress)?;
        let mut testbeds = Vec::new();
        for contender in self.fresh() {
            let name = contender.name();
            if findings.refused().contains(name) {
                continue;
            }
            progress.step(|| format!("loading {name} while packets pass, and checking it"))?;
            let mut testbed = match slow.remove(name) {
                Some(testbed) => testbed,
                None => match load_observed(contender, scenario, &expected, patience, findings)? {
                    Some(testbed) => testbed,
                    None => continue,
                },
            };
            match testbed.check(&expected) {
                Ok(()) => testbeds.push(testbed),
                Err(wrong) => {
                    progress.print(&format!("{name} is not timed: {wrong}"));
                    findings.refuse(name, wrong);
                }
            }
        }
        self.idle_latency(&expected, &mut testbeds, findings, progress)?;
        Ok(testbeds)
    }

    /// Times loads while nothing else happens. Returns the contenders that took too long to be loaded again, loaded.
    fn repeat_loads(
        &self,
        scenario: &Scenario,
        expected: &Expected,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<BTreeMap<&'static str, Testbed>, BenchError> {
        let mut slow = BTreeMap::new();
        for round in 0..self.settings.loads {
            let mut fresh = self.fresh();
            let turn = round % fresh.len().max(1);
            fresh.rotate_left(turn);
            for contender in fresh {
                let name = contender.name();
                if slow.contains_key(name) || findings.refused().contains(name) {
                    continue;
                }
                progress.step(|| format!("loading {name}"))?;
                let mut testbed = Testbed::new(contender).map_err(|error| failed(&error))?;
                match testbed.load(scenario, expected, self.settings.engine_patience()) {
                    Ok(loaded) => {
                        testbed::file_load(
                            testbed.contender.as_ref(),
                            loaded,
                            round == 0,
                            findings,
                        );
                        if loaded.elapsed > self.settings.give_up() {
                            let measure = Some(Measure::Latency(Moment::Loading));
                            findings.absent(
                                name,
                                measure,
                                "its load takes too long to be repeated",
                            );
                            slow.insert(name, testbed);
                        }
                    }
                    Err(error) => findings.refuse(name, error),
                }
            }
        }
        Ok(slow)
    }

    fn idle_latency(
        &self,
        expected: &Expected,
        testbeds: &mut [Testbed],
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), BenchError> {
        let Some(flow) = expected.allowed() else { return Ok(()) };
        for testbed in testbeds {
            let name = testbed.contender.name();
            progress.step(|| format!("latency of {name}"))?;
            let observations =
                testbed.idle(flow, self.settings.idle_ms).map_err(|error| failed(&error))?;
            findings.samples(
                name,
                Measure::Latency(Moment::Idle),
                &latencies(&observations),
                Some(latency_packets(&observations)),
            );
        }
        Ok(())
    }
}
