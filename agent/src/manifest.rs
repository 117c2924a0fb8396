//! A policy as a manifest, for people who want to edit what the agent has.
//!
//! It means what the policy means; comments and the author's way of writing are not known any more.

use palisade_compiler::model::{
    Direction, Namespaces, Operator, Peer, Peers, Policy, PolicyRule, PortMatch, PortSpec, Ports,
    Selector,
};
use serde_json::{Map, Value, json};

/// The policy as YAML; `None` where some of its fields are wrong, whose rules are not known.
pub fn manifest(policy: &Policy) -> Option<String> {
    if policy.fault.is_some() {
        return None;
    }
    let mut text = String::new();
    write_map(&object(policy), 0, &mut text);
    Some(text)
}

fn object(policy: &Policy) -> Map<String, Value> {
    let mut spec = Map::new();
    spec.insert("podSelector".into(), selector(&policy.subjects));
    let isolated = Direction::ALL.into_iter().filter(|it| policy.isolates.in_direction(*it));
    let types: Vec<Value> = isolated
        .map(|direction| match direction {
            Direction::Ingress => "Ingress".into(),
            Direction::Egress => "Egress".into(),
        })
        .collect();
    spec.insert("policyTypes".into(), types.into());
    for (direction, field, peers) in
        [(Direction::Ingress, "ingress", "from"), (Direction::Egress, "egress", "to")]
    {
        let rules: Vec<Value> =
            policy.rules(direction).iter().map(|rule| rule_value(rule, peers)).collect();
        if !rules.is_empty() {
            spec.insert(field.into(), rules.into());
        }
    }
    let (namespace, name) = (&*policy.key.namespace, &*policy.key.name);
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn selector(selector: &Selector) -> Value {
    let (mut labels, mut expressions) = (Map::new(), Vec::new());
    for requirement in &selector.requirements {
        let key = &*requirement.key;
        let (operator, values) = match &requirement.operator {
            Operator::In(values) if values.len() == 1 && !labels.contains_key(key) => {
                labels.extend(values.iter().map(|value| (key.to_owned(), (&**value).into())));
                continue;
            }
            Operator::In(values) => ("In", &values[..]),
            Operator::NotIn(values) => ("NotIn", &values[..]),
            Operator::Exists => ("Exists", &[][..]),
            Operator::DoesNotExist => ("DoesNotExist", &[][..]),
        };
        let mut expression = Map::from_iter([
            ("key".to_owned(), Value::from(key)),
            ("operator".to_owned(), operator.into()),
        ]);
        if !values.is_empty() {
            let values: Vec<Value> = values.iter().map(|value| (&**value).into()).collect();
            expression.insert("values".into(), values.into());
        }
        expressions.push(Value::Object(expression));
    }
    let mut object = Map::new();
    if !labels.is_empty() {
        object.insert("matchLabels".into(), labels.into());
    }
    if !expressions.is_empty() {
        object.insert("matchExpressions".into(), expressions.into());
    }
    Value::Object(object)
}

fn rule_value(rule: &PolicyRule, field: &str) -> Value {
    let mut object = Map::new();
    if let Peers::AnyOf(peers) = &rule.peers {
        object.insert(field.into(), peers.iter().map(peer).collect::<Vec<_>>().into());
    }
    if let Ports::AnyOf(ports) = &rule.ports {
        object.insert("ports".into(), ports.iter().map(port).collect::<Vec<_>>().into());
    }
    Value::Object(object)
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            let mut object = Map::from_iter([("cidr".into(), block.cidr.to_string().into())]);
            if !except.is_empty() {
                object.insert("except".into(), except.into());
            }
            json!({ "ipBlock": object })
        }
        Peer::Pods { namespaces: Namespaces::Own, pods } => json!({"podSelector": selector(pods)}),
        Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods } => {
            let mut object =
                Map::from_iter([("namespaceSelector".to_owned(), selector(namespaces))]);
            if !pods.requirements.is_empty() {
                object.insert("podSelector".into(), selector(pods));
            }
            Value::Object(object)
        }
    }
}

fn port(port: &PortMatch) -> Value {
    let mut object = Map::from_iter([("protocol".into(), port.protocol.to_string().into())]);
    match &port.port {
        PortSpec::Any => {}
        PortSpec::Range { first, last } => {
            object.insert("port".into(), (*first).into());
            if first != last {
                object.insert("endPort".into(), (*last).into());
            }
        }
        PortSpec::Named(name) => _ = object.insert("port".into(), (&**name).into()),
    }
    Value::Object(object)
}

/// The fields of an object, each on a line of its own, this far to the right.
fn write_map(map: &Map<String, Value>, indent: usize, text: &mut String) {
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str(&scalar(key));
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent + 2));
                write_map(fields, indent + 2, text);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                items.iter().for_each(|item| write_item(item, indent + 2, text));
            }
            value => {
                text.push(' ');
                text.push_str(&value.as_str().map_or_else(|| value.to_string(), scalar));
                text.push('\n');
            }
        }
    }
}

fn write_item(item: &Value, indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
    text.push_str("- ");
    match item {
        Value::Object(fields) if !fields.is_empty() => write_map(fields, indent + 2, text),
        item => {
            text.push_str(&item.as_str().map_or_else(|| item.to_string(), scalar));
            text.push('\n');
        }
    }
}

/// As it is where it can be taken for nothing but a string, else in quotes as JSON has them, which YAML reads too.
fn scalar(text: &str) -> String {
    const OTHERS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use palisade_compiler::parse::{Object, parse};

    use super::*;

    #[track_caller]
    fn read(text: &str) -> Policy {
        let mut policies = Vec::new();
        let parsed = parse("p.yaml", text.as_bytes(), &mut |object| match object {
            Object::Policy(policy) => policies.push(policy),
            other => panic!("{other:?}"),
        });
        assert!(!parsed.has_errors(), "{:?} {text}", parsed.diagnostics);
        let [policy] = policies.try_into().unwrap();
        policy
    }

    /// Every form of each field.
    const ALL: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: all}
spec:
  podSelector:
    matchLabels: {app: "yes", tier: "1.0", "a.example/b": ""}
    matchExpressions:
      - {key: a, operator: In, values: [x, "null"]}
      - {key: b, operator: NotIn, values: [x]}
      - {key: c, operator: Exists}
      - {key: d, operator: DoesNotExist}
      - {key: app, operator: In, values: ["no"]}
  policyTypes: [Ingress, Egress]
  ingress:
    - {}
    - from:
        - podSelector: {}
        - namespaceSelector: {}
        - namespaceSelector: {matchLabels: {team: a}}
          podSelector: {matchLabels: {app: b}}
        - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}
      ports:
        - port: 80
        - {protocol: UDP, port: 1000, endPort: 2000}
        - {protocol: SCTP}
        - port: http
  egress:
    - to: [{ipBlock: {cidr: "fd00::/8"}}]
"#;

    #[test]
    fn a_policy_is_the_same_once_its_manifest_is_read() {
        let nothing = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
                       metadata: {namespace: x, name: nothing}, spec: {podSelector: {}}}";
        for text in [ALL, nothing] {
            let policy = read(text);
            let written = manifest(&policy).unwrap();
            assert_eq!(read(&written), policy, "{written}");
        }
    }

    #[test]
    fn a_policy_whose_rules_are_not_known_has_none() {
        let policy = Policy { fault: Some("wrong".into()), ..read(ALL) };
        assert_eq!(manifest(&policy), None);
    }
}
