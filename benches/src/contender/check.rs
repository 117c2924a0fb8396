//! Compares contenders with the oracle by real packets.

use palisade_compiler::model::Verdict;

use super::{Contender, ContenderError, Loaded, Mismatch};
use crate::inject::{Flow, InjectError, Router};
use crate::scenario::{Edit, Scenario};

/// The number of connections with each verdict by which a contender is compared with the oracle.
pub const SAMPLE: usize = 64;

/// Connections of a scenario with the verdicts of the oracle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    flows: Vec<(Flow, Verdict)>,
}

impl Sample {
    /// Draws [`SAMPLE`] connections with each verdict. Policies apply to them at both ends, at one, or at none.
    ///
    /// # Errors
    /// `TooFew` if the scenario has fewer connections with some verdict.
    pub fn new(scenario: &Scenario) -> Result<Self, Mismatch> {
        let mut flows = Vec::new();
        for (allowed, verdict) in [(true, Verdict::Allow), (false, Verdict::Deny)] {
            let found = scenario.flows(SAMPLE, allowed);
            if found.len() < SAMPLE {
                return Err(Mismatch::TooFew { verdict, count: found.len(), wanted: SAMPLE });
            }
            flows.extend(found.into_iter().map(|flow| (flow, verdict)));
        }
        Ok(Self { flows })
    }

    pub fn flows(&self) -> &[(Flow, Verdict)] {
        &self.flows
    }

    /// Sends the first packet of each connection through the router into which a contender was loaded.
    ///
    /// # Errors
    /// The first verdict that differs from that of the oracle. `Unseen` if the packets could not be observed.
    pub fn check(&self, contender: &'static str, router: &mut Router) -> Result<(), Mismatch> {
        compare(contender, router, &self.flows)
    }
}

/// Loads a contender into a router without rules and sends the sample. Then applies the scenario's first edits, sends the
/// probe of each edit before and after it, and finally sends the sample again. Connections whose verdicts the edits may
/// have changed are left out of the second sample.
///
/// # Errors
/// As [`Sample::check`], and `Failed` if the contender fails.
pub fn check(
    contender: &mut dyn Contender,
    scenario: &Scenario,
    router: &mut Router,
    edits: &[Edit],
) -> Result<Loaded, Mismatch> {
    let sample = Sample::new(scenario)?;
    let name = contender.name();
    let failed = |error: ContenderError| Mismatch::Failed { contender: name, error };
    let loaded = router.run(|| contender.load(scenario)).map_err(unseen)?.map_err(failed)?;
    sample.check(name, router)?;
    for edit in edits {
        compare(name, router, &[(edit.probe, edit.from)])?;
        router.run(|| contender.edit(edit)).map_err(unseen)?.map_err(failed)?;
        compare(name, router, &[(edit.probe, edit.to)])?;
    }
    router.run(|| contender.idle()).map_err(unseen)?.map_err(failed)?;
    let sample = sample.flows.into_iter().filter(|(flow, _)| !is_touched(flow, edits));
    compare(name, router, &sample.collect::<Vec<_>>())?;
    Ok(loaded)
}

/// Whether the edits may have changed the verdict on the connection.
fn is_touched(flow: &Flow, edits: &[Edit]) -> bool {
    edits.iter().any(|Edit { probe, .. }| probe.from == flow.from || probe.to == flow.to)
}

fn compare(
    contender: &'static str,
    router: &mut Router,
    expected: &[(Flow, Verdict)],
) -> Result<(), Mismatch> {
    let flows: Vec<Flow> = expected.iter().map(|(flow, _)| *flow).collect();
    let arrived = router.probe(&flows).map_err(unseen)?;
    for (&(flow, expected), arrived) in expected.iter().zip(arrived) {
        let seen = if arrived { Verdict::Allow } else { Verdict::Deny };
        if seen != expected {
            return Err(Mismatch::Verdict { contender, flow, seen, expected });
        }
    }
    Ok(())
}

fn unseen(error: InjectError) -> Mismatch {
    Mismatch::Unseen(error)
}
