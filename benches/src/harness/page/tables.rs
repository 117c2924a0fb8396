//! The tables and sentences of the page.

mod costs;
mod facts;

use std::fmt::Write as _;

use super::super::outcome::Outcome;
use super::super::quantity::Quantity;
use super::super::report::{PALISADE, Report};
use super::escape;

pub(super) use costs::{edits, findings, growth, loads, match_costs, memory};
pub(super) use facts::{absences, machine};

/// A table with the names of the rows in its first column.
struct Table {
    caption: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    fn new(caption: impl Into<String>, columns: impl IntoIterator<Item = String>) -> Self {
        Self { caption: caption.into(), columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, unless none of its cells has a figure.
    fn row(&mut self, name: &str, cells: Vec<Option<String>>) {
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
            self.rows.push((name.to_owned(), cells.collect()));
        }
    }

    fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut out = format!(
            "<p class=\"caption\">{}</p>\n<div class=\"scroll\"><table>\n<thead><tr><th></th>",
            escape(&self.caption)
        );
        for column in &self.columns {
            _ = write!(out, "<th{}>{}</th>", own(column), escape(column));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for (name, cells) in &self.rows {
            _ = write!(out, "<tr{}><td>{}</td>", own(name), escape(name));
            for (cell, column) in cells.iter().zip(&self.columns) {
                _ = write!(out, "<td{}>{}</td>", own(column), escape(cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
        out
    }
}

/// The attribute that marks the project's own row or column.
fn own(name: &str) -> &'static str {
    if name == PALISADE { " class=\"own\"" } else { "" }
}

/// The goals of the project, and the values reached.
pub(super) fn goals(report: &Report) -> String {
    if report.goals.iter().all(|goal| goal.reached.is_none()) {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Goals</h2>\n<p class=\"caption\">Set before the measurement; ratios and bounds within this run.</p>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th>goal</th><th>bound</th><th>reached</th><th></th><th class=\"words\">of</th></tr></thead>\n<tbody>\n",
    );
    let (measured, unmeasured): (Vec<&Outcome>, Vec<&Outcome>) =
        report.goals.iter().partition(|goal| goal.reached.is_some());
    for goal in measured {
        let (class, word) = match goal.met() {
            Some(true) => ("met", "met"),
            Some(false) => ("missed", "missed"),
            None => ("unknown", "not measured"),
        };
        let reached = goal.reached.map_or_else(|| "–".to_owned(), |value| amount(goal, value));
        let sign = if goal.at_most { "≤" } else { "≥" };
        _ = writeln!(
            out,
            "<tr><td>{}</td><td>{sign} {}</td><td>{reached}</td><td class=\"{class}\">{word}</td><td class=\"words dim\">{}</td></tr>",
            escape(&goal.goal),
            amount(goal, goal.bound),
            escape(&goal.of),
        );
    }
    out.push_str("</tbody></table></div>\n");
    if !unmeasured.is_empty() {
        let goals: Vec<&str> = unmeasured.iter().map(|goal| goal.goal.as_str()).collect();
        _ = writeln!(
            out,
            "<p class=\"dim\">Not measured by this run: {}.</p>",
            escape(&goals.join("; "))
        );
    }
    out
}

fn amount(goal: &Outcome, value: f64) -> String {
    let number = Quantity::Count.write(value);
    if ["×", "/s"].contains(&goal.unit.as_str()) {
        return format!("{number}{}", goal.unit);
    }
    format!("{number} {}", goal.unit)
}
