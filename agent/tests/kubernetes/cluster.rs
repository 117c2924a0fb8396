//! An API server and pods on one node, in network namespaces of a test's own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade::protocol::{State, Status};
use palisade_compiler::model::{Connection, Verdict};
use palisade_lab::{ApiServer, Host, Lab, LabSpec, Layout, MARKERS, Namespace};

use crate::command::{Agent, Ran, Scratch, finish, until};

/// The node that the agent is on.
pub(crate) const NODE: &str = "n1";
/// An address of the node, which its own pods must let in.
pub(crate) const NODE_ADDRESS: &str = "192.0.2.1";

/// An API server takes a processor while it starts, and some 400 MB: one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// The lab's machines are pods once a test writes them into the API server.
pub(crate) struct Cluster {
    pub(crate) lab: Arc<Lab>,
    pub(crate) server: ApiServer,
    _one: MutexGuard<'static, ()>,
}

impl Cluster {
    /// With the namespace `x`, the node, and machines of these names and addresses that are no pods yet.
    #[track_caller]
    pub(crate) fn new(machines: &[(&str, &str)]) -> Self {
        Self::with(machines, &[])
    }

    /// With flags for kube-apiserver.
    #[track_caller]
    pub(crate) fn with(machines: &[(&str, &str)], flags: &[&str]) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let host = |&(name, address): &(&str, &str)| Host {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
        };
        let mut spec = LabSpec::new(Layout::Routed, machines.iter().map(host).collect());
        spec.node.push(NODE_ADDRESS.parse().unwrap());
        let lab = Arc::new(Lab::new(&spec).expect("a lab"));
        let server = ApiServer::start_with(lab.node(), flags).expect("an API server");
        let cluster = Self { lab, server, _one: one };
        cluster.add_namespace("x");
        cluster.add_node(NODE, NODE_ADDRESS);
        cluster
    }

    /// With the namespace `x` and no nodes: the server is at this address, for nodes that a test connects to the lab's own node.
    #[track_caller]
    pub(crate) fn reached_at(address: Ipv4Addr) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spec = LabSpec::new(Layout::Routed, Vec::new());
        spec.node.push(address.into());
        let lab = Arc::new(Lab::new(&spec).expect("a lab"));
        let server = ApiServer::start_at(lab.node(), address, &[]).expect("an API server");
        let cluster = Self { lab, server, _one: one };
        cluster.add_namespace("x");
        cluster
    }

    pub(crate) fn node(&self) -> &Namespace {
        self.lab.node()
    }

    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        self.server.apply(manifest).expect("applied");
    }

    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.server.kubectl(arguments, "").expect("kubectl")
    }

    #[track_caller]
    pub(crate) fn add_namespace(&self, name: &str) {
        self.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"));
    }

    #[track_caller]
    pub(crate) fn add_node(&self, name: &str, address: &str) {
        self.apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n"));
        let patch = format!(
            r#"{{"status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}}]}}}}"#
        );
        let how = ["--subresource", "status", "--type", "merge", "-p", &patch];
        self.kubectl(&[&["patch", "node", name][..], &how].concat());
    }

    /// Gives a node the range that its pods' addresses are from.
    #[track_caller]
    pub(crate) fn set_pod_range(&self, node: &str, range: &str) {
        let patch = format!(r#"{{"spec":{{"podCIDRs":["{range}"],"podCIDR":"{range}"}}}}"#);
        self.kubectl(&["patch", "node", node, "--type", "merge", "-p", &patch]);
    }

    /// A pod that is bound to a node and has no address yet.
    #[track_caller]
    pub(crate) fn bind(&self, pod: &str, node: &str) {
        let (_, name) = pod.split_once('/').unwrap();
        self.bind_labelled(pod, node, &format!("app: {name}"));
    }

    /// As `bind`, with other labels, as in `app: a, role: client`.
    #[track_caller]
    pub(crate) fn bind_labelled(&self, pod: &str, node: &str, labels: &str) {
        let (namespace, name) = pod.split_once('/').unwrap();
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\n\
             metadata: {{namespace: {namespace}, name: {name}, labels: {{{labels}}}}}\n\
             spec: {{nodeName: {node}, containers: [{{name: c, image: none, ports: [{{name: web, containerPort: 80}}]}}]}}\n"
        ));
    }

    /// Gives a pod its phase and address, as its kubelet would.
    #[track_caller]
    pub(crate) fn set_status(&self, pod: &str, phase: &str, address: &str) {
        let (namespace, name) = pod.split_once('/').unwrap();
        let status = format!(
            r#"{{"phase":"{phase}","podIP":"{address}","podIPs":[{{"ip":"{address}"}}],"startTime":"2026-01-01T00:00:00Z"}}"#
        );
        self.server.patch_pod_status(namespace, name, &status).expect("patched");
    }

    /// A pod that runs.
    #[track_caller]
    pub(crate) fn add_pod(&self, pod: &str, node: &str, address: &str) {
        self.bind(pod, node);
        self.set_status(pod, "Running", address);
    }

    #[track_caller]
    pub(crate) fn delete_pod(&self, pod: &str) {
        let (namespace, name) = pod.split_once('/').unwrap();
        self.server.delete_pod(namespace, name).expect("deleted");
    }

    /// A policy in `x`; `spec` is written in one line.
    #[track_caller]
    pub(crate) fn add_policy(&self, name: &str, spec: &str) {
        self.apply(&crate::command::policy(name, spec));
    }

    pub(crate) fn palisade(&self, arguments: &[&str]) -> Command {
        palisade_in(self.node(), arguments)
    }

    #[track_caller]
    pub(crate) fn ran(&self, arguments: &[&str]) -> Ran {
        finish(self.palisade(arguments), "")
    }

    /// An agent that may do everything.
    pub(crate) fn agent(&self) -> Agent {
        self.agent_by(&self.server.admin_kubeconfig())
    }

    /// An agent whose tables belong to nobody, so that others can change them.
    pub(crate) fn agent_without_ownership(&self) -> Agent {
        let mut command = self.agent_command(&self.server.admin_kubeconfig());
        command.arg("--no-owner");
        Agent::start_by(command, Scratch::new(), None)
    }

    pub(crate) fn agent_by(&self, kubeconfig: &Path) -> Agent {
        Agent::start_by(self.agent_command(kubeconfig), Scratch::new(), None)
    }

    /// An agent on another node, in that node's namespace.
    pub(crate) fn agent_on(&self, node: &Namespace, name: &str) -> Agent {
        let kubeconfig = self.server.admin_kubeconfig();
        let kubeconfig = kubeconfig.to_str().unwrap();
        let arguments = ["run", "--kubeconfig", kubeconfig, "--node-name", name];
        Agent::start_by(palisade_in(node, &arguments), Scratch::new(), None)
    }

    /// What starts an agent, but for its socket.
    pub(crate) fn agent_command(&self, kubeconfig: &Path) -> Command {
        let kubeconfig = kubeconfig.to_str().unwrap();
        self.palisade(&["run", "--kubeconfig", kubeconfig, "--node-name", NODE])
    }

    /// Waits until the kernel holds what the objects of the server mean, as another process than the agent reads them.
    #[track_caller]
    pub(crate) fn until_enforced_as_the_server_says(&self) {
        let kinds = "namespaces,nodes,pods,networkpolicies,services,endpointslices";
        let verify = ["verify", "-f", "-", "--node-name", NODE, "--allow-source", MARKERS];
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let objects = self.kubectl(&["get", kinds, "--all-namespaces", "-o", "json"]);
            let ran = finish(self.palisade(&verify), &objects);
            if ran.exit == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "the kernel holds something else: {ran:?}");
        }
    }

    /// Whether the first packet of a connection arrives.
    #[track_caller]
    pub(crate) fn passes(&self, from: &str, to: &str, port: u16) -> bool {
        let verdicts = self.lab.probe(&[connection(from, to, port)]).expect("probed");
        verdicts == [Verdict::Allow]
    }

    /// Waits until the first packets of a connection pass, or do not.
    #[track_caller]
    pub(crate) fn until_passes(&self, from: &str, to: &str, port: u16, wanted: bool) {
        let what = format!("{from} -> {to}:{port} {}", if wanted { "passes" } else { "is denied" });
        until(&what, || self.passes(from, to, port) == wanted);
    }
}

fn palisade_in(namespace: &Namespace, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.path()));
    command.arg(env!("CARGO_BIN_EXE_palisade")).args(arguments);
    command
}

pub(crate) const A: &str = "10.0.0.1";
pub(crate) const B: &str = "10.0.0.2";
pub(crate) const C: &str = "10.0.0.3";

/// The machines `a`, `b` and `c` as pods: a may reach b, c may not. With flags for kube-apiserver.
#[track_caller]
pub(crate) fn guarded(flags: &[&str]) -> Cluster {
    guarded_among(&[], flags)
}

/// As `guarded`, with more machines as pods, which nothing isolates.
#[track_caller]
pub(crate) fn guarded_among(others: &[(&str, &str)], flags: &[&str]) -> Cluster {
    let pods = [&[("a", A), ("b", B), ("c", C)], others].concat();
    let cluster = Cluster::with(&pods, flags);
    for (name, address) in pods {
        cluster.add_pod(&format!("x/{name}"), NODE, address);
    }
    let allowed = "{podSelector: {matchLabels: {app: a}}}";
    let spec =
        format!("{{podSelector: {{matchLabels: {{app: b}}}}, ingress: [{{from: [{allowed}]}}]}}");
    cluster.add_policy("guard", &spec);
    cluster
}

pub(crate) fn connection(from: &str, to: &str, port: u16) -> Connection {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Connection { from: address(from), to: address(to), protocol: 6, port }
}

/// Waits until everything was listed and the kernel has it.
#[track_caller]
pub(crate) fn until_in_sync(agent: &Agent) -> Status {
    agent.until("enforcement in sync", |status| {
        let in_sync = status.kubernetes.as_ref().is_some_and(|it| it.in_sync);
        in_sync && status.state == State::Enforcing
    })
}
