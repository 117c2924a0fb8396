//! What edits mean: resets, and namespaces that nothing declares.

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Verdict;
use palisade_compiler::oracle;
use palisade_compiler::snapshot::{Change, ObjectKind, Snapshot, UndeclaredNamespaces};
use palisade_compiler::testkit::build::{connection, namespace, node, pod, policy, rule};
use palisade_compiler::testkit::relist;

/// The names of all that there is, sorted.
fn names(snapshot: &Snapshot) -> Vec<String> {
    let pods = snapshot.pods().map(|pod| format!("pod {}/{}", pod.namespace, pod.name));
    let policies = snapshot.policies().map(|policy| format!("policy {}", policy.key));
    let nodes = snapshot.nodes().map(|node| format!("node {}", node.name));
    let namespaces = snapshot.namespaces().map(|namespace| format!("namespace {}", namespace.name));
    let mut names: Vec<String> = pods.chain(policies).chain(nodes).chain(namespaces).collect();
    names.sort_unstable();
    names
}

fn apply(snapshot: &mut Snapshot, changes: impl IntoIterator<Item = Change>) {
    changes.into_iter().for_each(|change| snapshot.apply(change));
}

fn two_of_each() -> Vec<Change> {
    let of = |name: &str| -> [Change; 4] {
        [
            namespace(name, "").into(),
            node(name, &[]).into(),
            pod(&format!("{name}/p")).into(),
            policy(&format!("{name}/q")).isolate_ingress().into(),
        ]
    };
    [of("a"), of("b")].concat()
}

#[test]
fn the_end_of_a_reset_deletes_what_was_not_applied_since_it_began_and_nothing_of_other_kinds() {
    let listed: [(ObjectKind, Change, &str); 4] = [
        // A namespace that pods and policies name exists all the same.
        (ObjectKind::Namespace, namespace("a", "").into(), ""),
        (ObjectKind::Node, node("a", &[]).into(), "node b"),
        (ObjectKind::Pod, pod("a/p").into(), "pod b/p"),
        (ObjectKind::Policy, policy("a/q").isolate_ingress().into(), "policy b/q"),
    ];
    for (kind, object, gone) in listed {
        let mut snapshot = Snapshot::new();
        apply(&mut snapshot, two_of_each());
        let mut expected = names(&snapshot);
        apply(&mut snapshot, relist(kind, [object]));
        expected.retain(|name| name != gone);
        assert_eq!(names(&snapshot), expected, "{kind:?}");
        // Without a beginning there is nothing to end.
        apply(&mut snapshot, [Change::EndReset(kind)]);
        assert_eq!(names(&snapshot), expected, "{kind:?}");
    }
}

#[test]
fn what_happens_during_a_reset_counts_and_only_its_end_sweeps() {
    let mut snapshot = Snapshot::new();
    apply(&mut snapshot, [pod("a/1"), pod("a/2"), pod("a/3")].map(Change::from));
    let begin = Change::BeginReset(ObjectKind::Pod);
    // One is listed, one is deleted and another comes in its place, one is not listed.
    let delete =
        |name: &str| Change::DeletePod { namespace: "a".into(), name: name.into(), uid: None };
    apply(&mut snapshot, [begin.clone(), pod("a/1").into(), pod("a/2").into(), delete("2")]);
    apply(&mut snapshot, [pod("a/4").into()]);
    assert_eq!(names(&snapshot), ["namespace a", "pod a/1", "pod a/3", "pod a/4"]);
    apply(&mut snapshot, [Change::EndReset(ObjectKind::Pod)]);
    assert_eq!(names(&snapshot), ["namespace a", "pod a/1", "pod a/4"]);
    // Begun twice, the first time is forgotten.
    apply(&mut snapshot, [begin.clone(), pod("a/1").into(), begin, pod("a/4").into()]);
    apply(&mut snapshot, [Change::EndReset(ObjectKind::Pod)]);
    assert_eq!(names(&snapshot), ["namespace a", "pod a/4"]);
}

/// An object that the server lists and that cannot be read is not gone.
#[test]
fn what_is_kept_survives_a_reset_as_it_was() {
    let keep = |kind, namespace: Option<&str>, name: &str| Change::Keep {
        kind,
        namespace: namespace.map(Into::into),
        name: name.into(),
    };
    let kept = [
        keep(ObjectKind::Node, None, "a"),
        keep(ObjectKind::Pod, Some("a"), "p"),
        keep(ObjectKind::Policy, Some("b"), "q"),
    ];
    for change in kept {
        let Change::Keep { kind, .. } = change else { unreachable!() };
        let mut snapshot = Snapshot::new();
        apply(&mut snapshot, two_of_each());
        let before = names(&snapshot);
        // Without a reset it means nothing.
        apply(&mut snapshot, [change.clone()]);
        assert_eq!(names(&snapshot), before);
        let unknown = keep(kind, Some("a"), "never-seen");
        let (begin, end) = (Change::BeginReset(kind), Change::EndReset(kind));
        apply(&mut snapshot, [begin, unknown, change, end]);
        assert_eq!(names(&snapshot).len(), before.len() - 1, "{kind:?}: one is kept, one goes");
    }
}

/// A relist names the same pod with another uid: the pod is another one, and stays.
#[test]
fn a_pod_of_another_uid_replaces_the_one_that_was_there() {
    let mut snapshot = Snapshot::new();
    apply(&mut snapshot, [pod("a/1").with_uid("old").into()]);
    apply(&mut snapshot, relist(ObjectKind::Pod, [pod("a/1").with_uid("new").into()]));
    assert_eq!(snapshot.pod_named("a", "1").unwrap().uid, Some("new".into()));
}

/// b is isolated by a policy of its namespace, which is declared or not, and allows the pods of some namespaces.
fn verdicts(undeclared: UndeclaredNamespaces, declared: &[&str]) -> Vec<Verdict> {
    let allow = |name: &str, namespaces: &str| {
        let from = rule().pods_in(namespaces, "");
        policy(name).select("app=b").isolate_ingress().allow_in(from)
    };
    let mut changes: Vec<Change> = vec![
        pod("x/b").labelled("app=b").ip("10.0.0.1").into(),
        pod("x/same").ip("10.0.0.2").into(),
        pod("y/other").ip("10.0.0.3").into(),
        policy("x/own").select("app=b").isolate_ingress().allow_in(rule().pods("")).into(),
        allow("x/all", "").into(),
    ];
    changes.extend(declared.iter().map(|name| Change::from(namespace(name, ""))));
    let mut compiler = Compiler::new(Locality::Everywhere).with_undeclared(undeclared);
    compiler.apply(changes);
    let verdict = |from: &str| {
        let text = format!("{from} -> x/b tcp 80");
        let connection = connection(compiler.snapshot(), &text);
        let decision = oracle::decide(compiler.snapshot(), &connection);
        assert_eq!(compiler.judge(&connection), decision);
        decision.verdict
    };
    ["10.0.0.2", "10.0.0.3", "192.0.2.1"].map(verdict).to_vec()
}

#[test]
fn pods_of_a_namespace_that_nothing_declares_match_no_peer_selector_where_namespaces_are_not_implied()
 {
    use Verdict::{Allow, Deny};
    let implied = UndeclaredNamespaces::Implied;
    assert_eq!(verdicts(implied, &[]), [Allow, Allow, Deny]);
    let absent = UndeclaredNamespaces::Absent;
    assert_eq!(verdicts(absent, &[]), [Deny, Deny, Deny], "b is isolated all the same");
    assert_eq!(verdicts(absent, &["y"]), [Deny, Allow, Deny]);
    assert_eq!(verdicts(absent, &["x"]), [Allow, Deny, Deny]);
    assert_eq!(verdicts(absent, &["x", "y"]), [Allow, Allow, Deny]);
}
