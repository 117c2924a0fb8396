//! Findings, and the report that gathers them within a bound.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer, Serialize};

use super::code::{Code, Severity};
use crate::model::{LintIgnore, Policy};
use crate::parse::{ObjectRef, Place};

/// Findings that are listed; the rest is counted. The most severe are kept.
pub const MAX_FINDINGS: usize = 10_000;

/// Findings of one object and one severity that are listed; the rest is counted, so that one policy cannot fill the list.
pub const MAX_OF_OBJECT: usize = 100;
/// Objects of which it is said that they have more findings than are listed.
pub const MAX_CROWDED: usize = 100;

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

/// An object with more findings of a severity than are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crowded {
    pub object: ObjectRef,
    pub severity: Severity,
    /// How many more than `MAX_OF_OBJECT` there are.
    pub further: usize,
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
    /// Those with the most findings first; at most `MAX_CROWDED`.
    #[serde(default)]
    pub crowded: Vec<Crowded>,
    /// How many findings were taken into the list, while they are added: at most `MAX_FINDINGS` of a severity are kept.
    #[serde(skip)]
    listed: BTreeMap<Severity, usize>,
    /// How many findings each object has, while they are added.
    #[serde(skip)]
    of_objects: HashMap<ObjectRef, BTreeMap<Severity, usize>>,
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
        *self.counts.entry(finding.severity).or_default() += 1;
        if self.has_room_for(&finding) {
            self.findings.push(finding);
        }
    }

    /// Whether it may be listed as far as its object goes, and the list has no end yet.
    fn has_room_for(&mut self, finding: &Finding) -> bool {
        if let Some(object) = &finding.object {
            // Most objects have one finding: the name is copied with the first.
            let of_object = match self.of_objects.get_mut(object) {
                Some(of_object) => of_object,
                None => self.of_objects.entry(object.clone()).or_default(),
            };
            let count = of_object.entry(finding.severity).or_default();
            *count += 1;
            if *count > MAX_OF_OBJECT {
                return false;
            }
        }
        let listed = self.listed.entry(finding.severity).or_default();
        *listed += 1;
        *listed <= MAX_FINDINGS
    }

    pub(super) fn add_to(&mut self, policy: &Policy, finding: Finding) {
        self.add(finding, policy.lint_ignore.as_deref());
    }

    /// Brings the findings into their order, and cuts the list to its bound.
    pub fn finish(&mut self) {
        self.listed.clear();
        for (object, counts) in std::mem::take(&mut self.of_objects) {
            let crowded = counts.into_iter().filter(|(_, count)| *count > MAX_OF_OBJECT);
            self.crowded.extend(crowded.map(|(severity, count)| Crowded {
                object: object.clone(),
                severity,
                further: count - MAX_OF_OBJECT,
            }));
        }
        self.crowded.sort_by(|a, b| {
            let order = |it: &Crowded| (std::cmp::Reverse(it.further), it.severity);
            order(a).cmp(&order(b)).then_with(|| a.object.cmp(&b.object))
        });
        self.crowded.truncate(MAX_CROWDED);
        if self.findings.len() > MAX_FINDINGS {
            self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            self.findings.truncate(MAX_FINDINGS);
        }
        self.findings.sort_by(|a, b| a.order().cmp(&b.order()));
    }
}
