//! Measures what a packet costs, in alternating rounds that check the arrival of every packet.

use std::time::{Duration, Instant};

use palisade_compiler::model::{Family, Verdict};
use palisade_lab::packet::SCTP;

use super::lane::Lane;
use super::{Findings, KernelBench};
use crate::harness::measure::{Measure, Path};
use crate::harness::progress::Progress;
use crate::harness::report::Packets;
use crate::harness::run::BenchError;
use crate::inject::{BATCH, Flow, InjectError, Round, Stage, rotation};
use crate::scenario::{Scenario, Selected};

/// The greatest number of packets in a round.
const MOST: u32 = 20_000;
/// The number of rounds after which a slow contender is not measured any further.
const FEWEST_ROUNDS: usize = 3;

/// A match measure with its flows.
struct Task {
    measure: Measure,
    stage: Stage,
    flows: Vec<Flow>,
    verdict: Verdict,
}

/// The state of a contender in a task.
#[derive(Clone, Copy, Default)]
struct Fare {
    packets: u32,
    rounds: usize,
    spent: Duration,
    out: bool,
}

impl KernelBench {
    pub(super) fn match_costs(
        &self,
        scenario: &Scenario,
        lanes: &mut [Lane],
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
                    for lane in lanes.iter() {
                        findings.absent(lane.contender.name(), Some(task.measure), &reason);
                    }
                    continue;
                }
                self.rounds(&task, lanes, findings, progress)?;
            }
        }
        Ok(())
    }

    fn rounds(
        &self,
        task: &Task,
        lanes: &mut [Lane],
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), BenchError> {
        let mut fares = vec![Fare::default(); lanes.len()];
        // The first round only determines the number of packets of a round, and warms up.
        for round in 0..=self.settings.rounds {
            for turn in rotation(lanes.len(), round) {
                let (Some(lane), Some(fare)) = (lanes.get_mut(turn), fares.get_mut(turn)) else {
                    continue;
                };
                let tired = fare.rounds >= FEWEST_ROUNDS && fare.spent > self.settings.patience();
                if fare.out || tired {
                    continue;
                }
                let name = lane.contender.name();
                progress.step(|| format!("{} {name}, round {round}", task.measure))?;
                let began = Instant::now();
                let packets = if round == 0 { BATCH } else { fare.packets };
                match timed(lane, task, packets) {
                    Ok(outcome) if round == 0 => fare.packets = self.packets(outcome),
                    Ok(outcome) => {
                        let Round { packets: timed, arrived, .. } = outcome;
                        let packets = Some(Packets { timed, arrived });
                        findings.samples(name, task.measure, &[outcome.per_packet()], packets);
                        fare.rounds += 1;
                    }
                    Err(reason) => {
                        fare.out = true;
                        findings
                            .report
                            .series
                            .retain(|s| s.contender != name || s.measure != task.measure);
                        findings.absent(name, Some(task.measure), reason);
                    }
                }
                fare.spent += began.elapsed();
            }
        }
        Ok(())
    }

    /// The number of packets that fill the time of a round at the speed of the pilot round.
    fn packets(&self, pilot: Round) -> u32 {
        let wanted = self.settings.round_ms as f64 * 1e6 / pilot.per_packet().max(1.0);
        (wanted as u32).clamp(BATCH, MOST).next_multiple_of(BATCH)
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
fn timed(lane: &mut Lane, task: &Task, packets: u32) -> Result<Round, String> {
    let round = lane
        .router
        .measure(&task.flows, task.stage, packets)
        .map_err(|error: InjectError| error.to_string())?;
    let all = task.verdict == Verdict::Allow || !lane.contender.enforces();
    let expected = if all { round.packets } else { 0 };
    if round.arrived != expected {
        return Err(format!(
            "{} of {} packets arrived, and {expected} should have: a wrong verdict is not timed",
            round.arrived, round.packets
        ));
    }
    Ok(round)
}
