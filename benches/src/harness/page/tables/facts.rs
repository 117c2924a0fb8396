//! The facts about a run apart from its figures: the machine, and what was left out.

use std::fmt::Write as _;

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

/// For example `2026-11-24 05:04 UTC`, in the Gregorian calendar.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The algorithm civil_from_days by Howard Hinnant, for days since 1970.
    let days = days as i64 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3_600, rest / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn seconds_are_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_795_496_640), "2026-11-24 05:04 UTC");
    }
}
