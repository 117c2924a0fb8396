//! What a run found: every sample, what was left out and why, and on what machine.

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

/// Raised when a report of an older version cannot be read as one of this.
pub const FORMAT: u32 = 1;

/// The contender without any rules: what forwarding costs by itself.
pub const BASE: &str = "none";
/// Conntrack and `ct state established accept`, the floor of whatever is stateful.
pub const CONNTRACK: &str = "conntrack";
pub const PALISADE: &str = "palisade";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    pub settings: Settings,
    pub machine: Machine,
    pub contenders: Vec<Description>,
    /// Contenders and engines that were not compared at all.
    pub left_out: Vec<Absence>,
    pub cells: Vec<CellReport>,
    /// Not of the measurement: concluded from it, and written for whoever reads the JSON alone.
    pub goals: Vec<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    /// What is behind the name.
    pub what: String,
    pub enforces: bool,
}

/// A contender that has no figure, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absence {
    pub contender: String,
    /// What is missing of it; everything if `None`.
    pub measure: Option<Measure>,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    pub cell: Cell,
    pub series: Vec<Series>,
    pub absent: Vec<Absence>,
    /// What each contender's load made.
    pub made: Vec<Made>,
    /// How long the cell took, all contenders together.
    pub seconds: f64,
}

/// Objects in the kernel after a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub contender: String,
    pub chains: usize,
    pub rules: usize,
    pub sets: usize,
    pub elements: usize,
}

/// All samples of one measure of one contender, in the order they were taken and in the measure's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub contender: String,
    pub measure: Measure,
    pub samples: Vec<f64>,
    /// Of match measures: packets that were timed, and those of them that arrived behind the rules.
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
    #[error("{path} is no report: {error}")]
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

    /// The cost over that of bare conntrack in the same round, as every node has it that translates addresses: what judging
    /// adds. What slows a whole round down is in both and cancels.
    pub fn added(&self, contender: &str, measure: Measure) -> Option<Summary> {
        let (own, bare) = (self.samples(contender, measure)?, self.samples(CONNTRACK, measure)?);
        Summary::of(&own.iter().zip(bare).map(|(own, bare)| own - bare).collect::<Vec<_>>())
    }

    /// What judging adds in the fast rounds: the difference of the tenth percentiles. Rounds of one processor speed are
    /// compared with rounds of the same speed, where medians may hold either.
    pub fn added_when_fast(&self, contender: &str, measure: Measure) -> Option<f64> {
        Some(self.summary(contender, measure)?.fast - self.summary(CONNTRACK, measure)?.fast)
    }

    pub fn made(&self, contender: &str) -> Option<&Made> {
        self.made.iter().find(|made| made.contender == contender)
    }
}

impl Report {
    /// # Errors
    /// `Io`; `Syntax` and `Format` where the file is none of this version.
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

    /// Names of the contenders that have figures, in the order they were described.
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

    /// How a measure of a contender grows with the policies.
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
                // No field has a comma or a quote in it: names are of letters, digits and dashes.
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
