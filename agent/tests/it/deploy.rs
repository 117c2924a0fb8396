//! What `deploy/` has for a cluster, against a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use palisade_lab::{ApiServer, Namespace};

use super::command::{Ran, finish};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// What stands in a text as `palisade_...` or `process_...`, without the endings that an exposition gives the parts of a histogram.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |word: &&str| word.starts_with("palisade_") || word.starts_with("process_");
    let words = text.split(|c| !is_of_name(c)).filter(is_name);
    words.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_documented() {
    let documents = read("docs/metrics.md");
    let documented = metrics(&documents);
    for file in ["deploy/monitoring/alerts.yaml", "deploy/monitoring/dashboard.json"] {
        let text = read(file);
        let named = metrics(&text);
        assert!(named.len() > 10, "{file} names {named:?} only");
        let unknown: Vec<_> = named.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which docs/metrics.md does not");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

/// An API server, and the namespace in which it is reached.
struct Cluster {
    namespace: Namespace,
    server: ApiServer,
}

impl Cluster {
    fn start() -> Self {
        let namespace = Namespace::new().expect("a namespace");
        let server = ApiServer::start(&namespace).expect("an API server");
        Self { namespace, server }
    }

    #[track_caller]
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.server.kubectl(arguments, "").expect("done")
    }

    /// Runs the helm that `deploy/chart/helm` builds.
    fn helm(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(root().join("deploy/chart/helm"));
        command.args(arguments).args(["--namespace", "kube-system"]).current_dir(root());
        command.env("KUBECONFIG", self.server.admin_kubeconfig());
        self.namespace.run(|| finish(command, "")).expect("entered")
    }
}

const CHART: &str = "deploy/chart/palisade";

#[test]
fn an_api_server_takes_every_object_and_helm_installs_flushes_and_removes_them() {
    let cluster = Cluster::start();
    let manifest = root().join("deploy/palisade.yaml").display().to_string();
    let flush = root().join("deploy/palisade-flush.yaml").display().to_string();
    let dry = ["apply", "--dry-run=server", "--validate=strict", "-f"];
    let taken = cluster.kubectl(&[&dry[..], &[&manifest]].concat());
    for object in [
        "serviceaccount/palisade created",
        "clusterrole.rbac.authorization.k8s.io/palisade created",
        "clusterrolebinding.rbac.authorization.k8s.io/palisade created",
        "daemonset.apps/palisade created",
    ] {
        assert!(taken.contains(&format!("{object} (server dry run)")), "{taken}");
    }
    assert_eq!(taken.lines().count(), 4, "{taken}");
    let taken = cluster.kubectl(&[&dry[..], &[&flush]].concat());
    assert_eq!(taken, "daemonset.apps/palisade created (server dry run)\n");
    let tests = cluster.helm(&["template", "palisade", CHART, "--show-only", "templates/tests/status.yaml"]);
    let pod = cluster.server.kubectl(&[&dry[..], &["-"]].concat(), &tests.exits(0).out);
    assert_eq!(pod.expect("taken"), "pod/palisade-test-status created (server dry run)\n");

    let what = |path: &str| cluster.kubectl(&["-n", "kube-system", "get", "daemonset", "palisade", "-o", path]);
    let notes = cluster.helm(&["install", "palisade", CHART]).exits(0).out;
    assert!(notes.contains("rollout status daemonset/palisade"), "{notes}");
    assert_eq!(what("jsonpath={.spec.template.spec.containers[*].args[0]}"), "run");
    cluster.helm(&["upgrade", "palisade", CHART, "--reuse-values", "--set", "flush=true"]).exits(0);
    assert_eq!(what("jsonpath={.spec.template.spec.initContainers[*].args}"), r#"["flush"]"#);
    assert_eq!(what("jsonpath={.spec.updateStrategy.rollingUpdate.maxUnavailable}"), "100%");
    cluster.helm(&["uninstall", "palisade"]).exits(0);
    let left = ["get", "clusterroles,clusterrolebindings,serviceaccounts,daemonsets", "-A", "-o", "name"];
    let left = cluster.kubectl(&left);
    assert!(!left.contains("/palisade"), "{left}");
}
