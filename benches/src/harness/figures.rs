//! The plots of a report: what is drawn, and under which names.

use palisade_compiler::model::{Family, Verdict};

use super::measure::{Edits, Measure, Moment, Path, Unit};
use super::plot::{Curve, Curves, PlotError, Point, Ranges, Row};
use super::quantity::Quantity;
use super::report::{BASE, CONNTRACK, CellReport, Report};
use super::settings::Cell;
use super::statistics::{Growth, Summary};
use crate::scenario::EditKind;

/// A plot with the name of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub name: String,
    pub section: Section,
    plot: Plot,
}

#[derive(Debug, Clone, PartialEq)]
enum Plot {
    Curves(Curves),
    Ranges(Ranges),
}

impl Figure {
    /// The plot as SVG text.
    ///
    /// # Errors
    /// Only faults of the plotting library.
    pub fn svg(&self) -> Result<String, PlotError> {
        match &self.plot {
            Plot::Curves(curves) => curves.svg(),
            Plot::Ranges(ranges) => ranges.svg(),
        }
    }
}

/// The section of the page that shows the plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Match,
    Change,
    Load,
    Memory,
}

/// Every plot that the report has figures for, in the order in which they are shown.
pub fn all(report: &Report) -> Vec<Figure> {
    let mut figures = Vec::new();
    for like in kinds(report) {
        for &flows in &report.settings.flows {
            for path in Path::ALL {
                figures.extend(match_curves(report, like, path, flows));
            }
        }
        figures.extend(over_size(
            report,
            like,
            Measure::Load,
            Section::Load,
            "From objects in memory to enforced",
        ));
        figures.extend(over_size(
            report,
            like,
            Measure::KernelMemory,
            Section::Memory,
            "Kernel memory of the loaded cluster",
        ));
        for (edits, title) in [
            (Edits::RemotePods, "Events of remote pods a second, sustained"),
            (Edits::Others, "Edits of local pods, namespaces and policies a second, sustained"),
        ] {
            figures.extend(over_size(report, like, Measure::Churn(edits), Section::Change, title));
        }
        for (kind, to) in ENFORCED {
            let title = format!(
                "A change to the last wrong packet: {kind}, {}",
                if to == Verdict::Deny { "deny" } else { "allow" }
            );
            figures.extend(over_size(
                report,
                like,
                Measure::Enforced(kind, to),
                Section::Change,
                &title,
            ));
        }
        if let Some(largest) = report.growing(like).last() {
            figures.extend(edits(largest));
            figures.extend(latency(largest));
        }
    }
    figures
}

/// The edits whose growth is drawn: a pod and a policy, each with an edit that allows and an edit that denies.
const ENFORCED: [(EditKind, Verdict); 4] = [
    (EditKind::PodBorn, Verdict::Allow),
    (EditKind::PodGone, Verdict::Deny),
    (EditKind::PolicyAdded, Verdict::Deny),
    (EditKind::PolicyAdded, Verdict::Allow),
];

/// One cell of each kind of cluster. The size is ignored.
pub fn kinds(report: &Report) -> Vec<Cell> {
    let mut kinds: Vec<Cell> = Vec::new();
    for cell in &report.cells {
        let same = |k: &Cell| k.shape == cell.cell.shape && k.dual_stack == cell.cell.dual_stack;
        if !kinds.iter().any(same) {
            kinds.push(cell.cell);
        }
    }
    kinds.sort_by_key(|kind| (kind.dual_stack, kind.shape));
    kinds
}

/// `apps`, or `apps, dual stack`.
pub fn kind_name(like: Cell) -> String {
    let stack = if like.dual_stack { ", dual stack" } else { "" };
    format!("{}{stack}", like.shape)
}

fn file_name(like: Cell, measure: &str) -> String {
    let stack = if like.dual_stack { "-dual-stack" } else { "" };
    format!("{}{stack}-{}", like.shape, measure.replace('/', "-"))
}

pub fn quantity(unit: Unit) -> Quantity {
    match unit {
        Unit::Nanoseconds => Quantity::Nanoseconds,
        Unit::Bytes => Quantity::Bytes,
        Unit::PerSecond => Quantity::PerSecond,
    }
}

fn match_curves(report: &Report, like: Cell, path: Path, flows: usize) -> Option<Figure> {
    let family = if like.dual_stack { Family::V6 } else { Family::V4 };
    let measure = Measure::Match { path, family, flows };
    let version = if family == Family::V6 { "IPv6, " } else { "" };
    let title = format!("Kernel time a packet: {}", path.title());
    over_size_with(
        report,
        like,
        measure,
        Section::Match,
        &title,
        &format!("{version}{flows} flows"),
    )
}

fn over_size(
    report: &Report,
    like: Cell,
    measure: Measure,
    section: Section,
    title: &str,
) -> Option<Figure> {
    over_size_with(report, like, measure, section, title, "")
}

/// A measure over the number of policies, with one curve for each contender.
fn over_size_with(
    report: &Report,
    like: Cell,
    measure: Measure,
    section: Section,
    title: &str,
    note: &str,
) -> Option<Figure> {
    let cells = report.growing(like);
    let curve = |name: &str| -> Option<Curve> {
        let point = |cell: &&CellReport| -> Option<Point> {
            let Summary { median, low, high, .. } = cell.summary(name, measure)?;
            Some(Point { x: cell.cell.policies as f64, y: median, low, high })
        };
        let points: Vec<Point> = cells.iter().filter_map(point).collect();
        let growth = Growth::of(&points.iter().map(|p| (p.x, p.y)).collect::<Vec<_>>());
        let note = growth.map_or_else(String::new, |growth| format!("∝ n^{:.2}", growth.exponent));
        (!points.is_empty()).then(|| Curve { name: name.to_owned(), points, note })
    };
    let curves: Vec<Curve> = report.names().filter_map(curve).collect();
    let note = if note.is_empty() { String::new() } else { format!(" · {note}") };
    let plot = Curves {
        title: title.to_owned(),
        subtitle: format!(
            "cluster shape {}{note} · median with 95 % interval · both axes logarithmic",
            kind_name(like)
        ),
        x_label: "policies (ten pods for each)".to_owned(),
        quantity: quantity(measure.unit()),
        curves,
    };
    // With only one size there is no curve, and the tables have the same figures.
    let sizes = plot.curves.iter().map(|curve| curve.points.len()).max().unwrap_or(0);
    (sizes > 1).then(|| Figure {
        name: file_name(like, &measure.to_string()),
        section,
        plot: Plot::Curves(plot),
    })
}

fn row(cell: &CellReport, name: &str, measure: Measure, label: String) -> Option<Row> {
    let Summary { min, median, p99, max, .. } = cell.summary(name, measure)?;
    Some(Row { name: name.to_owned(), label, low: min, median, p99, max })
}

/// Every kind of edit in one cell, by the time until packets show it.
fn edits(cell: &CellReport) -> Option<Figure> {
    let mut rows = Vec::new();
    for kind in EditKind::ALL {
        for to in [Verdict::Allow, Verdict::Deny] {
            let label = format!("{kind} → {}", if to == Verdict::Allow { "allow" } else { "deny" });
            let of = |name: &str| row(cell, name, Measure::Enforced(kind, to), label.clone());
            rows.extend(names(cell).into_iter().filter_map(of));
        }
    }
    let plot = Ranges {
        title: "From a change in memory until no packet meets the old verdict".to_owned(),
        subtitle: format!(
            "{} · mark: median; bar: least to 99th percentile; line: worst",
            cell.cell
        ),
        quantity: Quantity::Nanoseconds,
        rows,
    };
    (!plot.is_empty()).then(|| Figure {
        name: file_name(cell.cell, "edits-enforced"),
        section: Section::Change,
        plot: Plot::Ranges(plot),
    })
}

/// The latency of packets while everything is loaded.
fn latency(cell: &CellReport) -> Option<Figure> {
    let mut rows = Vec::new();
    for name in names(cell) {
        for moment in Moment::ALL {
            rows.extend(row(cell, name, Measure::Latency(moment), moment.name().to_owned()));
        }
    }
    let plot = Ranges {
        title: "Forwarding latency of single packets, idle and while the whole cluster is loaded"
            .to_owned(),
        subtitle: format!(
            "{} · from send to proof of its end · bar: least to 99th percentile; line: worst",
            cell.cell
        ),
        quantity: Quantity::Nanoseconds,
        rows,
    };
    (!plot.is_empty()).then(|| Figure {
        name: file_name(cell.cell, "latency"),
        section: Section::Load,
        plot: Plot::Ranges(plot),
    })
}

/// The contenders of a cell in the order of their first series. Those that enforce nothing come first.
fn names(cell: &CellReport) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for series in &cell.series {
        if !names.contains(&series.contender.as_str()) {
            names.push(&series.contender);
        }
    }
    names.sort_by_key(|name| !(*name == BASE || *name == CONNTRACK));
    names
}
