//! What the parser found, as findings; annotations that name no code.

use super::code::Code;
use super::finding::{Finding, Report};
use super::words;
use crate::model::{LintIgnore, PolicyKey};
use crate::parse::{self, Diagnostic, ObjectRef};
use crate::snapshot::Snapshot;

/// The field of an object's namespace.
const NAMESPACE: &str = "metadata.namespace";
const METADATA_FIELD: &str = "metadata.annotations";

/// A diagnostic of the parser as a finding with its place.
pub(super) fn finding(diagnostic: &Diagnostic) -> Finding {
    let Diagnostic { severity, object, field, message, remedy, consequence, place } = diagnostic;
    let code = match (severity, object) {
        (parse::Severity::Error, _) => Code::ManifestError,
        (parse::Severity::Warning, None) => Code::NotRead,
        // Of an object that decides something, a warning about this field is about a namespace that is missing.
        (parse::Severity::Warning, Some(object))
            if field.as_deref() == Some(NAMESPACE) && decides(object) =>
        {
            Code::NamespaceByDefault
        }
        (parse::Severity::Warning, Some(_)) => Code::ManifestWarning,
    };
    let end = if remedy.ends_with('?') { "" } else { "." };
    let remedy = match consequence {
        Some(consequence) => format!("{remedy}{end} {consequence}."),
        None => format!("{remedy}{end}"),
    };
    Finding {
        field: field.clone(),
        place: Some(place.clone()),
        ..Finding::new(code, object.clone(), message.clone()).with_remedy(Some(remedy))
    }
}

fn decides(object: &ObjectRef) -> bool {
    !matches!(object.kind.as_str(), "Service" | "EndpointSlice")
}

/// The annotation of an object that diagnostics name. An error is reported whatever the annotation says.
pub(super) fn ignore<'s>(snapshot: &'s Snapshot, found: &Finding) -> Option<&'s LintIgnore> {
    let object = found.object.as_ref().filter(|_| found.code != Code::ManifestError)?;
    let namespace = object.namespace.as_deref().unwrap_or(parse::DEFAULT_NAMESPACE);
    let ignore = match object.kind.as_str() {
        "NetworkPolicy" => {
            let key = PolicyKey { namespace: namespace.into(), name: object.name.as_str().into() };
            &snapshot.policy(&key)?.lint_ignore
        }
        "Pod" => &snapshot.pod_named(namespace, &object.name)?.lint_ignore,
        "Namespace" => &snapshot.namespace(&object.name)?.lint_ignore,
        _ => &None,
    };
    ignore.as_deref()
}

/// Codes in annotations that do not exist.
pub(super) fn check_annotations(snapshot: &Snapshot, report: &mut Report) {
    for policy in snapshot.policies() {
        unknown(policy.lint_ignore.as_deref(), || words::object(policy), report);
    }
    for namespace in snapshot.namespaces() {
        unknown(namespace.lint_ignore.as_deref(), || words::namespace(&namespace.name), report);
    }
    let mut pods: Vec<_> = snapshot.pods().filter(|pod| pod.lint_ignore.is_some()).collect();
    pods.sort_unstable_by_key(|pod| (&pod.namespace, &pod.name));
    for pod in pods {
        unknown(pod.lint_ignore.as_deref(), || words::pod_object(pod), report);
    }
}

fn unknown(ignore: Option<&LintIgnore>, object: impl Fn() -> ObjectRef, report: &mut Report) {
    let Some(ignore) = ignore else { return };
    for code in ignore.codes().filter(|code| Code::with_id(code).is_none()) {
        let message = format!("{METADATA_FIELD}: {} names {code:?}", LintIgnore::ANNOTATION);
        let found = Finding::new(Code::UnknownIgnore, Some(object()), message);
        report.add(found.at(METADATA_FIELD.to_owned()), Some(ignore));
    }
}
