//! Times changes of the cluster: until the kernel has acknowledged them, until packets show them, and how many are possible
//! in a second.

use std::iter::Cycle;
use std::slice;
use std::time::{Duration, Instant};

use palisade_compiler::model::Verdict;

use super::testbed::{NOT_ACKNOWLEDGED, Testbed, quote};
use super::{Findings, KernelBench};
use crate::contender::ContenderError;
use crate::harness::measure::{Edits, Measure};
use crate::harness::progress::Progress;
use crate::harness::run::BenchError;
use crate::inject::Until;
use crate::scenario::{Edit, Scenario};

/// More than the number of edits in one round of any scenario.
const MAX_EDITS: usize = 2_000;
/// How long a verdict must hold after an edit to count. It is longer for engines, which may still be working.
const HOLD_TIME: Duration = Duration::from_millis(2);
const ENGINE_HOLD_TIME: Duration = Duration::from_millis(20);
/// The edits of an engine can be timed only by packets. They get the time of all three measurements of other contenders,
/// and there are at least so many that most kinds are included.
const ENGINE_TIME_FACTOR: u32 = 3;
const MIN_ENGINE_EDITS: usize = 12;
/// After this many edits that are timed one by one, a contender may do its cleanup work.
const IDLE_EVERY: usize = 8;
/// The number of parts of the time of churn. Each part is a sample.
const SLICES: u32 = 10;

/// The edits of a scenario until they repeat.
pub fn one_round(scenario: &Scenario) -> Vec<Edit> {
    let mut edits: Vec<Edit> = scenario.edits().take(MAX_EDITS).collect();
    if let Some(first) = edits.first().cloned()
        && let Some(again) = edits.iter().skip(1).position(|edit| *edit == first)
    {
        edits.truncate(again + 1);
    }
    edits
}

/// A round of edits, repeated without end.
type Next<'a> = Cycle<slice::Iter<'a, Edit>>;

impl KernelBench {
    pub(super) fn edit_times(
        &self,
        scenario: &Scenario,
        testbeds: &mut [Testbed],
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), BenchError> {
        progress.step(|| "drawing edits".into())?;
        let round = one_round(scenario);
        for testbed in testbeds.iter_mut().filter(|testbed| testbed.contender.enforces()) {
            let name = testbed.contender.name();
            let load = findings.load_time(name);
            if load > self.settings.give_up() {
                let reason = format!("its load took {load:.1?}: edits were not tried");
                Edits::BOTH.into_iter().for_each(|edits| {
                    findings.absent(name, Some(Measure::Churn(edits)), &reason);
                });
                continue;
            }
            for edits in Edits::BOTH {
                // An edit and its reversal are of the same kind, so these are whole rounds too.
                let of = round.iter().filter(|edit| edits.has(edit.kind));
                let of: Vec<Edit> = of.cloned().collect();
                match self.edits_of(edits, &of, testbed, findings, progress) {
                    Ok(()) => {}
                    Err(Stop::Bench(error)) => return Err(error),
                    Err(Stop::Contender(reason)) => {
                        findings.absent(name, Some(Measure::Churn(edits)), reason);
                    }
                }
            }
        }
        Ok(())
    }

    fn edits_of(
        &self,
        edits: Edits,
        round: &[Edit],
        testbed: &mut Testbed,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), Stop> {
        if round.is_empty() {
            return Ok(());
        }
        // Each measurement continues where the previous one ended, because edits depend on each other.
        let mut next = round.iter().cycle();
        if !testbed.contender.acknowledges() {
            let name = testbed.contender.name();
            findings.absent(name, Some(Measure::Churn(edits)), NOT_ACKNOWLEDGED);
            return self.enforced(testbed, &mut next, findings, progress);
        }
        self.acknowledged(testbed, &mut next, findings, progress)?;
        self.enforced(testbed, &mut next, findings, progress)?;
        self.churn(edits, testbed, &mut next, findings, progress)
    }

    /// Edits while nothing else happens.
    fn acknowledged(
        &self,
        testbed: &mut Testbed,
        next: &mut Next<'_>,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), Stop> {
        let Testbed { contender, router } = testbed;
        let name = contender.name();
        let began = Instant::now();
        // On one thread in the namespace, as in an agent. Otherwise the time would include entering the namespace for each
        // edit.
        let outcome = router.run(|| -> Result<(), Stop> {
            for (number, edit) in next.by_ref().take(self.settings.edits).enumerate() {
                progress.step(|| format!("{name}: {} to its acknowledgement", edit.kind))?;
                let edited = contender.edit(edit)?;
                let ours = edited.elapsed.saturating_sub(edited.committed);
                findings.sample(
                    name,
                    Measure::Acknowledged(edit.kind),
                    edited.elapsed.as_nanos() as f64,
                );
                findings.sample(name, Measure::Computed(edit.kind), ours.as_nanos() as f64);
                if number % IDLE_EVERY == 0 {
                    contender.idle()?;
                }
                if began.elapsed() > self.settings.edits_time() {
                    break;
                }
            }
            Ok(())
        });
        outcome.map_err(|error| Stop::Contender(error.to_string()))?
    }

    /// Edits while packets show which verdict holds.
    fn enforced(
        &self,
        testbed: &mut Testbed,
        next: &mut Next<'_>,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), Stop> {
        let Testbed { contender, router } = testbed;
        let name = contender.name();
        let began = Instant::now();
        let (fewest, times) =
            if contender.acknowledges() { (1, 1) } else { (MIN_ENGINE_EDITS, ENGINE_TIME_FACTOR) };
        let time = self.settings.edits_time() * times;
        for (number, edit) in next.by_ref().take(self.settings.edits).enumerate() {
            progress.step(|| format!("{name}: {} by packets", edit.kind))?;
            let arrives = edit.to == Verdict::Allow;
            let until = if contender.acknowledges() {
                Until::Passed(HOLD_TIME)
            } else {
                let patience = self.settings.engine_patience();
                Until::Holds { arrives, without_break: ENGINE_HOLD_TIME, patience }
            };
            router
                .run(|| contender.prepare_edit(edit))
                .map_err(|error| Stop::Contender(error.to_string()))??;
            let observed = router
                .observe(&edit.probe, until, || contender.edit(edit))
                .map_err(|error| Stop::Contender(error.to_string()))?;
            let enforced = observed.enforced(arrives);
            observed.value?;
            match enforced {
                Some(time) if time > Duration::ZERO => {
                    let measure = Measure::Enforced(edit.kind, edit.to);
                    findings.sample(name, measure, time.as_nanos() as f64);
                }
                Some(_) => return Err(Stop::of(edit, "the verdict had changed before the edit")),
                None if contender.acknowledges() => {
                    let why = "packets still met the old verdict after the acknowledgement";
                    return Err(Stop::of(edit, why));
                }
                None => {
                    contender.check_alive()?;
                    let patience = self.settings.engine_patience();
                    let output = quote(contender.last_output().as_deref());
                    let why =
                        format!("packets still met the old verdict after {patience:?}{output}");
                    return Err(Stop::of(edit, &why));
                }
            }
            router
                .run(|| contender.idle())
                .map_err(|error| Stop::Contender(error.to_string()))??;
            if began.elapsed() > time && number + 1 >= fewest {
                break;
            }
        }
        Ok(())
    }

    /// Edits without pauses, including all cleanup work after them.
    fn churn(
        &self,
        edits: Edits,
        testbed: &mut Testbed,
        next: &mut Next<'_>,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), Stop> {
        let Testbed { contender, router } = testbed;
        let name = contender.name();
        let slice = Duration::from_millis(self.settings.churn_ms) / SLICES;
        let began = Instant::now();
        let outcome = router.run(|| -> Result<(), Stop> {
            for _ in 0..SLICES {
                progress.step(|| format!("{name}: churn"))?;
                let (start, mut count) = (Instant::now(), 0_u32);
                while start.elapsed() < slice {
                    let Some(edit) = next.next() else { return Ok(()) };
                    contender.edit(edit)?;
                    count += 1;
                }
                contender.idle()?;
                findings.sample(
                    name,
                    Measure::Churn(edits),
                    f64::from(count) / start.elapsed().as_secs_f64(),
                );
                if began.elapsed() > self.settings.edits_time() {
                    break;
                }
            }
            Ok(())
        });
        outcome.map_err(|error| Stop::Contender(error.to_string()))?
    }
}

/// Why the edits ended early.
enum Stop {
    Bench(BenchError),
    Contender(String),
}

impl Stop {
    fn of(edit: &Edit, why: &str) -> Self {
        Self::Contender(format!("{}: {why}", edit.kind))
    }
}

impl From<crate::harness::progress::Interrupted> for Stop {
    fn from(interrupted: crate::harness::progress::Interrupted) -> Self {
        Self::Bench(interrupted.into())
    }
}

impl From<ContenderError> for Stop {
    fn from(error: ContenderError) -> Self {
        Self::Contender(error.to_string())
    }
}
