//! An object that is being read, and what is found wrong with it.

use std::sync::Arc;

use super::diagnostic::Severity;
use super::duplicates::Name;
use super::lenient::Lenient;
use super::names;
use super::path::{OBJECT, Path};
use super::report::{Finding, Report, Spot};
use super::wire::Fields;
use crate::model::Policy;

/// An object that is being read.
pub(super) struct Subject<'r, 'a> {
    report: &'r mut Report<'a>,
    name: &'r Name,
    spot: Spot,
    /// The number of its first diagnostic.
    first: usize,
    errors: usize,
    /// The first error.
    fault: Option<Arc<str>>,
    /// Whether fields are wrong that others depend on: the object is withheld.
    pub(super) unsound: bool,
}

/// Stands for a value that could not be read, and says that there is a diagnostic about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported;

impl<'r, 'a> Subject<'r, 'a> {
    pub(super) fn new(report: &'r mut Report<'a>, name: &'r Name, offset: Option<usize>) -> Self {
        let (spot, first) = (report.spot(offset), report.found());
        Self { report, name, spot, first, errors: 0, fault: None, unsound: false }
    }

    pub(super) fn name(&self) -> &Name {
        self.name
    }

    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    pub(super) fn fault(&self) -> Option<Arc<str>> {
        self.fault.clone()
    }

    /// Whether an object of the same name stands before this one, which is an error: nobody knows which is meant.
    pub(super) fn is_given_again(&mut self) -> bool {
        let Some(first) = self.report.note(self.name, self.spot) else { return false };
        let first = self.report.place(first);
        let message = format!("is that of an object that stands at {first} already");
        let path = OBJECT.field("metadata");
        self.error(&path.field("name"), message, "Remove one of the two, or rename one");
        true
    }

    /// Reports an error. `message` follows the name of the field. Of an object that no verdict depends on it is a warning.
    pub(super) fn error(
        &mut self,
        path: &Path<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Reported {
        let message = message.into();
        if !self.name.kind.decides() {
            self.warn(path, message, remedy);
            return Reported;
        }
        self.errors += 1;
        let whole = || if path.is_object() { message.clone() } else { format!("{path} {message}") };
        self.fault.get_or_insert_with(|| Arc::from(whole()));
        self.add(Severity::Error, path, message, remedy.into());
        Reported
    }

    pub(super) fn warn(
        &mut self,
        path: &Path<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, path, message.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, path: &Path<'_>, message: String, remedy: String) {
        let (object, spot, path) = (Some(self.name.reference()), self.spot, Some(path));
        self.report.add(Finding { severity, object, spot, path, message, remedy });
    }

    /// The value of a field that may be missing; a wrong type is an error.
    pub(super) fn read<T>(
        &mut self,
        value: Lenient<T>,
        expected: &str,
        path: &Path<'_>,
    ) -> Result<Option<T>, Reported> {
        match value {
            Lenient::Missing | Lenient::Null => Ok(None),
            Lenient::Is(value) => Ok(Some(value)),
            Lenient::Wrong(found) => Err(self.wrong_type(path, found, expected)),
        }
    }

    /// The items of a list that are maps, each with its number.
    pub(super) fn items<T>(
        &mut self,
        written: Lenient<Vec<Lenient<T>>>,
        path: &Path<'_>,
    ) -> Vec<(usize, T)> {
        let items = self.read(written, "a list", path).ok().flatten().unwrap_or_default();
        let mut read = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            if let Ok(Some(item)) = self.read(item, "a map", &path.item(at)) {
                read.push((at, item));
            }
        }
        read
    }

    pub(super) fn wrong_type(&mut self, path: &Path<'_>, found: &str, expected: &str) -> Reported {
        let quote = expected == "a string" && (found == "a number" || found == "a truth value");
        let remedy = match quote {
            true => "Put the value in quotes".into(),
            false => format!("Write {expected}"),
        };
        self.error(path, format!("is {found}, not {expected}"), remedy)
    }

    /// Reports those of the unknown fields of a part that are misspelt ones of those that are read, since something depends on
    /// them. Others are left alone: a later Kubernetes may know them. Returns the fields that were meant.
    pub(super) fn misspelt(
        &mut self,
        path: &Path<'_>,
        what: &str,
        unknown: &[String],
        fields: &Fields,
    ) -> Vec<&'static str> {
        let mut meant = Vec::new();
        let unknown = if self.report.is_misspelling_possible { unknown } else { &[] };
        for field in unknown {
            let near = names::nearest(field, fields.known);
            if let Some(near) = near.filter(|near| fields.read.contains(near)) {
                let message = format!("is not a field of {what}");
                self.error(&path.field(field), message, format!("Did you mean {near}?"));
                meant.push(near);
            }
        }
        meant
    }

    /// What is enforced until the errors are corrected.
    pub(super) fn set_consequence(&mut self, consequence: &str) {
        self.report.set_consequence(self.first, consequence);
    }

    pub(super) fn withhold(self) {
        self.report.withhold(self.name);
    }

    pub(super) fn withhold_policy(self, again: &Policy) {
        self.report.withhold_policy(self.name, again);
    }
}
