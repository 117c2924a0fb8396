use super::*;

const OBJECTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ops, labels: {team: ops}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: ops, name: probe, labels: {app: probe}}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: old}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{}]}
"#;

const DB: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
"#;

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::new();
    let parsed = parse("o.yaml", OBJECTS.as_bytes(), &mut |it| snapshot.apply(it.into()));
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    snapshot
}

fn flow(id: u64, from: &str, to: &str, port: u16) -> Arc<Flow> {
    let end = |address: &str| FlowEnd { address: address.into(), ..FlowEnd::default() };
    Arc::new(Flow {
        id,
        verdict: FlowVerdict::Allow,
        from: end(from),
        to: end(to),
        port: Some(port),
        ..Flow::example()
    })
}

#[track_caller]
fn ask(manifests: &str, remove: &[&str], flows: Vec<Arc<Flow>>) -> WhatIf {
    let remove = remove.iter().map(|&name| name.to_owned()).collect();
    let edit = Edit::parse(&Proposal { manifests: manifests.into(), remove }).unwrap();
    Part::take(&snapshot(), 7, &edit, flows).judge(edit)
}

#[test]
fn a_policy_that_is_added_isolates_its_pods_and_denies_what_it_does_not_name() {
    let flows = vec![
        flow(1, "10.0.0.1", "10.0.0.2", 5432),
        flow(2, "10.0.0.3", "10.0.0.2", 5432),
        flow(3, "10.0.0.1", "10.0.0.2", 80),
        flow(4, "192.0.2.1", "10.0.0.1", 80),
    ];
    let found = ask(DB, &[], flows);
    assert_eq!((found.revision, found.judged), (7, 4));
    assert_eq!((found.policies[0].edit, found.policies[0].selects), (EditKind::Added, 1));
    let [pod] = found.isolation.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (pod.pod.as_str(), pod.direction, pod.isolated),
        ("shop/db", FlowDirection::Ingress, true)
    );
    assert_eq!(pod.by, ["shop/db"]);
    let ids: Vec<u64> = found.connections.iter().map(|it| it.flow).collect();
    assert_eq!(ids, [2, 3]);
    let [other, port] = found.connections.as_slice() else { panic!("{found:?}") };
    assert_eq!((other.before, other.after), (FlowVerdict::Allow, FlowVerdict::Deny));
    assert!(other.misses[0].contains("namespace"), "{other:?}");
    assert!(port.misses[0].contains("5432"), "{port:?}");
}

#[test]
fn a_policy_that_is_removed_opens_what_it_closed() {
    let found = ask("", &["shop/old", "shop/none"], vec![flow(1, "10.0.0.1", "10.0.0.2", 80)]);
    let kinds: Vec<EditKind> = found.policies.iter().map(|it| it.edit).collect();
    assert_eq!(kinds, [EditKind::Removed, EditKind::Absent]);
    let [pod] = found.isolation.as_slice() else { panic!("{found:?}") };
    assert_eq!((pod.pod.as_str(), pod.isolated), ("shop/web", false));
    // It allowed everything.
    assert!(found.connections.is_empty());
}

#[test]
fn what_is_not_understood_is_refused_with_what_is_wrong() {
    let parse = |manifests: &str| {
        Edit::parse(&Proposal { manifests: manifests.into(), remove: Vec::new() }).unwrap_err()
    };
    let wrong = parse(&DB.replace("podSelector: {matchLabels: {app: db}}", "podSelektor: {}"));
    assert!(!wrong.diagnostics.is_empty(), "{wrong:?}");
    assert!(parse("").reason.contains("no NetworkPolicy"));
    assert!(
        parse("{apiVersion: v1, kind: Namespace, metadata: {name: x}}").reason.contains("only")
    );
    assert!(parse("{").diagnostics.len() == 1);
    assert!(parse(&"x".repeat(MAX_MANIFEST_BYTES + 1)).reason.contains("at most"));
}
