//! A goal, with the value that a run reached.

use serde::{Deserialize, Serialize};

/// A goal and the value reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub goal: String,
    /// The bound, in `unit`.
    pub bound: f64,
    pub at_most: bool,
    pub unit: String,
    /// `None` if the run did not measure it.
    pub reached: Option<f64>,
    /// What is compared and where: names of cells and contenders.
    pub of: String,
}

impl Outcome {
    pub fn met(&self) -> Option<bool> {
        let reached = self.reached?;
        Some(if self.at_most { reached <= self.bound } else { reached >= self.bound })
    }
}

/// A goal before it is compared with a run.
pub(super) struct Goal<'a> {
    goal: &'a str,
    unit: &'a str,
    at_most: bool,
    bound: f64,
}

impl Goal<'_> {
    pub(super) fn reached(&self, reached: Option<f64>, of: impl Into<String>) -> Outcome {
        let (goal, unit) = (self.goal.to_owned(), self.unit.to_owned());
        Outcome { goal, bound: self.bound, at_most: self.at_most, unit, reached, of: of.into() }
    }
}

pub(super) fn at_most<'a>(goal: &'a str, bound: f64, unit: &'a str) -> Goal<'a> {
    Goal { goal, unit, at_most: true, bound }
}

pub(super) fn at_least<'a>(goal: &'a str, bound: f64, unit: &'a str) -> Goal<'a> {
    Goal { goal, unit, at_most: false, bound }
}
