//! Writes a cluster of 100,000 pods and 10,000 policies as manifests, the input of the agent's figures:
//! `cargo run --release -p palisade-benches --example manifests -- DIRECTORY [PODS [POLICIES]]`. The node is `node-0`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use palisade_benches::{Shape, Universe};
use palisade_compiler::model::{
    Labels, Namespaces, Operator, Peer, Peers, Pod, Policy, PolicyRule, PortMatch, PortSpec, Ports,
    Selector,
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("name a directory to write into")?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let universe = Universe::new(number(100_000)?, number(10_000)?, Shape::Apps);
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)?;
    let pods = (0..universe.pods).map(|i| pod(i, &universe.pod(i)));
    write_list(&directory.join("pods.json"), pods)?;
    let spaces = (0..universe.namespaces).map(|n| universe.namespace(n)).map(|namespace| {
        let metadata = json!({"name": *namespace.name, "labels": labels(&namespace.labels)});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    });
    let policies = (0..universe.policies).map(|k| policy(&universe.policy(k)));
    write_list(&directory.join("policies.json"), spaces.chain(policies))?;
    Ok(())
}

fn write_list(path: &Path, items: impl Iterator<Item = Value>) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    write!(file, r#"{{"apiVersion":"v1","kind":"List","items":["#)?;
    for (at, item) in items.enumerate() {
        file.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut file, &item)?;
    }
    writeln!(file, "]}}")?;
    file.flush()?;
    Ok(())
}

fn labels(labels: &Labels) -> Value {
    labels.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect()
}

fn pod(i: usize, pod: &Pod) -> Value {
    let ip = pod.addresses.v4.map(|ip| ip.to_string());
    let ports: Vec<Value> = pod
        .ports
        .iter()
        .map(|port| {
            let protocol = port.protocol.to_string();
            json!({"name": *port.name, "containerPort": port.port, "protocol": protocol})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": *pod.name,
            "namespace": *pod.namespace,
            "uid": format!("{:08x}-7a3c-4f1e-9b2d-{i:012x}", i.wrapping_mul(2_654_435_761) & 0xffff_ffff),
            "labels": labels(&pod.labels),
        },
        "spec": {
            "nodeName": pod.node.as_deref(),
            "containers": [{"name": "main", "image": "registry.example/app:1", "ports": ports}],
        },
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-11-01T12:00:00Z"},
    })
}

fn policy(policy: &Policy) -> Value {
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
