//! What the linter finds in the agent's objects, as metrics.

use std::fmt;

use palisade_compiler::lint::Severity;

use super::samples::{Labels, Samples, named};
use crate::findings::LintStatus;

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
    )
}
