//! Services and EndpointSlices: which addresses a virtual address stands for.
//!
//! No verdict depends on them. Packets are judged after destination NAT, when they carry the address of a backend; an
//! explanation needs these objects to find the backends behind the address that a client uses.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Labels, Protocol};

/// A Service (`v1`). Fields that cannot be read are left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub kind: ServiceKind,
    /// `spec.clusterIPs`, or `spec.clusterIP` where that list is missing.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether `spec.clusterIP` is `None`: the DNS gives the addresses of the endpoints. A manifest that was not applied yet may
    /// have no address either.
    pub is_headless: bool,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.selector`: the pods behind the Service. `None` if it is missing or empty, which means that somebody else
    /// writes the EndpointSlices.
    pub selector: Option<Arc<Labels>>,
    pub ports: Vec<ServicePort>,
}

impl Service {
    /// Every address that clients may use to reach the Service: of the cluster, external, of the load balancer.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let lists = [&self.cluster_ips, &self.external_ips, &self.load_balancer_ips];
        lists.into_iter().flatten().copied()
    }
}

/// `spec.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKind {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// `spec.ports[]`. Ports are 1-65535, in host byte order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub name: Option<Arc<str>>,
    pub protocol: Protocol,
    /// The port of the virtual address.
    pub port: u16,
    pub target: TargetPort,
    /// The port on every node's own addresses.
    pub node_port: Option<u16>,
}

/// `spec.ports[].targetPort`: the port of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetPort {
    Number(u16),
    /// A container port of this name, which may be another number on each pod.
    Named(Arc<str>),
}

/// An EndpointSlice (`discovery.k8s.io/v1`). Fields that cannot be read are left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointSlice {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// The name of the Service that it belongs to, in the same namespace: the label `SERVICE_NAME_LABEL`.
    pub service: Option<Arc<str>>,
    pub endpoints: Vec<Endpoint>,
    /// The ports of each of the endpoints.
    pub ports: Vec<EndpointPort>,
}

/// The label of an EndpointSlice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A backend. Its addresses are equivalent; most proxies use only the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub addresses: Vec<IpAddr>,
    pub conditions: EndpointConditions,
    /// The pod behind it (`targetRef`).
    pub pod: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
}

/// `endpoints[].conditions`, with the meaning that the API gives to those that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointConditions {
    /// Missing: true.
    pub ready: bool,
    /// Missing: as `ready`.
    pub serving: bool,
    /// Missing: false.
    pub terminating: bool,
}

impl Default for EndpointConditions {
    fn default() -> Self {
        Self { ready: true, serving: true, terminating: false }
    }
}

/// `ports[]` of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointPort {
    /// The name of the Service's port that it stands for.
    pub name: Option<Arc<str>>,
    pub protocol: Protocol,
    /// `None`: every port.
    pub port: Option<u16>,
}
