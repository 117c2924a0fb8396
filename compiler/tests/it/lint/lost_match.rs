//! What loses its match when labels change, and what does not.

use palisade_compiler::lint::{Code, LostMatches, MAX_RELABELLED, Relabelled};
use palisade_compiler::model::Pod;
use palisade_compiler::parse::parse;
use palisade_compiler::snapshot::{Change, Snapshot, UndeclaredNamespaces};

use super::{CLUSTER, manifests};

fn changes(lines: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let text = manifests(lines);
    let parsed = parse("in.yaml", text.as_bytes(), &mut |object| changes.push(object.into()));
    assert!(parsed.readable && parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    changes
}

/// What the shop's cluster with these policies loses by a batch of changes, of the pods that are watched.
fn lost_of(policies: &str, batch: Vec<Change>, is_watched: fn(&Pod) -> bool) -> LostMatches {
    let mut snapshot = Snapshot::new();
    changes(&format!("{CLUSTER}{policies}")).into_iter().for_each(|it| snapshot.apply(it));
    let relabelled = Relabelled::note(&snapshot, &batch, &[], is_watched);
    batch.into_iter().for_each(|change| snapshot.apply(change));
    relabelled.lost(&snapshot)
}

/// The codes and messages.
fn lost(policies: &str, batch: &str) -> Vec<(Code, String)> {
    let lost = lost_of(policies, changes(batch), |_| true);
    assert_eq!(lost.unexamined, 0);
    lost.findings.into_iter().map(|finding| (finding.code, finding.message)).collect()
}

const GUARD: &str = "policy shop/guard {podSelector: {matchLabels: {app: db}}}";

#[test]
fn a_policy_and_its_last_pod_lose_each_other() {
    let found = lost(GUARD, "pod shop/db {app: dbx, tier: back} 10.0.0.3");
    assert_eq!(
        found,
        [
            (
                Code::PodLostIsolation,
                "shop/db was isolated for ingress by shop/guard until its labels changed (app changed from db to dbx); no policy isolates it so any more".to_owned()
            ),
            (
                Code::PolicyLostPods,
                "spec.podSelector matches no pod any more: the last one was shop/db (app changed from db to dbx)".to_owned()
            ),
        ]
    );
    let removed = lost(GUARD, "pod shop/db {tier: back} 10.0.0.3");
    assert!(
        removed.iter().all(|(_, message)| message.contains("(app=db was removed)")),
        "{removed:?}"
    );
    let other = "pod shop/db {app: db, tier: front} 10.0.0.3";
    assert_eq!(lost(GUARD, other), [], "no selector names the label");
}

#[test]
fn who_is_still_matched_or_isolated_lost_nothing() {
    let codes = |policies: &str, batch: &str| -> Vec<Code> {
        lost(policies, batch).into_iter().map(|(code, _)| code).collect()
    };
    let relabel = "pod shop/db {app: dbx, tier: back} 10.0.0.3";
    let everyone = format!("{GUARD}\npolicy shop/all {{podSelector: {{}}}}");
    assert_eq!(codes(&everyone, relabel), [Code::PolicyLostPods], "the pod is isolated by another");
    let both = format!("{relabel}\npod shop/db-1 {{app: db}} 10.0.0.9");
    assert_eq!(codes(GUARD, &both), [Code::PodLostIsolation], "the policy has another pod");
    let egress = format!("{GUARD}\npolicy shop/out {{podSelector: {{}}, policyTypes: [Egress]}}");
    assert_eq!(
        codes(&egress, relabel),
        [Code::PodLostIsolation, Code::PolicyLostPods],
        "the other direction"
    );
    let ended = lost_of(
        GUARD,
        vec![Change::DeletePod { namespace: "shop".into(), name: "db".into(), uid: None }],
        |_| true,
    );
    assert!(ended.findings.is_empty(), "a pod that ends changes no label");
}

#[test]
fn an_entry_loses_its_last_pod_by_a_pods_labels_or_a_namespaces() {
    let policy = "policy shop/db {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}, {namespaceSelector: {matchLabels: {purpose: monitoring}}, podSelector: {matchLabels: {app: prometheus}}}]}]}";
    let expected = |field: &str, change: &str| {
        [(Code::PeerLostPods, format!("spec.ingress[0].{field} matches no pod any more: {change}"))]
    };
    assert_eq!(
        lost(policy, "pod shop/api {app: api2, tier: back} 10.0.0.2"),
        expected("from[0]", "the last one was shop/api (app changed from api to api2)")
    );
    assert_eq!(
        lost(policy, "pod ops/prometheus {} 10.0.1.1"),
        expected("from[1]", "the last one was ops/prometheus (app=prometheus was removed)")
    );
    assert_eq!(
        lost(policy, "namespace ops {team: ops, purpose: metrics}"),
        expected(
            "from[1]",
            "the last ones were in the namespace ops (purpose changed from monitoring to metrics)"
        )
    );
    let elsewhere = "namespace ops {team: ops}\nnamespace shop {team: shop, purpose: monitoring}\npod shop/web {app: prometheus} 10.0.0.1";
    assert_eq!(lost(policy, elsewhere), [], "another namespace has one");
}

#[test]
fn only_what_is_watched_is_told_and_what_goes_beyond_the_bound_is_counted() {
    let relabel = "pod shop/db {app: dbx} 10.0.0.3";
    assert!(lost_of(GUARD, changes(relabel), |_| false).findings.is_empty());
    let pods = |app: &str| -> String {
        (0..MAX_RELABELLED + 3)
            .map(|n| format!("pod shop/p-{n} {{app: {app}}} 10.1.0.{n}\n"))
            .collect()
    };
    let policies = format!("{GUARD}\n{}", pods("a"));
    let lost = lost_of(&policies, changes(&pods("b")), |_| true);
    assert_eq!((lost.findings.len(), lost.unexamined), (0, 3));
    let accepted = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: guard, namespace: shop, annotations: {palisade.io/lint-ignore: PAL701}}, spec: {podSelector: {matchLabels: {app: db}}}}";
    let codes: Vec<Code> =
        lost_of(accepted, changes(relabel), |_| true).findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, [Code::PodLostIsolation]);
}

/// Each pod is compared once, as it was before the first of its changes.
#[test]
fn a_pod_that_is_relabelled_twice_is_told_once() {
    let both = "policy shop/guard {podSelector: {matchExpressions: [{key: app, operator: In, values: [db, dbx]}]}}";
    let first = changes("pod shop/db {app: dbx, tier: back} 10.0.0.3");
    let second = changes("pod shop/db {app: dby, tier: back} 10.0.0.3");
    let told = |lost: LostMatches| -> Vec<Code> {
        lost.findings.into_iter().map(|finding| finding.code).collect()
    };
    let one_batch = lost_of(both, [first.clone(), second.clone()].concat(), |_| true);
    assert!(one_batch.findings[0].message.contains("app changed from db to dby"));
    assert_eq!(told(one_batch), [Code::PodLostIsolation, Code::PolicyLostPods]);

    // And of two batches that wait.
    let mut snapshot = Snapshot::new();
    changes(&format!("{CLUSTER}{both}")).into_iter().for_each(|it| snapshot.apply(it));
    let earlier = [Relabelled::note(&snapshot, &first, &[], |_| true)];
    first.into_iter().for_each(|change| snapshot.apply(change));
    let later = Relabelled::note(&snapshot, &second, &earlier, |_| true);
    second.into_iter().for_each(|change| snapshot.apply(change));
    assert!(later.is_empty());
    let [earlier] = earlier;
    assert_eq!(told(earlier.lost(&snapshot)), [Code::PodLostIsolation, Code::PolicyLostPods]);
}

/// No entry matches pods of a namespace of which nothing is known, so that none is lost; subjects they are.
#[test]
fn pods_of_an_undeclared_namespace_are_lost_as_subjects_and_not_as_peers() {
    let codes = |declared: &str| -> Vec<Code> {
        let mut snapshot = Snapshot::with_undeclared(UndeclaredNamespaces::Absent);
        let policy = "policy far/p {podSelector: {matchLabels: {app: one}}, ingress: [{from: [{podSelector: {matchLabels: {app: one}}}]}]}";
        let all = changes(&format!("{declared}pod far/one {{app: one}} 10.9.0.1\n{policy}"));
        all.into_iter().for_each(|change| snapshot.apply(change));
        let batch = changes("pod far/one {app: two} 10.9.0.1");
        let relabelled = Relabelled::note(&snapshot, &batch, &[], |_| true);
        batch.into_iter().for_each(|change| snapshot.apply(change));
        relabelled.lost(&snapshot).findings.into_iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(""), [Code::PodLostIsolation, Code::PolicyLostPods]);
    let all = [Code::PodLostIsolation, Code::PeerLostPods, Code::PolicyLostPods];
    assert_eq!(codes("namespace far {}\n"), all);
}
