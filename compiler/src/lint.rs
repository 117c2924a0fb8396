//! What is most likely not meant as it is written: a pure look at a snapshot.
//!
//! ```text
//! Snapshot -> survey (pods by label, namespaces) -> one pass for each subject -> Report
//!                                    |
//!                                    +-> coverage (which pods are isolated) -> isolation, dns
//! ```
//!
//! A finding says what is certain of the snapshot; whether it is meant, its author knows. So that a list of findings is worth
//! reading, what is often meant is a note, and what an example of good practice does is never more than that. `code` is the
//! table of all codes.
//!
//! The cost is linear in pods, policies and what they match: selectors look at kinds of pods, found by label, and what
//! compares one with many has a bound.

mod blocks;
mod code;
mod coverage;
mod destinations;
mod dns;
mod entries;
mod finding;
mod input;
mod isolation;
mod lost_match;
mod near;
mod overlap;
mod peers;
mod port_lists;
mod ports;
mod rules;
mod subjects;
mod survey;
mod words;

pub use code::{Code, CodeEntry, Severity};
pub use dns::DNS_SERVICES;
pub use finding::{Crowded, Finding, MAX_CROWDED, MAX_FINDINGS, MAX_OF_OBJECT, Report};
pub use lost_match::{LostMatches, MAX_RELABELLED, MAX_SUSPECTS, Relabelled};

use crate::explain::ObjectName;
use crate::model::Policy;
use crate::parse::Diagnostic;
use crate::snapshot::Snapshot;
use coverage::Coverage;
use destinations::PortIndex;
use dns::Resolver;
use near::Near;
use survey::Survey;

/// What the snapshot does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The Service of the cluster's DNS. `None` looks for one under the names that clusters give to it (`DNS_SERVICES`), and then
    /// for pods with the label that they have in most clusters.
    pub dns_service: Option<ObjectName>,
}

/// Everything that is found in a snapshot.
pub fn lint(snapshot: &Snapshot) -> Report {
    lint_with(snapshot, &[], &Settings::default())
}

/// The same, with what the parser found in the manifests that the snapshot was made of.
pub fn lint_with(snapshot: &Snapshot, diagnostics: &[Diagnostic], settings: &Settings) -> Report {
    let mut report = Report::default();
    for diagnostic in diagnostics {
        let found = input::finding(diagnostic);
        let ignore = input::ignore(snapshot, &found);
        report.add(found, ignore);
    }
    input::check_annotations(snapshot, &mut report);
    check_policies(snapshot, settings, &mut report);
    report.finish();
    report
}

/// What the parser found in manifests that do not make a snapshot, since something in them is not understood.
pub fn lint_unread(diagnostics: &[Diagnostic]) -> Report {
    let mut report = Report::default();
    diagnostics.iter().for_each(|diagnostic| report.add(input::finding(diagnostic), None));
    report.finish();
    report
}

fn check_policies(snapshot: &Snapshot, settings: &Settings, report: &mut Report) {
    let policies: Vec<&Policy> = snapshot.policies().map(AsRef::as_ref).collect();
    let survey = Survey::of(snapshot);
    let near = Near::default();
    let addresses = blocks::AddressIndex::of(snapshot);
    let udp = port_lists::UdpDns::of(snapshot);
    for policy in &policies {
        rules::check(policy, report);
        port_lists::check(&udp, policy, report);
        blocks::check(snapshot, &addresses, policy, report);
    }
    overlap::check(&policies, report);
    if survey.kinds.is_empty() {
        if !policies.is_empty() {
            let entry = Code::NoPods.entry();
            report.add(Finding::new(Code::NoPods, None, entry.title.to_owned()), None);
        }
        return;
    }
    let ports = PortIndex::of(&survey);
    let mut known = subjects::Known::new();
    for policy in &policies {
        subjects::check(&survey, &near, &mut known, policy, report);
        peers::check(&survey, &near, policy, report);
        ports::check(&survey, &ports, policy, report);
    }
    let resolver = Resolver::find(&survey, settings.dns_service.as_ref());
    let coverage = Coverage::of(&survey, &policies, resolver.as_ref());
    isolation::check(&survey, &coverage, report);
    if let Some(resolver) = &resolver {
        dns::check(&survey, &coverage, &policies, resolver, report);
    }
}
