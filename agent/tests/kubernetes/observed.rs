//! What metrics, readiness and `palisade check` say of a cluster.

use palisade::http::DEFAULT;
use serde_json::Value;

use crate::cluster::{Cluster, NODE};
use crate::command::{Ran, until};
use crate::openmetrics::Scrape;
use crate::scrape;

fn scraped(cluster: &Cluster) -> Scrape {
    scrape::scrape(&cluster.node().path())
}

fn readiness(cluster: &Cluster) -> (u16, String) {
    let (status, _, body) = scrape::get(&cluster.node().path(), DEFAULT, "/readyz").unwrap();
    (status, body)
}

#[test]
fn watches_are_measured_and_an_outage_shows_and_leaves_the_agent_ready() {
    let mut cluster = Cluster::new(&[("x/a", "10.0.0.1"), ("x/b", "10.0.0.2")]);
    cluster.add_pod("x/a", NODE, "10.0.0.1");
    cluster.add_policy("guard", "{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}");
    let agent = cluster.agent();
    agent.until_enforcing();
    let of = |kind: &str, metric: &str| {
        scraped(&cluster).value(&format!("palisade_watch_{metric}{{kind=\"{kind}\"}}"))
    };
    // Enforcement does not wait for the last two.
    for kind in ["namespace", "node", "pod", "networkpolicy", "service", "endpointslice"] {
        until(kind, || of(kind, "in_sync") == 1.0);
        assert!(of(kind, "lists_total") >= 1.0, "{kind}");
        assert_eq!(of(kind, "outage_seconds"), 0.0, "{kind}");
    }
    let before = scraped(&cluster);
    let (code, text) = readiness(&cluster);
    assert_eq!((code, text.lines().next()), (200, Some("ready")));
    // This Node has no range of pods, so that unknown addresses could not be held.
    assert!(text.contains("--pod-cidr"), "{text}");

    // A pod that a policy selects: measured from its event to the kernel.
    let count = "palisade_enforcement_seconds_count{kind=\"pod\"}";
    cluster.add_pod("x/b", NODE, "10.0.0.2");
    until("the pod", || scraped(&cluster).value(count) > before.value(count));
    let lag = scraped(&cluster).value("palisade_watch_lag_seconds{kind=\"pod\"}");
    assert!(lag < 60.0, "{lag}");

    cluster.server.kill();
    let outage = "palisade_watch_outage_seconds{kind=\"pod\"}";
    until("the outage", || scraped(&cluster).value(outage) > 0.0);
    let (status, body) = readiness(&cluster);
    assert_eq!(status, 200, "what is known stays enforced");
    assert!(body.contains("outage: pods have not been watched for "), "{body}");
    cluster.server.restart().unwrap();
    until("the end of the outage", || scraped(&cluster).value(outage) == 0.0);
    until("readiness", || {
        let (code, text) = readiness(&cluster);
        code == 200 && !text.contains("outage")
    });
}

/// The finding with that id.
#[track_caller]
fn the(ran: &Ran, id: &str) -> Value {
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let findings = report["findings"].as_array().unwrap();
    let found: Vec<_> = findings.iter().filter(|finding| finding["id"] == id).collect();
    assert_eq!(found.len(), 1, "{id} in {ran:?}");
    found[0].clone()
}

#[test]
fn a_check_of_a_cluster_knows_permissions_node_range_and_dns() {
    let cluster = Cluster::new(&[("x/a", "10.0.0.1")]);
    let check = |kubeconfig: &std::path::Path, node: &str| {
        let kubeconfig = kubeconfig.to_str().unwrap();
        cluster.ran(&["check", "-o", "json", "--kubeconfig", kubeconfig, "--node-name", node])
    };
    let admin = cluster.server.admin_kubeconfig();
    let ran = check(&admin, NODE);
    assert_eq!(the(&ran, "api")["severity"], "ok", "{ran:?}");
    assert_eq!(the(&ran, "api-permissions")["severity"], "ok", "{ran:?}");
    assert_eq!(the(&ran, "node")["severity"], "ok", "{ran:?}");
    assert_eq!(the(&ran, "pod-range")["severity"], "note", "{ran:?}");
    assert!(the(&ran, "dns")["seen"].as_str().unwrap().contains("cannot be read"), "{ran:?}");

    cluster.set_pod_range(NODE, "10.0.0.0/24");
    cluster.add_namespace("kube-system");
    cluster.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: kube-system, name: kube-dns}\nspec: {ports: [{port: 53, protocol: UDP}]}\n",
    );
    cluster.add_pod("x/a", NODE, "10.0.0.1");
    let ran = check(&admin, NODE);
    let range = the(&ran, "pod-range");
    assert_eq!((&range["severity"], &range["seen"]), (&"ok".into(), &"10.0.0.0/24".into()));
    assert!(
        the(&ran, "dns")["seen"].as_str().unwrap().contains("kube-system/kube-dns (10."),
        "{ran:?}"
    );
    cluster.add_pod("x/far", NODE, "10.9.0.1");
    let range = the(&check(&admin, NODE), "pod-range");
    assert_eq!(range["severity"], "warning");
    assert!(range["seen"].as_str().unwrap().contains("x/far (10.9.0.1)"), "{range:#}");

    let ran = check(&admin, "nowhere").exits(1);
    assert!(the(&ran, "node")["seen"].as_str().unwrap().contains("nowhere"), "{ran:?}");
    // A user without any role.
    let ran = check(&cluster.server.agent_kubeconfig(), NODE).exits(1);
    let permissions = the(&ran, "api-permissions");
    assert_eq!(permissions["severity"], "failure");
    assert!(permissions["seen"].as_str().unwrap().contains("list namespaces"), "{permissions:#}");
    let ran = check(std::path::Path::new("/nonexistent/kubeconfig"), NODE).exits(1);
    assert_eq!(the(&ran, "api")["severity"], "failure");
}
