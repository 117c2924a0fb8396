//! Which pod an address belongs to, where several may claim it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::PodId;
use crate::compact::AddressMap;
use crate::model::{Pod, Uid};

/// What tells the pod that owns an address from any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Option<Uid>,
    pub(crate) node: Option<Arc<str>>,
}

impl Tenant {
    pub(crate) fn of(pod: &Pod) -> Self {
        let Pod { namespace, name, uid, node, .. } = pod.clone();
        Self { namespace, name, uid, node }
    }

    /// Whether it still is this pod.
    pub(crate) fn is(&self, pod: &Pod) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&pod.namespace, &pod.name, &pod.uid)
    }
}

#[derive(Debug, Default)]
pub(super) struct AddressOwners {
    owners: AddressMap<PodId>,
    /// Addresses that several pods claim, with all of them; the owner is in `owners` too.
    contested: BTreeMap<IpAddr, BTreeSet<PodId>>,
    /// Pods on the host's network that have not ended, by address.
    hosts: BTreeMap<IpAddr, BTreeSet<PodId>>,
}

impl AddressOwners {
    pub(super) fn get(&self, address: IpAddr) -> Option<PodId> {
        self.owners.get(address).copied()
    }

    pub(super) fn contested(&self) -> impl Iterator<Item = IpAddr> {
        self.contested.keys().copied()
    }

    pub(super) fn hosts(&self, address: IpAddr) -> impl Iterator<Item = PodId> {
        self.hosts.get(&address).into_iter().flatten().copied()
    }

    /// Enters a pod's claims; `pods` holds it already.
    pub(super) fn claim(&mut self, id: PodId, pod: &Pod, pods: &[Option<Pod>]) {
        if pod.is_host() {
            for address in pod.addresses.iter() {
                self.hosts.entry(address).or_default().insert(id);
            }
        }
        if !pod.has_identity() {
            return;
        }
        for address in pod.addresses.iter() {
            match self.owners.get(address).copied() {
                None => _ = self.owners.insert(address, id),
                Some(owner) => {
                    let claims = self.contested.entry(address).or_default();
                    claims.extend([owner, id]);
                    self.decide(address, pods);
                }
            }
        }
    }

    /// Takes back what a pod that is gone, or was as `old`, claimed; `pods` no longer holds it as such.
    pub(super) fn unclaim(&mut self, id: PodId, old: &Pod, pods: &[Option<Pod>]) {
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
            match self.contested.get_mut(&address) {
                None => _ = self.owners.remove(address),
                Some(claims) => {
                    claims.remove(&id);
                    self.decide(address, pods);
                }
            }
        }
    }

    /// Decides between those that claim the address; one claim left is no contest.
    fn decide(&mut self, address: IpAddr, pods: &[Option<Pod>]) {
        let Some(claims) = self.contested.get(&address) else { return };
        let pod = |id: PodId| pods.get(id.0 as usize).and_then(Option::as_ref);
        let best = claims
            .iter()
            .filter_map(|&id| pod(id).map(|pod| (pod.precedence(), id)))
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
