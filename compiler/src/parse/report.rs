//! Diagnostics: what a human should know about a source, and where to look.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use serde::Serialize;

use super::lenient::Lenient;
use super::output::{Object, Parsed, Withheld};
use super::policy;
use crate::intern::Interner;
use crate::model::{Isolation, Policy, PolicyKey, Selector};

/// How many diagnostics a source may have; what goes beyond is counted in one more.
pub const MAX_DIAGNOSTICS: usize = 10_000;

/// How many different kinds that are not read are told apart; the rest is counted together.
const MAX_UNREAD_KINDS: usize = 100;

const LINE_BLOCK_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is not as it was written: see `Parsed` for what became of it.
    Error,
    /// Everything is as it was written, but perhaps not as it was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Names object, field and remedy. Displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    #[serde(flatten)]
    pub place: Place,
    pub object: Option<ObjectRef>,
    /// As in `spec.ingress[0].from[1].ipBlock.cidr`.
    pub field: Option<String>,
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = OneLine(f);
        write!(f, "{}: {}: ", self.place, self.severity)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// Escapes control characters, which could forge lines of a log or drive a terminal.
struct OneLine<'f, 'b>(&'f mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((plain, control)) = rest
            .char_indices()
            .find(|(_, c)| c.is_control())
            .and_then(|(at, _)| rest.split_at_checked(at))
        {
            let mut after = control.chars();
            self.0.write_str(plain)?;
            after.by_ref().take(1).try_for_each(|c| write!(self.0, "{}", c.escape_default()))?;
            rest = after.as_str();
        }
        self.0.write_str(rest)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The name that the caller gave.
    pub source: Arc<str>,
    /// Counts from 1.
    pub document: usize,
    /// Counts from 1: where the object begins, or where the syntax is wrong.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => write!(f, "{} (document {})", self.source, self.document),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    pub kind: String,
    /// Of pods and policies.
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Where something stands: the document, and the offset in bytes where it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) document: usize,
    pub(super) offset: Option<usize>,
}

/// Collects what is said about one source.
pub(super) struct Report<'a> {
    source: Arc<str>,
    text: &'a str,
    /// The document being read.
    pub(super) document: usize,
    diagnostics: Vec<Diagnostic>,
    suppressed: usize,
    suppressed_errors: usize,
    /// The line that each block of the text begins in; made when first asked for, so that a place costs no more
    /// than a block, wherever it is.
    lines: Vec<usize>,
    unread: BTreeMap<(Arc<str>, Arc<str>), (Spot, usize)>,
    unread_beyond: usize,
    /// Objects met, and where each stands first. The names are those that the objects themselves hold.
    met: HashMap<Name, Spot>,
    /// What each policy isolates, for the case that it is given again.
    isolating: HashMap<PolicyKey, (Arc<Selector>, Isolation)>,
    /// Each once: that of a policy for each would leave as many holes in the heap.
    subjects: HashSet<Arc<Selector>>,
    /// Held until the source is read, so that its objects share what they have in common.
    interner: Interner,
    pub(super) objects: usize,
    pub(super) readable: bool,
    withheld: BTreeMap<ObjectRef, Option<Policy>>,
}

/// What makes two objects one and the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// One of `KINDS`.
    pub(super) kind: &'static str,
    /// Of pods and policies.
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Arc<str>,
}

impl Name {
    fn reference(&self) -> ObjectRef {
        ObjectRef {
            kind: self.kind.to_owned(),
            namespace: self.namespace.as_deref().map(str::to_owned),
            name: self.name.to_string(),
        }
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &str, text: &'a str) -> Self {
        Self {
            source: Arc::from(source),
            text,
            document: 1,
            diagnostics: Vec::new(),
            suppressed: 0,
            suppressed_errors: 0,
            lines: Vec::new(),
            unread: BTreeMap::new(),
            unread_beyond: 0,
            met: HashMap::new(),
            isolating: HashMap::new(),
            subjects: HashSet::new(),
            interner: Interner::default(),
            objects: 0,
            readable: true,
            withheld: BTreeMap::new(),
        }
    }

    /// Where in the source a piece of it stands; `None` for what was copied out of it.
    pub(super) fn offset_of(&self, piece: &str) -> Option<usize> {
        let offset = piece.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        (offset < self.text.len()).then_some(offset)
    }

    fn line_at(&mut self, offset: usize) -> usize {
        let newlines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
        let text = self.text.as_bytes();
        if self.lines.is_empty() {
            let mut line = 1;
            for block in text.chunks(LINE_BLOCK_BYTES) {
                self.lines.push(line);
                line += newlines(block);
            }
            // An offset may be the very end.
            self.lines.push(line);
        }
        let block = offset / LINE_BLOCK_BYTES;
        let before = text.get(block * LINE_BLOCK_BYTES..offset).map_or(0, newlines);
        self.lines.get(block).map_or(1, |line| line + before)
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        spot: Spot,
        object: Option<&ObjectRef>,
        field: Option<String>,
        (message, remedy): (String, String),
    ) {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            self.suppressed += 1;
            self.suppressed_errors += usize::from(severity == Severity::Error);
            return;
        }
        let place = self.place(spot);
        let object = object.cloned();
        self.diagnostics.push(Diagnostic { severity, place, object, field, message, remedy });
    }

    fn place(&mut self, spot: Spot) -> Place {
        let line = spot.offset.map(|offset| self.line_at(offset));
        Place { source: Arc::clone(&self.source), document: spot.document, line }
    }

    /// What stands here is no object: the set of objects is unknown from here on.
    pub(super) fn unreadable(&mut self, offset: Option<usize>, message: String, remedy: &str) {
        self.readable = false;
        let spot = Spot { document: self.document, offset };
        self.add(Severity::Error, spot, None, None, (message, remedy.to_owned()));
    }

    /// An object of a kind without a meaning here.
    pub(super) fn unread(&mut self, api_version: Arc<str>, kind: Arc<str>, offset: Option<usize>) {
        let full = self.unread.len() >= MAX_UNREAD_KINDS;
        let spot = Spot { document: self.document, offset };
        let key = (kind, api_version);
        match self.unread.get_mut(&key) {
            Some((_, count)) => *count += 1,
            None if full => self.unread_beyond += 1,
            None => _ = self.unread.insert(key, (spot, 1)),
        }
    }

    /// Notes an object, or returns where one of the same name stands before it.
    fn meet(&mut self, mut name: Name, spot: Spot) -> Option<Spot> {
        name.namespace = name.namespace.map(|namespace| self.interner.string(&namespace));
        match self.met.entry(name) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(place) => {
                place.insert(spot);
                None
            }
        }
    }

    /// Whether anything was found since `mark`.
    pub(super) fn mark(&self) -> (usize, usize, usize) {
        (
            self.diagnostics.len() + self.suppressed,
            self.met.len(),
            self.unread.len() + self.unread_beyond,
        )
    }

    pub(super) fn finish(mut self) -> Parsed {
        for ((kind, api_version), (spot, count)) in std::mem::take(&mut self.unread) {
            let message = unread_message(&kind, &api_version, count);
            let remedy = unread_remedy(&kind, &api_version);
            self.add(Severity::Warning, spot, None, None, (message, remedy));
        }
        let spot = Spot { document: self.document, offset: None };
        if self.unread_beyond > 0 {
            let message = format!("{} objects of yet other kinds are not read", self.unread_beyond);
            let remedy = "nothing need be done".to_owned();
            self.add(Severity::Warning, spot, None, None, (message, remedy));
        }
        if self.suppressed > 0 {
            let severity =
                if self.suppressed_errors > 0 { Severity::Error } else { Severity::Warning };
            let (all, errors) = (self.suppressed, self.suppressed_errors);
            let message = format!("{all} more findings are not listed, {errors} of them errors");
            let remedy = "correct those listed first".to_owned();
            let place = self.place(spot);
            self.diagnostics.push(Diagnostic {
                severity,
                place,
                object: None,
                field: None,
                message,
                remedy,
            });
        }
        let withheld = self.withheld.into_iter();
        Parsed {
            diagnostics: self.diagnostics,
            objects: self.objects,
            readable: self.readable,
            cut_short: None,
            withheld: withheld.map(|(object, closed)| Withheld { object, closed }).collect(),
        }
    }
}

/// The kinds that are read, with their `apiVersion`.
pub(super) const KINDS: [(&str, &str); 4] =
    [("Namespace", "v1"), ("Node", "v1"), ("Pod", "v1"), ("NetworkPolicy", "networking.k8s.io/v1")];

fn unread_message(kind: &str, api_version: &str, count: usize) -> String {
    let of = if api_version.is_empty() { String::new() } else { format!(" of {api_version}") };
    match count {
        1 => format!("one {kind}{of} is not read"),
        _ => format!("{count} objects of kind {kind}{of} are not read"),
    }
}

/// What is not read is another's, or means nothing here: what is misspelt is an error already.
fn unread_remedy(kind: &str, api_version: &str) -> String {
    if let Some((_, known)) = KINDS.iter().find(|(k, _)| *k == kind) {
        return format!(
            "if it was meant to count, write apiVersion: {known} instead of {api_version}"
        );
    }
    "nothing need be done: this kind says nothing about policy".to_owned()
}

/// An object being read, and what is found wrong with it.
pub(super) struct Subject<'r, 'a> {
    report: &'r mut Report<'a>,
    pub(super) object: ObjectRef,
    spot: Spot,
    pub(super) errors: usize,
    /// The first error.
    pub(super) fault: Option<Arc<str>>,
    /// Its version is wrong: its fields may mean something else.
    pub(super) unsound: bool,
}

/// Stands for a value that could not be read, and says that a diagnostic tells so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told;

impl<'r, 'a> Subject<'r, 'a> {
    pub(super) fn new(report: &'r mut Report<'a>, name: &Name, offset: Option<usize>) -> Self {
        let spot = Spot { document: report.document, offset };
        Self { report, object: name.reference(), spot, errors: 0, fault: None, unsound: false }
    }

    /// Whether an object of the same name stands before this one, which is an error: nobody knows which is meant.
    pub(super) fn is_given_again(&mut self, name: Name) -> bool {
        let unknown = match name.kind {
            "NetworkPolicy" => "both isolate and allow nothing",
            _ => "neither is read",
        };
        let Some(first) = self.report.meet(name, self.spot) else { return false };
        let first = self.report.place(first);
        let message = format!(
            "the same object stands at {first} already; what was known of it stays, and if nothing was, {unknown}"
        );
        self.error("metadata.name", message, "remove one of the two, or rename one");
        true
    }

    pub(super) fn error(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Told {
        self.errors += 1;
        let (field, message) = (field.into(), message.into());
        self.fault.get_or_insert_with(|| Arc::from(format!("{field} {message}")));
        self.add(Severity::Error, field, (message, remedy.into()));
        Told
    }

    pub(super) fn warn(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, field.into(), (message.into(), remedy.into()));
    }

    fn add(&mut self, severity: Severity, field: String, text: (String, String)) {
        self.report.add(severity, self.spot, Some(&self.object), Some(field), text);
    }

    /// The value of a field that may be missing; a wrong type is an error.
    pub(super) fn read<T>(
        &mut self,
        value: Lenient<T>,
        expected: &str,
        field: impl FnOnce() -> String,
    ) -> Result<Option<T>, Told> {
        match value {
            Lenient::Missing | Lenient::Null => Ok(None),
            Lenient::Is(value) => Ok(Some(value)),
            Lenient::Wrong(found) => Err(self.wrong_type(field(), found, expected)),
        }
    }

    pub(super) fn wrong_type(&mut self, field: String, found: &str, expected: &str) -> Told {
        let quote = expected == "a string" && (found == "a number" || found == "a truth value");
        let remedy =
            if quote { "put the value in quotes".into() } else { format!("write {expected}") };
        self.error(field, format!("is {found}, not {expected}"), remedy)
    }

    /// The object is not handed on, or, handed on before, is to be taken back.
    pub(super) fn withhold(self) {
        self.report.withheld.entry(self.object).or_default();
    }

    /// A policy that was given before, and has no rules, as none with an error has: withheld, and for whoever never knew it
    /// closed over all that were given.
    pub(super) fn withhold_policy(self, again: Policy) {
        let Report { isolating, withheld, .. } = self.report;
        let closed = withheld.entry(self.object).or_default().get_or_insert_with(|| {
            let mut first = again.clone();
            if let Some((subjects, isolates)) = isolating.get(&again.key) {
                (first.subjects, first.isolates) = (subjects.as_ref().clone(), *isolates);
            }
            first
        });
        policy::widen(closed, &again);
    }
}

impl Report<'_> {
    pub(super) fn emit(&mut self, mut object: Object, sink: &mut dyn FnMut(Object)) {
        self.objects += 1;
        match &mut object {
            Object::Pod(pod) => self.interner.pod(pod),
            Object::Policy(policy) => {
                self.interner.policy(policy);
                let subjects = self
                    .subjects
                    .get_or_insert_with(&policy.subjects, |subjects| Arc::new(subjects.clone()));
                let isolating = (Arc::clone(subjects), policy.isolates);
                self.isolating.insert(policy.key.clone(), isolating);
            }
            Object::Namespace(_)
            | Object::Node(_)
            | Object::Service(_)
            | Object::EndpointSlice(_) => {}
        }
        sink(object);
    }
}
