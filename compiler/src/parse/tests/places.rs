//! Where an error stands, what object it is in, and what to do: one true place for each.

use super::{assert_helpful, findings, read};

/// `|` marks the place that is meant, in text that is otherwise as it is written.
#[track_caller]
fn says(marked: &str, expected: &str) {
    let (before, after) = marked.split_once('|').unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let text = format!("{before}{after}");
    let (_, parsed) = read(&text);
    let found = findings(&parsed);
    assert_eq!(found.lines().count(), 1, "{text}: {found}");
    let place = format!("in.yaml:{line}:{column}: error: ");
    let Some(said) = found.strip_prefix(&place) else { panic!("not at {place}: {found}\n{text}") };
    assert!(said.starts_with(expected), "{said} does not begin with {expected}");
    // No other line number stands in the text.
    assert!(!said.contains(" line ") || said.contains("a line with ---"), "{said}");
    assert_helpful(&parsed);
}

#[test]
fn the_place_of_an_error_is_that_of_its_field() {
    says(
        "\
# two documents
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  namespace: x
spec:
  podSelector: {}
  ingress:
  - from:
    - podSelector: {}
    ports:
    - protocol: TCP
      |port: 5432-5440
",
        "NetworkPolicy x/p: spec.ingress[0].ports[0].port is \"5432-5440\", which is not the name of a port. Write port: 5432 and \
         endPort: 5440.",
    );
    says(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a, namespace: x}\n\
         - apiVersion: v1\n  kind: Pod\n  metadata: {name: ä, namespace: x}\n".replace("name: ä", "|name: ä").as_str(),
        "metadata.name is \"ä\", which is not a name for a Pod",
    );
    says(
        "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{\"kind\": \"Pod\", \"apiVersion\": \"v1\",\n\
         \t\"metadata\": {\"name\": \"e\", |\"namespace\": 7}}]}",
        "metadata.namespace is a number, not a string",
    );
    says(
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"namespace\":\"x\"},\"status\":{\"podIPs\":[{|\"ip\":\"10.0.0\"}]}}\n",
        "Pod x/a: status.podIPs[0].ip is \"10.0.0\"",
    );
    // A field that is not there is at the innermost one that is.
    says(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: {}\n\
         \x20 ingress:\n  - from:\n    - |ipBlock: {except: []}\n",
        "NetworkPolicy x/p: spec.ingress[0].from[0].ipBlock.cidr is missing",
    );
    says(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: {}\n\
         \x20 ingress:\n  - ports:\n    - port: 1\n    - |7\n",
        "NetworkPolicy x/p: spec.ingress[0].ports[1] is a number, not a map",
    );
    // An alias is at its own place, not at what it stands for.
    says(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: &s {app: web}\n"
            .replace("&s {app", "&s {|app")
            .as_str(),
        "NetworkPolicy x/p: spec.podSelector.app is not a field of a label selector",
    );
}

#[test]
fn a_second_object_without_a_separator_is_told_with_its_place_and_the_object() {
    let one = |name: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: x\n")
    };
    says(
        &format!("{}---\n{}|{}", one("z"), one("a"), one("b")),
        "Pod x/a: The key apiVersion is given twice, and the rest of the document is not read. Put a line with --- before it if a \
         second object begins there, or keep one of the two.",
    );
    says(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: {}\n  ingress: []\n\
         \x20 egress: []\n  |ingress: [{}]\n",
        "NetworkPolicy x/p: The key ingress is given twice, and the rest of the document is not read. Keep one of the two.",
    );
    says(
        "{\"kind\": \"Pod\", \"apiVersion\": \"v1\",\n \"metadata\": {\"namespace\": \"x\",\n  \"name\": \"a\",\n  |\"name\": \"b\"}}\n",
        "The key name is given twice",
    );
    says(
        &format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}- apiVersion: v1\n  kind: Pod\n  |kind: Node\n  metadata: {{name: b, namespace: x}}\n",
            one("a").replace('\n', "\n  ").trim_end_matches(' ')
        ),
        "The key kind is given twice",
    );
}

#[test]
fn a_template_is_told_to_be_rendered_first() {
    let remedy = "This is a template: render it first (helm template, or whatever fills it in), and give the result to -f.";
    let policy = |metadata: &str, spec: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  {metadata}\nspec:\n  {spec}\n"
        )
    };
    for text in [
        policy("|name: {{ .Values.name }}", "podSelector: {}"),
        policy("|name: '{{ .Values.name }}'", "podSelector: {}"),
        policy("name: p\n  |namespace: {{ .Release.Namespace }}", "podSelector: {}"),
        policy(
            "name: p\n  namespace: \"x\"",
            "podSelector:\n    matchLabels:\n|      app: {{ .Values.app }}",
        ),
        policy(
            "name: p\n  namespace: x",
            "podSelector:\n    matchLabels:\n      |app: \"{{ .Values.app }}\"",
        ),
        policy("name: p\n|  {{- include \"labels\" . }}", "podSelector: {}"),
        format!(
            "|{{{{- if .Values.enabled }}}}\n{}{{{{- end }}}}\n",
            policy("name: p", "podSelector: {}")
        ),
        "apiVersion: v1\n|{{- if .Values.enabled }}\nkind: Pod\n{{- end }}\n".to_owned(),
    ] {
        let (before, after) = text.split_once('|').unwrap();
        let (_, parsed) = read(&format!("{before}{after}"));
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|d| d.remedy == remedy.trim_end_matches('.'))
            .collect();
        assert_eq!(errors.len(), 1, "{text}: {}", findings(&parsed));
        let line = before.matches('\n').count() + 1;
        assert_eq!(errors[0].place.line, Some(line), "{text}: {}", findings(&parsed));
        assert_helpful(&parsed);
    }
    // Braces that are text do not make a template.
    let alert = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: x\n  annotations: {summary: \"{{ $labels.pod }} is down\"}\nspec: 7\n";
    let (_, parsed) = read(alert);
    assert!(
        findings(&parsed)
            .ends_with("Write a map. The object is not read, and what was known of it stays.\n"),
        "{}",
        findings(&parsed)
    );
}

#[test]
fn errors_of_syntax_have_the_parsers_place() {
    says(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\nspec:\n\t|nodeName: n\n",
        "Pod x/a: The text is not YAML (",
    );
    says("apiVersion: v1\nkind: [Pod\nmetadata|: {}\n", "The text is not YAML (");
    says(
        "{\"kind\": \"Pod\",\n \"metadata\": {\"name\": \"a\"}\n |\"spec\": {}}\n",
        "Pod a: The text is not JSON (expected `,` or `}`)",
    );
}

/// The place costs no search from the beginning: many errors in one long line.
#[test]
fn many_errors_in_one_long_line_have_their_places() {
    let item = |at: usize| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{at}","namespace":"x","labels":{{"a b":"c"}}}}}}"#
        )
    };
    let items: Vec<_> = (0..3_000).map(item).collect();
    let text = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","));
    let (objects, parsed) = read(&text);
    assert!(objects.is_empty());
    assert_eq!(parsed.diagnostics.len(), 3_000);
    for (at, finding) in parsed.diagnostics.iter().enumerate() {
        let column = finding.place.column.unwrap();
        assert_eq!(finding.place.line, Some(1));
        assert!(text[column - 1..].starts_with("\"a b\""), "{finding}");
        assert_eq!(finding.object.as_ref().unwrap().name, format!("p{at}"));
    }
}
