//! The whole input at one moment, and the edits that move it on.
//!
//! `Snapshot` holds what there is; `Change` is one edit; `apply` returns what the edit touched, so that the compile looks at
//! nothing else. Order does not matter: the same objects give the same snapshot, whatever the history.

mod change;
mod label_index;
mod namespaces;
mod owners;
mod reset;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::compact::grow_slowly;
use crate::intern::Interner;
use crate::model::{EndpointSlice, Namespace, Node, Pod, Policy, PolicyKey, Service};
pub use change::{Change, ObjectKind};
use namespaces::NamespaceTable;
pub use namespaces::UndeclaredNamespaces;
use owners::AddressOwners;
use reset::Resets;
use services::Services;

/// A pod's place in its snapshot, reused after the pod is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub(crate) u32);

/// What an edit touched: a superset of what changed meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Pods that came, went or changed in anything. An id may have passed to another pod.
    pub(crate) pods: BTreeSet<PodId>,
    /// Namespaces whose labels changed, that came or went.
    pub(crate) namespaces: BTreeSet<Arc<str>>,
    pub(crate) policies: BTreeSet<PolicyKey>,
    /// Addresses whose owner may be another.
    pub(crate) addresses: BTreeSet<IpAddr>,
}

/// Namespaces, nodes, pods and policies, each string and label set held once, with the indexes that the compile needs.
#[derive(Debug, Default)]
pub struct Snapshot {
    interner: Interner,
    namespaces: NamespaceTable,
    nodes: BTreeMap<Arc<str>, Node>,
    policies: BTreeMap<PolicyKey, Arc<Policy>>,
    pods: Vec<Option<Pod>>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    by_name: HashTable<u32>,
    owners: AddressOwners,
    resets: Resets,
    /// For explanations; no verdict depends on them.
    services: Services,
}

impl Snapshot {
    /// Empty; namespaces that are only named are implied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty; namespaces that are only named are what the mode says.
    pub fn with_undeclared(undeclared: UndeclaredNamespaces) -> Self {
        Self { namespaces: NamespaceTable::new(undeclared), ..Self::default() }
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter()
    }

    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// The namespaces that carry the label.
    pub(crate) fn namespaces_labelled(
        &self,
        label: &(Arc<str>, Arc<str>),
    ) -> impl Iterator<Item = &Namespace> {
        self.namespaces.labelled(label)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(key)
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.all()
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.named(namespace, name)
    }

    /// The Services that clients reach by this address.
    pub fn services_at(&self, address: IpAddr) -> impl Iterator<Item = &Service> {
        self.services.at(address)
    }

    pub fn endpoint_slice(&self, namespace: &str, name: &str) -> Option<&EndpointSlice> {
        self.services.slice_named(namespace, name)
    }

    pub fn endpoint_slices_of(&self, service: &Service) -> impl Iterator<Item = &EndpointSlice> {
        self.services.slices_of(service)
    }

    /// In no particular order.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().flatten()
    }

    pub fn pod_named(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pod_id(namespace, name).and_then(|id| self.pod(id))
    }

    /// The pod that an address belongs to: of those with identity that claim it, the one of highest precedence.
    pub fn owner(&self, address: IpAddr) -> Option<&Pod> {
        self.owners.get(address).and_then(|id| self.pod(id))
    }

    /// Addresses that more than one pod claims.
    pub fn contested_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.owners.contested()
    }

    pub fn namespace_count(&self) -> usize {
        self.namespaces.len()
    }

    pub fn policy_count(&self) -> usize {
        self.policies.len()
    }

    pub fn pod_count(&self) -> usize {
        self.pods.len() - self.free.len()
    }

    pub(crate) fn pod(&self, id: PodId) -> Option<&Pod> {
        self.pods.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn pod_id(&self, namespace: &str, name: &str) -> Option<PodId> {
        let hash = self.hasher.hash_one((namespace, name));
        self.by_name
            .find(hash, |&id| {
                self.pod(PodId(id)).is_some_and(|p| &*p.namespace == namespace && &*p.name == name)
            })
            .map(|&id| PodId(id))
    }

    pub(crate) fn owner_id(&self, address: IpAddr) -> Option<PodId> {
        self.owners.get(address)
    }

    /// Whether an address is one of the node that the pod is bound to: a Node object's, or that of a pod on its host's
    /// network there.
    pub(crate) fn is_own_node(&self, pod: &Pod, address: IpAddr) -> bool {
        let Some(name) = &pod.node else { return false };
        let of_node = self.nodes.get(name).is_some_and(|node| node.addresses.contains(&address));
        let mut hosts = self.owners.hosts(address).filter_map(|id| self.pod(id));
        of_node || hosts.any(|host| host.node.as_ref() == Some(name))
    }

    /// What edits that lead here from nothing touch.
    pub(crate) fn everything(&self) -> Touched {
        let ids = (0_u32..).zip(&self.pods).filter(|(_, pod)| pod.is_some());
        Touched {
            pods: ids.map(|(id, _)| PodId(id)).collect(),
            namespaces: self.namespaces.names().cloned().collect(),
            policies: self.policies.keys().cloned().collect(),
            addresses: self.pods().flat_map(|pod| pod.addresses.iter()).collect(),
        }
    }

    /// Applies an edit; the result of a whole batch is one `Touched`. For callers that keep no compile beside it.
    pub fn apply(&mut self, change: Change) {
        self.apply_touching(change, &mut Touched::default());
    }

    pub(crate) fn apply_touching(&mut self, change: Change, touched: &mut Touched) {
        match change {
            Change::ApplyNamespace(namespace) => self.apply_namespace(namespace, touched),
            Change::DeleteNamespace(name) => self.delete_namespace(&name, touched),
            Change::ApplyNode(node) => self.apply_node(node),
            Change::DeleteNode(name) => _ = self.nodes.remove(&name),
            Change::ApplyPod(pod) => self.apply_pod(pod, touched),
            Change::DeletePod { namespace, name, uid } => {
                if let Some(id) = self.pod_id(&namespace, &name)
                    && (uid.is_none() || self.pod(id).is_some_and(|pod| pod.uid == uid))
                {
                    self.remove_pod(id, touched);
                }
            }
            Change::ApplyPolicy(policy) => self.apply_policy(policy, touched),
            Change::DeletePolicy(key) => self.delete_policy(&key, touched),
            Change::ApplyService(service) => self.services.apply(service),
            Change::DeleteService { namespace, name } => self.services.delete(&namespace, &name),
            Change::ApplyEndpointSlice(slice) => self.services.apply_slice(slice),
            Change::DeleteEndpointSlice { namespace, name } => {
                self.services.delete_slice(&namespace, &name);
            }
            Change::BeginReset(kind) => self.resets.begin(kind),
            Change::EndReset(kind) => self.end_reset(kind, touched),
        }
    }

    /// Deletes what was not applied since the reset of this kind began.
    fn end_reset(&mut self, kind: ObjectKind, touched: &mut Touched) {
        match kind {
            ObjectKind::Namespace => {
                let Some(applied) = self.resets.namespaces.take() else { return };
                let declared = self.namespaces.declared();
                let gone: Vec<_> = declared.filter(|n| !applied.contains(*n)).cloned().collect();
                gone.iter().for_each(|name| self.delete_namespace(name, touched));
            }
            ObjectKind::Node => {
                let Some(applied) = self.resets.nodes.take() else { return };
                self.nodes.retain(|name, _| applied.contains(name));
            }
            ObjectKind::Pod => {
                let Some(applied) = self.resets.pods.take() else { return };
                let there = (0_u32..).zip(&self.pods).filter(|(_, pod)| pod.is_some());
                let ids = there.map(|(id, _)| PodId(id));
                let gone: Vec<_> = ids.filter(|id| !applied.contains(id)).collect();
                gone.into_iter().for_each(|id| self.remove_pod(id, touched));
            }
            ObjectKind::Policy => {
                let Some(applied) = self.resets.policies.take() else { return };
                let keys = self.policies.keys();
                let gone: Vec<_> = keys.filter(|key| !applied.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.delete_policy(key, touched));
            }
        }
    }

    fn apply_namespace(&mut self, namespace: Namespace, touched: &mut Touched) {
        if let Some(applied) = &mut self.resets.namespaces {
            applied.insert(Arc::clone(&namespace.name));
        }
        touched.namespaces.extend(self.namespaces.apply(namespace, &mut self.interner));
    }

    fn delete_namespace(&mut self, name: &str, touched: &mut Touched) {
        touched.namespaces.extend(self.namespaces.delete(name, &mut self.interner));
    }

    fn reference_namespace(&mut self, name: &Arc<str>, touched: &mut Touched) {
        if self.namespaces.reference(name, &mut self.interner) {
            touched.namespaces.insert(Arc::clone(name));
        }
    }

    fn release_namespace(&mut self, name: &Arc<str>, touched: &mut Touched) {
        if self.namespaces.release(name) {
            touched.namespaces.insert(Arc::clone(name));
        }
    }

    fn apply_node(&mut self, node: Node) {
        if let Some(applied) = &mut self.resets.nodes {
            applied.insert(Arc::clone(&node.name));
        }
        self.nodes.insert(Arc::clone(&node.name), node);
    }

    fn apply_policy(&mut self, mut policy: Policy, touched: &mut Touched) {
        self.interner.policy(&mut policy);
        if let Some(applied) = &mut self.resets.policies {
            applied.insert(policy.key.clone());
        }
        match self.policies.get(&policy.key) {
            Some(old) if **old == policy => return,
            Some(_) => {}
            None => self.reference_namespace(&policy.key.namespace, touched),
        }
        touched.policies.insert(policy.key.clone());
        self.policies.insert(policy.key.clone(), Arc::new(policy));
    }

    fn delete_policy(&mut self, key: &PolicyKey, touched: &mut Touched) {
        if self.policies.remove(key).is_some() {
            touched.policies.insert(key.clone());
            self.release_namespace(&key.namespace, touched);
        }
    }

    fn apply_pod(&mut self, mut pod: Pod, touched: &mut Touched) {
        self.interner.pod(&mut pod);
        let id = match self.pod_id(&pod.namespace, &pod.name) {
            Some(id) => {
                self.replace_pod(id, pod, touched);
                id
            }
            None => self.insert_pod(pod, touched),
        };
        if let Some(applied) = &mut self.resets.pods {
            applied.insert(id);
        }
    }

    fn replace_pod(&mut self, id: PodId, pod: Pod, touched: &mut Touched) {
        let Some(old) = self.pods.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if *old == pod {
            return;
        }
        touched.pods.insert(id);
        let old = std::mem::replace(old, pod);
        self.unclaim(id, &old, touched);
        self.claim(id, touched);
    }

    fn insert_pod(&mut self, pod: Pod, touched: &mut Touched) -> PodId {
        self.reference_namespace(&pod.namespace, touched);
        let hash = self.hasher.hash_one((&*pod.namespace, &*pod.name));
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                grow_slowly(&mut self.pods);
                self.pods.push(None);
                // 2^32 pods do not fit any memory this runs in.
                u32::try_from(self.pods.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = self.pods.get_mut(id as usize) {
            *place = Some(pod);
        }
        let (pods, hasher) = (&self.pods, &self.hasher);
        self.by_name.insert_unique(hash, id, |&id| {
            let pod = pods.get(id as usize).and_then(Option::as_ref);
            pod.map_or(0, |p| hasher.hash_one((&*p.namespace, &*p.name)))
        });
        touched.pods.insert(PodId(id));
        self.claim(PodId(id), touched);
        PodId(id)
    }

    fn remove_pod(&mut self, id: PodId, touched: &mut Touched) {
        let Some(pod) = self.pods.get_mut(id.0 as usize).and_then(Option::take) else { return };
        let hash = self.hasher.hash_one((&*pod.namespace, &*pod.name));
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == id.0) {
            entry.remove();
        }
        self.free.push(id.0);
        touched.pods.insert(id);
        self.unclaim(id, &pod, touched);
        self.release_namespace(&pod.namespace, touched);
    }

    fn claim(&mut self, id: PodId, touched: &mut Touched) {
        let Some(pod) = self.pods.get(id.0 as usize).and_then(Option::as_ref) else { return };
        if pod.has_identity() {
            touched.addresses.extend(pod.addresses.iter());
        }
        self.owners.claim(id, pod, &self.pods);
    }

    fn unclaim(&mut self, id: PodId, old: &Pod, touched: &mut Touched) {
        if old.has_identity() {
            touched.addresses.extend(old.addresses.iter());
        }
        self.owners.unclaim(id, old, &self.pods);
    }
}
