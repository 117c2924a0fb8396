//! The whole input at one moment, and the edits that move it on.
//!
//! `Snapshot` holds what is; `Change` is one edit; `apply` says what the edit touched, so that the compile looks at
//! nothing else. Order does not matter: the same objects give the same snapshot, whatever the history.

mod labelled;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::compact::{AddressMap, grow_slowly};
use crate::intern::Interner;
use crate::model::{
    EndpointSlice, Labels, NAMESPACE_NAME_LABEL, Namespace, Node, Pod, Policy, PolicyKey, Service,
    Uid,
};
use labelled::Labelled;
use services::Services;

/// One edit of the input. Objects are named as in Kubernetes; applying one that exists replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    ApplyNamespace(Namespace),
    DeleteNamespace(Arc<str>),
    /// All namespaces there are: those not in the list are gone. The other resets likewise.
    ResetNamespaces(Vec<Namespace>),
    ApplyNode(Node),
    DeleteNode(Arc<str>),
    ResetNodes(Vec<Node>),
    ApplyPod(Pod),
    /// With a uid, only the pod with that uid is deleted: a late delete never removes a successor of the same name.
    DeletePod {
        namespace: Arc<str>,
        name: Arc<str>,
        uid: Option<Uid>,
    },
    ResetPods(Vec<Pod>),
    ApplyPolicy(Policy),
    DeletePolicy(PolicyKey),
    ResetPolicies(Vec<Policy>),
    ApplyService(Service),
    DeleteService {
        namespace: Arc<str>,
        name: Arc<str>,
    },
    ApplyEndpointSlice(EndpointSlice),
    DeleteEndpointSlice {
        namespace: Arc<str>,
        name: Arc<str>,
    },
}

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

#[derive(Debug, Clone)]
struct NamespaceEntry {
    namespace: Namespace,
    declared: bool,
    /// Pods and policies that name it: an undeclared namespace exists as long as one does.
    references: usize,
}

/// Namespaces, nodes, pods and policies, each string and label set held once, with the indexes that the compile needs.
#[derive(Debug, Default)]
pub struct Snapshot {
    interner: Interner,
    namespaces: BTreeMap<Arc<str>, NamespaceEntry>,
    labelled: Labelled,
    nodes: BTreeMap<Arc<str>, Node>,
    policies: BTreeMap<PolicyKey, Arc<Policy>>,
    pods: Vec<Option<Pod>>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    by_name: HashTable<u32>,
    owners: AddressMap<PodId>,
    /// Pods on the host's network that have not ended, by address.
    hosts: BTreeMap<IpAddr, BTreeSet<PodId>>,
    /// Addresses that several pods claim, with all of them; the owner stands in `owners` too.
    contested: BTreeMap<IpAddr, BTreeSet<PodId>>,
    /// For explanations; no verdict depends on them.
    services: Services,
}

impl Snapshot {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values().map(|entry| &entry.namespace)
    }

    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name).map(|entry| &entry.namespace)
    }

    /// The namespaces that carry the label.
    pub(crate) fn namespaces_labelled(
        &self,
        label: &(Arc<str>, Arc<str>),
    ) -> impl Iterator<Item = &Namespace> {
        self.labelled.with(label).iter().filter_map(|name| self.namespace(name))
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
    pub(crate) fn policies_of<'s>(
        &'s self,
        namespace: &'s str,
    ) -> impl Iterator<Item = &'s Arc<Policy>> {
        let first = PolicyKey { namespace: Arc::from(namespace), name: Arc::from("") };
        let from = self.policies.range(first..).map(|(_, policy)| policy);
        from.take_while(move |policy| *policy.key.namespace == *namespace)
    }

    /// The pods on the host's network that have the address and have not ended.
    pub(crate) fn host_pods(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        let hosts = self.hosts.get(&address).into_iter().flatten();
        hosts.filter_map(|&id| self.pod(id))
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
        self.owners.get(address).and_then(|&id| self.pod(id))
    }

    /// Addresses that more than one pod claims.
    pub fn contested_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.contested.keys().copied()
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
        self.owners.get(address).copied()
    }

    /// Whether an address is one of the node that the pod is bound to: a Node object's, or that of a pod on its host's
    /// network there.
    pub(crate) fn is_own_node(&self, pod: &Pod, address: IpAddr) -> bool {
        let Some(name) = &pod.node else { return false };
        let of_node = self.nodes.get(name).is_some_and(|node| node.addresses.contains(&address));
        let hosts = self.hosts.get(&address).into_iter().flatten();
        of_node || hosts.filter_map(|&id| self.pod(id)).any(|host| host.node.as_ref() == Some(name))
    }

    /// What edits that lead here from nothing touch.
    pub(crate) fn everything(&self) -> Touched {
        let ids = (0_u32..).zip(&self.pods).filter(|(_, pod)| pod.is_some());
        Touched {
            pods: ids.map(|(id, _)| PodId(id)).collect(),
            namespaces: self.namespaces.keys().cloned().collect(),
            policies: self.policies.keys().cloned().collect(),
            addresses: self.pods().flat_map(|pod| pod.addresses.iter()).collect(),
        }
    }

    /// Applies an edit; the result of a whole batch is one `Touched`. For those who keep no compile beside it.
    pub fn apply(&mut self, change: Change) {
        self.apply_touching(change, &mut Touched::default());
    }

    pub(crate) fn apply_touching(&mut self, change: Change, touched: &mut Touched) {
        match change {
            Change::ApplyNamespace(namespace) => self.apply_namespace(namespace, touched),
            Change::DeleteNamespace(name) => self.delete_namespace(&name, touched),
            Change::ResetNamespaces(live) => {
                let keep: BTreeSet<_> = live.iter().map(|n| Arc::clone(&n.name)).collect();
                let declared = self.namespaces.iter().filter(|(_, entry)| entry.declared);
                let gone: Vec<_> = declared
                    .map(|(name, _)| name)
                    .filter(|n| !keep.contains(*n))
                    .cloned()
                    .collect();
                gone.iter().for_each(|name| self.delete_namespace(name, touched));
                live.into_iter().for_each(|n| self.apply_namespace(n, touched));
            }
            Change::ApplyNode(node) => _ = self.nodes.insert(Arc::clone(&node.name), node),
            Change::DeleteNode(name) => _ = self.nodes.remove(&name),
            Change::ResetNodes(live) => {
                self.nodes = live.into_iter().map(|n| (Arc::clone(&n.name), n)).collect();
            }
            Change::ApplyPod(pod) => self.apply_pod(pod, touched),
            Change::DeletePod { namespace, name, uid } => {
                self.delete_pod(&namespace, &name, uid.as_ref(), touched);
            }
            Change::ResetPods(live) => self.reset_pods(live, touched),
            Change::ApplyPolicy(policy) => self.apply_policy(policy, touched),
            Change::DeletePolicy(key) => self.delete_policy(&key, touched),
            Change::ResetPolicies(live) => {
                let keep: BTreeSet<_> = live.iter().map(|p| p.key.clone()).collect();
                let gone: Vec<_> =
                    self.policies.keys().filter(|key| !keep.contains(key)).cloned().collect();
                gone.iter().for_each(|key| self.delete_policy(key, touched));
                live.into_iter().for_each(|p| self.apply_policy(p, touched));
            }
            Change::ApplyService(service) => self.services.apply(service),
            Change::DeleteService { namespace, name } => self.services.delete(&namespace, &name),
            Change::ApplyEndpointSlice(slice) => self.services.apply_slice(slice),
            Change::DeleteEndpointSlice { namespace, name } => {
                self.services.delete_slice(&namespace, &name);
            }
        }
    }

    fn reset_pods(&mut self, live: Vec<Pod>, touched: &mut Touched) {
        let keep: BTreeSet<_> =
            live.iter().map(|p| (Arc::clone(&p.namespace), Arc::clone(&p.name))).collect();
        let gone: Vec<_> = self
            .pods()
            .map(|p| (Arc::clone(&p.namespace), Arc::clone(&p.name)))
            .filter(|key| !keep.contains(key))
            .collect();
        for (namespace, name) in gone {
            self.delete_pod(&namespace, &name, None, touched);
        }
        live.into_iter().for_each(|pod| self.apply_pod(pod, touched));
    }

    fn apply_namespace(&mut self, mut namespace: Namespace, touched: &mut Touched) {
        if namespace.labels.get(NAMESPACE_NAME_LABEL) != Some(&namespace.name) {
            namespace.labels = Arc::new(with_name_label(&namespace.labels, &namespace.name));
        }
        let name = self.interner.string(&namespace.name);
        let labels = self.interner.labels(&namespace.labels);
        let namespace = Namespace { name: Arc::clone(&name), labels };
        match self.namespaces.get_mut(&name) {
            Some(entry) => {
                entry.declared = true;
                if entry.namespace == namespace {
                    return;
                }
                self.labelled.remove(&entry.namespace);
                self.labelled.add(&namespace);
                entry.namespace = namespace;
            }
            None => {
                self.labelled.add(&namespace);
                let entry = NamespaceEntry { namespace, declared: true, references: 0 };
                self.namespaces.insert(Arc::clone(&name), entry);
            }
        }
        touched.namespaces.insert(name);
    }

    fn delete_namespace(&mut self, name: &str, touched: &mut Touched) {
        let Some(entry) = self.namespaces.get_mut(name) else { return };
        touched.namespaces.insert(Arc::clone(&entry.namespace.name));
        self.labelled.remove(&entry.namespace);
        if entry.references == 0 {
            self.namespaces.remove(name);
            return;
        }
        entry.declared = false;
        let labels = with_name_label(&Labels::default(), &entry.namespace.name);
        entry.namespace.labels = self.interner.labels(&Arc::new(labels));
        self.labelled.add(&entry.namespace);
    }

    /// A namespace that is only named exists all the same, with the label that bears its name.
    fn reference_namespace(&mut self, name: &Arc<str>, touched: &mut Touched) {
        if let Some(entry) = self.namespaces.get_mut(name) {
            entry.references += 1;
            return;
        }
        let labels = with_name_label(&Labels::default(), name);
        let labels = self.interner.labels(&Arc::new(labels));
        let namespace = Namespace { name: Arc::clone(name), labels };
        self.labelled.add(&namespace);
        let entry = NamespaceEntry { namespace, declared: false, references: 1 };
        self.namespaces.insert(Arc::clone(name), entry);
        touched.namespaces.insert(Arc::clone(name));
    }

    fn release_namespace(&mut self, name: &Arc<str>, touched: &mut Touched) {
        let Some(entry) = self.namespaces.get_mut(name) else { return };
        entry.references -= 1;
        if entry.references == 0 && !entry.declared {
            self.labelled.remove(&entry.namespace);
            self.namespaces.remove(name);
            touched.namespaces.insert(Arc::clone(name));
        }
    }

    fn apply_policy(&mut self, mut policy: Policy, touched: &mut Touched) {
        self.interner.policy(&mut policy);
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
        let Some(id) = self.pod_id(&pod.namespace, &pod.name) else {
            self.insert_pod(pod, touched);
            return;
        };
        let Some(old) = self.pods.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        if *old == pod {
            return;
        }
        touched.pods.insert(id);
        let old = std::mem::replace(old, pod);
        self.unclaim(id, &old, touched);
        self.claim(id, touched);
    }

    fn insert_pod(&mut self, pod: Pod, touched: &mut Touched) {
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
    }

    fn delete_pod(
        &mut self,
        namespace: &str,
        name: &str,
        uid: Option<&Uid>,
        touched: &mut Touched,
    ) {
        let Some(id) = self.pod_id(namespace, name) else { return };
        let Some(place) = self.pods.get_mut(id.0 as usize) else { return };
        if uid.is_some() && place.as_ref().and_then(|p| p.uid.as_ref()) != uid {
            return;
        }
        let hash = self.hasher.hash_one((namespace, name));
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == id.0) {
            entry.remove();
        }
        let Some(pod) = place.take() else { return };
        self.free.push(id.0);
        touched.pods.insert(id);
        self.unclaim(id, &pod, touched);
        self.release_namespace(&pod.namespace, touched);
    }

    fn claim(&mut self, id: PodId, touched: &mut Touched) {
        let Some(pod) = self.pod(id) else { return };
        let (addresses, has_identity, is_host) = (pod.addresses, pod.has_identity(), pod.is_host());
        if is_host {
            for address in addresses.iter() {
                self.hosts.entry(address).or_default().insert(id);
            }
        }
        if !has_identity {
            return;
        }
        for address in addresses.iter() {
            touched.addresses.insert(address);
            match self.owners.get(address).copied() {
                None => _ = self.owners.insert(address, id),
                Some(owner) => {
                    let claims = self.contested.entry(address).or_default();
                    claims.extend([owner, id]);
                    self.settle(address);
                }
            }
        }
    }

    fn unclaim(&mut self, id: PodId, old: &Pod, touched: &mut Touched) {
        if old.is_host() {
            for address in old.addresses.iter() {
                if let Some(hosts) = self.hosts.get_mut(&address) {
                    hosts.remove(&id);
                    if hosts.is_empty() {
                        self.hosts.remove(&address);
                    }
                }
            }
        }
        if !old.has_identity() {
            return;
        }
        for address in old.addresses.iter() {
            touched.addresses.insert(address);
            match self.contested.get_mut(&address) {
                None => _ = self.owners.remove(address),
                Some(claims) => {
                    claims.remove(&id);
                    self.settle(address);
                }
            }
        }
    }

    /// Decides between those that claim the address; one claim left is no contest.
    fn settle(&mut self, address: IpAddr) {
        let Some(claims) = self.contested.get(&address) else { return };
        let best = claims
            .iter()
            .filter_map(|&id| self.pod(id).map(|pod| (pod.precedence(), id)))
            .max()
            .map(|(_, id)| id);
        if claims.len() < 2 {
            self.contested.remove(&address);
        }
        match best {
            Some(id) => _ = self.owners.insert(address, id),
            None => _ = self.owners.remove(address),
        }
    }
}

fn with_name_label(labels: &Labels, name: &Arc<str>) -> Labels {
    let given = labels.iter().map(|(k, v)| (Arc::clone(k), Arc::clone(v)));
    given.chain([(Arc::from(NAMESPACE_NAME_LABEL), Arc::clone(name))]).collect()
}
