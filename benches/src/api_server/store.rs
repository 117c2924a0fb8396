//! The present objects, and the events since the start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use palisade_compiler::model::{Namespace, Node, Pod, Policy};
use palisade_compiler::snapshot::{Change, ObjectKind};
use serde_json::{Value, json};

use super::resource::Resource;
use crate::manifest;

/// The key of an object. `namespace` is empty if the resource has no namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) resource: Resource,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

/// The objects of one resource, in all namespaces or in one.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub(super) resource: Resource,
    pub(super) namespace: Option<Arc<str>>,
}

impl Collection {
    fn has(&self, key: &Key) -> bool {
        self.resource == key.resource && self.namespace.as_ref().is_none_or(|n| *n == key.namespace)
    }
}

#[derive(Debug)]
struct Event {
    key: Key,
    /// The event as a line of a watch.
    line: Bytes,
}

/// Objects and events. Every change creates a new version, which lists and watches refer to.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Bytes>,
    /// The addresses of nodes, which are part of their pods' objects.
    hosts: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// The version before the first event.
    first: u64,
    events: Vec<Event>,
    /// For each resource that is being reset, the objects that were put since the reset began.
    resets: BTreeMap<Resource, BTreeSet<Key>>,
}

/// The requested version is too old or unknown, so the events after it are not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired;

impl Store {
    pub(super) fn new(objects: impl IntoIterator<Item = Change>) -> Self {
        let mut store = Self::default();
        objects.into_iter().for_each(|change| store.apply(change));
        store.first = store.version();
        store.events.clear();
        store
    }

    pub(super) fn version(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Bytes> {
        self.objects.get(key)
    }

    pub(super) fn list(&self, of: &Collection) -> impl Iterator<Item = &Bytes> {
        self.objects.iter().filter(|(key, _)| of.has(key)).map(|(_, object)| object)
    }

    /// The lines of a watch for the events after a version.
    pub(super) fn since(
        &self,
        version: u64,
        of: &Collection,
    ) -> Result<impl Iterator<Item = &Bytes>, Expired> {
        let at = version.checked_sub(self.first).ok_or(Expired)?;
        let at = usize::try_from(at).map_err(|_too_large| Expired)?;
        let events = self.events.get(at..).ok_or(Expired)?;
        Ok(events.iter().filter(|event| of.has(&event.key)).map(|event| &event.line))
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::ApplyNamespace(namespace) => self.put_namespace(&namespace),
            Change::DeleteNamespace(name) => self.remove(key(Resource::Namespaces, "", &name)),
            Change::ApplyNode(node) => self.put_node(node),
            Change::DeleteNode(name) => {
                self.hosts.remove(&name);
                self.remove(key(Resource::Nodes, "", &name));
            }
            Change::ApplyPod(pod) => self.put_pod(&pod),
            Change::DeletePod { namespace, name, .. } => {
                self.remove(key(Resource::Pods, &namespace, &name));
            }
            Change::ApplyPolicy(policy) => self.put_policy(&policy),
            Change::DeletePolicy(of) => {
                self.remove(key(Resource::NetworkPolicies, &of.namespace, &of.name));
            }
            Change::BeginReset(kind) => {
                if let Some(resource) = resource(kind) {
                    self.resets.insert(resource, BTreeSet::new());
                }
            }
            Change::Keep { kind, namespace, name } => {
                let listed = resource(kind).and_then(|it| Some((it, self.resets.get_mut(&it)?)));
                if let Some((resource, listed)) = listed {
                    listed.insert(key(resource, namespace.as_deref().unwrap_or_default(), &name));
                }
            }
            Change::EndReset(kind) => resource(kind).into_iter().for_each(|it| self.end_reset(it)),
            // The engines that are compared do not watch Services.
            Change::ApplyService(_)
            | Change::DeleteService { .. }
            | Change::ApplyEndpointSlice(_)
            | Change::DeleteEndpointSlice { .. } => {}
        }
    }

    fn put_namespace(&mut self, namespace: &Namespace) {
        let object = manifest::namespace(namespace);
        self.put(key(Resource::Namespaces, "", &namespace.name), object);
    }

    fn put_node(&mut self, node: Node) {
        self.put(key(Resource::Nodes, "", &node.name), manifest::node(&node));
        self.hosts.insert(node.name, node.addresses);
    }

    fn put_pod(&mut self, pod: &Pod) {
        let host = pod.node.as_ref().and_then(|node| self.hosts.get(node));
        let object = manifest::pod(pod, host.map_or(&[], Vec::as_slice));
        self.put(key(Resource::Pods, &pod.namespace, &pod.name), object);
    }

    fn put_policy(&mut self, policy: &Policy) {
        let of = key(Resource::NetworkPolicies, &policy.key.namespace, &policy.key.name);
        self.put(of, manifest::policy(policy));
    }

    /// Removes the objects that were not put since the reset began.
    fn end_reset(&mut self, resource: Resource) {
        let Some(put) = self.resets.remove(&resource) else { return };
        let all = self.objects.keys().filter(|key| key.resource == resource);
        let gone: Vec<Key> = all.filter(|key| !put.contains(key)).cloned().collect();
        for key in gone {
            if resource == Resource::Nodes {
                self.hosts.remove(&key.name);
            }
            self.remove(key);
        }
    }

    fn put(&mut self, key: Key, mut object: Value) {
        if let Some(put) = self.resets.get_mut(&key.resource) {
            put.insert(key.clone());
        }
        let verb = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.set_version(&mut object);
        let object = Bytes::from(object.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.events.push(Event { key, line: line(verb, &object) });
    }

    /// Removes an object. Does nothing if there is none.
    fn remove(&mut self, key: Key) {
        let Some(object) = self.objects.remove(&key) else { return };
        // The event of a deletion contains the object with the version of the deletion. The JSON was written by this store,
        // so parsing it does not fail.
        let mut last: Value = serde_json::from_slice(&object).unwrap_or_default();
        self.set_version(&mut last);
        self.events.push(Event { key, line: line("DELETED", &Bytes::from(last.to_string())) });
    }

    fn set_version(&self, object: &mut Value) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), (self.version() + 1).to_string().into());
        }
    }
}

/// The resource of a kind of object. `None` for kinds that no compared engine watches.
fn resource(kind: ObjectKind) -> Option<Resource> {
    match kind {
        ObjectKind::Namespace => Some(Resource::Namespaces),
        ObjectKind::Node => Some(Resource::Nodes),
        ObjectKind::Pod => Some(Resource::Pods),
        ObjectKind::Policy => Some(Resource::NetworkPolicies),
        ObjectKind::Service | ObjectKind::EndpointSlice => None,
    }
}

fn key(resource: Resource, namespace: &str, name: &str) -> Key {
    Key { resource, namespace: namespace.into(), name: name.into() }
}

/// One event of a watch, in the format that is sent.
pub(super) fn line(verb: &str, object: &Bytes) -> Bytes {
    let head = format!("{{\"type\":\"{verb}\",\"object\":");
    [head.as_bytes(), object, b"}\n"].concat().into()
}

/// The bookmark after the initial objects of a watch with `sendInitialEvents`.
pub(super) fn initial_end(resource: Resource, version: u64) -> Bytes {
    let object = json!({
        "kind": resource.kind(),
        "apiVersion": resource.api_version(),
        "metadata": {
            "resourceVersion": version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    });
    line("BOOKMARK", &Bytes::from(object.to_string()))
}
