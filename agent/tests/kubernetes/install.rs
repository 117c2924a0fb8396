//! What `deploy/` gives to a cluster: the API server takes it, and an agent that has no more than it grants enforces.

use std::fs;
use std::path::Path;
use std::process::Command;

use palisade::http::DEFAULT;
use palisade::protocol::State;

use crate::cluster::{Cluster, NODE, until_in_sync};
use crate::command::{Agent, Ran, Scratch, finish};
use crate::scrape;

const CHART: &str = "deploy/chart/palisade";
const DRY_RUN: [&str; 4] = ["apply", "--dry-run=server", "--validate=strict", "-f"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn path(file: &str) -> String {
    root().join(file).display().to_string()
}

/// Runs the helm that `deploy/chart/helm` builds, as the administrator.
fn helm(cluster: &Cluster, arguments: &[&str]) -> Ran {
    let mut command = Command::new(root().join("deploy/chart/helm"));
    command.args(arguments).args(["--namespace", "kube-system"]).current_dir(root());
    command.env("KUBECONFIG", cluster.server.admin_kubeconfig());
    cluster.node().run(|| finish(command, "")).unwrap()
}

#[test]
fn the_server_takes_every_object_and_helm_installs_flushes_and_removes_them() {
    let cluster = Cluster::new(&[]);
    let taken = cluster.kubectl(&[&DRY_RUN[..], &[&path("deploy/palisade.yaml")]].concat());
    for object in [
        "serviceaccount/palisade",
        "clusterrole.rbac.authorization.k8s.io/palisade",
        "clusterrolebinding.rbac.authorization.k8s.io/palisade",
        "daemonset.apps/palisade",
    ] {
        assert!(taken.contains(&format!("{object} created (server dry run)\n")), "{taken}");
    }
    assert_eq!(taken.lines().count(), 4, "{taken}");
    let taken = cluster.kubectl(&[&DRY_RUN[..], &[&path("deploy/palisade-flush.yaml")]].concat());
    assert_eq!(taken, "daemonset.apps/palisade created (server dry run)\n");
    let test = ["template", "palisade", CHART, "--show-only", "templates/tests/status.yaml"];
    let pod = helm(&cluster, &test).exits(0).out;
    let taken = cluster.server.kubectl(&[&DRY_RUN[..], &["-"]].concat(), &pod).unwrap();
    assert_eq!(taken, "pod/palisade-test-status created (server dry run)\n");

    let field = |field: &str| {
        let field = format!("jsonpath={{.spec.{field}}}");
        cluster.kubectl(&["-n", "kube-system", "get", "daemonset", "palisade", "-o", &field])
    };
    let notes = helm(&cluster, &["install", "palisade", CHART]).exits(0).out;
    assert!(notes.contains("rollout status daemonset/palisade"), "{notes}");
    assert_eq!(field("template.spec.containers[*].args[0]"), "run");
    let flush = ["upgrade", "palisade", CHART, "--reset-then-reuse-values", "--set", "flush=true"];
    helm(&cluster, &flush).exits(0);
    assert_eq!(field("template.spec.initContainers[*].args"), r#"["flush"]"#);
    assert_eq!(field("updateStrategy.rollingUpdate.maxUnavailable"), "100%");
    helm(&cluster, &["uninstall", "palisade"]).exits(0);
    let kinds = "clusterroles,clusterrolebindings,serviceaccounts,daemonsets";
    let left = cluster.kubectl(&["get", kinds, "--all-namespaces", "-o", "name"]);
    assert!(!left.contains("/palisade"), "{left}");
}

/// Runs a program as the DaemonSet's container is run: a service account where pods have it, nothing of the host's names and
/// authorities, CAP_NET_ADMIN only, no new privileges.
const CONTAINER: &str = r#"
set -eu
mount -t tmpfs tmpfs /run
account=/run/secrets/kubernetes.io/serviceaccount
mkdir -p "$account"
[ "$(realpath /var/run)" = /run ]
cp "$AUTHORITY" "$account/ca.crt"
printf %s "$TOKEN" >"$account/token"
printf kube-system >"$account/namespace"
if [ -d /etc/ssl ]; then mount -t tmpfs tmpfs /etc/ssl; fi
mount --bind /dev/null /etc/resolv.conf
exec setpriv --bounding-set=-all,+net_admin --inh-caps=-all --no-new-privs "$@"
"#;
/// The mask of CAP_NET_ADMIN, as in proc(5).
const NET_ADMIN: &str = "0000000000001000";

#[test]
fn an_agent_with_what_the_daemonset_grants_enforces_and_reports() {
    let cluster = Cluster::new(&[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    cluster.kubectl(&["apply", "-f", &path("deploy/palisade.yaml")]);
    cluster.add_pod("x/a", NODE, "10.0.0.1");
    cluster.add_pod("x/b", NODE, "10.0.0.2");
    cluster.add_policy("alone", "{podSelector: {matchLabels: {app: b}}, policyTypes: [Ingress]}");

    let kubeconfig = fs::read_to_string(cluster.server.agent_kubeconfig()).unwrap();
    let between = |before: &str, after: char| {
        let (_, rest) = kubeconfig.split_once(before).unwrap();
        rest.split(after).next().unwrap().to_owned()
    };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", cluster.node().path()));
    command.args(["unshare", "--mount", "sh", "-c", CONTAINER, "container"]);
    command.args([env!("CARGO_BIN_EXE_palisade"), "run", "--node-name", NODE]);
    command.env("AUTHORITY", between("certificate-authority: \"", '"'));
    command.env("TOKEN", between("token: ", '}'));
    let (_, port) =
        cluster.server.url().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", port);
    let agent = Agent::start_by(command, Scratch::new(), None);
    let status = until_in_sync(&agent);
    assert_eq!((status.state, status.sizes.local_pods), (State::Enforcing, 2));
    assert!(!cluster.passes("10.0.0.1", "10.0.0.2", 80));
    assert!(cluster.passes("10.0.0.2", "10.0.0.1", 80));
    agent.verify();

    let proc = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    for line in ["CapEff", "CapPrm", "CapBnd"].map(|set| format!("{set}:\t{NET_ADMIN}\n")) {
        assert!(proc.contains(&line), "no {line:?} in {proc}");
    }
    let watches = &status.kubernetes.as_ref().unwrap().watches;
    let refused: Vec<_> = watches.iter().filter(|watch| !watch.is_permitted).collect();
    assert!(refused.is_empty(), "the ClusterRole lacks {refused:?}");
    let (code, _, text) = scrape::get(&cluster.node().path(), DEFAULT, "/readyz").unwrap();
    assert_eq!((code, text.lines().next()), (200, Some("ready")));
}
