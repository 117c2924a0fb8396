//! What a run measures, and how much of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, ScenarioShape};

/// Everything that the figures of a run depend on, apart from the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub seed: u64,
    pub quick: bool,
    pub cells: Vec<Cell>,
    /// The names of the contenders. Empty means all of them.
    pub contenders: Vec<String>,
    /// The numbers of flows that packets are spread over. The state of few flows stays in the caches, that of many does
    /// not.
    pub flows: Vec<usize>,
    /// The number of rounds of each match measure. Rounds of the contenders alternate.
    pub rounds: usize,
    /// The kernel time that a round should take.
    pub round_ms: u64,
    /// The number of loads into an empty namespace.
    pub loads: usize,
    /// The number of edits that are timed one by one, for each contender in each cell, and the time after which no more are
    /// started.
    pub edits: usize,
    pub edits_ms: u64,
    /// The longest time for one match measure of a contender after its first three rounds, and for a load that is repeated.
    pub patience_ms: u64,
    /// A contender whose load takes longer is loaded only once, and its edits are not measured.
    pub give_up_ms: u64,
    /// How long it may take until packets show what an engine should enforce.
    #[serde(default)]
    pub engine_ms: u64,
    /// The durations of churn and of the idle latency, for each contender in each cell.
    pub churn_ms: u64,
    pub idle_ms: u64,
}

/// A cluster that all contenders enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    pub shape: ScenarioShape,
    pub policies: usize,
    pub pods: usize,
    pub dual_stack: bool,
}

impl Cell {
    /// A cluster with IPv4 only, with ten pods for every policy and at least `MIN_PODS` pods.
    pub const fn new(shape: ScenarioShape, policies: usize) -> Self {
        let pods = policies.saturating_mul(PODS_PER_POLICY);
        let pods = if pods < MIN_PODS { MIN_PODS } else { pods };
        Self { shape, policies, pods, dual_stack: false }
    }

    pub fn scenario(&self, seed: u64) -> Scenario {
        let scenario = Scenario::new(self.shape, self.policies, self.pods, seed);
        if self.dual_stack { scenario.dual_stack() } else { scenario }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scenario(0).name())
    }
}

const PODS_PER_POLICY: usize = 10;
const MIN_PODS: usize = 100;
/// A number of flows whose state stays in the caches, and one whose state does not in large clusters.
pub const HOT_FLOWS: usize = 64;
pub const MANY_FLOWS: usize = 1_024;
const DEFAULT_SEED: u64 = 4;

impl Settings {
    /// Every shape at every size. Takes hours for rules whose cost is linear, and some ten minutes for others.
    pub fn full() -> Self {
        let sizes = [10, 100, 1_000, 10_000];
        let v4 = sizes.into_iter().flat_map(|policies| {
            ScenarioShape::ALL.into_iter().map(move |shape| Cell::new(shape, policies))
        });
        let both = sizes
            .into_iter()
            .map(|policies| Cell { dual_stack: true, ..Cell::new(ScenarioShape::Apps, policies) });
        let mut cells: Vec<Cell> = v4.chain(both).collect();
        cells.sort_by_key(|cell| cell.policies);
        Self {
            seed: DEFAULT_SEED,
            quick: false,
            cells,
            contenders: Vec::new(),
            flows: vec![HOT_FLOWS, MANY_FLOWS],
            rounds: 11,
            round_ms: 10,
            loads: 3,
            edits: 400,
            edits_ms: 3_000,
            patience_ms: 4_000,
            give_up_ms: 30_000,
            engine_ms: 120_000,
            churn_ms: 1_000,
            idle_ms: 500,
        }
    }

    /// Two shapes, one of them at two sizes. Takes less than two minutes.
    pub fn quick() -> Self {
        let worst = ScenarioShape::OpenToNamespaces;
        let cells = [(worst, 10), (worst, 1_000), (ScenarioShape::Apps, 1_000)];
        Self {
            quick: true,
            cells: cells.map(|(shape, policies)| Cell::new(shape, policies)).to_vec(),
            flows: vec![HOT_FLOWS],
            rounds: 5,
            round_ms: 2,
            loads: 1,
            edits: 60,
            edits_ms: 250,
            patience_ms: 700,
            give_up_ms: 2_000,
            engine_ms: 20_000,
            churn_ms: 150,
            idle_ms: 100,
            ..Self::full()
        }
    }

    pub fn edits_time(&self) -> Duration {
        Duration::from_millis(self.edits_ms)
    }

    pub fn give_up(&self) -> Duration {
        Duration::from_millis(self.give_up_ms)
    }

    pub fn engine_patience(&self) -> Duration {
        Duration::from_millis(self.engine_ms)
    }

    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }
}
