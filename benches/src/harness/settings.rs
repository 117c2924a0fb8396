//! What a run measures, and how much of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scenario::{Scenario, ScenarioShape};

/// Everything a run's figures depend on besides the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub seed: u64,
    pub quick: bool,
    pub cells: Vec<Cell>,
    /// Names of the contenders; all of them if empty.
    pub contenders: Vec<String>,
    /// Flows that packets are spread over: few stay in the caches, many do not.
    pub flows: Vec<usize>,
    /// Rounds of each match measure, interleaved.
    pub rounds: usize,
    /// The kernel time that a round aims at.
    pub round_ms: u64,
    /// Loads into a namespace that is empty.
    pub loads: usize,
    /// Edits that are timed one by one, of each contender in each cell, and the time after which no more are begun.
    pub edits: usize,
    pub edits_ms: u64,
    /// The time that one contender may take for one match measure, once it has three rounds, and for a load that is repeated.
    pub patience_ms: u64,
    /// Whose load takes longer is loaded once, and is not asked to follow edits.
    pub give_up_ms: u64,
    /// How long it may take until packets show what an engine was told.
    #[serde(default)]
    pub engine_ms: u64,
    /// Sustained churn and idle latency, of each contender in each cell.
    pub churn_ms: u64,
    pub idle_ms: u64,
}

/// One cluster that all contenders enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    #[serde(with = "shape_name")]
    pub shape: ScenarioShape,
    pub policies: usize,
    pub pods: usize,
    pub dual_stack: bool,
}

impl Cell {
    /// A cluster of IPv4 with ten pods for every policy, and as many as make a cluster at least.
    pub const fn new(shape: ScenarioShape, policies: usize) -> Self {
        let pods = policies.saturating_mul(PODS_PER_POLICY);
        let pods = if pods < FEWEST_PODS { FEWEST_PODS } else { pods };
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
const FEWEST_PODS: usize = 100;
/// Flows whose state stays in the caches, and flows whose state does not at the large sizes.
pub const HOT_FLOWS: usize = 64;
pub const MANY_FLOWS: usize = 1_024;
const DEFAULT_SEED: u64 = 4;

impl Settings {
    /// Every shape at every size: hours where rules are linear, tens of minutes otherwise.
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

    /// Two shapes, one of them at two sizes, in less than two minutes.
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

/// Shapes by their names.
mod shape_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::ScenarioShape;

    pub(super) fn serialize<S: Serializer>(
        shape: &ScenarioShape,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(shape.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<ScenarioShape, D::Error> {
        let name = String::deserialize(from)?;
        super::shape_named(&name).ok_or_else(|| D::Error::custom(format!("no shape {name:?}")))
    }
}

pub fn shape_named(name: &str) -> Option<ScenarioShape> {
    ScenarioShape::ALL.into_iter().find(|shape| shape.name() == name)
}
