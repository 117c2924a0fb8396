//! Tables of figures. Palisade's row is marked in each.

use std::fmt::Write as _;

use palisade_compiler::model::{Family, Verdict};

use super::super::super::figures::{kind_name, kinds};
use super::super::super::measure::{Edits, Measure, Moment, Path};
use super::super::super::quantity::Quantity;
use super::super::super::report::{BASE, CONNTRACK, CellReport, PALISADE, Report};
use super::super::super::settings::Cell;
use super::super::super::statistics::{Summary, median};
use super::super::escape;
use super::Table;
use crate::scenario::EditKind;

fn time(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{}", Quantity::Nanoseconds.write(value.abs()))
}

/// ` ± 12 %`: half of the interval of the median, if it is large enough to matter.
fn half_interval(summary: &Summary) -> String {
    let share = (summary.high - summary.low) / 2.0 / summary.median.abs().max(1.0) * 100.0;
    if share < 5.0 { String::new() } else { format!(" ± {share:.0} %") }
}

/// For example `12×` or `0.8×`.
fn times(value: f64) -> String {
    format!("{}×", Quantity::Count.write(value))
}

fn policies(cell: &CellReport) -> String {
    format!("{} policies", Quantity::Count.write(cell.cell.policies as f64))
}

fn measure(report: &Report, like: Cell, path: Path) -> Option<Measure> {
    let family = if like.dual_stack { Family::V6 } else { Family::V4 };
    Some(Measure::Match { path, family, flows: *report.settings.flows.first()? })
}

/// For each kind of cluster, what each contender adds to the cost of forwarding, and how many times Palisade's addition
/// that is.
pub(in super::super) fn match_costs(report: &Report) -> String {
    let mut out = String::new();
    for like in kinds(report) {
        let cells = report.growing(like);
        let Some(one) = measure(report, like, Path::NewOne) else { continue };
        let caption = format!(
            "Shape {}: what judging a first packet at one end adds to bare conntrack; ± half of the median's 95 % interval where that is 5 % or more; then what the fastest tenth of the rounds took; in brackets, times what Palisade adds",
            kind_name(like)
        );
        let mut table = Table::new(caption, cells.iter().map(|cell| policies(cell)));
        for name in report.names().filter(|name| ![BASE, CONNTRACK].contains(name)) {
            let of = |cell: &&CellReport| {
                let summary = cell.added(name, one)?;
                let added = summary.median;
                let ours = cell.added(PALISADE, one).map(|s| s.median).filter(|ours| *ours > 0.0);
                let ratio = ours.filter(|_| name != PALISADE).map(|ours| times(added / ours));
                let ratio = ratio.map_or_else(String::new, |ratio| format!(" ({ratio})"));
                let fast = cell
                    .added_when_fast(name, one)
                    .map_or_else(String::new, |fast| format!(" / {}", time(fast)));
                Some(format!("{}{}{fast}{ratio}", time(added), half_interval(&summary)))
            };
            table.row(name, cells.iter().map(of).collect());
        }
        out.push_str(&table.html());
    }
    out
}

/// For the largest size of each kind of cluster, the time of each contender until packets show an edit.
pub(in super::super) fn edits(report: &Report) -> String {
    let mut out = String::new();
    for like in kinds(report) {
        let Some(cell) = report.growing(like).last().copied() else { continue };
        let kinds: Vec<(EditKind, Verdict)> = EditKind::ALL
            .into_iter()
            .flat_map(|kind| [Verdict::Allow, Verdict::Deny].map(|to| (kind, to)))
            .filter(|(kind, to)| {
                report.names().any(|n| cell.samples(n, Measure::Enforced(*kind, *to)).is_some())
            })
            .collect();
        let caption = format!(
            "{}: from the change to the last packet with the old verdict, median",
            cell.cell
        );
        let enforcing = || report.contenders.iter().filter(|c| c.enforces).map(|c| c.name.as_str());
        let mut table = Table::new(caption, enforcing().map(str::to_owned));
        for (kind, to) in kinds {
            let verdict = if to == Verdict::Allow { "allow" } else { "deny" };
            let of = |name| cell.median(name, Measure::Enforced(kind, to)).map(time);
            table.row(&format!("{kind} → {verdict}"), enforcing().map(of).collect());
        }
        for (edits, what) in [(Edits::RemotePods, "remote pods"), (Edits::Others, "other edits")] {
            let of = |name| {
                cell.median(name, Measure::Churn(edits)).map(|v| Quantity::PerSecond.write(v))
            };
            table.row(&format!("sustained, {what}"), enforcing().map(of).collect());
        }
        out.push_str(&table.html());
    }
    out
}

pub(in super::super) fn loads(report: &Report) -> String {
    let mut out = String::new();
    for like in kinds(report) {
        let cells = report.growing(like);
        let Some(largest) = cells.last() else { continue };
        let caption = format!(
            "Shape {}: time to load, median; at the largest size what was made, and packets wrongly denied while it loaded",
            kind_name(like)
        );
        let sizes = cells.iter().map(|cell| policies(cell));
        let more = ["chains", "rules", "sets", "elements", "wrongly denied"].map(str::to_owned);
        let mut table = Table::new(caption, sizes.chain(more));
        for name in report.names() {
            if cells.iter().all(|cell| cell.samples(name, Measure::Load).is_none()) {
                continue;
            }
            let times = cells.iter().map(|cell| cell.median(name, Measure::Load).map(time));
            let made = largest.made(name);
            let count =
                |count: Option<usize>| count.map(|count| Quantity::Count.write(count as f64));
            let made = [
                made.map(|m| m.chains),
                made.map(|m| m.rules),
                made.map(|m| m.sets),
                made.map(|m| m.elements),
            ]
            .map(count);
            table.row(name, times.chain(made).chain([denied(largest, name)]).collect());
        }
        out.push_str(&table.html());
    }
    out
}

/// For example `3 of 1,200`: the denied packets among those that were always allowed.
fn denied(cell: &CellReport, name: &str) -> Option<String> {
    let loading = Measure::Latency(Moment::Loading);
    let series = cell.series.iter().find(|s| s.contender == name && s.measure == loading)?;
    let packets = series.packets?;
    let of = Quantity::Count.write(packets.timed as f64);
    Some(format!("{} of {of}", packets.timed - packets.arrived))
}

pub(in super::super) fn memory(report: &Report) -> String {
    let mut out = String::new();
    for like in kinds(report) {
        let cells = report.growing(like);
        let caption = format!("Shape {}: kernel memory, median", kind_name(like));
        let mut table = Table::new(caption, cells.iter().map(|cell| policies(cell)));
        let row = |name: &str, of: Measure| {
            let median = |cell: &&CellReport| Some(Quantity::Bytes.write(cell.median(name, of)?));
            cells.iter().map(median).collect::<Vec<_>>()
        };
        for name in report.names() {
            table.row(name, row(name, Measure::KernelMemory));
        }
        for name in report.names() {
            table.row(&format!("{name}'s process, resident"), row(name, Measure::UserMemory));
        }
        out.push_str(&table.html());
    }
    out
}

/// The exponents of growth with the number of policies.
pub(in super::super) fn growth(report: &Report) -> String {
    let mut out = String::new();
    for like in kinds(report) {
        let mut columns: Vec<(String, Measure)> = Path::ALL
            .into_iter()
            .filter_map(|path| Some((path.name().to_owned(), measure(report, like, path)?)))
            .collect();
        columns.push(("load".to_owned(), Measure::Load));
        columns.push(("kernel memory".to_owned(), Measure::KernelMemory));
        let caption = format!(
            "Shape {}: exponent b of cost ∝ policies^b, least squares on logarithms, whole cost; 0 is flat, 1 is linear",
            kind_name(like)
        );
        let mut table = Table::new(caption, columns.iter().map(|(name, _)| name.clone()));
        for name in report.names() {
            let of = |(_, measure): &(String, Measure)| {
                let growth = report.growth(like, name, *measure)?;
                Some(format!("{:.2}", growth.exponent))
            };
            table.row(name, columns.iter().map(of).collect());
        }
        out.push_str(&table.html());
    }
    if out.is_empty() { out } else { format!("<h2>Growth with the cluster</h2>\n{out}") }
}

/// The sentences at the top. The figures are from this run, and each sentence names the cluster.
pub(in super::super) fn findings(report: &Report) -> String {
    let mut out = String::new();
    let mut say = |sentence: String| _ = write!(out, "<li>{}</li>", escape(&sentence));
    let all = kinds(report);
    let worst = |k: &&Cell| k.shape == crate::scenario::ScenarioShape::OpenToNamespaces;
    let Some(&like) = all.iter().find(worst).or(all.first()) else { return out };
    let cells = report.growing(like);
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else { return out };
    let Some(one) = measure(report, like, Path::NewOne) else { return out };
    let added = |cell: &CellReport, name: &str| Some(cell.added(name, one)?.median);
    if let (Some(small), Some(large)) = (added(first, PALISADE), added(last, PALISADE)) {
        say(format!(
            "Judging a first packet at one end costs Palisade {} with {} and {} with {}, on top of conntrack (shape {}).",
            time(small),
            policies(first),
            time(large),
            policies(last),
            kind_name(like)
        ));
        let others = report.names().filter(|name| ![BASE, PALISADE, CONNTRACK].contains(name));
        let ratios: Vec<String> = others
            .filter_map(|name| {
                let added = added(last, name)?;
                (large > 0.0).then(|| format!("{name} {} ({})", time(added), times(added / large)))
            })
            .collect();
        if !ratios.is_empty() {
            say(format!("The other ways, with {}: {}.", policies(last), ratios.join(", ")));
        }
    }
    say_denies(report, last, &mut say);
    out
}

/// How long it takes until packets are denied, for all edits together that deny.
fn say_denies(report: &Report, cell: &CellReport, say: &mut impl FnMut(String)) {
    let all = |name: &str| -> Option<f64> {
        let samples: Vec<f64> = EditKind::ALL
            .into_iter()
            .filter_map(|kind| cell.samples(name, Measure::Enforced(kind, Verdict::Deny)))
            .flatten()
            .copied()
            .collect();
        median(&samples)
    };
    let each: Vec<String> =
        report.names().filter_map(|name| Some(format!("{name} {}", time(all(name)?)))).collect();
    if !each.is_empty() {
        say(format!("Packets are denied after a median of: {} ({}).", each.join(", "), cell.cell));
    }
}
