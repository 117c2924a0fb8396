use super::{assert_helpful, fields, findings, good, names, only_namespace, only_node, read};
use crate::parse::{MAX_DIAGNOSTICS, parse};

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
    assert!(findings(&parsed).starts_with("in.yaml:2:3: error: One item"), "{}", findings(&parsed));
}

#[test]
fn a_document_that_is_no_object_leaves_the_set_unknown() {
    let good_one = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    for (wrong, said) in [
        ("a: [1, 2\nb: }\n", "is not YAML"),
        ("just text\n", "The document is a string and declares nothing that is known"),
        ("{\"apiVersion\": \"v1\", \"kind\": \n", "is not JSON"),
        ("metadata: {name: y}\n", "The document has no kind"),
        ("kind: [Pod]\n", "kind is a list"),
        ("apiVersion: v1\nkind: Pod\n", "metadata is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: x\n", "metadata is a string"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {generateName: y-}\n", "metadata.name is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", "metadata.name is a number"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: n}\n", "metadata.name is a truth value"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 7}\n", "is a number"),
        ("apiVersion: v1\nkind: Pod\nkind: Node\nmetadata: {name: a}\n", "given twice"),
        (
            "kind: Namespace\nmetadata: {name: a}\nkind: Namespace\nmetadata: {name: b}\n",
            "Put a line with --- before it if a second object begins there",
        ),
        ("{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"name\": \"b\"}}\n", "given twice"),
        ("apiVersion: v1\nkind: List\nitems: {}\n", "items is a map, not a list"),
        ("apiVersion: v1\nkind: List\nitems: [text]\n", "An item of the list is a string"),
        (
            "apiVersion: v1\nkind: List\nitems: [{metadata: {name: a}}]\n",
            "One item of the list has no kind",
        ),
        (
            "apiVersion: v1\nitems: []\nkind: Pod\nmetadata: {name: a}\n",
            "kind is Pod, but there are items",
        ),
        ("apiVersion: v1\nkind: Lst\nitems: []\n", "kind is Lst, but there are items"),
        (
            "apiVersion: v1\nkind: Lisst\nitmes: []\n",
            "kind is \"Lisst\", and there is no such kind",
        ),
        ("apiVersion: v1\nkind: List\nitmes: []\n", "A List without items"),
        ("apiVersion: v1\nkind: PodList\nmetadata: {}\n", "A PodList without items"),
        ("{\"kind\": \"NetworkPolicyList\", \"item\": []}\n", "A NetworkPolicyList without items"),
        ("apiVersion: v1\nkind: pod\nmetadata: {name: a}\n", "kind is \"pod\""),
        ("kind: NetworkPolice\nmetadata: {name: a}\n", "kind is \"NetworkPolice\""),
        ("apiVersion: 1\nkind: Nod\nmetadata: {name: a}\n", "kind is \"Nod\""),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x.y}\n", "not a name for a Namespace"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: A}\n", "not a name for a Pod"),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: \"a\\nb\"}\n", "not a name for a Node"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: X}\n",
            "is not the name of a namespace",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: X}\n",
            "is not the name of a namespace",
        ),
        ("[1]\n", "An item of the list is a number"),
        ("&a [*a]\n", "is not YAML"),
        ("*a\n", "is not YAML"),
    ] {
        let (objects, parsed) =
            read(&format!("{good_one}---\n{wrong}---\n{}", good_one.replace('x', "z")));
        assert_eq!(names(&objects), ["namespace x", "namespace z"], "{wrong}");
        assert!(!parsed.readable, "{wrong}");
        let [finding] = &parsed.diagnostics[..] else { panic!("{wrong}: {}", findings(&parsed)) };
        assert!(finding.to_string().contains(said), "{wrong}: {finding}");
        assert_eq!(finding.place.document, 2, "{finding}");
        assert!(finding.place.line.is_some_and(|line| (4..=7).contains(&line)), "{finding}");
        assert_helpful(&parsed);
    }
}

#[test]
fn text_that_is_not_utf8_is_not_read_at_all() {
    let mut objects = 0;
    let bytes = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n\xff\n";
    let parsed = parse("in.yaml", bytes, &mut |_| objects += 1);
    assert!(!parsed.readable && objects == 0);
    assert_eq!(
        findings(&parsed),
        "in.yaml:5:1: error: Byte 56 is not UTF-8, and nothing of the source is read. Save it as UTF-8.\n"
    );
}

#[test]
fn nothing_is_fine() {
    for text in
        ["", "\n\n", "---\n", "# nothing\n", "---\n---\n...\n", "\u{feff}", "%YAML 1.2\n---\n"]
    {
        assert!(good(text).is_empty(), "{text:?}");
    }
}

#[test]
fn a_list_may_be_empty() {
    for items in ["items: []", "items: null", "items:"] {
        for kind in ["List", "PodList", "NetworkPolicyList"] {
            assert!(good(&format!("apiVersion: v1\nkind: {kind}\n{items}\n")).is_empty());
            assert!(good(&format!("apiVersion: v1\n{items}\nkind: {kind}\n")).is_empty());
        }
    }
}

/// Which of the two is meant nobody knows, in whatever order they stand.
#[test]
fn an_object_given_twice_is_withheld() {
    let one = |kind: &str, rest: &str| {
        format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: a{rest}}}\n")
    };
    for (kind, first, second) in [
        ("Pod", ", uid: first", ", namespace: default, uid: second"),
        ("Pod", ", labels: {app: a}", ", labels: [wrong]"),
        ("Pod", "", ""),
        ("Namespace", ", labels: {team: a}", ", labels: {team: b}"),
        ("Node", "", ", uid: second"),
    ] {
        for (first, second) in [(first, second), (second, first)] {
            let other = one(kind, "").replace("name: a", "name: other");
            let text = [one(kind, first), one(kind, second), other, one(kind, first)].join("---\n");
            let (objects, parsed) = read(&text);
            let withheld: Vec<_> = parsed.withheld.iter().map(|w| w.object.to_string()).collect();
            let name = if kind == "Pod" { "Pod default/a".into() } else { format!("{kind} a") };
            assert_eq!(withheld, [name], "{text}");
            assert!(parsed.withheld[0].closed.is_none() && parsed.readable);
            assert!(names(&objects).iter().any(|name| name.ends_with("other")), "{text}");
            assert!(fields(&parsed).contains(&"error metadata.name".to_owned()));
            assert_helpful(&parsed);
        }
    }
    let (_, parsed) = read(&[one("Pod", ""), one("Pod", "")].join("---\n"));
    assert_eq!(
        findings(&parsed),
        "in.yaml:7:12: error: Pod default/a: metadata.name is that of an object that stands at in.yaml:1:1 already. \
         Remove one of the two, or rename one. What was known of it stays; if nothing was, neither is read.\n"
    );
    good(&[one("Pod", ""), one("Pod", ", namespace: other"), one("Node", "")].join("---\n"));
}

#[test]
fn an_object_with_a_wrong_version_is_withheld() {
    for (text, field) in [
        ("kind: Namespace\nmetadata: {name: x}\n", "apiVersion"),
        ("apiVersion: 1\nkind: Namespace\nmetadata: {name: x}\n", "apiVersion"),
        ("apiVersion: v2\nkind: Pod\nmetadata: {name: x}\n", "apiVersion"),
        ("apiVersion: apps/v1\nkind: Node\nmetadata: {name: x}\n", "apiVersion"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: [a]}\n", "metadata.labels"),
    ] {
        let (objects, parsed) = read(text);
        assert!(objects.is_empty() && parsed.readable, "{text}");
        assert_eq!(fields(&parsed), [format!("error {field}")], "{text}");
        assert_eq!(parsed.withheld.len(), 1);
        assert_eq!(Some(&parsed.withheld[0].object), parsed.diagnostics[0].object.as_ref());
        assert_helpful(&parsed);
    }
}

#[test]
fn a_namespace_bears_its_name_as_a_label() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {team: a}}\n";
    let namespace = only_namespace(good(text));
    let labels: Vec<_> = namespace.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["kubernetes.io/metadata.name=x", "team=a"]);

    let (objects, parsed) = read(&text.replace("team", "kubernetes.io/metadata.name"));
    let labels = only_namespace(objects).labels;
    assert_eq!(labels.get("kubernetes.io/metadata.name").map(|v| &**v), Some("x"));
    assert_eq!(fields(&parsed), ["warning metadata.labels[\"kubernetes.io/metadata.name\"]"]);
}

#[test]
fn a_node_has_the_addresses_that_can_be_read() {
    let text = "\
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.0.0.0/24}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: \"fd00::1\"}
  - {type: ExternalIP, address: 203.0.113.1}
  - {type: Hostname, address: n1}
  - {type: Hostname, address: 198.51.100.1}
  - {type: InternalDNS, address: n1.example}
";
    let node = only_node(good(text));
    assert_eq!(
        node.addresses,
        ["192.0.2.1", "198.51.100.1", "203.0.113.1", "fd00::1"]
            .map(|a| a.parse::<std::net::IpAddr>().unwrap())
    );
    let (objects, parsed) = read(&text.replace("192.0.2.1", "192.0.2"));
    assert_eq!(only_node(objects).addresses.len(), 3);
    assert_eq!(fields(&parsed), ["error status.addresses[0].address"]);
}

#[test]
fn findings_are_bounded_and_the_rest_is_counted() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: 1}\n---\n"
        .repeat(MAX_DIAGNOSTICS + 5);
    let (objects, parsed) = read(&text);
    assert!(objects.is_empty());
    assert_eq!(parsed.diagnostics.len(), MAX_DIAGNOSTICS + 1);
    let last = parsed.diagnostics.last().unwrap();
    assert_eq!(last.severity, crate::parse::Severity::Error);
    assert!(last.message.starts_with("5 more findings"), "{last}");
}
