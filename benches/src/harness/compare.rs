//! Compares two reports: what became slower or faster, and whether the difference is more than noise.
//!
//! A match measure is compared as a multiple of the median of bare forwarding in the same cell of the same run, so that a
//! slower machine does not look like a regression. Significance is that of the rank test, corrected for the number of
//! comparisons. It covers only the samples within the two runs, not the differences between any two runs. Therefore a
//! change must also exceed a threshold.

use std::fmt::Write as _;

use serde::Serialize;

use super::measure::{Measure, Unit};
use super::report::{BASE, CellReport, Report};
use super::settings::Cell;
use super::statistics::{holm, median, rank_test};

/// A difference is significant if its corrected probability is below this.
const SIGNIFICANT: f64 = 0.01;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Worse,
    Better,
    /// The difference is not significant, or too small to matter.
    Same,
}

/// One measure of one contender, in both reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub cell: Cell,
    pub contender: String,
    pub measure: Measure,
    /// The medians, in the unit of the measure or as multiples of bare forwarding.
    pub before: f64,
    pub after: f64,
    pub of_base: bool,
    /// The corrected probability of this ranking if only chance made the difference.
    pub probability: f64,
    pub change: Change,
}

impl Difference {
    pub fn ratio(&self) -> f64 {
        self.after / self.before
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub differences: Vec<Difference>,
    /// What differs between the runs apart from the figures.
    pub notes: Vec<String>,
    /// The number of series that only one of the reports has.
    pub unmatched: usize,
}

impl Comparison {
    /// `threshold` is the smallest relative change that counts, for example 0.05.
    pub fn of(before: &Report, after: &Report, threshold: f64) -> Self {
        let mut differences = Vec::new();
        let mut matched = 0;
        for old in &before.cells {
            let Some(new) = after.cell(old.cell) else { continue };
            for series in &old.series {
                if new.samples(&series.contender, series.measure).is_some() {
                    matched += 1;
                    differences.extend(difference(old, new, &series.contender, series.measure));
                }
            }
        }
        let raw: Vec<f64> = differences.iter().map(|d| d.probability).collect();
        for (difference, probability) in differences.iter_mut().zip(holm(&raw)) {
            difference.probability = probability;
            difference.change = judge(difference, threshold);
        }
        differences.sort_by(|a, b| a.change.cmp(&b.change).then(size(b).total_cmp(&size(a))));
        let series = |report: &Report| report.cells.iter().map(|c| c.series.len()).sum::<usize>();
        let unmatched = series(before) + series(after) - 2 * matched;
        Self { differences, notes: notes(before, after), unmatched }
    }

    pub fn regressions(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.change == Change::Worse)
    }

    /// A text for people: what changed, and how many measures did not.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for note in &self.notes {
            _ = writeln!(text, "note: {note}");
        }
        let count = |change| self.differences.iter().filter(|d| d.change == change).count();
        for difference in self.differences.iter().filter(|d| d.change != Change::Same) {
            let word = if difference.change == Change::Worse { "worse " } else { "better" };
            _ = writeln!(
                text,
                "{word} {:>8}  {} {} {}  {} -> {}  (p {:.1e})",
                percent(difference.ratio()),
                difference.cell,
                difference.contender,
                difference.measure,
                value(difference, difference.before),
                value(difference, difference.after),
                difference.probability,
            );
        }
        let (worse, better, same) =
            (count(Change::Worse), count(Change::Better), count(Change::Same));
        _ = writeln!(
            text,
            "{worse} worse, {better} better, {same} the same within noise, {} in one report only",
            self.unmatched
        );
        text
    }
}

fn size(difference: &Difference) -> f64 {
    difference.ratio().ln().abs()
}

fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

fn value(difference: &Difference, value: f64) -> String {
    if difference.of_base {
        return format!("{value:.3} of bare forwarding");
    }
    format!("{value:.0} {}", difference.measure.unit().name())
}

fn difference(
    old: &CellReport,
    new: &CellReport,
    contender: &str,
    measure: Measure,
) -> Option<Difference> {
    let base = |cell: &CellReport| match measure {
        Measure::Match { .. } if contender != BASE => cell.median(BASE, measure),
        _ => None,
    };
    let (of_base, old_base, new_base) = match (base(old), base(new)) {
        (Some(old), Some(new)) if old > 0.0 && new > 0.0 => (true, old, new),
        _ => (false, 1.0, 1.0),
    };
    let scaled = |cell: &CellReport, by: f64| -> Option<Vec<f64>> {
        Some(cell.samples(contender, measure)?.iter().map(|sample| sample / by).collect())
    };
    let (a, b) = (scaled(old, old_base)?, scaled(new, new_base)?);
    let (before, after) = (median(&a)?, median(&b)?);
    let probability = rank_test(&a, &b)?;
    let contender = contender.to_owned();
    let change = Change::Same;
    (before > 0.0 && after > 0.0).then_some(Difference {
        cell: old.cell,
        contender,
        measure,
        before,
        after,
        of_base,
        probability,
        change,
    })
}

fn judge(difference: &Difference, threshold: f64) -> Change {
    let ratio = difference.ratio();
    let matters = ratio.max(1.0 / ratio) > 1.0 + threshold;
    if difference.probability >= SIGNIFICANT || !matters {
        return Change::Same;
    }
    let more_is_better = difference.measure.unit() == Unit::PerSecond;
    if (ratio > 1.0) == more_is_better { Change::Better } else { Change::Worse }
}

fn notes(before: &Report, after: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            notes.push(format!("{what} differs: {a} and {b}"));
        }
    };
    let (a, b) = (&before.machine, &after.machine);
    differ("the CPU", &a.cpu, &b.cpu);
    differ("the kernel", &a.kernel, &b.kernel);
    differ("the method", &a.method, &b.method);
    differ("the seed", &before.settings.seed.to_string(), &after.settings.seed.to_string());
    differ("optimisation", &a.optimized.to_string(), &b.optimized.to_string());
    if before.settings.rounds.min(after.settings.rounds) < 5 {
        notes.push("fewer than 5 rounds: hardly any difference can be significant".into());
    }
    notes
}
