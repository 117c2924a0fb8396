//! Writes each change on one line, for failure messages.

use std::fmt;

use crate::model::{
    Labels, Namespaces, Node, Operator, Peer, Peers, Pod, Policy, PolicyRule, PortSpec, Ports,
    Selector,
};
use crate::snapshot::Change;
use crate::testkit::Cluster;

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "  {}", show(change)))
    }
}

/// One change as one line of text.
pub fn show(change: &Change) -> String {
    let show_namespace = |n: &crate::model::Namespace| format!("{} {}", n.name, labels(&n.labels));
    match change {
        Change::ApplyNamespace(namespace) => format!("namespace {}", show_namespace(namespace)),
        Change::DeleteNamespace(name) => format!("delete namespace {name}"),
        Change::ApplyNode(node) => format!("node {}", show_node(node)),
        Change::DeleteNode(name) => format!("delete node {name}"),
        Change::ApplyPod(pod) => format!("pod {}", show_pod(pod)),
        Change::DeletePod { namespace, name, uid } => {
            format!("delete pod {namespace}/{name} uid {uid:?}")
        }
        Change::ApplyPolicy(policy) => format!("policy {}", show_policy(policy)),
        Change::DeletePolicy(key) => format!("delete policy {key}"),
        Change::BeginReset(kind) => format!("begin to list every {kind:?}"),
        Change::Keep { kind, namespace, name } => format!("keep {kind:?} {namespace:?} {name}"),
        Change::EndReset(kind) => format!("every {kind:?} was listed"),
        Change::ApplyService(service) => format!("service {}/{}", service.namespace, service.name),
        Change::DeleteService { namespace, name } => format!("delete service {namespace}/{name}"),
        Change::ApplyEndpointSlice(slice) => format!("slice {}/{}", slice.namespace, slice.name),
        Change::DeleteEndpointSlice { namespace, name } => {
            format!("delete slice {namespace}/{name}")
        }
    }
}

fn labels(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn show_node(node: &Node) -> String {
    format!("{} {:?}", node.name, node.addresses)
}

fn show_pod(pod: &Pod) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}/{} {}", pod.namespace, pod.name, labels(&pod.labels));
    for address in pod.addresses.iter() {
        let _ = write!(text, " {address}");
    }
    let _ = write!(text, " {:?}", pod.phase);
    if let Some(node) = &pod.node {
        let _ = write!(text, " on {node}");
    }
    for (is, word) in [(pod.host_network, " host"), (pod.containers_gone, " gone")] {
        text.push_str(if is { word } else { "" });
    }
    if let Some(started) = pod.started {
        let _ = write!(text, " started {started}");
    }
    if let Some(uid) = &pod.uid {
        let _ = write!(text, " uid {uid}");
    }
    for port in pod.ports.iter() {
        let name = port.name.as_deref().unwrap_or("?");
        let _ = write!(text, " {name}={}/{}", port.protocol, port.port);
    }
    text
}

fn show_policy(policy: &Policy) -> String {
    let mut text = format!("{} selects ({})", policy.key, selector(&policy.subjects));
    for (isolates, word, rules) in [
        (policy.isolates.ingress, "ingress", &policy.ingress),
        (policy.isolates.egress, "egress", &policy.egress),
    ] {
        if isolates || !rules.is_empty() {
            let rules: Vec<_> = rules.iter().map(show_rule).collect();
            let word = if isolates { word.into() } else { format!("({word})") };
            text.push_str(&format!(" {word} [{}]", rules.join("; ")));
        }
    }
    text
}

fn selector(selector: &Selector) -> String {
    let parts: Vec<_> = selector
        .requirements
        .iter()
        .map(|requirement| {
            let key = &requirement.key;
            match &requirement.operator {
                Operator::In(values) => format!("{key} in ({})", values.join(",")),
                Operator::NotIn(values) => format!("{key} notin ({})", values.join(",")),
                Operator::Exists => key.to_string(),
                Operator::DoesNotExist => format!("!{key}"),
            }
        })
        .collect();
    parts.join(",")
}

fn show_rule(rule: &PolicyRule) -> String {
    let peers = match &rule.peers {
        Peers::Everyone => "everyone".into(),
        Peers::AnyOf(peers) => peers.iter().map(show_peer).collect::<Vec<_>>().join(" | "),
    };
    let ports = match &rule.ports {
        Ports::Every => "everything".into(),
        Ports::AnyOf(ports) => {
            let port = |port: &PortSpec| match port {
                PortSpec::Any => "*".into(),
                PortSpec::Range { first, last } if first == last => first.to_string(),
                PortSpec::Range { first, last } => format!("{first}-{last}"),
                PortSpec::Named(name) => name.to_string(),
            };
            let ports: Vec<_> =
                ports.iter().map(|p| format!("{}/{}", p.protocol, port(&p.port))).collect();
            ports.join(",")
        }
    };
    format!("{peers} on {ports}")
}

fn show_peer(peer: &Peer) -> String {
    match peer {
        Peer::Pods { namespaces: Namespaces::Own, pods } => format!("pods ({})", selector(pods)),
        Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods } => {
            format!("pods ({}) of ({})", selector(pods), selector(namespaces))
        }
        Peer::Block(block) => {
            let except: Vec<_> = block.except.iter().map(ToString::to_string).collect();
            format!("{} except [{}]", block.cidr, except.join(","))
        }
    }
}
