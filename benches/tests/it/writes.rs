//! What is written into an API server is the cluster, and each kind of edit arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_benches::harness::kernel::one_round;
use palisade_benches::scenario::{EditKind, EditWrites, Scenario, ScenarioShape};
use palisade_compiler::model::{Pod, PodAddresses};
use palisade_compiler::parse::{Object, parse};
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_lab::{ApiServer, Namespace};

use super::one_api_server;

const PATHS: [&str; 4] = [
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/apis/networking.k8s.io/v1/networkpolicies",
];
/// Namespaces that every API server makes by itself.
const OWN: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

fn server() -> ApiServer {
    ApiServer::start(&Namespace::new().expect("root")).expect("an API server")
}

/// The cluster as the server lists it, without what a scenario does not have. Every pod must have its node's addresses.
fn listed(server: &ApiServer, scenario: &Scenario) -> Vec<Change> {
    let nodes = scenario.nodes().into_iter();
    let hosts: BTreeMap<_, PodAddresses> =
        nodes.map(|node| (node.name, node.addresses.into_iter().collect())).collect();
    let mut listed = Vec::new();
    for path in PATHS {
        let text = server.kubectl(&["get", "--raw", path], "").expect("a list");
        let parsed = parse(path, text.as_bytes(), &mut |object| match object {
            Object::Namespace(namespace) if OWN.contains(&&*namespace.name) => {}
            Object::Pod(pod) => {
                let host = pod.node.as_ref().and_then(|node| hosts.get(node));
                assert!(pod.addresses.is_empty() || host == Some(&pod.host_ips), "{pod:?}");
                let host_ips = PodAddresses::default();
                listed.push(Change::ApplyPod(Pod { uid: None, started: None, host_ips, ..pod }));
            }
            other => listed.push(Change::from(other)),
        });
        assert!(parsed.readable && parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    }
    sorted(listed)
}

fn expected(snapshot: &Snapshot, scenario: &Scenario) -> Vec<Change> {
    let namespaces = snapshot.namespaces().cloned().map(Change::ApplyNamespace);
    let pods = snapshot.pods().cloned().map(Change::ApplyPod);
    let policies =
        snapshot.policies().map(|policy| Change::ApplyPolicy(Arc::unwrap_or_clone(policy.clone())));
    let nodes = scenario.nodes().into_iter().map(Change::ApplyNode);
    sorted(namespaces.chain(pods).chain(policies).chain(nodes).collect())
}

fn sorted(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| format!("{change:?}"));
    changes
}

#[test]
fn what_the_server_lists_is_the_cluster() {
    let _one = one_api_server();
    for shape in [ScenarioShape::Ports, ScenarioShape::Cidrs] {
        let scenario = Scenario::new(shape, 12, 60, 7).dual_stack();
        let server = server();
        scenario.write_to(&server.client().expect("a client")).expect("written");
        assert_eq!(listed(&server, &scenario), expected(&scenario.snapshot(), &scenario));
    }
}

#[test]
fn each_kind_of_edit_arrives() {
    let _one = one_api_server();
    let scenario = Scenario::new(ScenarioShape::Apps, 40, 400, 7).dual_stack();
    let server = server();
    let client = server.client().expect("a client");
    scenario.write_to(&client).expect("written");
    let mut snapshot = scenario.snapshot();
    let mut wanted = BTreeSet::from(EditKind::ALL);
    for edit in one_round(&scenario) {
        let EditWrites { before, edit: write } = scenario.writes(&edit).expect("requests");
        if let Some(before) = before {
            client.write_all([before]).expect("written");
            let Change::ApplyPod(born) = &edit.change else { panic!("{edit:?}") };
            let is_there = |change: &Change| matches!(change, Change::ApplyPod(pod) if pod.name == born.name && pod.addresses.is_empty());
            assert!(listed(&server, &scenario).iter().any(is_there), "{edit:?}");
        }
        client.write_all([write]).expect("written");
        snapshot.apply(edit.change.clone());
        assert_eq!(listed(&server, &scenario), expected(&snapshot, &scenario), "{edit:?}");
        wanted.remove(&edit.kind);
        if wanted.is_empty() {
            return;
        }
    }
    panic!("the scenario has no edit of these kinds: {wanted:?}");
}
