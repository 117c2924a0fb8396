//! Parts of sentences.

use std::fmt::Display;

use super::code::Code;
use super::finding::Finding;
use crate::explain::{Needed, peers_field};
use crate::model::{Direction, Operator, Pod, Policy, Requirement, Selector};
use crate::parse::ObjectRef;
use crate::wording::listed;

/// Names that are written out; the rest is counted.
const MOST_NAMES: usize = 3;
/// Requirements of a selector that are written out; the rest is counted.
const MOST_REQUIREMENTS: usize = 8;

pub(super) fn object(policy: &Policy) -> ObjectRef {
    ObjectRef {
        kind: "NetworkPolicy".to_owned(),
        namespace: Some(policy.key.namespace.to_string()),
        name: policy.key.name.to_string(),
    }
}

pub(super) fn namespace(name: &str) -> ObjectRef {
    ObjectRef { kind: "Namespace".to_owned(), namespace: None, name: name.to_owned() }
}

pub(super) fn pod_object(pod: &Pod) -> ObjectRef {
    ObjectRef {
        kind: "Pod".to_owned(),
        namespace: Some(pod.namespace.to_string()),
        name: pod.name.to_string(),
    }
}

/// A finding about a field of a policy. The message follows the name of the field.
pub(super) fn finding(code: Code, policy: &Policy, field: String, message: &str) -> Finding {
    Finding::new(code, Some(object(policy)), format!("{field} {message}")).at(field)
}

/// `spec.ingress[0]`
pub(super) fn rule_field(direction: Direction, rule: usize) -> String {
    format!("spec.{direction}[{rule}]")
}

/// `spec.ingress[0].from[1]`
pub(super) fn peer_field(direction: Direction, rule: usize, peer: usize) -> String {
    format!("spec.{direction}[{rule}].{}[{peer}]", peers_field(direction))
}

/// `spec.ingress[0].ports[1]`
pub(super) fn port_field(direction: Direction, rule: usize, port: usize) -> String {
    format!("spec.{direction}[{rule}].ports[{port}]")
}

/// As kubectl writes it: `app=web,tier in (a, b)`; `{}` for the selector of everything. Of many requirements or values, the first.
pub(super) fn selector(selector: &Selector) -> String {
    if selector.requirements.is_empty() {
        return "{}".to_owned();
    }
    let mut text = String::new();
    for (at, each) in selector.requirements.iter().enumerate() {
        if at >= MOST_REQUIREMENTS {
            text += &format!(" and {} more", selector.requirements.len() - at);
            break;
        }
        text += if at == 0 { "" } else { "," };
        text += &requirement(each);
    }
    text
}

fn requirement(requirement: &Requirement) -> String {
    let (values, word) = match &requirement.operator {
        Operator::In(values) => (values, "in"),
        Operator::NotIn(values) => (values, "notin"),
        Operator::Exists | Operator::DoesNotExist => return Needed(requirement).to_string(),
    };
    if values.len() <= MOST_NAMES {
        return Needed(requirement).to_string();
    }
    format!("{} {word} ({})", requirement.key, some_of(values, values.len()))
}

pub(super) fn pod(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// The first few names, with how many of `count` there are more: `a, b, c and 2 more`.
pub(super) fn some_of<T: Display>(names: impl IntoIterator<Item = T>, count: usize) -> String {
    listed(names.into_iter().take(MOST_NAMES), count)
}
