//! What manifests mean, and what is said about wrong ones.

mod answers;
mod cut_short;
mod documents;
mod encodings;
mod fields;
mod hostile;
mod order;
mod others;
mod places;
mod pods;
mod policies;
mod selectors;
mod services;
mod typed;

use super::{Object, Parsed, Settings, Severity, parse_with};
use crate::model::{Namespace, Node, Pod, Policy};

/// Reads a source named `in.yaml`, where objects without a namespace are in `default`.
fn read(text: &str) -> (Vec<Object>, Parsed) {
    read_bytes("in.yaml", text.as_bytes(), Some("default"))
}

fn read_bytes(source: &str, bytes: &[u8], namespace: Option<&str>) -> (Vec<Object>, Parsed) {
    let mut objects = Vec::new();
    let settings = Settings { namespace: namespace.map(Into::into), ..Settings::default() };
    let parsed = parse_with(source, bytes, &settings, &mut |object| objects.push(object));
    assert_eq!(parsed.objects, objects.len());
    (objects, parsed)
}

/// Everything that is said, one finding a line.
fn findings(parsed: &Parsed) -> String {
    parsed.diagnostics.iter().map(|finding| format!("{finding}\n")).collect()
}

/// Each object as its kind and name.
fn names(objects: &[Object]) -> Vec<String> {
    objects
        .iter()
        .map(|object| match object {
            Object::Namespace(namespace) => format!("namespace {}", namespace.name),
            Object::Node(node) => format!("node {}", node.name),
            Object::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
            Object::Policy(policy) => format!("policy {}", policy.key),
            Object::Service(service) => format!("service {}/{}", service.namespace, service.name),
            Object::EndpointSlice(slice) => format!("slice {}/{}", slice.namespace, slice.name),
        })
        .collect()
}

/// Each finding as `severity field`.
fn fields(parsed: &Parsed) -> Vec<String> {
    let field = |field: &Option<String>| field.clone().unwrap_or_default();
    parsed.diagnostics.iter().map(|f| format!("{} {}", f.severity, field(&f.field))).collect()
}

/// The objects of a source with nothing wrong in it.
#[track_caller]
fn good(text: &str) -> Vec<Object> {
    let (objects, parsed) = read(text);
    assert_eq!(findings(&parsed), "", "{text}");
    assert!(parsed.readable && parsed.withheld.is_empty());
    objects
}

macro_rules! only {
    ($name:ident, $variant:ident, $type:ty) => {
        #[track_caller]
        fn $name(objects: Vec<Object>) -> $type {
            match <[Object; 1]>::try_from(objects) {
                Ok([Object::$variant(object)]) => object,
                other => panic!("not one object of this kind: {other:?}"),
            }
        }
    };
}
only!(only_namespace, Namespace, Namespace);
only!(only_node, Node, Node);
only!(only_pod, Pod, Pod);
only!(only_policy, Policy, Policy);

/// Every error says what to do, in one line.
#[track_caller]
fn assert_helpful(parsed: &Parsed) {
    for finding in &parsed.diagnostics {
        assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
        assert_eq!(finding.to_string().lines().count(), 1, "{finding:?}");
        assert_eq!(&*finding.place.source, "in.yaml");
    }
    let errors = parsed.diagnostics.iter().any(|f| f.severity == Severity::Error);
    assert_eq!(errors, parsed.has_errors());
    assert!(errors || (parsed.readable && parsed.withheld.is_empty()));
}
