//! One contender in the network namespace that it is measured in.

use std::time::Duration;

use palisade_compiler::model::Verdict;
use thiserror::Error;

use super::Findings;
use crate::contender::{Contender, ContenderError, Loaded};
use crate::harness::measure::Measure;
use crate::harness::report::Made;
use crate::inject::{Flow, InjectError, Router, Sighting};
use crate::scenario::Scenario;

pub(super) struct Lane {
    pub(super) contender: Box<dyn Contender>,
    pub(super) router: Router,
}

#[derive(Debug, Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Contender(#[from] ContenderError),
    #[error(transparent)]
    Inject(#[from] InjectError),
}

#[derive(Debug, Error)]
pub(super) enum Wrong {
    #[error(
        "its verdict is not the oracle's: it {} {} of {of} connections that are to be {}, for example {example:?}",
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

/// With fewer connections of a verdict a check shows little.
const FEWEST: usize = 16;

impl Lane {
    pub(super) fn new(contender: Box<dyn Contender>) -> Result<Self, InjectError> {
        Ok(Self { contender, router: Router::new()? })
    }

    pub(super) fn load(&mut self, scenario: &Scenario) -> Result<Loaded, LoadError> {
        let Self { contender, router } = self;
        Ok(router.run(|| contender.load(scenario))??)
    }

    /// Loads while first packets pass that are allowed before, meanwhile and after; only what was sent while it loaded counts.
    pub(super) fn load_watched(
        &mut self,
        scenario: &Scenario,
        probe: Option<&Flow>,
    ) -> Result<Vec<Sighting>, LoadError> {
        let Some(probe) = probe else { return self.load(scenario).map(|_| Vec::new()) };
        let Self { contender, router } = self;
        let watch = router.watch(probe, Duration::ZERO, || contender.load(scenario))?;
        watch.value?;
        let during =
            |sighting: &Sighting| sighting.sent >= watch.began && sighting.sent <= watch.ended;
        Ok(watch.sightings.into_iter().filter(during).collect())
    }

    /// Holds the verdicts of real packets, in the namespace and under the very rules that will be timed, against the oracle's.
    pub(super) fn check(&mut self, expected: &[(Vec<Flow>, Verdict)]) -> Result<(), Wrong> {
        if !self.contender.enforces() {
            return Ok(());
        }
        for (flows, verdict) in expected {
            if flows.len() < FEWEST {
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

    pub(super) fn idle(&mut self, flow: &Flow, ms: u64) -> Result<Vec<Sighting>, InjectError> {
        Ok(self.router.watch(flow, Duration::from_millis(ms), || ())?.sightings)
    }
}

/// Files what a load took, and once what it made. Who enforces nothing has nothing to load.
pub(super) fn file_load(
    name: &str,
    enforces: bool,
    loaded: Loaded,
    first: bool,
    findings: &mut Findings,
) {
    if enforces {
        findings.sample(name, Measure::Load, loaded.elapsed.as_nanos() as f64);
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
