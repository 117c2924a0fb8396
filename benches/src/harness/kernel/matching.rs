//! Measures what a packet costs, in alternating rounds that check the arrival of every packet.

use std::time::{Duration, Instant};

use palisade_compiler::model::{Family, Verdict};
use palisade_lab::packet::SCTP;

use super::testbed::Testbed;
use super::{Findings, KernelBench};
use crate::harness::measure::{Measure, Path};
use crate::harness::progress::Progress;
use crate::harness::report::Packets;
use crate::harness::run::BenchError;
use crate::inject::{BATCH, Flow, InjectError, Round, Stage, rotation};
use crate::scenario::{Scenario, Selected};

/// The greatest number of packets in a round.
const MAX_PACKETS: u32 = 20_000;
/// The number of rounds after which a slow contender is not measured any further.
const MIN_ROUNDS: usize = 3;

/// A match measure with its flows.
struct Task {
    measure: Measure,
    stage: Stage,
    flows: Vec<Flow>,
    verdict: Verdict,
}

/// The state of a contender in a task.
#[derive(Clone, Copy, Default)]
struct TaskState {
    packets: u32,
    rounds: usize,
    spent: Duration,
    failed: bool,
}

impl KernelBench {
    pub(super) fn match_costs(
        &self,
        scenario: &Scenario,
        testbeds: &mut [Testbed],
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), BenchError> {
        for &flows in &self.settings.flows {
            for path in Path::ALL {
                progress.step(|| format!("drawing flows: {}", path.title()))?;
                let family = if scenario.dual_stack { Family::V6 } else { Family::V4 };
                let task = task(scenario, path, family, flows);
                if task.flows.len() < flows {
                    let reason = format!(
                        "the cluster has {} such flows, {flows} are needed",
                        task.flows.len()
                    );
                    for testbed in testbeds.iter() {
                        findings.absent(testbed.contender.name(), Some(task.measure), &reason);
                    }
                    continue;
                }
                self.rounds(&task, testbeds, findings, progress)?;
            }
        }
        Ok(())
    }

    fn rounds(
        &self,
        task: &Task,
        testbeds: &mut [Testbed],
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), BenchError> {
        let mut states = vec![TaskState::default(); testbeds.len()];
        // The first round only determines the number of packets of a round, and warms up.
        for round in 0..=self.settings.rounds {
            for turn in rotation(testbeds.len(), round) {
                let (Some(testbed), Some(state)) = (testbeds.get_mut(turn), states.get_mut(turn))
                else {
                    continue;
                };
                let too_slow = state.rounds >= MIN_ROUNDS && state.spent > self.settings.patience();
                if state.failed || too_slow {
                    continue;
                }
                let name = testbed.contender.name();
                progress.step(|| format!("{} {name}, round {round}", task.measure))?;
                let began = Instant::now();
                let packets = if round == 0 { BATCH } else { state.packets };
                match timed(testbed, task, packets) {
                    Ok(outcome) if round == 0 => state.packets = self.packets(outcome),
                    Ok(outcome) => {
                        let Round { packets: timed, arrived, .. } = outcome;
                        let packets = Some(Packets { timed, arrived });
                        findings.samples(name, task.measure, &[outcome.per_packet()], packets);
                        state.rounds += 1;
                    }
                    Err(reason) => {
                        state.failed = true;
                        findings
                            .report
                            .series
                            .retain(|s| s.contender != name || s.measure != task.measure);
                        findings.absent(name, Some(task.measure), reason);
                    }
                }
                state.spent += began.elapsed();
            }
        }
        Ok(())
    }

    /// The number of packets that fill the time of a round at the speed of the pilot round.
    fn packets(&self, pilot: Round) -> u32 {
        let wanted = self.settings.round_ms as f64 * 1e6 / pilot.per_packet().max(1.0);
        (wanted as u32).clamp(BATCH, MAX_PACKETS).next_multiple_of(BATCH)
    }
}

fn task(scenario: &Scenario, path: Path, family: Family, count: usize) -> Task {
    let (selected, verdict) = match path {
        Path::NewBoth | Path::Established => (Selected::Both, Verdict::Allow),
        Path::NewOne => (Selected::One, Verdict::Allow),
        Path::NewNone => (Selected::None, Verdict::Allow),
        Path::Denied => (Selected::One, Verdict::Deny),
    };
    // Draw more than needed: half of the flows of a dual-stack cluster are IPv4, and SCTP associations cannot be opened.
    let more = if scenario.dual_stack { 3 } else { 1 } * count + count / 4;
    let fits = |flow: &Flow| Family::of(flow.from) == family && flow.protocol != SCTP;
    let flows = scenario.flows_selected(selected, more, verdict).into_iter().filter(fits);
    let flows = flows.take(count).collect();
    let stage = if path == Path::Established { Stage::Established } else { Stage::New };
    Task { measure: Measure::Match { path, family, flows: count }, stage, flows, verdict }
}

/// Measures a round. Returns why it does not count if some packet had a wrong verdict.
fn timed(testbed: &mut Testbed, task: &Task, packets: u32) -> Result<Round, String> {
    let round = testbed
        .router
        .measure(&task.flows, task.stage, packets)
        .map_err(|error: InjectError| error.to_string())?;
    let all = task.verdict == Verdict::Allow || !testbed.contender.enforces();
    let expected = if all { round.packets } else { 0 };
    if round.arrived != expected {
        return Err(format!(
            "{} of {} packets arrived, and {expected} should have: a wrong verdict is not timed",
            round.arrived, round.packets
        ));
    }
    Ok(round)
}
