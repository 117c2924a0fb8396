//! The order of keys means nothing: whatever comes first, an object is what its own kind says.

use super::{assert_helpful, fields, read};
use crate::parse::Object;

const POD: &str = r#"{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "x"},
    "spec": {"nodeName": "n1", "podSelector": {}}, "status": {"podIP": "10.0.0.1", "phase": "Running"}}"#;
const POLICY: &str = r#"{"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
    "metadata": {"name": "p", "namespace": "x"},
    "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 80}]}]}}"#;
const NODE: &str = r#"{"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"},
    "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}"#;
const NAMESPACE: &str = r#"{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "x", "labels": {"a": "b"}},
    "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}"#;
const OTHER: &str =
    r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": [], "status": 7}"#;

type Fields = Vec<(String, String)>;

fn fields_of(object: &str) -> Fields {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(object).unwrap();
    object.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// Those that a typed list may leave out left out.
fn untold(object: &str) -> Fields {
    let mut fields = fields_of(object);
    fields.retain(|(key, _)| key != "kind" && key != "apiVersion");
    fields
}

/// The object with its keys in the order that has this number, of so many as there are.
fn in_order(fields: &[(String, String)], mut number: usize) -> String {
    let mut left: Vec<_> = fields.iter().collect();
    let mut written = Vec::new();
    while !left.is_empty() {
        let (key, value) = left.remove(number % left.len());
        written.push(format!("\"{key}\": {value}"));
        number /= left.len() + 1;
    }
    format!("{{{}}}", written.join(", "))
}

/// What is read, in any order, and which fields are told.
fn meaning(text: &str) -> (Vec<Object>, Vec<String>, bool) {
    let (mut objects, parsed) = read(text);
    assert_helpful(&parsed);
    objects.sort_by_key(|object| format!("{object:?}"));
    let mut told = fields(&parsed);
    told.sort();
    (objects, told, parsed.readable)
}

/// Reads a list of the items in every order of its keys and of theirs, as JSON and as YAML.
#[track_caller]
fn in_every_order(kind: &str, version: &str, items: &[Fields]) -> (Vec<Object>, Vec<String>) {
    const ORDERS_OF_5: usize = 120;
    const ORDERS_OF_3: usize = 6;
    let orders = (0..ORDERS_OF_5).flat_map(|own| (0..ORDERS_OF_3).map(move |list| (own, list)));
    let text = |(own, list): (usize, usize)| {
        let items: Vec<_> = items.iter().map(|item| in_order(item, own)).collect();
        let list_fields = [
            ("kind".to_owned(), format!("{kind:?}")),
            ("apiVersion".to_owned(), format!("{version:?}")),
            ("items".to_owned(), format!("[{}]", items.join(", "))),
        ];
        in_order(&list_fields, list)
    };
    let first = meaning(&text((0, 0)));
    for (at, order) in orders.enumerate() {
        let json = text(order);
        assert_eq!(meaning(&json), first, "{json}");
        // YAML takes longer to read: each order of an item in one of the list.
        if at % ORDERS_OF_3 == order.0 % ORDERS_OF_3 {
            let yaml = format!("# YAML\n{json}");
            assert_eq!(meaning(&yaml), first, "{yaml}");
        }
    }
    let (objects, told, readable) = first;
    assert!(readable);
    (objects, told)
}

/// What the objects above mean, each on its own.
fn alone(objects: &[&str]) -> Vec<Object> {
    let mut read: Vec<_> = objects.iter().flat_map(|object| super::good(object)).collect();
    read.sort_by_key(|object| format!("{object:?}"));
    read
}

#[test]
fn items_are_what_they_say_in_a_list_of_whatever_kind() {
    let nested = format!(r#"{{"kind": "List", "apiVersion": "v1", "items": [{POLICY}]}}"#)
        .replace(r#""name": "p""#, r#""name": "nested""#);
    let written = [POD, POLICY, NODE, NAMESPACE, &nested];
    let items: Vec<_> = written.iter().map(|object| fields_of(object)).collect();
    for (kind, version) in [
        ("List", "v1"),
        ("ConfigMapList", "v1"),
        ("PodList", "v1"),
        ("NodeList", "v1"),
        ("NetworkPolicyList", "networking.k8s.io/v1"),
        ("ResourceList", "config.kubernetes.io/v1"),
    ] {
        let (objects, told) = in_every_order(kind, version, &items);
        assert_eq!((objects, told), (alone(&written), vec![]), "{kind}");
    }
}

#[test]
fn items_without_a_kind_are_what_their_list_says() {
    let besides = |object: &str, others: &[&str]| -> Vec<Fields> {
        let others = others.iter().map(|other| fields_of(other));
        [untold(object)].into_iter().chain(others).collect()
    };
    let policies = "networking.k8s.io/v1";
    for (kind, version, first, others) in [
        ("PodList", "v1", POD, [POLICY, NODE]),
        ("NodeList", "v1", NODE, [POD, POLICY]),
        ("NamespaceList", "v1", NAMESPACE, [POLICY, POD]),
        ("NetworkPolicyList", policies, POLICY, [POD, NODE]),
    ] {
        let read = in_every_order(kind, version, &besides(first, &others));
        assert_eq!(read, (alone(&[first, others[0], others[1]]), vec![]), "{kind}");
    }
    let (objects, told) = in_every_order("SecretList", "v1", &besides(OTHER, &[POLICY]));
    assert_eq!((objects, told), (alone(&[POLICY]), vec!["warning ".to_owned()]));
}

/// What is wrong is so in every order, too.
#[test]
fn a_wrong_item_is_wrong_in_every_order() {
    let wrong = POLICY.replace("\"port\"", "\"prt\"");
    let items = [fields_of(&wrong), fields_of(&POD.replace("10.0.0.1", "10.0.0"))];
    let (objects, told) = in_every_order("ConfigMapList", "v1", &items);
    assert_eq!(told, ["error spec.egress[0].ports[0].prt", "error status.podIP"]);
    let [Object::Policy(policy)] = &objects[..] else { panic!("{objects:?}") };
    assert!(policy.isolates.egress && policy.egress.is_empty());
}
