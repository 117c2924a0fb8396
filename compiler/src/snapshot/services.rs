//! Services and EndpointSlices, found by address and by name. The compile does not depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{EndpointSlice, Service};

/// Namespace and name.
type Key = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub(super) struct Services {
    services: BTreeMap<Key, Service>,
    by_address: BTreeMap<IpAddr, BTreeSet<Key>>,
    slices: BTreeMap<Key, EndpointSlice>,
    /// Namespace and name of a Service -> the names of its slices.
    by_service: BTreeMap<Key, BTreeSet<Arc<str>>>,
}

fn key(namespace: &str, name: &str) -> Key {
    (Arc::from(namespace), Arc::from(name))
}

impl Services {
    pub(super) fn all(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.get(&key(namespace, name))
    }

    pub(super) fn of<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Service> {
        let from = self.services.range(key(namespace, "")..);
        from.take_while(move |((own, _), _)| **own == *namespace).map(|(_, service)| service)
    }

    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Service> {
        let keys = self.by_address.get(&address).into_iter().flatten();
        keys.filter_map(|key| self.services.get(key))
    }

    pub(super) fn slice_named(&self, namespace: &str, name: &str) -> Option<&EndpointSlice> {
        self.slices.get(&key(namespace, name))
    }

    pub(super) fn slices_of(&self, service: &Service) -> impl Iterator<Item = &EndpointSlice> {
        let own = (Arc::clone(&service.namespace), Arc::clone(&service.name));
        let names = self.by_service.get(&own).into_iter().flatten();
        names.filter_map(move |name| self.slices.get(&(Arc::clone(&own.0), Arc::clone(name))))
    }

    pub(super) fn apply(&mut self, service: Service) {
        self.delete(&service.namespace, &service.name);
        let key = (Arc::clone(&service.namespace), Arc::clone(&service.name));
        for address in service.addresses() {
            self.by_address.entry(address).or_default().insert(key.clone());
        }
        self.services.insert(key, service);
    }

    /// Deletes the Services that are not among these.
    pub(super) fn retain(&mut self, kept: &BTreeSet<Key>) {
        let gone: Vec<Key> = self.services.keys().filter(|k| !kept.contains(*k)).cloned().collect();
        gone.iter().for_each(|(namespace, name)| self.delete(namespace, name));
    }

    /// Deletes the EndpointSlices that are not among these.
    pub(super) fn retain_slices(&mut self, kept: &BTreeSet<Key>) {
        let gone: Vec<Key> = self.slices.keys().filter(|k| !kept.contains(*k)).cloned().collect();
        gone.iter().for_each(|(namespace, name)| self.delete_slice(namespace, name));
    }

    pub(super) fn delete(&mut self, namespace: &str, name: &str) {
        let key = key(namespace, name);
        let Some(service) = self.services.remove(&key) else { return };
        for address in service.addresses() {
            remove(&mut self.by_address, &address, &key);
        }
    }

    pub(super) fn apply_slice(&mut self, slice: EndpointSlice) {
        self.delete_slice(&slice.namespace, &slice.name);
        if let Some(service) = &slice.service {
            let owner = (Arc::clone(&slice.namespace), Arc::clone(service));
            self.by_service.entry(owner).or_default().insert(Arc::clone(&slice.name));
        }
        let key = (Arc::clone(&slice.namespace), Arc::clone(&slice.name));
        self.slices.insert(key, slice);
    }

    pub(super) fn delete_slice(&mut self, namespace: &str, name: &str) {
        let Some(slice) = self.slices.remove(&key(namespace, name)) else { return };
        if let Some(service) = slice.service {
            remove(&mut self.by_service, &(slice.namespace, service), &slice.name);
        }
    }
}

/// Removes a value of a key, and the key with its last value.
fn remove<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, address: &str) -> Service {
        Service {
            namespace: "x".into(),
            name: name.into(),
            kind: crate::model::ServiceKind::ClusterIp,
            cluster_ips: vec![address.parse().unwrap()],
            is_headless: false,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            selector: None,
            ports: Vec::new(),
        }
    }

    fn slice(name: &str, service: &str) -> EndpointSlice {
        EndpointSlice {
            namespace: "x".into(),
            name: name.into(),
            service: Some(service.into()),
            endpoints: Vec::new(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn services_are_found_by_what_they_are_now() {
        let mut services = Services::default();
        let at = |services: &Services, address: &str| -> Vec<String> {
            services.at(address.parse().unwrap()).map(|s| s.name.to_string()).collect()
        };
        services.apply(service("a", "10.96.0.1"));
        services.apply(service("b", "10.96.0.1"));
        assert_eq!(at(&services, "10.96.0.1"), ["a", "b"]);
        services.apply(service("a", "10.96.0.2"));
        assert_eq!(at(&services, "10.96.0.1"), ["b"]);
        assert_eq!(at(&services, "10.96.0.2"), ["a"]);
        services.delete("x", "a");
        services.delete("x", "a");
        assert!(at(&services, "10.96.0.2").is_empty() && services.named("x", "a").is_none());
        assert_eq!(services.all().count(), 1);
    }

    #[test]
    fn slices_are_found_by_their_service() {
        let mut services = Services::default();
        let a = service("a", "10.96.0.1");
        let of = |services: &Services, service: &Service| -> Vec<String> {
            services.slices_of(service).map(|s| s.name.to_string()).collect()
        };
        services.apply_slice(slice("a-1", "a"));
        services.apply_slice(slice("a-2", "a"));
        assert_eq!(of(&services, &a), ["a-1", "a-2"]);
        services.apply_slice(slice("a-1", "b"));
        assert_eq!(of(&services, &a), ["a-2"]);
        assert_eq!(of(&services, &service("b", "10.96.0.2")), ["a-1"]);
        services.delete_slice("x", "a-2");
        assert!(of(&services, &a).is_empty() && services.slice_named("x", "a-2").is_none());
    }
}
