//! The requests that write a scenario's cluster, and each of its edits, into an API server.

use std::net::IpAddr;

use palisade_compiler::model::{Pod, PolicyKey};
use palisade_compiler::snapshot::Change;
use palisade_lab::{ApiClient, LabError, Write};
use serde_json::{Value, json};

use super::{Edit, EditKind, Scenario};
use crate::manifest;

/// The requests of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditWrites {
    /// Precedes the edit and changes no verdict: a pod is created before it has an address.
    pub before: Option<Write>,
    /// Makes the edit.
    pub edit: Write,
}

/// An object of the API, whose status is written by a request of its own, as by a kubelet.
struct Object {
    path: String,
    json: Value,
    status: Option<Value>,
}

impl Object {
    fn new(path: String, mut json: Value) -> Self {
        let status = json.as_object_mut().and_then(|fields| fields.remove("status"));
        Self { path, json, status }
    }

    fn apply(&self) -> Write {
        Write::apply(&self.path, self.json.to_string())
    }

    fn patch_status(&self) -> Option<Write> {
        let status = self.status.as_ref()?;
        Some(Write::patch(format!("{}/status", self.path), json!({"status": status}).to_string()))
    }
}

fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

fn policy_path(PolicyKey { namespace, name }: &PolicyKey) -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}")
}

/// Whether it can be written only after the namespaces.
fn is_in_namespace(change: &Change) -> bool {
    matches!(change, Change::ApplyPod(_) | Change::ApplyPolicy(_))
}

impl Scenario {
    /// Writes the whole cluster, its nodes included, into an API server that has none of its objects.
    ///
    /// # Errors
    /// As [`ApiClient::write_all`].
    pub fn write_to(&self, client: &ApiClient) -> Result<(), LabError> {
        let nodes = self.nodes().into_iter().map(Change::ApplyNode);
        let changes: Vec<Change> = nodes.chain(self.changes()).collect();
        let objects = |in_namespace| {
            let some = changes.iter().filter(move |change| is_in_namespace(change) == in_namespace);
            some.filter_map(|change| self.object(change))
        };
        client.write_all(objects(false).map(|object| object.apply()))?;
        client.write_all(objects(true).map(|object| object.apply()))?;
        let all = objects(false).chain(objects(true));
        client.write_all(all.filter_map(|object| object.patch_status()))
    }

    /// The requests that make an edit of this scenario. `None` if it is of a kind that scenarios do not have.
    pub fn writes(&self, edit: &Edit) -> Option<EditWrites> {
        let (before, edit) = match (&edit.change, edit.kind) {
            (Change::DeletePod { namespace, name, .. }, _) => {
                (None, Write::delete(pod_path(namespace, name)))
            }
            (Change::DeletePolicy(key), _) => (None, Write::delete(policy_path(key))),
            (change, EditKind::PodBorn | EditKind::LocalPodBorn) => {
                let pod = self.object(change)?;
                (Some(pod.apply()), pod.patch_status()?)
            }
            (change, _) => (None, self.object(change)?.apply()),
        };
        Some(EditWrites { before, edit })
    }

    fn object(&self, change: &Change) -> Option<Object> {
        let (path, json) = match change {
            Change::ApplyNamespace(namespace) => {
                let path = format!("/api/v1/namespaces/{}", namespace.name);
                (path, manifest::namespace(namespace))
            }
            Change::ApplyNode(node) => {
                (format!("/api/v1/nodes/{}", node.name), manifest::node(node))
            }
            Change::ApplyPod(pod) => {
                let json = manifest::pod(pod, &self.host_addresses(pod));
                (pod_path(&pod.namespace, &pod.name), json)
            }
            Change::ApplyPolicy(policy) => (policy_path(&policy.key), manifest::policy(policy)),
            _ => return None,
        };
        Some(Object::new(path, json))
    }

    /// The addresses of the pod's node.
    fn host_addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        let number = pod.node.as_deref().and_then(|node| node.strip_prefix("node-")?.parse().ok());
        number.map_or_else(Vec::new, |number| self.node_addresses(number))
    }
}
