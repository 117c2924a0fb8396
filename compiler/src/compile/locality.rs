//! Which pods the host judges.

use std::sync::Arc;

use crate::model::Pod;

/// Which pods are local: those whose traffic this host judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locality {
    /// Pods bound to this node (`spec.nodeName`).
    Node(Arc<str>),
    /// Every pod that has an address.
    Everywhere,
}

impl Locality {
    /// Whether pods of this node are local.
    pub fn is_node(&self, node: Option<&Arc<str>>) -> bool {
        match self {
            Self::Node(name) => node == Some(name),
            Self::Everywhere => true,
        }
    }

    pub(super) fn holds(&self, pod: &Pod) -> bool {
        pod.has_identity()
            && match self {
                // From the moment it is bound: its policies are in the kernel before its first packet.
                Self::Node(name) => pod.node.as_ref() == Some(name),
                Self::Everywhere => !pod.addresses.is_empty(),
            }
    }
}
