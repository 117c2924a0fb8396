use super::{fields, good, only_policy, read};
use crate::model::{Labels, Operator, Selector};

fn policy(selector: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\n\
         spec:\n  podSelector: {selector}\n  ingress: [{{}}]\n"
    )
}

#[test]
fn a_selector_matches_as_it_says() {
    for (selector, matched, unmatched) in [
        ("{}", &["", "a=1"][..], &[][..]),
        ("", &["", "a=1"], &[]),
        ("{matchLabels: }", &["", "a=1"], &[]),
        ("{matchLabels: {a: \"1\"}}", &["a=1", "a=1 b=2"], &["", "a=2"]),
        ("{matchLabels: {a: \"1\", b: \"2\"}}", &["a=1 b=2"], &["a=1", "b=2"]),
        ("{matchExpressions: [{key: a, operator: In, values: [x, w]}]}", &["a=w"], &["", "a=y"]),
        ("{matchExpressions: [{key: a, operator: NotIn, values: [x]}]}", &["", "a=w"], &["a=x"]),
        ("{matchExpressions: [{key: a, operator: Exists}]}", &["a=w"], &["", "b=w"]),
        ("{matchExpressions: [{key: a, operator: Exists, values: []}]}", &["a=w"], &[""]),
        ("{matchExpressions: [{key: a, operator: DoesNotExist}]}", &["", "b=w"], &["a=w"]),
        (
            "{matchLabels: {a: x}, matchExpressions: [{key: x.io/b, operator: Exists}]}",
            &["a=x x.io/b=1"],
            &["a=x", "x.io/b=1"],
        ),
    ] {
        let policy = only_policy(good(&policy(selector)));
        let labels = |text: &str| -> Labels {
            text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect()
        };
        assert!(matched.iter().all(|m| policy.subjects.matches(&labels(m))), "{selector}");
        assert!(!unmatched.iter().any(|m| policy.subjects.matches(&labels(m))), "{selector}");
    }
}

#[test]
fn values_are_sorted_and_each_once() {
    let text = policy("{matchExpressions: [{key: a, operator: In, values: [b, a, b]}]}");
    let subjects = only_policy(good(&text)).subjects;
    assert_eq!(subjects.requirements[0].operator, Operator::In(vec!["a".into(), "b".into()]));
}

#[test]
fn an_unreadable_selector_of_subjects_isolates_the_namespace() {
    for (selector, field) in [
        ("text", ""),
        ("[]", ""),
        ("{app: web}", ".app"),
        ("{matchLabel: {app: web}}", ".matchLabel"),
        ("{matchLabels: app}", ".matchLabels"),
        ("{matchLabels: {app: 1}}", ".matchLabels[\"app\"]"),
        ("{matchLabels: {app: }}", ".matchLabels[\"app\"]"),
        ("{matchLabels: {a b: c}}", ".matchLabels[\"a b\"]"),
        ("{matchLabels: {-/a: c}}", ".matchLabels[\"-/a\"]"),
        ("{matchLabels: {a: \"b c\"}}", ".matchLabels[\"a\"]"),
        ("{matchExpressions: {}}", ".matchExpressions"),
        ("{matchExpressions: [a]}", ".matchExpressions[0]"),
        ("{matchExpressions: [{operator: Exists}]}", ".matchExpressions[0].key"),
        ("{matchExpressions: [{key: a}]}", ".matchExpressions[0].operator"),
        (
            "{matchExpressions: [{key: a, operator: in, values: [b]}]}",
            ".matchExpressions[0].operator",
        ),
        ("{matchExpressions: [{key: a, operator: In}]}", ".matchExpressions[0].values"),
        (
            "{matchExpressions: [{key: a, operator: NotIn, values: []}]}",
            ".matchExpressions[0].values",
        ),
        (
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            ".matchExpressions[0].values",
        ),
        (
            "{matchExpressions: [{key: a, operator: In, values: [1]}]}",
            ".matchExpressions[0].values[0]",
        ),
        ("{matchExpressions: [{key: a, operator: In, value: [b]}]}", ".matchExpressions[0].value"),
    ] {
        let (objects, parsed) = read(&policy(selector));
        let policy = only_policy(objects);
        assert_eq!(fields(&parsed), [format!("error spec.podSelector{field}")], "{selector}");
        assert_eq!(policy.subjects, Selector::everything(), "{selector}");
        assert!(policy.isolates.ingress && policy.ingress.is_empty(), "{selector}");
    }
}
