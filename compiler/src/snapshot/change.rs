//! Edits of the input.

use std::sync::Arc;

use crate::model::{EndpointSlice, Namespace, Node, Pod, Policy, PolicyKey, Service, Uid};

/// One edit of the input. Objects are named as in Kubernetes; applying one that exists replaces it.
///
/// A source that lists everything anew (a relist of the API server, say) sends `BeginReset`, applies what it lists one by
/// one, in as many batches as it likes, and sends `EndReset`: what was not applied in between is deleted. So two copies of
/// the input are never held at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    ApplyNamespace(Namespace),
    DeleteNamespace(Arc<str>),
    ApplyNode(Node),
    DeleteNode(Arc<str>),
    ApplyPod(Pod),
    /// With a uid, only the pod with that uid is deleted: a late delete never removes a successor of the same name.
    DeletePod {
        namespace: Arc<str>,
        name: Arc<str>,
        uid: Option<Uid>,
    },
    ApplyPolicy(Policy),
    DeletePolicy(PolicyKey),
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
    /// From here on, objects of this kind that are applied are those that there are. A reset that began before and did
    /// not end is forgotten.
    BeginReset(ObjectKind),
    /// The object exists and could not be read: during a reset of its kind it counts as applied, as it is known.
    Keep {
        kind: ObjectKind,
        /// `None` for kinds without a namespace.
        namespace: Option<Arc<str>>,
        name: Arc<str>,
    },
    /// Deletes the objects of this kind that were not applied since `BeginReset`; nothing if no reset began.
    EndReset(ObjectKind),
}

impl Change {
    /// The kind of the object that changes, or of all those that are listed anew.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::ApplyNamespace(_) | Self::DeleteNamespace(_) => ObjectKind::Namespace,
            Self::ApplyNode(_) | Self::DeleteNode(_) => ObjectKind::Node,
            Self::ApplyPod(_) | Self::DeletePod { .. } => ObjectKind::Pod,
            Self::ApplyPolicy(_) | Self::DeletePolicy(_) => ObjectKind::Policy,
            Self::ApplyService(_) | Self::DeleteService { .. } => ObjectKind::Service,
            Self::ApplyEndpointSlice(_) | Self::DeleteEndpointSlice { .. } => {
                ObjectKind::EndpointSlice
            }
            Self::Keep { kind, .. } | Self::BeginReset(kind) | Self::EndReset(kind) => *kind,
        }
    }
}

/// The kinds of objects that the input consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Namespace,
    Node,
    Pod,
    Policy,
    Service,
    EndpointSlice,
}

impl ObjectKind {
    pub const ALL: [Self; 6] =
        [Self::Namespace, Self::Node, Self::Pod, Self::Policy, Self::Service, Self::EndpointSlice];
}
