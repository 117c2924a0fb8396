//! What the linter finds in the agent's objects, as metrics.

use std::fmt;

use palisade_compiler::lint::Severity;

use super::samples::{Labels, Samples, named};
use crate::findings::{LintStatus, UsageStatus};

pub(super) fn lint(samples: &mut Samples<'_>, status: &LintStatus) -> fmt::Result {
    let labelled = |(severity, count): (&Severity, &usize)| -> (Labels, f64) {
        (vec![("severity", format!("{severity}"))], *count as f64)
    };
    samples.gauges(
        &named(
            "lint_findings",
            "What the linter finds in the objects that the agent knows, by severity. If there are warnings, palisade lint lists them \
             with their remedies.",
        ),
        status.findings.iter().map(labelled),
    )?;
    samples.counter(
        &named(
            "lost_matches",
            "Policies and peers that match nothing any more, and pods of this node that no policy isolates any more, since labels \
             changed. If it rises, palisade lint says which, and by which label.",
        ),
        Some(status.lost_matches as f64),
    )?;
    samples.counter(
        &named(
            "lost_matches_unexamined",
            "Objects with changed labels, and selectors, that were too many at a time to be looked at for lost matches. If it rises, \
             labels change in bursts.",
        ),
        Some(status.unexamined as f64),
    )?;
    unused(samples, &status.usage)
}

/// What is not known has no sample.
fn unused(samples: &mut Samples<'_>, usage: &UsageStatus) -> fmt::Result {
    let (rules, isolation) = (usage.allowed_unknown.is_none(), usage.denied_unknown.is_none());
    let is_known = |known: bool| known && usage.watched > 0;
    let all = [
        ("policy", is_known(rules), usage.policies),
        ("rule", is_known(rules), usage.rules),
        ("isolation", is_known(isolation), usage.isolations),
    ];
    let known = all.into_iter().filter(|(_, is_known, _)| *is_known);
    samples.gauges(
        &named(
            "unused",
            "Policies that select pods of this node and whose rules allowed no connection, rules that allowed none while others of \
             their policy did, and isolation that denied nothing, for as long as palisade run --unused-after says. Missing while it \
             is not known. palisade lint --severity note lists them.",
        ),
        known.map(|(what, _, count)| (vec![("what", what.to_owned())], count as f64)),
    )
}
