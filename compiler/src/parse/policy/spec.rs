//! `NetworkPolicySpec`: whom a policy isolates, in which directions, and its rules.

use serde_json::{Map, Value};

use super::part::{Part, only_known};
use super::rule;
use super::selector::selector;
use crate::model::{Direction, Isolation, PolicyRule, Selector};
use crate::parse::fields::list_of;
use crate::parse::path::Path;
use crate::parse::subject::{Reported, Subject};

pub(super) struct Spec {
    pub(super) subjects: Selector,
    pub(super) isolates: Isolation,
    pub(super) ingress: Vec<PolicyRule>,
    pub(super) egress: Vec<PolicyRule>,
}

const BOTH: Isolation = Isolation { ingress: true, egress: true };

impl Spec {
    pub(super) fn all_isolated() -> Self {
        let (ingress, egress) = (Vec::new(), Vec::new());
        Self { subjects: Selector::everything(), isolates: BOTH, ingress, egress }
    }
}

pub(in crate::parse) const SPEC_FIELDS: [&str; 4] =
    ["podSelector", "policyTypes", "ingress", "egress"];
const SPEC: Part = Part { what: "the spec of a NetworkPolicy", fields: &SPEC_FIELDS };

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    spec: &Map<String, Value>,
) -> Spec {
    let known = only_known(subject, path, spec, &SPEC);
    let field = path.field("podSelector");
    let subjects = match spec.get("podSelector") {
        Some(Value::Null) => Selector::everything(),
        Some(value) => {
            selector(subject, &field, value).unwrap_or_else(|Reported| Selector::everything())
        }
        None => {
            let message = "is missing, and the policy selects every pod of its namespace";
            subject.warn(&field, message, "Write podSelector: {} if that is meant");
            Selector::everything()
        }
    };
    let isolates = match policy_types(subject, &path.field("policyTypes"), spec.get("policyTypes"))
    {
        Ok(Some(types)) => types,
        Err(Reported) => BOTH,
        // The unknown field may be policyTypes, misspelt.
        Ok(None) if known.is_err() => BOTH,
        Ok(None) => defaulted(subject, path, spec),
    };
    let mut read = |direction: Direction| {
        let name = direction.to_string();
        let path = path.field(&name);
        let rules = rule::read_all(subject, direction, &path, spec.get(&name));
        if isolates.in_direction(direction) || rules.is_empty() {
            return rules;
        }
        let types = if direction == Direction::Ingress { "Ingress" } else { "Egress" };
        let message = format!("has rules without effect, since policyTypes does not name {types}");
        subject.warn(&path, message, "Name it there, or remove the rules");
        Vec::new()
    };
    let (ingress, egress) = (read(Direction::Ingress), read(Direction::Egress));
    Spec { subjects, isolates, ingress, egress }
}

/// The most entries that the API server accepts in `policyTypes`.
const MAX_POLICY_TYPES: usize = 2;

/// The directions that a policy names, if it names any.
fn policy_types(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    types: Option<&Value>,
) -> Result<Option<Isolation>, Reported> {
    let items = list_of(subject, path, types)?;
    let mut named = Isolation::default();
    let mut result = Ok(());
    for (at, item) in items.iter().enumerate() {
        match item.as_str() {
            Some("Ingress") => named.ingress = true,
            Some("Egress") => named.egress = true,
            Some(_) | None => {
                let message = format!("is {item}, which is not a policy type");
                result = Err(subject.error(&path.item(at), message, "Write Ingress or Egress"));
            }
        }
    }
    if items.len() > MAX_POLICY_TYPES && result.is_ok() {
        let message =
            format!("has {} entries, and the API server accepts no more than two", items.len());
        result = Err(subject.error(path, message, "Write each of Ingress and Egress once at most"));
    }
    result.map(|()| (!items.is_empty()).then_some(named))
}

/// `NetworkPolicySpec.policyTypes` where it is missing: ingress always, and egress if there are egress rules.
fn defaulted(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    spec: &Map<String, Value>,
) -> Isolation {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let egress = spec.get("egress").is_some_and(|rules| !is_empty(rules));
    if egress && !spec.contains_key("ingress") {
        let message =
            "is missing, so that the policy isolates ingress as well, for which it has no rule";
        let remedy = "Write policyTypes: [Egress], or both if that is meant";
        subject.warn(&path.field("policyTypes"), message, remedy);
    }
    if spec.get("egress").is_some_and(|rules| is_empty(rules) && !rules.is_null()) {
        let message = "is empty and policyTypes is missing, so that egress is not isolated";
        let remedy = "Write policyTypes: [Ingress, Egress] to deny all egress";
        subject.warn(&path.field("egress"), message, remedy);
    }
    Isolation { ingress: true, egress }
}
