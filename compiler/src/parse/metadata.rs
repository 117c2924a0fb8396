//! `metadata`: which object it is, and its labels.

use std::sync::Arc;

use super::diagnostic::{ObjectRef, Severity};
use super::duplicates::Name;
use super::kinds::Kind;
use super::lenient::{Lenient, Pairs};
use super::names::{self, DNS_LABEL_RULE, DNS_SUBDOMAIN_RULE, LABEL_KEY_RULE, LABEL_VALUE_RULE};
use super::path::{OBJECT, Path};
use super::report::{Finding, Report};
use super::subject::{Reported, Subject};
use super::wire::Metadata;
use crate::model::{AllowedSources, Labels, LintIgnore, MAX_ALLOWED_SOURCES};

/// The namespace of objects that name none, as for `kubectl apply`.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

const METADATA: &Path<'static> = &Path::Field(OBJECT, "metadata");
const NAME: &Path<'static> = &Path::Field(METADATA, "name");
const NAMESPACE: &Path<'static> = &Path::Field(METADATA, "namespace");

/// An object of which it is known which one it is.
pub(super) struct Identified {
    pub(super) name: Name,
    /// The rest of its metadata.
    pub(super) metadata: Metadata,
    /// Whether it names no namespace and nobody gave one for such objects.
    pub(super) is_defaulted: bool,
}

/// Finds out which object a document is meant to be. If that is not certain, the document is not understood: it is not known
/// which object is missing. (The name of a policy may be wrong: it isolates what it selects by any name.)
pub(super) struct Identification<'r, 'a> {
    pub(super) report: &'r mut Report<'a>,
    pub(super) kind: Kind,
    /// Where the object begins.
    pub(super) offset: Option<usize>,
    /// The namespace of objects that name none, if somebody gave it.
    pub(super) namespace: Option<&'r Arc<str>>,
    /// What is known so far, for messages.
    pub(super) known: Option<ObjectRef>,
}

impl Identification<'_, '_> {
    /// `beside` are the unknown fields beside `metadata`.
    pub(super) fn of(
        mut self,
        metadata: Lenient<Metadata>,
        beside: &[String],
    ) -> Option<Identified> {
        const REMEDY: &str = "Write metadata, and under it the name of the object";
        let mut metadata = match metadata {
            Lenient::Is(metadata) => metadata,
            Lenient::Wrong(found) => {
                return self.refuse(METADATA, format!("is {found}, not a map"), REMEDY);
            }
            Lenient::Missing | Lenient::Null => {
                return self.refuse(METADATA, "is missing".into(), REMEDY);
            }
        };
        let name = self.name(&mut metadata)?;
        let written = self.written_namespace(&mut metadata)?;
        self.known = Some(self.reference(&name, written.as_deref()));
        self.check_fields(&metadata.unknown, beside, written.is_none())?;
        let (namespace, is_defaulted) = match (self.kind.has_namespace(), written, self.namespace) {
            (false, ..) => (None, false),
            (true, Some(written), _) => (Some(written), false),
            (true, None, Some(given)) => (Some(Arc::clone(given)), false),
            (true, None, None) => (Some(Arc::from(DEFAULT_NAMESPACE)), true),
        };
        let name = Name { kind: self.kind, namespace, name };
        Some(Identified { name, metadata, is_defaulted })
    }

    fn reference(&self, name: &str, namespace: Option<&str>) -> ObjectRef {
        ObjectRef {
            kind: self.kind.name().into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    fn name(&mut self, metadata: &mut Metadata) -> Option<Arc<str>> {
        const REMEDY: &str = "Write the name of the object, as a string";
        let name = match std::mem::take(&mut metadata.name) {
            Lenient::Is(name) if !name.is_empty() => name,
            Lenient::Wrong(found) => {
                return self.refuse(NAME, format!("is {found}, not a string"), REMEDY);
            }
            Lenient::Is(_) | Lenient::Missing | Lenient::Null => {
                let near = nearest_of(&metadata.unknown, "name");
                let remedy = match near {
                    Some(near) => format!("Did you mean name by {near}?"),
                    None => REMEDY.into(),
                };
                return self.refuse(NAME, "is missing".into(), &remedy);
            }
        };
        let (is_name, rule) = match self.kind {
            Kind::Namespace | Kind::Service => (names::is_dns_label(&name), DNS_LABEL_RULE),
            Kind::Node | Kind::Pod | Kind::EndpointSlice => {
                (names::is_dns_subdomain(&name), DNS_SUBDOMAIN_RULE)
            }
            Kind::Policy => (true, DNS_SUBDOMAIN_RULE),
        };
        if !is_name {
            return self.refuse(NAME, is_no_name(self.kind, &name), rule);
        }
        Some(name)
    }

    /// The namespace that is written, if one is. `None` if it is wrong.
    fn written_namespace(&mut self, metadata: &mut Metadata) -> Option<Option<Arc<str>>> {
        if !self.kind.has_namespace() {
            return Some(None);
        }
        match std::mem::take(&mut metadata.namespace) {
            Lenient::Is(namespace) if namespace.is_empty() => Some(None),
            Lenient::Is(namespace) if names::is_dns_label(&namespace) => Some(Some(namespace)),
            Lenient::Is(namespace) => {
                let message = format!("is {namespace:?}, which is not the name of a namespace");
                self.refuse(NAMESPACE, message, DNS_LABEL_RULE)
            }
            Lenient::Wrong(found) => {
                let message = format!("is {found}, not a string");
                self.refuse(NAMESPACE, message, "Put the namespace in quotes")
            }
            Lenient::Missing | Lenient::Null => Some(None),
        }
    }

    /// Refuses fields that may be meant to say which object it is.
    fn check_fields(
        &mut self,
        inside: &[String],
        beside: &[String],
        lacks_namespace: bool,
    ) -> Option<()> {
        let lacks_namespace = lacks_namespace && self.kind.has_namespace();
        for field in inside {
            let near = names::nearest(field, Metadata::FIELDS.known);
            let is_meant = match near {
                Some("name") => true,
                Some("namespace") => self.kind.has_namespace(),
                Some(_) => false,
                None => lacks_namespace,
            };
            if is_meant {
                let remedy = match near {
                    Some(near) => format!("Did you mean {near}?"),
                    None => "Write the namespace, and remove this field".into(),
                };
                let message = "is not a field of metadata, and it is not known without it which object is meant";
                return self.refuse(&METADATA.field(field), message.into(), &remedy);
            }
        }
        if lacks_namespace && let Some(field) = nearest_of(beside, "namespace") {
            let message = format!("is not a field of a {}", self.kind.name());
            return self.refuse(&OBJECT.field(field), message, "Write it under metadata");
        }
        Some(())
    }

    fn refuse<T>(&mut self, path: &Path<'_>, message: String, remedy: &str) -> Option<T> {
        let spot = self.report.spot(self.offset);
        let decides = self.kind.decides();
        let severity = if decides { Severity::Error } else { Severity::Warning };
        let (path, remedy) = (Some(path), remedy.to_owned());
        let kind = self.kind.name();
        let message = match self.known {
            // Of an object without a name, only the kind is known.
            None if !message.contains(kind) => format!("{message} (of a {kind})"),
            Some(_) | None => message,
        };
        let object = self.known.take();
        let finding = Finding { severity, object, spot, path, message, remedy };
        if decides {
            self.report.refuse(finding);
        } else {
            self.report.add(finding);
        }
        None
    }
}

/// The one of the fields that was most likely meant to be this one.
fn nearest_of<'f>(fields: &'f [String], meant: &str) -> Option<&'f String> {
    fields.iter().find(|field| names::nearest(field, &[meant]).is_some())
}

pub(super) fn is_no_name(kind: Kind, name: &str) -> String {
    format!("is {name:?}, which is not a name for a {}", kind.name())
}

/// Reports what is wrong with the metadata of an object of which it is known which one it is.
pub(super) fn check(subject: &mut Subject<'_, '_>, identified: &Identified) {
    let kind = subject.name().kind;
    if identified.is_defaulted && kind.decides() {
        let message = format!("is missing, and the object is read into {DEFAULT_NAMESPACE}");
        subject.warn(
            NAMESPACE,
            message,
            "Write it, or give one for all such objects by --namespace",
        );
    }
    for field in &identified.metadata.unknown {
        let remedy = match names::nearest(field, Metadata::FIELDS.known) {
            Some(near) => format!("Did you mean {near}?"),
            None => "Remove it".into(),
        };
        subject.error(&METADATA.field(field), "is not a field of metadata", remedy);
        subject.unsound = true;
    }
}

/// Which findings of the linter the object's author accepts.
pub(super) fn lint_ignore(metadata: &mut Metadata) -> Option<Arc<LintIgnore>> {
    match &mut metadata.annotations {
        Lenient::Is(annotations) => annotations.lint_ignore.take().map(Arc::new),
        Lenient::Missing | Lenient::Null | Lenient::Wrong(_) => None,
    }
}

/// Which addresses the pod asks to send from beside its own. One that cannot be read is left out.
pub(super) fn allowed_sources(
    subject: &mut Subject<'_, '_>,
    metadata: &mut Metadata,
) -> Option<Arc<AllowedSources>> {
    let Lenient::Is(annotations) = &mut metadata.annotations else { return None };
    let text = annotations.allowed_sources.take()?;
    let path = METADATA.field("annotations");
    let path = path.entry(AllowedSources::ANNOTATION);
    let wrong = |word: &str| {
        let remedy =
            format!("Write at most {MAX_ALLOWED_SOURCES} addresses, with commas between them");
        subject.error(
            &path,
            format!("names {word:?}, which is no address or one too many"),
            remedy,
        );
    };
    AllowedSources::of_text(&text, wrong).map(Arc::new)
}

/// The labels of an object: all of them or none, since selectors also match labels that are absent.
pub(super) fn labels(
    subject: &mut Subject<'_, '_>,
    written: Lenient<Pairs>,
) -> Result<Labels, Reported> {
    let path = METADATA.field("labels");
    let Some(Pairs(pairs)) = subject.read(written, "a map of strings", &path)? else {
        return Ok(Labels::default());
    };
    let before = subject.errors();
    let mut read: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let path = path.entry(&key);
        if !names::is_label_key(&key) {
            subject.error(&path, "has a key that no label can have", LABEL_KEY_RULE);
        }
        // An empty value is what the API server makes of null.
        let Ok(value) = subject.read(value, "a string", &path) else { continue };
        let value = value.unwrap_or_default();
        if !names::is_label_value(&value) {
            let message = format!("is {value:?}, which no label can be");
            subject.error(&path, message, LABEL_VALUE_RULE);
        }
        read.push((key, value));
    }
    read.sort_unstable();
    for twice in read.windows(2) {
        if let [(key, _), (next, _)] = twice
            && key == next
        {
            subject.error(&path.entry(key), "is given twice", "Keep one of the two");
        }
    }
    if subject.errors() > before { Err(Reported) } else { Ok(read.into_iter().collect()) }
}
