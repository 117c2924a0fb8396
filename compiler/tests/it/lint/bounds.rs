//! One policy cannot fill the list of findings.

use palisade_compiler::lint::{Code, Crowded, MAX_OF_OBJECT, Severity};
use palisade_compiler::parse::ObjectRef;

use super::{CLUSTER, lint_text, manifests, of};

/// A policy with so many entries that match no pod.
fn crowded(name: &str, entries: usize) -> String {
    let entry = |n| format!("{{podSelector: {{matchLabels: {{app: nobody-{n}}}}}}}");
    let entries: Vec<String> = (0..entries).map(entry).collect();
    format!(
        "policy shop/{name} {{podSelector: {{}}, ingress: [{{from: [{}]}}]}}\n",
        entries.join(", ")
    )
}

#[test]
fn of_an_object_with_many_findings_some_are_listed_and_all_are_counted() {
    let one = "policy shop/one {podSelector: {matchLabels: {app: nobody}}}\n";
    let cluster = [CLUSTER, &crowded("many", MAX_OF_OBJECT + 30), one].concat();
    let report = lint_text(&manifests(&cluster));
    let of_many = of(&report, Code::PeerMatchesNoPod);
    assert_eq!(of_many.len(), MAX_OF_OBJECT);
    assert_eq!(of(&report, Code::SelectsNoPod).len(), 1, "others have their place");
    assert_eq!(report.count_from(Severity::Warning), MAX_OF_OBJECT + 31);
    assert_eq!(report.further(), 30);
    let object = ObjectRef {
        kind: "NetworkPolicy".into(),
        namespace: Some("shop".into()),
        name: "many".into(),
    };
    assert_eq!(report.crowded, [Crowded { object, severity: Severity::Warning, further: 30 }]);
}

#[test]
fn an_object_with_as_many_as_fit_is_not_crowded() {
    let report = lint_text(&manifests(&[CLUSTER, &crowded("many", MAX_OF_OBJECT)].concat()));
    assert_eq!(of(&report, Code::PeerMatchesNoPod).len(), MAX_OF_OBJECT);
    assert_eq!((report.crowded, report.counts[&Severity::Warning]), (vec![], MAX_OF_OBJECT));
}
