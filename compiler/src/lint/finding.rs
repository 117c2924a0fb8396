//! Findings, and the report that gathers them within a bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::code::{Code, Severity};
use crate::model::{LintIgnore, Policy};
use crate::parse::{ObjectRef, Place};

/// Findings that are listed; the rest is counted. The most severe are kept.
pub const MAX_FINDINGS: usize = 10_000;

/// One thing that the linter found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    /// `None` where it is about the input as a whole.
    pub object: Option<ObjectRef>,
    /// The field that it is about, as in `spec.ingress[0].from[1]`.
    pub field: Option<String>,
    /// What was found: a sentence without its period.
    pub message: String,
    /// Sentences.
    pub why: &'static str,
    /// What to do about it: sentences.
    pub remedy: String,
    /// Where it stands, if that is known.
    pub place: Option<Place>,
}

/// A finding as it passes between processes: the rest is what the table says.
#[derive(Debug, Deserialize)]
struct Received {
    code: Code,
    object: Option<ObjectRef>,
    field: Option<String>,
    message: String,
    remedy: String,
    place: Option<Place>,
}

impl<'de> Deserialize<'de> for Finding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Received { code, object, field, message, remedy, place } =
            Received::deserialize(deserializer)?;
        Ok(Self { field, remedy, place, ..Self::new(code, object, message) })
    }
}

impl Finding {
    /// With the remedy of the table.
    pub fn new(code: Code, object: Option<ObjectRef>, message: String) -> Self {
        let entry = code.entry();
        Self {
            code,
            severity: entry.severity,
            object,
            field: None,
            message,
            why: entry.why,
            remedy: entry.remedy.to_owned(),
            place: None,
        }
    }

    #[must_use]
    pub fn at(self, field: String) -> Self {
        Self { field: Some(field), ..self }
    }

    #[must_use]
    pub fn with_remedy(self, remedy: Option<String>) -> Self {
        match remedy {
            Some(remedy) => Self { remedy, ..self },
            None => self,
        }
    }

    /// Findings of one object stand together, by code, and those of one code in the order in which they were found.
    fn order(&self) -> impl Ord + use<'_> {
        let object = self.object.as_ref();
        (object.map(|object| (&object.namespace, &object.kind, &object.name)), self.code)
    }
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Sorted by namespace, kind and name of the object, then by code; at most `MAX_FINDINGS`.
    pub findings: Vec<Finding>,
    /// How many there are of each severity, also of those that are not listed.
    pub counts: BTreeMap<Severity, usize>,
    /// How many were not reported because the object's annotation accepts them.
    pub ignored: usize,
}

impl Report {
    /// How many findings are not listed.
    pub fn further(&self) -> usize {
        self.counts.values().sum::<usize>().saturating_sub(self.findings.len())
    }

    /// How many there are of this severity or a greater one.
    pub fn count_from(&self, severity: Severity) -> usize {
        self.counts.range(severity..).map(|(_, count)| count).sum()
    }

    /// Adds a finding, unless the object's annotation accepts it.
    pub fn add(&mut self, finding: Finding, ignore: Option<&LintIgnore>) {
        if ignore.is_some_and(|ignore| ignore.holds(finding.code.id())) {
            self.ignored += 1;
            return;
        }
        let count = self.counts.entry(finding.severity).or_default();
        *count += 1;
        if *count <= MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    pub(super) fn add_to(&mut self, policy: &Policy, finding: Finding) {
        self.add(finding, policy.lint_ignore.as_deref());
    }

    /// Brings the findings into their order, and cuts the list to its bound.
    pub fn finish(&mut self) {
        if self.findings.len() > MAX_FINDINGS {
            self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            self.findings.truncate(MAX_FINDINGS);
        }
        self.findings.sort_by(|a, b| a.order().cmp(&b.order()));
    }
}
