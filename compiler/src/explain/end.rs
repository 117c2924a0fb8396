//! The ends of a connection, by name.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::Pod;
use crate::snapshot::Snapshot;
use crate::wording::listed;

/// The name of an object in a namespace, as in messages: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    pub(super) fn of(pod: &Pod) -> Self {
        Self { namespace: Arc::clone(&pod.namespace), name: Arc::clone(&pod.name) }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One end of a connection: an address, and what has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub address: IpAddr,
    pub owner: Owner,
}

/// What an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The address is the pod's own: policies apply to it.
    Pod(ObjectName),
    /// The address is a node's. Pods on the host's network share it, and no selector matches them.
    Host {
        /// The nodes that have the address, sorted: one, unless the manifests contradict each other.
        nodes: Vec<Arc<str>>,
        /// The pods on the host's network that have it, sorted.
        pods: Vec<ObjectName>,
    },
    /// Neither a pod's nor a node's.
    Unknown,
}

impl End {
    pub(super) fn at(snapshot: &Snapshot, address: IpAddr) -> Self {
        if let Some(pod) = snapshot.owner(address) {
            return Self { address, owner: Owner::Pod(ObjectName::of(pod)) };
        }
        let mut pods: Vec<ObjectName> = snapshot.host_pods(address).map(ObjectName::of).collect();
        pods.sort_unstable();
        let nodes: Vec<Arc<str>> = snapshot.nodes_at(address).cloned().collect();
        let is_host = !(nodes.is_empty() && pods.is_empty());
        Self { address, owner: if is_host { Owner::Host { nodes, pods } } else { Owner::Unknown } }
    }

    /// The pod that has the address as its own.
    pub fn pod(&self) -> Option<&ObjectName> {
        match &self.owner {
            Owner::Pod(pod) => Some(pod),
            Owner::Host { .. } | Owner::Unknown => None,
        }
    }

    /// What to call it within a sentence: the pod's name, or the address.
    pub fn short_name(&self) -> String {
        match self.pod() {
            Some(pod) => pod.to_string(),
            None => self.address.to_string(),
        }
    }
}

/// Pods on the host's network that are named; the rest is counted.
const MAX_HOST_PODS: usize = 3;

/// `shop/api (10.0.0.2)`, `192.168.0.1 (node worker-1, host-network pod kube-system/proxy)`, `203.0.113.7`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, owner } = self;
        match owner {
            Owner::Pod(pod) => write!(f, "{pod} ({address})"),
            Owner::Unknown => write!(f, "{address}"),
            Owner::Host { nodes, pods } => {
                write!(f, "{address} (")?;
                let mut separator = "";
                for node in nodes {
                    write!(f, "{separator}node {node}")?;
                    separator = ", ";
                }
                if !pods.is_empty() {
                    write!(f, "{separator}{}", host_pods(pods))?;
                }
                f.write_str(")")
            }
        }
    }
}

/// `host-network pod kube-system/proxy`, `host-network pods a/b, c/d and 2 more`.
pub(super) fn host_pods(pods: &[ObjectName]) -> String {
    let plural = if pods.len() == 1 { "" } else { "s" };
    let named = listed(pods.iter().take(MAX_HOST_PODS), pods.len());
    format!("host-network pod{plural} {named}")
}
