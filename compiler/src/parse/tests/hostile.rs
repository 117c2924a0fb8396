use std::fmt::Write;

use proptest::prelude::*;

use super::{assert_helpful, read};
use crate::model::Peers;
use crate::parse::{MAX_DEPTH, Object, parse};

const SEED: &str = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: &meta {name: a, namespace: x, labels: {app: web}}
  spec: {nodeName: n1, containers: [{name: web, ports: [{name: http, containerPort: 80}]}]}
  status: {podIP: 10.0.0.1, phase: Running, startTime: 2030-01-01T00:00:00Z}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: *meta
  spec:
    podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}
    policyTypes: [Ingress, Egress]
    ingress:
    - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {}}]
      ports: [{port: 80, endPort: 90}, {port: http, protocol: UDP}]
- apiVersion: v1
  kind: Service
  metadata: *meta
  spec: {clusterIPs: [10.96.0.1], selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30080}]}
- {addressType: IPv4, endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}], ports: [{name: http, port: 80}],
   apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a-1, namespace: x, labels: {kubernetes.io/service-name: a}}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {\"name\": \"n1\"},
 \"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"192.0.2.1\"}]}}
";

/// Whatever the bytes: no panic, and each finding is one line with a remedy and a place inside the text.
fn survives(bytes: &[u8]) {
    let mut objects = Vec::new();
    let parsed = parse("in.yaml", bytes, &mut |object| objects.push(object));
    assert_eq!(parsed.objects, objects.len());
    assert_helpful(&parsed);
    let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
    for place in parsed.diagnostics.iter().map(|finding| &finding.place).chain(&parsed.cut_short) {
        assert!(place.line.is_none_or(|line| (1..=lines).contains(&line)), "{place}");
        assert!(
            place.column.is_none_or(|column| (1..=bytes.len() + 1).contains(&column)),
            "{place}"
        );
    }
}

/// The same text in every encoding means the same.
fn means_the_same_in_utf16(text: &str) {
    let read = |bytes: &[u8]| {
        let mut objects = Vec::new();
        let parsed = parse("in.yaml", bytes, &mut |object| objects.push(object));
        (objects, parsed)
    };
    let marked = format!("\u{feff}{text}");
    let utf8 = read(marked.as_bytes());
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let utf16: Vec<u8> = marked.encode_utf16().flat_map(bytes).collect();
        // Two zeros after the mark are read as that of UTF-32.
        if !utf16.starts_with(&[0xFF, 0xFE, 0, 0]) {
            assert_eq!(read(&utf16), utf8, "{text:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(usize, u8),
    Insert(usize, String),
    Delete(usize, usize),
    Copy(usize, usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let word = prop_oneof![
        "[-:{}\\[\\],&*!|>'\"%@`#? \t\n]{1,4}",
        Just("\n---\n".to_owned()),
        Just("<<: *meta".to_owned()),
        Just("null".to_owned()),
        "[a-zA-Z0-9.]{1,6}",
        "\\PC{1,3}",
    ];
    let at = 0..SEED.len();
    let edit = prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at.clone(), word).prop_map(|(at, word)| Edit::Insert(at, word)),
        (at.clone(), 1usize..40).prop_map(|(at, n)| Edit::Delete(at, n)),
        (at.clone(), at, 1usize..80).prop_map(|(from, to, n)| Edit::Copy(from, to, n)),
    ];
    prop::collection::vec(edit, 1..6)
}

fn edited(edits: Vec<Edit>) -> Vec<u8> {
    let mut bytes = SEED.as_bytes().to_vec();
    for edit in edits {
        let end = bytes.len();
        match edit {
            Edit::Replace(at, byte) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Edit::Insert(at, word) => _ = bytes.splice(at.min(end)..at.min(end), word.into_bytes()),
            Edit::Delete(at, n) => _ = bytes.drain(at.min(end)..(at + n).min(end)),
            Edit::Copy(from, to, n) => {
                let piece = bytes[from.min(end)..(from + n).min(end)].to_vec();
                bytes.splice(to.min(end)..to.min(end), piece);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn any_bytes_with_a_mark(
        mark in prop::sample::select(vec!["\u{feff}", "---\n\u{feff}", "LE", "BE"]),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mark: &[u8] = match mark {
            "LE" => b"\xff\xfe",
            "BE" => b"\xfe\xff",
            other => other.as_bytes(),
        };
        survives(&[mark, &bytes].concat());
    }

    #[test]
    fn any_edits_mean_the_same_in_every_encoding(edits in edits()) {
        if let Ok(text) = String::from_utf8(edited(edits)) {
            means_the_same_in_utf16(&text);
        }
    }

    /// A text that ends anywhere.
    #[test]
    fn any_beginning_of_a_manifest(end in 0..SEED.len(), edits in edits()) {
        survives(SEED.as_bytes().get(..end).unwrap_or_default());
        let bytes = edited(edits);
        survives(bytes.get(..end).unwrap_or(&bytes));
    }

    #[test]
    fn any_text(text in "[-a-c:{}\\[\\],&*!|>'\"%@#? \t\n]{0,80}") {
        survives(text.as_bytes());
        survives(format!("{{{text}").as_bytes());
    }

    #[test]
    fn any_edits_of_a_manifest(edits in edits()) {
        survives(&edited(edits));
    }

    /// A value of the wrong type, anywhere in a policy, never leaves a rule behind.
    #[test]
    fn any_wrong_value_in_a_policy_allows_nothing(path in 0usize..11, wrong in 0usize..3) {
        let (from, to) = [
            ("[{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {}}]", "@"),
            ("{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}", "@"),
            ("cidr: 10.0.0.0/8", "cidr: @"),
            ("[10.1.0.0/16]", "@"),
            ("[10.1.0.0/16]", "[@]"),
            ("{podSelector: {}}", "{podSelector: @}"),
            ("{podSelector: {}}", "@"),
            ("[{port: 80, endPort: 90}, {port: http, protocol: UDP}]", "@"),
            ("endPort: 90", "endPort: @"),
            ("protocol: UDP", "protocol: @"),
            ("{port: http,", "{port: @,"),
        ][path];
        let wrong = ["[[]]", "{unknown: 1}", "-1.5"][wrong];
        let text = SEED.replace(from, &to.replace('@', wrong));
        assert_ne!(text, SEED);
        let (objects, parsed) = read(&text);
        prop_assert!(parsed.has_errors() && objects.len() == 5);
        for object in objects {
            if let Object::Policy(policy) = object {
                prop_assert!(policy.isolates.ingress && policy.isolates.egress);
                prop_assert!(policy.ingress.is_empty() && policy.egress.is_empty());
            }
        }
    }
}

#[test]
fn the_seed_is_good() {
    let (objects, parsed) = read(SEED);
    assert_eq!(parsed.diagnostics.len(), 1, "{:?}", parsed.diagnostics);
    assert_eq!(objects.len(), 5);
    assert!(
        matches!(&objects[1], Object::Policy(p) if matches!(p.ingress[0].peers, Peers::AnyOf(_)))
    );
}

#[test]
fn nesting_is_bounded() {
    let wrap = |open: &str, close: &str, depth: usize| {
        let head = "{\"apiVersion\": \"networking.k8s.io/v1\", \"kind\": \"NetworkPolicy\", \
                    \"metadata\": {\"name\": \"x\"}, \"spec\": ";
        format!("{head}{}0{}}}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for (depth, readable) in
            [(MAX_DEPTH - 1, true), (MAX_DEPTH + 2, false), (10_000, false), (1_000_000, false)]
        {
            for prefix in ["", "# YAML\n"] {
                let (_, parsed) = read(&format!("{prefix}{}", wrap(open, close, depth)));
                assert_eq!(parsed.readable, readable, "{prefix}{open} {depth}");
                assert!(parsed.has_errors());
                assert_helpful(&parsed);
            }
        }
    }
    deep_aliases();
    for piece in ["[", "- ", "? ", "{a: ", "!!str "] {
        survives(piece.repeat(200_000).as_bytes());
    }
    let mut block = String::from("apiVersion: v1\nkind: Namespace\nmetadata:\n");
    (0..2_000).for_each(|depth| writeln!(block, "{:depth$} a:", "").unwrap());
    assert!(!read(&block).1.readable);
}

#[test]
fn aliases_are_read_and_bombs_are_not() {
    let policy = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec:
  podSelector: &web {matchLabels: {app: web}}
  ingress:
  - &rule {from: [{podSelector: *web}]}
  - <<: *rule
    ports: [{port: 80}]
";
    let policy = super::only_policy(super::good(policy));
    assert_eq!(policy.ingress[0].peers, policy.ingress[1].peers);

    let mut bomb = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\nspec:\n  a0: &a0 [x]\n",
    );
    for level in 1..12 {
        let last = level - 1;
        writeln!(bomb, "  a{level}: &a{level} [{}]", vec![format!("*a{last}"); 10].join(", "))
            .unwrap();
    }
    let (objects, parsed) = read(&bomb);
    assert!(objects.is_empty() && !parsed.readable);
    assert_helpful(&parsed);
}

#[test]
fn huge_scalars_and_long_files_are_read() {
    let huge = "x".repeat(8 << 20);
    for text in [
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n  annotations: {{a: {huge}}}\n"
        ),
        format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{{\"name\":\"x\",\"annotations\":{{\"a\":\"{huge}\"}}}}}}"
        ),
    ] {
        assert_eq!(super::good(&text).len(), 1);
    }
    let (objects, parsed) =
        read(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {huge}}}\n"));
    assert!(objects.is_empty() && parsed.has_errors());

    let comments = "# a licence\n".repeat(1_000);
    let one = |at: usize| {
        format!("{comments}apiVersion: v1\nkind: Namespace\nmetadata:\n{comments}  name: x{at}\n")
    };
    let many: Vec<_> = (0..20).map(one).collect();
    assert_eq!(super::good(&many.join("---\n")).len(), 20);
    let many: String = (0..5_000)
        .map(|at| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: x{at}}}\n"))
        .collect();
    assert_eq!(super::good(&many).len(), 5_000);
}

#[test]
fn names_cannot_forge_lines() {
    for text in [
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\n\u001b[31mb"}}"#,
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"\n":"\r"}}}"#,
        r#"{"apiVersion":"\n","kind":"NetworkPolicy","metadata":{"name":"a\n"},"\r":1}"#,
        r#"{"apiVersion":"v1","kind":"Pod\n","metadata":{"name":"a","namespace":"\n"}}"#,
    ] {
        let (_, parsed) = read(text);
        assert!(!parsed.diagnostics.is_empty(), "{text}");
        for finding in &parsed.diagnostics {
            assert!(!finding.to_string().contains(char::is_control), "{finding}");
        }
    }
}

/// Aliases of aliases, each wrapped again: nesting that no single text has.
fn deep_aliases() {
    let chain = |levels: usize| {
        let mut text = String::from("  a0: &a0 x\n");
        for level in 1..levels {
            let (open, close) = ("[".repeat(40), "]".repeat(40));
            writeln!(text, "  a{level}: &a{level} {open}*a{}{close}", level - 1).unwrap();
        }
        text
    };
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
    for end in ["", "  ? *a59\n  : x\n", "  <<: *a59\n", "  <<: [*a59]\n", "  b: {<<: {c: *a59}}\n"]
    {
        for text in [
            format!("{head}metadata: {{name: x}}\nspec:\n{}{end}", chain(60)),
            format!("{head}metadata: {{name: x}}\nother:\n{}{end}", chain(60)),
            format!("{head}metadata:\n  name: x\n{}{end}", chain(60)),
            format!(
                "{head}metadata:\n  name: x\n  labels:\n{}{end}",
                chain(60).replace("  a", "    a")
            ),
        ] {
            survives(text.as_bytes());
        }
    }
    let lists = |levels: usize| {
        let mut text =
            String::from("apiVersion: v1\nmetadata:\n  other:\n  - &a0 {kind: List, items: []}\n");
        for level in 1..=levels {
            writeln!(text, "  - &a{level} {{kind: List, items: [*a{}]}}", level - 1).unwrap();
        }
        read(&format!("{text}kind: List\nitems: [*a{levels}]\n")).1
    };
    assert!(!lists(5).has_errors());
    for levels in [10, 20, 60] {
        assert!(!lists(levels).readable);
    }
}
