//! NetworkPolicies (`networking.k8s.io/v1`).
//!
//! A policy is read from its tree, each field on its own. Whatever is wrong anywhere in it takes all its rules away
//! and leaves what it isolates: the subjects and directions that could be read, and every pod of the namespace or
//! both directions where they could not.

mod peer;
mod port;

use serde_json::{Map, Value};

use super::names;
use super::report::{Subject, Told};
use super::selector::selector;
use crate::model::{Direction, Isolation, Peers, Policy, PolicyKey, PolicyRule, Ports, Selector};

/// Never fails: a policy of which nothing can be read isolates its namespace. `unknown` are keys beside `spec`.
pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    key: PolicyKey,
    spec: Option<Value>,
    unknown: &[String],
) -> Policy {
    for field in unknown {
        unknown_field(subject, "", field, &["apiVersion", "kind", "metadata", "spec"]);
    }
    let mut policy = match spec {
        Some(Value::Object(map)) => read_spec(subject, &map),
        None | Some(Value::Null) => {
            let message = "is missing: the policy isolates its whole namespace, both directions";
            subject.error("spec", message, "write spec, and under it podSelector and policyTypes");
            Spec::all_isolated()
        }
        Some(other) => {
            wrong_type(subject, "spec".into(), &other, "a map");
            Spec::all_isolated()
        }
    };
    if subject.errors > 0 {
        (policy.ingress, policy.egress) = (Vec::new(), Vec::new());
    }
    let Spec { subjects, isolates, ingress, egress } = policy;
    Policy { key, subjects, isolates, ingress, egress, fault: subject.fault.clone() }
}

/// Makes a policy isolate what another of its name does, too. No selector is the union of two that differ, but that of
/// the whole namespace holds both.
pub(super) fn widen(policy: &mut Policy, other: &Policy) {
    if policy.subjects != other.subjects {
        policy.subjects = Selector::everything();
    }
    policy.isolates.ingress |= other.isolates.ingress;
    policy.isolates.egress |= other.isolates.egress;
}

struct Spec {
    subjects: Selector,
    isolates: Isolation,
    ingress: Vec<PolicyRule>,
    egress: Vec<PolicyRule>,
}

const BOTH: Isolation = Isolation { ingress: true, egress: true };

impl Spec {
    fn all_isolated() -> Self {
        let (ingress, egress) = (Vec::new(), Vec::new());
        Self { subjects: Selector::everything(), isolates: BOTH, ingress, egress }
    }
}

const SPEC_FIELDS: [&str; 4] = ["podSelector", "policyTypes", "ingress", "egress"];

fn read_spec(subject: &mut Subject<'_, '_>, spec: &Map<String, Value>) -> Spec {
    let known = only_known(subject, "spec", spec, &SPEC_FIELDS);
    let subjects = match spec.get("podSelector") {
        Some(Value::Null) => Selector::everything(),
        Some(value) => selector(subject, "spec.podSelector", value)
            .unwrap_or_else(|Told| Selector::everything()),
        None => {
            let message = "is missing: the policy selects every pod of its namespace";
            subject.warn("spec.podSelector", message, "write podSelector: {} if that is meant");
            Selector::everything()
        }
    };
    let isolates = match policy_types(subject, spec.get("policyTypes")) {
        Ok(Some(types)) => types,
        Err(Told) => BOTH,
        // What is unknown may be the directions, misspelt.
        Ok(None) if known.is_err() => BOTH,
        Ok(None) => defaulted(subject, spec),
    };
    let mut read = |direction: Direction| {
        let rules = rules(subject, direction, spec.get(&*direction.to_string()));
        if isolates.in_direction(direction) || rules.is_empty() {
            return rules;
        }
        let types = if direction == Direction::Ingress { "Ingress" } else { "Egress" };
        let message = format!("has rules without effect: policyTypes does not name {types}");
        subject.warn(format!("spec.{direction}"), message, "name it there, or remove the rules");
        Vec::new()
    };
    let (ingress, egress) = (read(Direction::Ingress), read(Direction::Egress));
    Spec { subjects, isolates, ingress, egress }
}

/// The directions that a policy names, if it names any.
fn policy_types(
    subject: &mut Subject<'_, '_>,
    types: Option<&Value>,
) -> Result<Option<Isolation>, Told> {
    let items = list_of(subject, "spec.policyTypes", types)?;
    let mut named = Isolation::default();
    let mut result = Ok(());
    for (at, item) in items.iter().enumerate() {
        match item.as_str() {
            Some("Ingress") => named.ingress = true,
            Some("Egress") => named.egress = true,
            Some(_) | None => {
                let message =
                    format!("{item} is no policy type; the policy isolates both directions");
                let field = format!("spec.policyTypes[{at}]");
                result = Err(subject.error(field, message, "write Ingress or Egress"));
            }
        }
    }
    result.map(|()| (!items.is_empty()).then_some(named))
}

/// `NetworkPolicySpec.policyTypes` where it is absent: ingress always, egress if there are egress rules.
fn defaulted(subject: &mut Subject<'_, '_>, spec: &Map<String, Value>) -> Isolation {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let egress = spec.get("egress").is_some_and(|rules| !is_empty(rules));
    if egress && !spec.contains_key("ingress") {
        let message =
            "is missing, so that the policy also isolates ingress, for which it has no rule";
        subject.warn(
            "spec.policyTypes",
            message,
            "write policyTypes: [Egress], or both if that is meant",
        );
    }
    if spec.get("egress").is_some_and(|rules| is_empty(rules) && !rules.is_null()) {
        let message = "is empty and policyTypes is missing, so that egress is not isolated";
        subject.warn(
            "spec.egress",
            message,
            "write policyTypes: [Ingress, Egress] to deny all egress",
        );
    }
    Isolation { ingress: true, egress }
}

fn rules(
    subject: &mut Subject<'_, '_>,
    direction: Direction,
    written: Option<&Value>,
) -> Vec<PolicyRule> {
    let field = format!("spec.{direction}");
    let mut read = Vec::new();
    for (path, rule) in maps(subject, &field, written) {
        if let Ok(rule) = rule_of(subject, direction, &path, rule) {
            read.push(rule);
        }
    }
    read
}

/// The items of a list of maps, each with its path. An empty item (`-`) is told too: the API server would take it
/// for one that allows everything.
fn maps<'v>(
    subject: &mut Subject<'_, '_>,
    field: &str,
    written: Option<&'v Value>,
) -> Vec<(String, &'v Map<String, Value>)> {
    let items = list_of(subject, field, written).unwrap_or_default();
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let path = format!("{field}[{at}]");
        match item.as_object() {
            Some(map) => read.push((path, map)),
            None if item.is_null() => {
                let remedy = "remove it, or write {} if everything is meant";
                subject.error(path, "is an empty item", remedy);
            }
            None => _ = wrong_type(subject, path, item, "a map"),
        }
    }
    read
}

/// The items of a list that may be missing.
pub(super) fn list_of<'v>(
    subject: &mut Subject<'_, '_>,
    field: &str,
    written: Option<&'v Value>,
) -> Result<&'v [Value], Told> {
    match written.filter(|value| !value.is_null()) {
        None => Ok(&[]),
        Some(value) => match value.as_array() {
            Some(items) => Ok(items),
            None => Err(wrong_type(subject, field.into(), value, "a list")),
        },
    }
}

fn rule_of(
    subject: &mut Subject<'_, '_>,
    direction: Direction,
    path: &str,
    rule: &Map<String, Value>,
) -> Result<PolicyRule, Told> {
    let end = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let before = subject.errors;
    let known = only_known(subject, path, rule, &[end, "ports"]);
    let peers: Vec<_> = maps(subject, &format!("{path}.{end}"), rule.get(end))
        .into_iter()
        .map(|(path, peer)| peer::read(subject, &path, peer))
        .collect();
    let ports: Vec<_> = maps(subject, &format!("{path}.ports"), rule.get("ports"))
        .into_iter()
        .map(|(path, port)| port::read(subject, &path, port))
        .collect();
    known?;
    let peers = peers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let ports = ports.into_iter().collect::<Result<Vec<_>, _>>()?;
    // A list of which some item was left out must not pass for an empty one, which would mean everything.
    if subject.errors > before {
        return Err(Told);
    }
    Ok(PolicyRule {
        peers: if peers.is_empty() { Peers::Everyone } else { Peers::AnyOf(peers) },
        ports: if ports.is_empty() { Ports::Every } else { Ports::AnyOf(ports) },
    })
}

/// Tells each field that is not among `known`. A misspelt field would else be one left out, which mostly means
/// that more is allowed.
pub(super) fn only_known(
    subject: &mut Subject<'_, '_>,
    path: &str,
    map: &Map<String, Value>,
    known: &[&str],
) -> Result<(), Told> {
    let mut result = Ok(());
    for field in map.keys().filter(|field| !known.contains(&field.as_str())) {
        result = Err(unknown_field(subject, path, field, known));
    }
    result
}

fn unknown_field(subject: &mut Subject<'_, '_>, path: &str, field: &str, known: &[&str]) -> Told {
    let whole = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    subject.error(whole, "is no field of a NetworkPolicy here", remedy_for(field, known))
}

/// Fields that stand in the wrong place, by the fields that this place has.
fn remedy_for(field: &str, known: &[&str]) -> String {
    let in_rule = known.contains(&"from") || known.contains(&"to");
    let end = if known.contains(&"to") { "to" } else { "from" };
    match field {
        "from" if in_rule => return "an egress rule has to, an ingress rule has from".into(),
        "to" if in_rule => return "an ingress rule has from, an egress rule has to".into(),
        "podSelector" | "namespaceSelector" | "ipBlock" if in_rule => {
            return format!("write it into an item of the list {end}");
        }
        "port" | "protocol" | "endPort" if in_rule => {
            return "write it into an item of the list ports".into();
        }
        "cidr" | "except" if known.contains(&"ipBlock") => return "write it under ipBlock".into(),
        "from" | "to" | "ports" if known.contains(&"podSelector") => {
            return "write it into an item of the list ingress or egress".into();
        }
        "podSelector" | "policyTypes" | "ingress" | "egress" if known.contains(&"spec") => {
            return "write it under spec".into();
        }
        _ => {}
    }
    if let Some(near) = names::nearest(field, known) {
        return format!("did you mean {near}?");
    }
    if known.contains(&"matchLabels") {
        return "labels stand under matchLabels".into();
    }
    format!("remove it; known here: {}", known.join(", "))
}

pub(super) fn wrong_type(
    subject: &mut Subject<'_, '_>,
    field: String,
    found: &Value,
    expected: &str,
) -> Told {
    let found = match found {
        Value::Null => "empty",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    subject.wrong_type(field, found, expected)
}
