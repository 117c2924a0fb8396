//! Collects what is found in one source: its diagnostics, each with its place, and what becomes of its objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, ObjectRef, Place, Severity};
use super::duplicates::{Name, Seen, widen};
use super::kinds::Kind;
use super::lines::Lines;
use super::locate;
use super::output::{Object, Parsed, Withheld};
use super::path::{Path, Step, Steps};
use super::places::Sought;
use super::split::beginning;
use super::unread::Unread;
use crate::intern::Interner;
use crate::model::Policy;

/// How many diagnostics a source may have; what goes beyond is counted in one more.
pub const MAX_DIAGNOSTICS: usize = 10_000;

/// How far from the beginning of a field its value is searched for the braces of a template, in bytes.
const TEMPLATE_WINDOW: usize = 200;

/// Where an object or a wrong piece of syntax stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) document: usize,
    /// In bytes from the beginning of the text, where it is known.
    pub(super) offset: Option<usize>,
}

/// Something that was found.
pub(super) struct Finding<'f> {
    pub(super) severity: Severity,
    pub(super) object: Option<ObjectRef>,
    /// Where it stands, if the path does not lead to a better place.
    pub(super) spot: Spot,
    /// From the object that is being read.
    pub(super) path: Option<&'f Path<'f>>,
    /// Of a finding with a path that is not the object itself: what follows the name of the field.
    pub(super) message: String,
    pub(super) remedy: String,
}

/// What is known of the object that is being read, for an error that ends the document.
#[derive(Debug, Default)]
pub(super) struct Current {
    pub(super) kind: Option<Arc<str>>,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Option<Arc<str>>,
}

impl Current {
    fn reference(&self) -> Option<ObjectRef> {
        Some(ObjectRef {
            kind: self.kind.as_deref()?.to_owned(),
            namespace: self.namespace.as_deref().map(str::to_owned),
            name: self.name.as_deref()?.to_owned(),
        })
    }
}

/// The object of a deciding kind that was read last, for a text that may be cut short in it.
#[derive(Debug)]
struct Latest {
    document: usize,
    name: Name,
    /// The number of steps from the document to it.
    depth: usize,
    has_errors: bool,
}

pub(super) struct Report<'a> {
    source: Arc<str>,
    text: &'a str,
    lines: Lines,
    /// The document that is being read, counted from 1.
    document: usize,
    /// Where it begins.
    begin: Option<usize>,
    /// The steps from the document to the object that is being read: those of the lists it stands in.
    items: Vec<Step>,
    pub(super) current: Current,
    /// Whether a field that is not known may be another, misspelt.
    pub(super) is_misspelling_possible: bool,
    diagnostics: Vec<Diagnostic>,
    /// Diagnostics of this document, by number, whose place is not known yet, with the steps to it.
    unplaced: Vec<(usize, Vec<Step>)>,
    suppressed: usize,
    suppressed_errors: usize,
    unread: Unread<Spot>,
    seen: Seen<Spot>,
    /// Held until the source is read, so that its objects share what they have in common.
    interner: Interner,
    latest: Option<Latest>,
    objects: usize,
    readable: bool,
    withheld: BTreeMap<ObjectRef, Option<Policy>>,
    cut_short: Option<Place>,
    /// Fields whose places are asked for.
    pub(super) sought: Option<Sought>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &str, text: &'a str) -> Self {
        Self {
            source: Arc::from(source),
            text,
            lines: Lines::default(),
            document: 0,
            begin: None,
            items: Vec::new(),
            current: Current::default(),
            is_misspelling_possible: true,
            diagnostics: Vec::new(),
            unplaced: Vec::new(),
            suppressed: 0,
            suppressed_errors: 0,
            unread: Unread::default(),
            seen: Seen::default(),
            interner: Interner::default(),
            latest: None,
            objects: 0,
            readable: true,
            withheld: BTreeMap::new(),
            cut_short: None,
            sought: None,
        }
    }

    /// The number of the document that is being read.
    pub(super) fn document(&self) -> usize {
        self.document
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// `document` is its text.
    pub(super) fn begin_document(&mut self, document: &str) {
        self.document += 1;
        let beginning = beginning(document).unwrap_or_default();
        self.begin = self.offset_of(document).map(|base| base + beginning);
        self.restart_document();
    }

    /// The document is read once more, or by another parser.
    pub(super) fn restart_document(&mut self) {
        self.items.clear();
        self.current = Current::default();
    }

    /// The objects of a list follow. `has_key` says whether the list stands under the key `items`.
    pub(super) fn enter_list(&mut self, has_key: bool) {
        if has_key {
            self.items.push(Step::Key("items".into()));
        }
        self.items.push(Step::Item(0));
    }

    pub(super) fn enter_item(&mut self, number: usize) {
        if let Some(Step::Item(at)) = self.items.last_mut() {
            *at = number;
        }
        self.current = Current::default();
    }

    pub(super) fn leave_list(&mut self, has_key: bool) {
        self.items.truncate(self.items.len().saturating_sub(1 + usize::from(has_key)));
        self.current = Current::default();
    }

    /// Finds the places of the document's diagnostics. `document` is its text.
    pub(super) fn end_document(&mut self, document: &str) {
        let (number, base) = (self.document, self.offset_of(document));
        if let Some(sought) = &mut self.sought {
            sought.end_document(document, number, base.unwrap_or_default());
        }
        let unplaced = std::mem::take(&mut self.unplaced);
        if unplaced.is_empty() {
            return;
        }
        let base = self.offset_of(document).unwrap_or_default();
        let paths: Vec<&[Step]> = unplaced.iter().map(|(_, steps)| &**steps).collect();
        let offsets = locate::offsets(document, &paths);
        for ((at, _), offset) in unplaced.iter().zip(offsets) {
            if let Some(offset) = offset {
                self.replace(*at, base + offset);
            }
        }
    }

    /// Gives a diagnostic its place, and the remedy for templates if there is one.
    fn replace(&mut self, at: usize, offset: usize) {
        let place = self.place(Spot { document: self.document, offset: Some(offset) });
        let end = (offset + TEMPLATE_WINDOW).min(self.text.len());
        let window = self.text.as_bytes().get(offset..end).unwrap_or_default();
        let line = window.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if let Some(diagnostic) = self.diagnostics.get_mut(at) {
            diagnostic.place = place;
            if diagnostic.severity == Severity::Error && line.windows(2).any(|pair| pair == b"{{") {
                diagnostic.remedy = TEMPLATE_REMEDY.to_owned();
            }
        }
    }

    /// Where in the text a piece of it begins, in bytes; `None` for what was copied out of it.
    pub(super) fn offset_of(&self, piece: &str) -> Option<usize> {
        let offset = piece.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        (offset < self.text.len()).then_some(offset)
    }

    /// Where a key begins, with its quote if it has one.
    pub(super) fn key_offset(&self, key: &str) -> Option<usize> {
        let offset = self.offset_of(key)?;
        let before = offset.checked_sub(1).and_then(|before| self.text.as_bytes().get(before));
        Some(offset - usize::from(matches!(before, Some(b'"' | b'\''))))
    }

    pub(super) fn spot(&self, offset: Option<usize>) -> Spot {
        Spot { document: self.document.max(1), offset: offset.or(self.begin) }
    }

    pub(super) fn place(&mut self, spot: Spot) -> Place {
        let at = spot.offset.map(|offset| self.lines.at(self.text, offset));
        Place {
            source: Arc::clone(&self.source),
            document: spot.document,
            line: at.map(|at| at.line),
            column: at.map(|at| at.column),
        }
    }

    pub(super) fn add(&mut self, finding: Finding<'_>) {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            self.suppressed += 1;
            self.suppressed_errors += usize::from(finding.severity == Severity::Error);
            return;
        }
        let Finding { severity, object, spot, path, message, remedy } = finding;
        let field = path.filter(|path| !path.is_object()).map(ToString::to_string);
        if let Some(path) = path {
            let mut steps = self.items.clone();
            path.steps(&mut steps);
            if !steps.is_empty() {
                self.unplaced.push((self.diagnostics.len(), steps));
            }
        }
        let message = match &field {
            Some(field) => format!("{field} {message}"),
            None => message,
        };
        let place = self.place(spot);
        let consequence = None;
        let diagnostic =
            Diagnostic { severity, place, object, field, message, consequence, remedy };
        self.diagnostics.push(diagnostic);
    }

    /// The document is not understood: it is not known which objects it declares.
    pub(super) fn refuse(&mut self, finding: Finding<'_>) {
        self.readable = false;
        self.add(finding);
    }

    /// The document is not understood, for a reason that is not one of an object's.
    pub(super) fn refuse_at(
        &mut self,
        offset: Option<usize>,
        path: Option<&Path<'_>>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let spot = self.spot(offset);
        let (message, remedy) = (message.into(), remedy.into());
        let severity = Severity::Error;
        self.refuse(Finding { severity, object: None, spot, path, message, remedy });
    }

    /// An error of syntax ended the document.
    pub(super) fn refuse_rest(&mut self, offset: Option<usize>, message: String, remedy: String) {
        let (spot, object) = (self.spot(offset), self.current.reference());
        let severity = Severity::Error;
        self.refuse(Finding { severity, object, spot, path: None, message, remedy });
    }

    /// An object of a kind that is not read. `says` is its message, of an answer that has one.
    pub(super) fn unread(
        &mut self,
        kind_and_version: (Arc<str>, Arc<str>),
        says: Option<Arc<str>>,
        offset: Option<usize>,
    ) {
        let spot = self.spot(offset);
        self.readable &= !self.unread.count(kind_and_version, says, spot);
    }

    /// Notes an object. Returns where another one of the same name stands.
    pub(super) fn note(&mut self, name: &Name, spot: Spot) -> Option<Spot> {
        if let Some(sought) = &mut self.sought {
            sought.meet(&name.reference(), spot, &self.items);
        }
        let mut name = name.clone();
        name.namespace = name.namespace.map(|namespace| self.interner.string(&namespace));
        self.seen.note(name, spot)
    }

    /// How much was found so far.
    pub(super) fn mark(&self) -> (usize, usize, usize) {
        let found = self.diagnostics.len() + self.suppressed;
        (found, self.seen.objects(), self.unread.kinds())
    }

    /// Hands an object to the sink.
    pub(super) fn emit(&mut self, mut object: Object, sink: &mut dyn FnMut(Object)) {
        self.objects += 1;
        match &mut object {
            Object::Pod(pod) => self.interner.pod(pod),
            Object::Policy(policy) => {
                self.interner.policy(policy);
                self.seen.note_policy(policy);
            }
            Object::Namespace(_)
            | Object::Node(_)
            | Object::Service(_)
            | Object::EndpointSlice(_) => {}
        }
        sink(object);
    }

    /// The object is not handed on or, if it was before, does not count.
    pub(super) fn withhold(&mut self, name: &Name) {
        self.withheld.entry(name.reference()).or_default();
    }

    /// A policy that was given before is withheld, too. For a caller that never knew it, it isolates what all of its name
    /// do, and allows nothing.
    pub(super) fn withhold_policy(&mut self, name: &Name, again: &Policy) {
        match self.withheld.entry(name.reference()).or_default() {
            Some(closed) => widen(closed, again),
            none @ None => *none = Some(self.seen.closed(again)),
        }
    }

    /// What is enforced until the object whose diagnostics begin at `first` is corrected.
    pub(super) fn set_consequence(&mut self, first: usize, consequence: &str) {
        let own = self.diagnostics.iter_mut().skip(first);
        for diagnostic in own.filter(|diagnostic| diagnostic.severity == Severity::Error) {
            diagnostic.consequence = Some(consequence.to_owned());
        }
    }

    pub(super) fn found(&self) -> usize {
        self.diagnostics.len()
    }

    pub(super) fn set_latest(&mut self, name: Name, has_errors: bool) {
        let (document, depth) = (self.document, self.items.len());
        self.latest = Some(Latest { document, name, depth, has_errors });
    }

    /// The text ends in this node of the document, in which nothing is written. It may be cut short there, if the node is in
    /// the rules of a policy.
    pub(super) fn set_cut_short(
        &mut self,
        (document, number): (&str, usize),
        offset: usize,
        steps: &[Step],
    ) {
        let Some(latest) = self.latest.take_if(|latest| latest.document == number) else {
            return;
        };
        let own = steps.get(latest.depth..).unwrap_or_default();
        if latest.name.kind != Kind::Policy || !is_in_rules(own) {
            return;
        }
        let offset = self.offset_of(document).map(|base| base + offset);
        let spot = Spot { document: number, offset };
        self.cut_short = Some(self.place(spot));
        if latest.has_errors {
            return;
        }
        let field = Steps(own);
        self.add(Finding {
            severity: Severity::Error,
            object: Some(latest.name.reference()),
            spot,
            path: None,
            message: format!("The text ends in {field}, which has no value, and may be cut short"),
            remedy: "Complete it, or write an empty value ([] or {}) if that is meant".into(),
        });
    }

    pub(super) fn finish(mut self) -> Parsed {
        let last = self.spot(None);
        for summary in std::mem::take(&mut self.unread).summaries() {
            self.add(Finding {
                severity: summary.severity,
                object: None,
                spot: summary.at.unwrap_or(last),
                path: None,
                message: summary.message,
                remedy: summary.remedy,
            });
        }
        if self.suppressed > 0 {
            let place = self.place(last);
            self.diagnostics.push(beyond(self.suppressed, self.suppressed_errors, place));
        }
        let withheld = self.withheld.into_iter();
        Parsed {
            diagnostics: self.diagnostics,
            objects: self.objects,
            readable: self.readable,
            withheld: withheld.map(|(object, closed)| Withheld { object, closed }).collect(),
            cut_short: self.cut_short,
        }
    }
}

/// Whether a field of a policy stands where more may be allowed if its value is missing.
fn is_in_rules(steps: &[Step]) -> bool {
    let is = |step: Option<&Step>, names: &[&str]| matches!(step, Some(Step::Key(key)) if names.contains(&&**key));
    is(steps.first(), &["spec"]) && is(steps.get(1), &["ingress", "egress", "policyTypes"])
}

pub(super) const TEMPLATE_REMEDY: &str = "This is a template: render it first (helm template, or whatever fills it in), and give the result to -f";

fn beyond(all: usize, errors: usize, place: Place) -> Diagnostic {
    Diagnostic {
        severity: if errors > 0 { Severity::Error } else { Severity::Warning },
        place,
        object: None,
        field: None,
        message: format!("{all} more findings are not listed, {errors} of them errors"),
        consequence: None,
        remedy: "Correct those that are listed first".to_owned(),
    }
}
