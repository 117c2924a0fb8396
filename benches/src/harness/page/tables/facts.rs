//! The facts about a run apart from its figures: the machine, and what was left out.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::super::super::quantity::Quantity;
use super::super::super::report::{Absence, Report};
use super::super::super::settings::Settings;
use super::super::escape;

/// The contenders that were left out of a measure, and why.
pub(in super::super) fn absences(report: &Report) -> String {
    let mut out = String::from("<h2>Contenders, and what was left out</h2>\n<dl>\n");
    for contender in &report.contenders {
        _ = writeln!(
            out,
            "<dt>{}</dt><dd>{}</dd>",
            escape(&contender.name),
            escape(&contender.what)
        );
    }
    out.push_str("</dl>\n");
    let everywhere = report.left_out.iter().map(|absence| (String::from("everywhere"), absence));
    let some = report
        .cells
        .iter()
        .flat_map(|cell| cell.absent.iter().map(move |absence| (cell.cell.to_string(), absence)));
    let rows: String = everywhere.chain(some).map(|(of, absence)| row(&of, absence)).collect();
    if !rows.is_empty() {
        _ = writeln!(
            out,
            "<details><summary>Left out, and why</summary><div class=\"scroll\"><table>\n<thead><tr><th>who</th><th class=\"words\">where</th>\
             <th class=\"words\">what</th><th class=\"words\">why</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div></details>"
        );
    }
    out
}

fn row(of: &str, absence: &Absence) -> String {
    let what =
        absence.measure.map_or_else(|| "everything".to_owned(), |measure| measure.to_string());
    format!(
        "<tr><td>{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td></tr>\n",
        escape(&absence.contender),
        escape(of),
        escape(&what),
        escape(&absence.reason)
    )
}

/// The machine, the settings, and how to repeat the run.
pub(in super::super) fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let Settings { seed, quick, rounds, round_ms, loads, flows, .. } = &report.settings;
    let commit = machine.commit.as_deref().unwrap_or("unknown");
    let quick = if *quick { " --quick" } else { "" };
    let facts = [
        ("kernel", machine.kernel.clone()),
        ("CPU", format!("{} × {}", machine.cpus, machine.cpu)),
        ("virtual", if machine.virtual_machine { "yes".to_owned() } else { "no".to_owned() }),
        ("memory", Quantity::Bytes.write(machine.memory_bytes as f64)),
        ("system", machine.distribution.clone()),
        ("tools", machine.tools.join("; ")),
        ("packets", machine.method.clone()),
        ("load average at the start", machine.load.to_string()),
        ("Palisade", format!("{} at {commit}", machine.version)),
        ("began", utc(machine.began)),
        (
            "settings",
            format!(
                "seed {seed}, {rounds} rounds of {round_ms} ms, {loads} loads, flows {flows:?}"
            ),
        ),
        ("again", format!("palisade-bench run --out DIR{quick} --seed {seed}")),
    ];
    let rows: String = facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&value)))
        .collect();
    format!("<h2>Machine and settings</h2>\n<dl>\n{rows}</dl>\n")
}

/// For example `2026-11-24 05:04 UTC`. Empty if a report names a year that has more than four digits.
fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn seconds_are_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_496_640), "2026-11-24 05:04 UTC");
        assert_eq!(utc(u64::MAX), "");
    }
}
