//! A contender together with the network namespace that it is measured in.

use std::time::{Duration, Instant};

use palisade_compiler::model::Verdict;
use thiserror::Error;

use super::Findings;
use crate::contender::{Contender, ContenderError, Loaded};
use crate::harness::measure::Measure;
use crate::harness::report::Made;
use crate::inject::{Flow, InjectError, Observation, Router, Until};
use crate::scenario::Scenario;

pub(super) struct Testbed {
    pub(super) contender: Box<dyn Contender>,
    pub(super) router: Router,
}

/// Connections of a cluster, with the verdicts of the oracle.
pub(super) struct Expected(pub(super) [(Vec<Flow>, Verdict); 2]);

impl Expected {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let flows = |allowed| scenario.flows(CHECKED, allowed);
        Self([(flows(true), Verdict::Allow), (flows(false), Verdict::Deny)])
    }

    /// For contenders that are not checked.
    pub(super) fn none() -> Self {
        Self([(Vec::new(), Verdict::Allow), (Vec::new(), Verdict::Deny)])
    }

    /// A connection that is always allowed.
    pub(super) fn allowed(&self) -> Option<&Flow> {
        self.0.first().and_then(|(flows, _)| flows.first())
    }
}

#[derive(Debug, Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Contender(#[from] ContenderError),
    #[error(transparent)]
    Inject(#[from] InjectError),
    #[error(transparent)]
    Wrong(#[from] Wrong),
    #[error("{patience:?} after it was given the cluster, {wrong}{}", quote(.output.as_deref()))]
    Late { patience: Duration, wrong: Wrong, output: Option<String> },
}

/// Why an engine has no figures for some measures.
pub(super) const NOT_ACKNOWLEDGED: &str =
    "an engine acknowledges neither a load nor an edit: only packets show what it has done";

/// An engine's last output, to be appended to a reason.
pub(super) fn quote(output: Option<&str>) -> String {
    output
        .filter(|output| !output.is_empty())
        .map_or_else(String::new, |output| format!("; it said: {output}"))
}

#[derive(Debug, Error)]
pub(super) enum Wrong {
    #[error(
        "its verdict is not the oracle's: it {} {} of {of} connections that must be {}, for example {example:?}",
        if *.expected == Verdict::Allow { "denies" } else { "allows" },
        .count,
        if *.expected == Verdict::Allow { "allowed" } else { "denied" },
    )]
    Verdict { expected: Verdict, count: usize, of: usize, example: Flow },
    #[error("the cluster has too few connections to check it with")]
    TooFew,
    #[error(transparent)]
    Inject(#[from] InjectError),
}

/// The number of flows of each verdict that are compared with the oracle before anything is timed.
const CHECKED: usize = 64;
/// The interval at which an engine is checked for enforcing the cluster. A check uses a CPU for some milliseconds, which
/// the engine needs too.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// The fewest connections of a verdict for a meaningful check.
const MIN_CHECKED: usize = 16;

impl Testbed {
    pub(super) fn new(contender: Box<dyn Contender>) -> Result<Self, InjectError> {
        Ok(Self { contender, router: Router::new()? })
    }

    /// Does what precedes a load and is not measured.
    pub(super) fn prepare(&mut self, scenario: &Scenario) -> Result<(), LoadError> {
        let Self { contender, router } = self;
        Ok(router.run(|| contender.prepare(scenario))??)
    }

    /// Loads until everything is enforced. The kernel acknowledges it, or packets must show it within `patience`.
    pub(super) fn load(
        &mut self,
        scenario: &Scenario,
        expected: &Expected,
        patience: Duration,
    ) -> Result<Loaded, LoadError> {
        let Self { contender, router } = self;
        let loaded = router.run(|| contender.load(scenario))??;
        let waited = self.wait_until_enforced(expected, patience)?;
        Ok(Loaded { elapsed: loaded.elapsed + waited, ..loaded })
    }

    /// Loads while first packets pass that are allowed before, during and after the load. Only packets that were sent
    /// during the load count. An engine is assumed to take as long as its earlier load.
    pub(super) fn load_observed(
        &mut self,
        scenario: &Scenario,
        expected: &Expected,
        patience: Duration,
        earlier: Duration,
    ) -> Result<Vec<Observation>, LoadError> {
        let Some(probe) = expected.allowed() else {
            return self.load(scenario, expected, patience).map(|_| Vec::new());
        };
        self.prepare(scenario)?;
        let Self { contender, router } = self;
        let until = Until::Passed(Duration::ZERO);
        let observed = router.observe(probe, until, || {
            contender.load(scenario)?;
            if !contender.acknowledges() {
                std::thread::sleep(earlier);
            }
            Ok::<_, ContenderError>(())
        })?;
        observed.value?;
        self.wait_until_enforced(expected, patience)?;
        let during = |observation: &Observation| {
            observation.sent >= observed.began && observation.sent <= observed.ended
        };
        Ok(observed.observations.into_iter().filter(during).collect())
    }

    /// If the contender does not acknowledge, waits until packets show that the cluster is enforced. Returns the time of
    /// that, and waits until the engine has nothing left to do, which is not included in the time.
    fn wait_until_enforced(
        &mut self,
        expected: &Expected,
        patience: Duration,
    ) -> Result<Duration, LoadError> {
        if self.contender.acknowledges() {
            return Ok(Duration::ZERO);
        }
        let began = Instant::now();
        loop {
            let wrong = self.check(expected).err();
            let took = began.elapsed();
            match wrong {
                None => {
                    let Self { contender, router } = self;
                    router.run(|| contender.idle())??;
                    return Ok(took);
                }
                Some(wrong @ Wrong::Verdict { .. }) if took > patience => {
                    let output = self.contender.last_output();
                    return Err(LoadError::Late { patience, wrong, output });
                }
                Some(Wrong::Verdict { .. }) => {
                    self.contender.check_alive()?;
                    std::thread::sleep(CHECK_INTERVAL);
                }
                Some(wrong) => return Err(wrong.into()),
            }
        }
    }

    /// Compares the verdicts on real packets with the oracle's, in the namespace and with the rules that will be timed.
    pub(super) fn check(&mut self, expected: &Expected) -> Result<(), Wrong> {
        if !self.contender.enforces() {
            return Ok(());
        }
        for (flows, verdict) in &expected.0 {
            if flows.len() < MIN_CHECKED {
                return Err(Wrong::TooFew);
            }
            let arrived = self.router.probe(flows)?;
            let wrong = |(_, arrived): &(&Flow, bool)| *arrived != (*verdict == Verdict::Allow);
            let mut wrong = flows.iter().zip(arrived).filter(wrong);
            if let Some((example, _)) = wrong.next() {
                let (count, of) = (1 + wrong.count(), flows.len());
                return Err(Wrong::Verdict { expected: *verdict, count, of, example: *example });
            }
        }
        Ok(())
    }

    pub(super) fn idle(&mut self, flow: &Flow, ms: u64) -> Result<Vec<Observation>, InjectError> {
        Ok(self.router.observe(flow, Until::Passed(Duration::from_millis(ms)), || ())?.observations)
    }
}

/// Records how long a load took, and the first time also how many objects it created. A contender that enforces nothing has
/// no load time. For an engine, the commit and the objects are unknown.
pub(super) fn file_load(
    contender: &dyn Contender,
    loaded: Loaded,
    first: bool,
    findings: &mut Findings,
) {
    let name = contender.name();
    if contender.enforces() {
        findings.sample(name, Measure::Load, loaded.elapsed.as_nanos() as f64);
    }
    if !contender.acknowledges() {
        if first {
            findings.absent(name, Some(Measure::LoadCommit), NOT_ACKNOWLEDGED);
        }
        return;
    }
    if contender.enforces() {
        findings.sample(name, Measure::LoadCommit, loaded.committed.as_nanos() as f64);
    }
    if first {
        let Loaded { chains, rules, sets, elements, .. } = loaded;
        findings.report.made.push(Made {
            contender: name.to_owned(),
            chains,
            rules,
            sets,
            elements,
        });
    }
}
