use super::{findings, good, read};
use crate::parse::Object;

fn names(objects: &[Object]) -> Vec<String> {
    objects
        .iter()
        .map(|object| match object {
            Object::Namespace(namespace) => format!("namespace {}", namespace.name),
            Object::Node(node) => format!("node {}", node.name),
            Object::Pod(pod) => format!("pod {}/{}", pod.namespace, pod.name),
            Object::Policy(policy) => format!("policy {}", policy.key),
        })
        .collect()
}

const ALL: [&str; 4] = ["namespace x", "node n1", "pod x/a", "policy x/p"];

#[test]
fn the_same_objects_in_every_form() {
    let documents = "\
# comments, and
%YAML 1.2
---
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
# only a comment
---
---
apiVersion: v1
kind: Node
metadata: {name: n1}
...
---
{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"namespace\": \"x\"}}
--- # the last
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: x}
spec: {podSelector: {}}
";
    let list = "\
apiVersion: v1
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: x}
- metadata: {name: n1}
  kind: Node
  apiVersion: v1
- {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}}
- spec: {podSelector: {}}
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: p, namespace: x}
kind: List
metadata: {resourceVersion: \"\"}
";
    let flow = "{apiVersion: v1, kind: List, items: [
        {apiVersion: v1, kind: Namespace, metadata: {name: x}},
        {apiVersion: v1, kind: Node, metadata: {name: n1}},
        {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}},
        {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: x}, spec: {podSelector: {}}}]}";
    let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}}"#;
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#;
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"x","name":"a"}}"#;
    let policy = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
        "metadata":{"name":"p","namespace":"x"},"spec":{"podSelector":{}}}"#;
    let json = format!(
        r#" {{"apiVersion":"v1","items":[{namespace},{node},{pod},{policy}],"kind":"List"}}"#
    );
    let array = format!("[{namespace},{node},{pod},{policy}]");
    let concatenated = format!("{namespace}{node}\n{pod}  \n\n{policy}\n");
    for text in [documents, list, flow, &json, &array, &concatenated] {
        assert_eq!(names(&good(text)), ALL, "{text}");
        assert_eq!(names(&good(&format!("\u{feff}{text}"))), ALL);
        assert_eq!(names(&good(&text.replace('\n', "\r\n"))), ALL, "{text}");
    }
}

#[test]
fn a_typed_list_tells_the_kind_of_its_items() {
    for text in [
        "{kind: PodList, apiVersion: v1, items: [{metadata: {name: a}}, {metadata: {name: b}}]}",
        "apiVersion: v1\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\nkind: PodList\n",
        r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"},"kind":"Pod","apiVersion":"v1"}],"apiVersion":"v1","kind":"PodList"}"#,
    ] {
        let mut found = names(&good(text));
        found.sort();
        assert_eq!(found, ["pod default/a", "pod default/b"], "{text}");
    }
    let (objects, parsed) = read("items:\n- metadata: {name: a}\nkind: List\napiVersion: v1\n");
    assert!(objects.is_empty() && !parsed.readable);
    assert!(findings(&parsed).starts_with("in.yaml:2: error: 1 items"), "{}", findings(&parsed));
}
