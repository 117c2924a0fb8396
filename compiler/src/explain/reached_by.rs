//! The Services by which a backend is reached: what a client may have connected to before the address was translated.

use std::net::IpAddr;
use std::sync::Arc;

use super::end::ObjectName;
use super::service::{Backend, number};
use crate::model::{EndpointSlice, Protocol, Service};
use crate::snapshot::Snapshot;

/// A Service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReachingService {
    pub service: ObjectName,
    /// In host byte order.
    pub port: u16,
}

/// Endpoints that are looked at to find a backend's Services. Of those beyond, in a namespace with more, a Service may be missed.
const MAX_ENDPOINTS: usize = 10_000;

/// The Service ports of which this is a backend, by the EndpointSlices in the namespace of the pod that has the address.
/// A connection to the backend may have come by any of them, or by none. Empty for addresses that are no pod's own.
pub fn reached_by(
    snapshot: &Snapshot,
    backend: Backend,
    protocol: Protocol,
) -> Vec<ReachingService> {
    let Some(pod) = snapshot.owner(backend.address) else { return Vec::new() };
    let mut left = MAX_ENDPOINTS;
    let mut found = Vec::new();
    for service in snapshot.services_of(&pod.namespace) {
        let ports = |slice: &EndpointSlice| ports_of(service, slice, backend.port, protocol);
        for slice in snapshot.endpoint_slices_of(service) {
            let Some(rest) = left.checked_sub(slice.endpoints.len() + 1) else { return found };
            left = rest;
            if holds(slice, backend.address) {
                found.extend(ports(slice));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The Service whose address and port this is, or whose address alone where the protocol has no ports.
pub fn service_at(snapshot: &Snapshot, address: IpAddr, port: u16) -> Option<ObjectName> {
    let has_port = |service: &&Service| service.ports.iter().any(|own| own.port == port);
    let mut services = snapshot.services_at(address).peekable();
    let first = services.peek().copied();
    services.find(has_port).or(first).map(name_of)
}

fn holds(slice: &EndpointSlice, address: IpAddr) -> bool {
    slice.endpoints.iter().any(|endpoint| endpoint.addresses.contains(&address))
}

/// The Service's ports that stand for this port of the slice's endpoints.
fn ports_of(
    service: &Service,
    slice: &EndpointSlice,
    port: u16,
    protocol: Protocol,
) -> Vec<ReachingService> {
    let leads_there = |own: &&crate::model::ServicePort| {
        own.protocol == protocol && slice.ports.iter().any(|of| number(of, own) == Some(port))
    };
    let named = |port: u16| ReachingService { service: name_of(service), port };
    service.ports.iter().filter(leads_there).map(|own| named(own.port)).collect()
}

fn name_of(service: &Service) -> ObjectName {
    ObjectName { namespace: Arc::clone(&service.namespace), name: Arc::clone(&service.name) }
}
