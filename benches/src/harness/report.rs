//! The results of a run: every sample, what was left out and why, and the machine.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::machine::Machine;
use super::measure::Measure;
use super::outcome::Outcome;
use super::settings::{Cell, Settings};
use super::statistics::{Growth, Summary, median};

/// The version of the report's format. It is increased when older reports cannot be read any more.
pub const FORMAT: u32 = 1;

/// The contender without rules: the cost of forwarding alone.
pub const BASE: &str = "none";
/// Conntrack and `ct state established accept`: the least that stateful rules cost.
pub const CONNTRACK: &str = "conntrack";
pub const PALISADE: &str = "palisade";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    pub settings: Settings,
    pub machine: Machine,
    pub contenders: Vec<Description>,
    /// The contenders and engines that were not compared at all.
    pub left_out: Vec<Absence>,
    pub cells: Vec<CellReport>,
    /// Derived from the measurements, for readers who have only the JSON.
    pub goals: Vec<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    /// What the name stands for.
    pub what: String,
    pub enforces: bool,
}

/// A missing figure of a contender, and the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absence {
    pub contender: String,
    /// The missing measure. `None` means all of them.
    pub measure: Option<Measure>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    pub cell: Cell,
    pub series: Vec<Series>,
    pub absent: Vec<Absence>,
    /// The objects that the load of each contender created.
    pub made: Vec<Made>,
    /// How long the cell took, for all contenders together.
    pub seconds: f64,
}

/// The number of objects in the kernel after a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub contender: String,
    pub chains: usize,
    pub rules: usize,
    pub sets: usize,
    pub elements: usize,
}

/// All samples of one measure of one contender, in the order in which they were taken and in the unit of the measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub contender: String,
    pub measure: Measure,
    pub samples: Vec<f64>,
    /// Only for match measures: the number of packets that were timed, and of those that arrived after the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<Packets>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    pub timed: u64,
    pub arrived: u64,
}

#[derive(Debug, Error)]
pub enum ReportError {
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
    #[error("{path} is not a report: {error}")]
    Syntax { path: String, error: serde_json::Error },
    #[error("{path} is a report of format {found}; this version reads {FORMAT}")]
    Format { path: String, found: u32 },
}

impl CellReport {
    pub fn samples(&self, contender: &str, measure: Measure) -> Option<&[f64]> {
        let series = self.series.iter().find(|s| s.contender == contender && s.measure == measure);
        series.map(|series| series.samples.as_slice())
    }

    pub fn summary(&self, contender: &str, measure: Measure) -> Option<Summary> {
        Summary::of(self.samples(contender, measure)?)
    }

    pub fn median(&self, contender: &str, measure: Measure) -> Option<f64> {
        median(self.samples(contender, measure)?)
    }

    /// The cost above that of conntrack alone in the same round, which is what judging adds. Every node that translates
    /// addresses has the cost of conntrack anyway. If something slows down a whole round, both costs increase and the
    /// difference does not.
    pub fn added(&self, contender: &str, measure: Measure) -> Option<Summary> {
        let (own, bare) = (self.samples(contender, measure)?, self.samples(CONNTRACK, measure)?);
        Summary::of(&own.iter().zip(bare).map(|(own, bare)| own - bare).collect::<Vec<_>>())
    }

    /// What judging adds in the fast rounds: the difference of the tenth percentiles. They compare rounds with the
    /// processor at the same speed, whereas medians may be of different speeds.
    pub fn added_when_fast(&self, contender: &str, measure: Measure) -> Option<f64> {
        Some(self.summary(contender, measure)?.fast - self.summary(CONNTRACK, measure)?.fast)
    }

    pub fn made(&self, contender: &str) -> Option<&Made> {
        self.made.iter().find(|made| made.contender == contender)
    }
}

impl Report {
    /// # Errors
    /// `Io`. `Syntax` or `Format` if the file is not a report of this version.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let name = || path.display().to_string();
        let text = fs::read(path).map_err(|error| ReportError::Io { path: name(), error })?;
        let syntax = |error| ReportError::Syntax { path: name(), error };
        let head: Head = serde_json::from_slice(&text).map_err(syntax)?;
        if head.format != FORMAT {
            return Err(ReportError::Format { path: name(), found: head.format });
        }
        serde_json::from_slice(&text).map_err(syntax)
    }

    /// The names of the contenders with figures, in the order in which they were described.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contenders.iter().map(|contender| contender.name.as_str())
    }

    pub fn cell(&self, wanted: Cell) -> Option<&CellReport> {
        self.cells.iter().find(|cell| cell.cell == wanted)
    }

    /// The cells of one shape, smallest first.
    pub fn growing(&self, like: Cell) -> Vec<&CellReport> {
        let same = |c: &Cell| c.shape == like.shape && c.dual_stack == like.dual_stack;
        let mut cells: Vec<&CellReport> = self.cells.iter().filter(|c| same(&c.cell)).collect();
        cells.sort_by_key(|cell| cell.cell.policies);
        cells
    }

    /// How a measure of a contender grows with the number of policies.
    pub fn growth(&self, like: Cell, contender: &str, measure: Measure) -> Option<Growth> {
        let cells = self.growing(like);
        let points = cells
            .iter()
            .filter_map(|cell| Some((cell.cell.policies as f64, cell.median(contender, measure)?)));
        Growth::of(&points.collect::<Vec<_>>())
    }

    /// One line for each series.
    pub fn csv(&self) -> String {
        let mut text = String::from(
            "shape,policies,pods,dual_stack,contender,measure,unit,samples,median,low95,high95,mad,min,p10,p99,max,packets,arrived\n",
        );
        for cell in &self.cells {
            let Cell { shape, policies, pods, dual_stack } = cell.cell;
            for series in &cell.series {
                let Some(s) = Summary::of(&series.samples) else { continue };
                let (timed, arrived) = series.packets.map_or_else(Default::default, |packets| {
                    (packets.timed.to_string(), packets.arrived.to_string())
                });
                // No field needs quoting: names consist of letters, digits and dashes.
                _ = writeln!(
                    text,
                    "{shape},{policies},{pods},{dual_stack},{},{},{},{},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{timed},{arrived}",
                    series.contender,
                    series.measure,
                    series.measure.unit().name(),
                    s.count,
                    s.median,
                    s.low,
                    s.high,
                    s.deviation,
                    s.min,
                    s.fast,
                    s.p99,
                    s.max,
                );
            }
        }
        text
    }
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}
