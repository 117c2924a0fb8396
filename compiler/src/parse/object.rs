//! An object as written -> its model, or word of why not.

use std::sync::Arc;

use serde_json::Value;

use super::lenient::{Lenient, Pairs};
use super::names::{self, DNS_LABEL_RULE, DNS_SUBDOMAIN_RULE, LABEL_KEY_RULE, LABEL_VALUE_RULE};
use super::output::Object;
use super::report::{KINDS, Name, Report, Subject, Told};
use super::wire::{Metadata, NodeStatus, PodSpec, PodStatus};
use super::{node, pod, policy};
use crate::model::{Labels, PolicyKey};

/// The namespace of what names none, as for `kubectl apply`.
const DEFAULT_NAMESPACE: &str = "default";

pub(super) struct Written {
    pub(super) offset: Option<usize>,
    pub(super) api_version: Lenient<Arc<str>>,
    pub(super) kind: Arc<str>,
    pub(super) metadata: Lenient<Metadata>,
    pub(super) pod_spec: Lenient<PodSpec>,
    pub(super) pod_status: Lenient<PodStatus>,
    pub(super) node_status: Lenient<NodeStatus>,
    pub(super) policy_spec: Option<Value>,
    pub(super) unknown: Vec<String>,
}

pub(super) fn is_read(kind: &str) -> bool {
    KINDS.iter().any(|(known, _)| *known == kind)
}

/// Whether the version is one of somebody else's group, whose kinds mean nothing here whatever they are called. The
/// groups of others have a dot (`CustomResourceDefinitionSpec.group`); those without are Kubernetes' own.
pub(super) fn is_foreign(api_version: &Lenient<Arc<str>>) -> bool {
    let Some((group, _)) = api_version.as_known().and_then(|given| given.split_once('/')) else {
        return false;
    };
    group.contains('.') && names::distance(group, POLICY_GROUP) > MISSPELT_GROUP
}

const POLICY_GROUP: &str = "networking.k8s.io";
/// Letters that a misspelt group may differ by. (`networking.gke.io` is another's.)
const MISSPELT_GROUP: usize = 2;

/// The kind that was meant, if this one is none but one of those that are read, misspelt.
fn misspelt(kind: &str) -> Option<&'static str> {
    let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).chain(["List"]).collect();
    names::nearest(kind, &known)
}

/// Reads an object of any kind.
pub(super) fn read(report: &mut Report<'_>, sink: &mut dyn FnMut(Object), written: Written) {
    let kind = Arc::clone(&written.kind);
    let foreign = is_foreign(&written.api_version);
    let known = KINDS.iter().find(|(known, _)| **known == *kind).filter(|_| !foreign);
    let Some(&(known, version)) = known else {
        if let Some(meant) = misspelt(&kind).filter(|_| !foreign) {
            let message = format!("there is no kind {kind:?}; the object is not read");
            let remedy = format!("if {meant} was meant, write kind: {meant}");
            return report.unreadable(written.offset, message, &remedy);
        }
        let version = written.api_version.as_known().cloned().unwrap_or_default();
        report.unread(version, kind, written.offset);
        return;
    };
    let (name, namespace, metadata) = match identity(&kind, written.metadata) {
        Ok(found) => found,
        Err((message, remedy)) => return report.unreadable(written.offset, message, remedy),
    };
    let own = Name { kind: known, namespace: namespace.clone(), name: Arc::clone(&name) };
    let mut subject = Subject::new(report, &own, written.offset);
    let again = subject.is_given_again(own);
    if again && &*kind != "NetworkPolicy" {
        return subject.withhold();
    }
    check_version(&mut subject, &written.api_version, version);
    if &*kind == "NetworkPolicy" && !names::is_dns_subdomain(&name) {
        subject.error("metadata.name", no_name(&kind, &name), DNS_SUBDOMAIN_RULE);
    }
    let read = match namespace {
        None if &*kind == "Namespace" => {
            node::namespace(&mut subject, name, metadata).map(Object::Namespace)
        }
        None => Ok(Object::Node(node::node(&mut subject, name, written.node_status))),
        Some(namespace) if &*kind == "Pod" => {
            let parts = (written.pod_spec, written.pod_status);
            pod::read(&mut subject, (namespace, name), metadata, parts).map(Object::Pod)
        }
        Some(namespace) => {
            let key = PolicyKey { namespace, name };
            let read = policy::read(&mut subject, key, written.policy_spec, &written.unknown);
            if again {
                return subject.withhold_policy(read);
            }
            return report.emit(Object::Policy(read), sink);
        }
    };
    match read {
        Ok(object) if !subject.unsound => report.emit(object, sink),
        Ok(_) | Err(Told) => subject.withhold(),
    }
}

type Identity = (Arc<str>, Option<Arc<str>>, Metadata);

/// Name and, where the kind has one, namespace. Where they are wrong it is not known which object is meant, and so not
/// which one is missing. (The name of a policy may be wrong: closed, it isolates what it selects by any name.)
fn identity(kind: &str, metadata: Lenient<Metadata>) -> Result<Identity, (String, &'static str)> {
    let unnamed = |why: String| {
        Err((
            format!("a {kind} whose {why}; it is not read"),
            "give it a name, as a string, in metadata.name",
        ))
    };
    let mut metadata = match metadata {
        Lenient::Is(metadata) => metadata,
        Lenient::Wrong(found) => return unnamed(format!("metadata is {found}, not a map")),
        Lenient::Missing | Lenient::Null => return unnamed("metadata is missing".into()),
    };
    let name = match std::mem::take(&mut metadata.name) {
        Lenient::Is(name) if !name.is_empty() => name,
        Lenient::Wrong(found) => return unnamed(format!("metadata.name is {found}, not a string")),
        Lenient::Is(_) | Lenient::Missing | Lenient::Null => {
            return unnamed("metadata.name is missing".into());
        }
    };
    let unread = |what: String| format!("{what}; it is not read");
    match kind {
        "Namespace" if !names::is_dns_label(&name) => {
            return Err((unread(no_name(kind, &name)), DNS_LABEL_RULE));
        }
        "Node" | "Pod" if !names::is_dns_subdomain(&name) => {
            return Err((unread(no_name(kind, &name)), DNS_SUBDOMAIN_RULE));
        }
        "Namespace" | "Node" => return Ok((name, None, metadata)),
        _ => {}
    }
    let namespace = match std::mem::take(&mut metadata.namespace) {
        Lenient::Is(namespace) if !namespace.is_empty() => namespace,
        Lenient::Wrong(found) => {
            let what = format!("the metadata.namespace of {kind} {name} is {found}, not a string");
            return Err((unread(what), "put the namespace in quotes"));
        }
        Lenient::Is(_) | Lenient::Missing | Lenient::Null => Arc::from(DEFAULT_NAMESPACE),
    };
    if !names::is_dns_label(&namespace) {
        let what = format!("the metadata.namespace of {kind} {name}, {namespace:?}, is no name");
        return Err((unread(what), DNS_LABEL_RULE));
    }
    Ok((name, Some(namespace), metadata))
}

fn no_name(kind: &str, name: &str) -> String {
    format!("{name:?} is no name for a {kind}")
}

fn check_version(subject: &mut Subject<'_, '_>, given: &Lenient<Arc<str>>, version: &str) {
    let what = match given {
        Lenient::Is(given) if **given == *version => return,
        Lenient::Is(given) => format!("{given:?} is no version of this kind here"),
        Lenient::Wrong(found) => format!("is {found}, not a string"),
        Lenient::Missing | Lenient::Null => "is missing".into(),
    };
    subject.error("apiVersion", what, format!("write apiVersion: {version}"));
    subject.unsound = true;
}

/// The labels of an object; all or none, since selectors also match what is absent.
pub(super) fn labels(
    subject: &mut Subject<'_, '_>,
    written: Lenient<Pairs>,
) -> Result<Labels, Told> {
    let field = || "metadata.labels".to_owned();
    let Some(Pairs(pairs)) = subject.read(written, "a map of strings", field)? else {
        return Ok(Labels::default());
    };
    let before = subject.errors;
    let mut read: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let field = format!("metadata.labels[{key:?}]");
        if !names::is_label_key(&key) {
            subject.error(&field, "is no label key", LABEL_KEY_RULE);
        }
        // An empty value is what the API server makes of null.
        let Ok(value) = subject.read(value, "a string", || field.clone()) else { continue };
        let value = value.unwrap_or_default();
        if !names::is_label_value(&value) {
            subject.error(&field, format!("{value:?} is no label value"), LABEL_VALUE_RULE);
        }
        read.push((key, value));
    }
    read.sort_unstable();
    for twice in read.windows(2) {
        if let [(key, _), (next, _)] = twice
            && key == next
        {
            let field = format!("metadata.labels[{key:?}]");
            subject.error(field, "is given twice", "keep one of the two");
        }
    }
    if subject.errors > before { Err(Told) } else { Ok(read.into_iter().collect()) }
}
