//! The whole input at one moment, and the edits that move it on.
//!
//! `Snapshot` holds what there is; `Change` is one edit; `apply` returns what the edit touched, so that the compile looks at
//! nothing else. Order does not matter: the same objects give the same snapshot, whatever the history.

mod change;
mod label_index;
mod namespaces;
mod node_addresses;
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
use node_addresses::{NodeAddresses, named_by};
use owners::AddressOwners;
pub(crate) use owners::Tenant;
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
    /// Nodes that have other addresses than before.
    pub(crate) nodes: BTreeSet<Arc<str>>,
    /// Addresses whose owner may be another.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Of those, the addresses that had an owner, with the one before all edits.
    pub(crate) owned: BTreeMap<IpAddr, Tenant>,
}

/// Namespaces, nodes, pods and policies, each string and label set held once, with the indexes that the compile needs.
#[derive(Debug, Default)]
pub struct Snapshot {
    interner: Interner,
    namespaces: NamespaceTable,
    nodes: BTreeMap<Arc<str>, Node>,
    node_addresses: NodeAddresses,
    policies: BTreeMap<PolicyKey, Arc<Policy>>,
    pods: Vec<Option<Pod>>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    by_name: HashTable<u32>,
    owners: AddressOwners,
    /// For explanations; no verdict depends on them.
    services: Services,
    resets: Resets,
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

    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(key)
    }

    /// The policies of a namespace, by name.
    pub fn policies_of<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Arc<Policy>> {
        let first = PolicyKey { namespace: Arc::from(namespace), name: Arc::from("") };
        let from = self.policies.range(first..).map(|(_, policy)| policy);
        from.take_while(move |policy| *policy.key.namespace == *namespace)
    }

    /// The pods on the host's network that have the address and have not ended.
    pub(crate) fn host_pods(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        self.owners.hosts(address).filter_map(|id| self.pod(id))
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.all()
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.named(namespace, name)
    }

    /// The Services of a namespace, by name.
    pub fn services_of<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Service> {
        self.services.of(namespace)
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

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
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

    /// The addresses of the node that the pod is bound to: those of the Node object, of pods on its host's network, and
    /// `status.hostIPs` of its pods. Sorted, each once.
    pub(crate) fn own_node_addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        pod.node.iter().flat_map(|node| self.node_addresses.of(node)).collect()
    }

    /// The addresses of all nodes; one that several have, several times.
    pub fn node_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.node_addresses.all()
    }

    /// How often the addresses of a node changed: while this stays, `node_addresses` gives the same.
    pub fn node_changes(&self) -> u64 {
        self.node_addresses.changes()
    }

    /// The nodes that have the address, sorted.
    pub(crate) fn nodes_at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<str>> {
        self.node_addresses.nodes_at(address)
    }

    /// Whether an address is one of the node that the pod is bound to.
    pub(crate) fn is_own_node(&self, pod: &Pod, address: IpAddr) -> bool {
        pod.node.as_ref().is_some_and(|node| self.node_addresses.holds(node, address))
    }

    /// What edits that lead here from nothing touch.
    pub(crate) fn everything(&self) -> Touched {
        let ids = (0_u32..).zip(&self.pods).filter(|(_, pod)| pod.is_some());
        Touched {
            pods: ids.map(|(id, _)| PodId(id)).collect(),
            namespaces: self.namespaces.names().cloned().collect(),
            policies: self.policies.keys().cloned().collect(),
            // Every pod is looked at anyway.
            nodes: BTreeSet::new(),
            addresses: self.pods().flat_map(|pod| pod.addresses.iter()).collect(),
            owned: BTreeMap::new(),
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
            Change::ApplyNode(node) => self.apply_node(node, touched),
            Change::DeleteNode(name) => self.delete_node(&name, touched),
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
            Change::ApplyService(service) => self.apply_service(service),
            Change::DeleteService { namespace, name } => self.services.delete(&namespace, &name),
            Change::ApplyEndpointSlice(slice) => self.apply_endpoint_slice(slice),
            Change::DeleteEndpointSlice { namespace, name } => {
                self.services.delete_slice(&namespace, &name);
            }
            Change::BeginReset(kind) => self.resets.begin(kind),
            Change::Keep { kind, namespace, name } => self.keep(kind, namespace, name),
            Change::EndReset(kind) => self.end_reset(kind, touched),
        }
    }

    /// Marks an object as applied, if a reset of its kind is under way.
    fn keep(&mut self, kind: ObjectKind, namespace: Option<Arc<str>>, name: Arc<str>) {
        if kind == ObjectKind::Pod {
            let id = self.pod_id(namespace.as_deref().unwrap_or_default(), &name);
            if let Some((applied, id)) = self.resets.pods.as_mut().zip(id) {
                applied.insert(id);
            }
            return;
        }
        self.resets.keep(kind, namespace, name);
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
                let names = self.nodes.keys();
                let gone: Vec<_> = names.filter(|name| !applied.contains(*name)).cloned().collect();
                gone.iter().for_each(|name| self.delete_node(name, touched));
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
            ObjectKind::Service => {
                let Some(applied) = self.resets.services.take() else { return };
                self.services.retain(&applied);
            }
            ObjectKind::EndpointSlice => {
                let Some(applied) = self.resets.slices.take() else { return };
                self.services.retain_slices(&applied);
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

    fn apply_node(&mut self, node: Node, touched: &mut Touched) {
        if let Some(applied) = &mut self.resets.nodes {
            applied.insert(Arc::clone(&node.name));
        }
        // The new addresses first, so that one that stays is never gone in between.
        let name = Arc::clone(&node.name);
        let mut changed = self.node_addresses.add(&name, node.addresses.iter().copied());
        if let Some(old) = self.nodes.insert(Arc::clone(&name), node) {
            changed |= self.node_addresses.remove(&name, old.addresses);
        }
        if changed {
            touched.nodes.insert(name);
        }
    }

    fn delete_node(&mut self, name: &str, touched: &mut Touched) {
        let Some(node) = self.nodes.remove(name) else { return };
        if self.node_addresses.remove(&node.name, node.addresses) {
            touched.nodes.insert(node.name);
        }
    }

    fn apply_service(&mut self, service: Service) {
        if let Some(applied) = &mut self.resets.services {
            applied.insert((Arc::clone(&service.namespace), Arc::clone(&service.name)));
        }
        self.services.apply(service);
    }

    fn apply_endpoint_slice(&mut self, slice: EndpointSlice) {
        if let Some(applied) = &mut self.resets.slices {
            applied.insert((Arc::clone(&slice.namespace), Arc::clone(&slice.name)));
        }
        self.services.apply_slice(slice);
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

    /// Notes the addresses of a pod that comes or goes, before their owners are decided anew.
    fn touch_addresses(&self, id: PodId, pod: &Pod, touched: &mut Touched) {
        for address in pod.addresses.iter() {
            touched.addresses.insert(address);
            let owner = self.owners.get(address);
            let owner =
                owner.and_then(|owner| if owner == id { Some(pod) } else { self.pod(owner) });
            if let Some(owner) = owner {
                touched.owned.entry(address).or_insert_with(|| Tenant::of(owner));
            }
        }
    }

    fn claim(&mut self, id: PodId, touched: &mut Touched) {
        let Some(pod) = self.pods.get(id.0 as usize).and_then(Option::as_ref) else { return };
        if pod.has_identity() {
            self.touch_addresses(id, pod, touched);
        }
        self.owners.claim(id, pod, &self.pods);
        if let Some((node, addresses)) = named_by(pod)
            && self.node_addresses.add(node, addresses)
        {
            touched.nodes.insert(Arc::clone(node));
        }
    }

    fn unclaim(&mut self, id: PodId, old: &Pod, touched: &mut Touched) {
        if old.has_identity() {
            self.touch_addresses(id, old, touched);
        }
        self.owners.unclaim(id, old, &self.pods);
        if let Some((node, addresses)) = named_by(old)
            && self.node_addresses.remove(node, addresses)
        {
            touched.nodes.insert(Arc::clone(node));
        }
    }
}
