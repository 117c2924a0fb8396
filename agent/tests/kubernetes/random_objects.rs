//! Random changes of namespaces, pods and policies, of which the API server takes every one.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use palisade_lab::Write;
use serde_json::{Value, json};

use crate::cluster::NODE;

const NAMESPACES: u8 = 3;
const PODS: u8 = 12;
const POLICIES: u8 = 5;
/// Addresses that pods get and leave to others: fewer than there may be pods, so that they come back soon.
const ADDRESSES: u8 = 8;
const APPS: u8 = 3;

/// Objects that were made, in namespaces `z0` and so on, which `create_namespaces` makes.
pub(crate) struct RandomObjects {
    random: Rng,
    /// The addresses of pods, where they have one.
    pods: BTreeMap<u8, Option<u8>>,
    policies: BTreeSet<u8>,
}

impl RandomObjects {
    pub(crate) fn new(random: Rng) -> Self {
        Self { random, pods: BTreeMap::new(), policies: BTreeSet::new() }
    }

    pub(crate) fn create_namespaces() -> impl Iterator<Item = Write> + Send {
        (0..NAMESPACES).map(|number| {
            Write::create(
                "/api/v1/namespaces",
                json!({"metadata": {"name": format!("z{number}")}}).to_string(),
            )
        })
    }

    /// The next change.
    pub(crate) fn change(&mut self) -> Write {
        match self.random.u8(0..10) {
            0 => self.label_namespace(),
            1..4 => self.change_policy(),
            _ => self.change_pod(),
        }
    }

    /// Removes the pods that have no address yet.
    pub(crate) fn remove_unborn(&mut self) -> Vec<Write> {
        let unborn = self.pods.iter().filter(|(_, address)| address.is_none());
        unborn.map(|(&pod, _)| Write::delete(pod_path(pod))).collect()
    }

    fn label_namespace(&mut self) -> Write {
        let namespace = self.random.u8(0..NAMESPACES);
        let labels = json!({"metadata": {"labels": {"team": self.team()}}});
        Write::patch(format!("/api/v1/namespaces/z{namespace}"), labels.to_string())
    }

    fn change_pod(&mut self) -> Write {
        let pod = self.random.u8(0..PODS);
        let (path, app) = (pod_path(pod), self.app());
        let free = self.free_address();
        match (self.pods.get(&pod).copied(), free) {
            (None, _) => {
                self.pods.insert(pod, None);
                let node = if self.random.bool() { NODE } else { "n2" };
                let object = json!({
                    "metadata": {"name": format!("p{pod}"), "labels": {"app": app}},
                    "spec": {"nodeName": node, "containers": [{"name": "c", "image": "none"}]},
                });
                let (collection, _) = path.rsplit_once('/').unwrap();
                Write::create(collection, object.to_string())
            }
            (Some(None), Some(address)) => {
                self.pods.insert(pod, Some(address));
                let address = format!("10.0.1.{}", address + 1);
                let status = json!({"status": {
                    "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": "2026-01-01T00:00:00Z",
                }});
                Write::patch(format!("{path}/status"), status.to_string())
            }
            (Some(Some(_)), _) if self.random.bool() => {
                self.pods.remove(&pod);
                Write::delete(path)
            }
            (Some(_), _) => {
                Write::patch(path, json!({"metadata": {"labels": {"app": app}}}).to_string())
            }
        }
    }

    fn free_address(&mut self) -> Option<u8> {
        let taken: BTreeSet<u8> = self.pods.values().copied().flatten().collect();
        let free: Vec<u8> = (0..ADDRESSES).filter(|address| !taken.contains(address)).collect();
        self.random.choice(free)
    }

    fn change_policy(&mut self) -> Write {
        let policy = self.random.u8(0..POLICIES);
        let (namespace, name) = (policy % NAMESPACES, format!("r{policy}"));
        let path =
            format!("/apis/networking.k8s.io/v1/namespaces/z{namespace}/networkpolicies/{name}");
        if self.policies.contains(&policy) && self.random.u8(0..3) == 0 {
            self.policies.remove(&policy);
            return Write::delete(path);
        }
        self.policies.insert(policy);
        let types: &[&str] = match self.random.u8(0..3) {
            0 => &["Ingress"],
            1 => &["Egress"],
            _ => &["Ingress", "Egress"],
        };
        let mut spec =
            json!({"podSelector": {"matchLabels": {"app": self.app()}}, "policyTypes": types});
        for (direction, field, peers) in
            [("Ingress", "ingress", "from"), ("Egress", "egress", "to")]
        {
            if types.contains(&direction) {
                spec[field] = json!([{peers: [self.peer()], "ports": [{"port": 80 + u16::from(self.random.u8(0..3))}]}]);
            }
        }
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec,
        });
        Write::apply(path, object.to_string())
    }

    fn peer(&mut self) -> Value {
        match self.random.u8(0..3) {
            0 => json!({"podSelector": {"matchLabels": {"app": self.app()}}}),
            1 => json!({"namespaceSelector": {"matchLabels": {"team": self.team()}}}),
            _ => json!({"ipBlock": {"cidr": format!("10.0.1.{}/30", self.random.u8(0..3) * 4)}}),
        }
    }

    fn app(&mut self) -> String {
        format!("app{}", self.random.u8(0..APPS))
    }

    fn team(&mut self) -> String {
        format!("team{}", self.random.u8(0..2))
    }
}

/// In the namespace that pods of this number are in.
fn pod_path(pod: u8) -> String {
    format!("/api/v1/namespaces/z{}/pods/p{pod}", pod % NAMESPACES)
}
