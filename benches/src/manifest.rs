//! Writes objects of the model as JSON in the format of the API server.

use std::net::IpAddr;

use palisade_compiler::model::{
    ContainerPort, Labels, Namespace, Namespaces, Node, Operator, Peer, Peers, Pod, Policy,
    PolicyRule, PortMatch, PortSpec, Ports, Selector,
};
use serde_json::{Value, json};

fn labels_of(labels: &Labels) -> Value {
    labels.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect()
}

pub fn namespace(namespace: &Namespace) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": *namespace.name, "labels": labels_of(&namespace.labels)},
    })
}

pub fn node(node: &Node) -> Value {
    let address = |ip: &IpAddr| json!({"type": "InternalIP", "address": ip.to_string()});
    let addresses: Vec<Value> = node.addresses.iter().map(address).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": *node.name},
        "status": {"addresses": addresses},
    })
}

/// `host` has the addresses of the pod's node.
pub fn pod(pod: &Pod, host: &[IpAddr]) -> Value {
    let list =
        |ips: &[IpAddr]| -> Value { ips.iter().map(|ip| json!({"ip": ip.to_string()})).collect() };
    let first = |ips: &[IpAddr]| ips.first().map(ToString::to_string);
    let own: Vec<IpAddr> = pod.addresses.iter().collect();
    let port = |port: &ContainerPort| json!({"name": port.name.as_deref(), "containerPort": port.port, "protocol": port.protocol.to_string()});
    let ports: Vec<Value> = pod.ports.iter().map(port).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": *pod.name,
            "namespace": *pod.namespace,
            "uid": pod.uid.as_ref().map(ToString::to_string),
            "labels": labels_of(&pod.labels),
        },
        "spec": {
            "nodeName": pod.node.as_deref(),
            "hostNetwork": pod.host_network,
            "containers": [{"name": "main", "image": "registry.example/app:1", "ports": ports}],
        },
        "status": {
            "phase": format!("{:?}", pod.phase),
            "hostIP": first(host),
            "hostIPs": list(host),
            "podIP": first(&own),
            "podIPs": list(&own),
            "startTime": "2026-11-01T12:00:00Z",
        },
    })
}

pub fn policy(policy: &Policy) -> Value {
    let isolates = [(policy.isolates.ingress, "Ingress"), (policy.isolates.egress, "Egress")];
    let types: Vec<&str> = isolates.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    let rules = |rules: &[PolicyRule], peers: &str| -> Value {
        rules
            .iter()
            .map(|r| json!({(peers): peers_of(&r.peers), "ports": ports_of(&r.ports)}))
            .collect()
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": *policy.key.name, "namespace": *policy.key.namespace},
        "spec": {
            "podSelector": selector(&policy.subjects),
            "policyTypes": types,
            "ingress": rules(&policy.ingress, "from"),
            "egress": rules(&policy.egress, "to"),
        },
    })
}

fn peers_of(peers: &Peers) -> Value {
    match peers {
        Peers::Everyone => json!([]),
        Peers::AnyOf(peers) => peers.iter().map(peer).collect(),
    }
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            json!({"ipBlock": {"cidr": block.cidr.to_string(), "except": except}})
        }
        Peer::Pods { namespaces: Namespaces::Own, pods } => json!({"podSelector": selector(pods)}),
        Peer::Pods { namespaces: Namespaces::Selected(namespaces), pods } => {
            json!({"namespaceSelector": selector(namespaces), "podSelector": selector(pods)})
        }
    }
}

fn selector(selector: &Selector) -> Value {
    let requirements = selector.requirements.iter().map(|requirement| {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => ("In", values.as_slice()),
            Operator::NotIn(values) => ("NotIn", values.as_slice()),
            Operator::Exists => ("Exists", [].as_slice()),
            Operator::DoesNotExist => ("DoesNotExist", [].as_slice()),
        };
        let values: Vec<&str> = values.iter().map(|value| &**value).collect();
        json!({"key": *requirement.key, "operator": operator, "values": values})
    });
    json!({"matchExpressions": requirements.collect::<Vec<_>>()})
}

fn ports_of(ports: &Ports) -> Value {
    let one = |m: &PortMatch| match &m.port {
        PortSpec::Any => json!({"protocol": m.protocol.to_string()}),
        PortSpec::Range { first, last } => {
            json!({"protocol": m.protocol.to_string(), "port": first, "endPort": last})
        }
        PortSpec::Named(name) => json!({"protocol": m.protocol.to_string(), "port": **name}),
    };
    match ports {
        Ports::Every => json!([]),
        Ports::AnyOf(matches) => matches.iter().map(one).collect(),
    }
}
