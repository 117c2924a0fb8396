//! The namespaces that have a pod on this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_compiler::snapshot::Change;

use crate::sources::object::ObjectKey;

#[derive(Debug)]
pub(super) struct LocalNamespaces {
    node: String,
    /// The pods of the node, with their namespaces.
    pods: BTreeMap<ObjectKey, Arc<str>>,
}

impl LocalNamespaces {
    pub(super) fn new(node: String) -> Self {
        Self { node, pods: BTreeMap::new() }
    }

    /// Takes in what happened to an object; returns the namespace that has a pod here since.
    pub(super) fn take(&mut self, key: &ObjectKey, change: &Change) -> Option<Arc<str>> {
        match change {
            Change::ApplyPod(pod) if pod.node.as_deref() == Some(&self.node) => {
                let is_new = !self.has(&pod.namespace);
                self.pods.insert(key.clone(), Arc::clone(&pod.namespace));
                is_new.then(|| Arc::clone(&pod.namespace))
            }
            Change::ApplyPod(_) | Change::DeletePod { .. } => {
                self.pods.remove(key);
                None
            }
            _ => None,
        }
    }

    /// All pods are listed anew.
    pub(super) fn clear(&mut self) {
        self.pods.clear();
    }

    pub(super) fn has(&self, namespace: &str) -> bool {
        self.pods.values().any(|of| &**of == namespace)
    }
}
