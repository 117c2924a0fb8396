//! An object as it was written -> its model, or a report of why not.

use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::Severity;
use super::duplicates::Name;
use super::kinds::{self, Kind};
use super::lenient::Lenient;
use super::metadata::{self, Identification, Identified, is_no_name};
use super::names::{self, DNS_SUBDOMAIN_RULE};
use super::output::{Object, Settings};
use super::path::OBJECT;
use super::report::{Finding, Report};
use super::subject::{Reported, Subject};
use super::wire::{Metadata, NodeSpec, NodeStatus, PodSpec, PodStatus};
use super::{endpoint_slice, node, pod, policy, service};
use crate::model::PolicyKey;

/// An object as it was written. Of the fields that depend on the kind, only those of its own are filled.
pub(super) struct Written {
    /// Where it begins.
    pub(super) offset: Option<usize>,
    pub(super) api_version: Lenient<Arc<str>>,
    pub(super) kind: Arc<str>,
    pub(super) metadata: Lenient<Metadata>,
    pub(super) pod_spec: Lenient<PodSpec>,
    pub(super) pod_status: Lenient<PodStatus>,
    pub(super) node_spec: Lenient<NodeSpec>,
    pub(super) node_status: Lenient<NodeStatus>,
    /// The spec of a policy or of a Service.
    pub(super) spec: Option<Value>,
    /// The status of a Service.
    pub(super) status: Option<Value>,
    /// The fields of an EndpointSlice.
    pub(super) endpoints: Option<Value>,
    pub(super) ports: Option<Value>,
    /// The message of an answer.
    pub(super) says: Option<Arc<str>>,
    /// The first few fields that no object of the kind has.
    pub(super) unknown: Vec<String>,
}

/// Reads an object of any kind.
pub(super) fn read(
    report: &mut Report<'_>,
    sink: &mut dyn FnMut(Object),
    settings: &Settings,
    mut written: Written,
) {
    let version = written.api_version.as_known().cloned().unwrap_or_default();
    let is_foreign = kinds::is_foreign(&version);
    let Some(kind) = Kind::named(&written.kind).filter(|_| !is_foreign) else {
        return read_other(report, written, version, is_foreign);
    };
    let mut metadata = std::mem::take(&mut written.metadata);
    if settings.from_api_server {
        if let Lenient::Is(metadata) = &mut metadata {
            metadata.unknown.clear();
        }
        if kind != Kind::Policy {
            written.unknown.clear();
        }
    }
    let (offset, namespace) = (written.offset, settings.namespace.as_ref());
    let identification = Identification { report, kind, offset, namespace, known: None };
    let Some(identified) = identification.of(metadata, &written.unknown) else { return };
    let name = identified.name.clone();
    let mut subject = Subject::new(report, &name, offset);
    let is_given_again = subject.is_given_again();
    if is_given_again && kind != Kind::Policy {
        if kind.decides() {
            subject.set_consequence("What was known of it stays; if nothing was, neither is read");
            subject.withhold();
        }
        return;
    }
    metadata::check(&mut subject, &identified);
    check_version(&mut subject, &written.api_version);
    check_fields(&mut subject, &written.unknown);
    match read_kind(subject, identified, written, is_given_again) {
        Read::Object { object, has_errors } => {
            report.set_latest(name, has_errors);
            report.emit(object, sink);
        }
        Read::Nothing => report.set_latest(name, true),
    }
}

enum Read {
    Object { object: Object, has_errors: bool },
    Nothing,
}

fn read_kind(
    mut subject: Subject<'_, '_>,
    identified: Identified,
    written: Written,
    is_given_again: bool,
) -> Read {
    let Identified { name: Name { kind, namespace, name }, metadata, .. } = identified;
    let namespaced = (namespace.unwrap_or_default(), Arc::clone(&name));
    let read = match kind {
        Kind::Namespace => node::namespace(&mut subject, name, metadata).map(Object::Namespace),
        Kind::Node => {
            let parts = (written.node_spec, written.node_status);
            Ok(Object::Node(node::node(&mut subject, name, parts)))
        }
        Kind::Pod => {
            let parts = (written.pod_spec, written.pod_status);
            pod::read(&mut subject, namespaced, metadata, parts).map(Object::Pod)
        }
        Kind::Service => {
            let parts = (written.spec.as_ref(), written.status.as_ref());
            Ok(Object::Service(service::read(&mut subject, namespaced, parts)))
        }
        Kind::EndpointSlice => {
            let parts = (written.endpoints.as_ref(), written.ports.as_ref());
            let read = endpoint_slice::read(&mut subject, namespaced, metadata, parts);
            Ok(Object::EndpointSlice(read))
        }
        Kind::Policy => {
            let parts = (metadata, written.spec);
            return read_policy(subject, namespaced, parts, is_given_again);
        }
    };
    match read {
        Ok(object) if !subject.unsound => Read::Object { object, has_errors: subject.errors() > 0 },
        Ok(_) | Err(Reported) => {
            if kind.decides() {
                subject.set_consequence("The object is not read, and what was known of it stays");
                subject.withhold();
            }
            Read::Nothing
        }
    }
}

fn read_policy(
    mut subject: Subject<'_, '_>,
    (namespace, name): (Arc<str>, Arc<str>),
    (metadata, spec): (Metadata, Option<Value>),
    is_given_again: bool,
) -> Read {
    if !names::is_dns_subdomain(&name) {
        let path = OBJECT.field("metadata");
        let message = is_no_name(Kind::Policy, &name);
        subject.error(&path.field("name"), message, DNS_SUBDOMAIN_RULE);
    }
    let policy = policy::read(&mut subject, PolicyKey { namespace, name }, metadata, spec);
    if is_given_again {
        subject.set_consequence(
            "What was known of it stays; if nothing was, both isolate what they select and allow nothing",
        );
        subject.withhold_policy(&policy);
        return Read::Nothing;
    }
    let has_errors = subject.errors() > 0;
    if has_errors {
        subject.set_consequence(&policy::what_it_closes(&policy));
    }
    Read::Object { object: Object::Policy(policy), has_errors }
}

/// An object of a kind that is not read.
fn read_other(report: &mut Report<'_>, written: Written, version: Arc<str>, is_foreign: bool) {
    let kind = written.kind;
    if let Some(meant) = kinds::misspelt(&kind).filter(|_| !is_foreign) {
        let spot = report.spot(written.offset);
        return report.refuse(Finding {
            severity: Severity::Error,
            object: None,
            spot,
            path: Some(&OBJECT.field("kind")),
            message: format!("is {kind:?}, and there is no such kind"),
            remedy: format!("Did you mean {meant}?"),
        });
    }
    report.unread((kind, version), written.says, written.offset);
}

fn check_version(subject: &mut Subject<'_, '_>, given: &Lenient<Arc<str>>) {
    let kind = subject.name().kind;
    let what = match given {
        Lenient::Is(given) if **given == *kind.version() => return,
        Lenient::Is(given) => format!("is {given:?}, and no {} has it here", kind.name()),
        Lenient::Wrong(found) => format!("is {found}, not a string"),
        Lenient::Missing | Lenient::Null => "is missing".into(),
    };
    let remedy = format!("Write apiVersion: {}", kind.version());
    subject.error(&OBJECT.field("apiVersion"), what, remedy);
    subject.unsound = true;
}

/// Reports the fields that no object of the kind has. Their values may be those of the fields that were meant.
fn check_fields(subject: &mut Subject<'_, '_>, unknown: &[String]) {
    let kind = subject.name().kind;
    for field in unknown {
        let remedy = remedy_for(kind, field);
        let message = format!("is not a field of a {}", kind.name());
        subject.error(&OBJECT.field(field), message, remedy);
        subject.unsound = true;
    }
}

fn remedy_for(kind: Kind, field: &str) -> String {
    let in_spec: &[&str] = match kind {
        Kind::Policy => &policy::SPEC_FIELDS,
        Kind::Pod => PodSpec::FIELDS.known,
        Kind::Service => &service::SPEC_FIELDS,
        Kind::Namespace | Kind::Node | Kind::EndpointSlice => &[],
    };
    if in_spec.contains(&field) {
        return "Write it under spec".into();
    }
    if Metadata::FIELDS.known.contains(&field) {
        return "Write it under metadata".into();
    }
    let known = [&["apiVersion", "kind", "metadata"][..], kind.fields()].concat();
    match names::nearest(field, &known) {
        Some(near) => format!("Did you mean {near}?"),
        None => "Remove it".into(),
    }
}
