//! What names an object, and what a file declares.

use std::fmt;
use std::sync::Arc;

use palisade_compiler::model::PolicyKey;
use palisade_compiler::parse::{Object, ObjectRef, Withheld};
use palisade_compiler::snapshot::{Change, ObjectKind};

/// The kind of an object, and its namespace and name. Displayed as in `Pod shop/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    Namespace(Arc<str>),
    Node(Arc<str>),
    Policy(PolicyKey),
    Pod(Arc<str>, Arc<str>),
    Service(Arc<str>, Arc<str>),
    EndpointSlice(Arc<str>, Arc<str>),
}

impl ObjectKey {
    pub fn of(object: &Object) -> Self {
        let pair = |namespace, name| (Arc::clone(namespace), Arc::clone(name));
        match object {
            Object::Namespace(namespace) => Self::Namespace(Arc::clone(&namespace.name)),
            Object::Node(node) => Self::Node(Arc::clone(&node.name)),
            Object::Policy(policy) => Self::Policy(policy.key.clone()),
            Object::Pod(pod) => {
                let (namespace, name) = pair(&pod.namespace, &pod.name);
                Self::Pod(namespace, name)
            }
            Object::Service(service) => {
                let (namespace, name) = pair(&service.namespace, &service.name);
                Self::Service(namespace, name)
            }
            Object::EndpointSlice(slice) => {
                let (namespace, name) = pair(&slice.namespace, &slice.name);
                Self::EndpointSlice(namespace, name)
            }
        }
    }

    /// The namespace of a kind without one is not looked at.
    pub(super) fn new(kind: ObjectKind, namespace: Arc<str>, name: Arc<str>) -> Self {
        match kind {
            ObjectKind::Namespace => Self::Namespace(name),
            ObjectKind::Node => Self::Node(name),
            ObjectKind::Policy => Self::Policy(PolicyKey { namespace, name }),
            ObjectKind::Pod => Self::Pod(namespace, name),
            ObjectKind::Service => Self::Service(namespace, name),
            ObjectKind::EndpointSlice => Self::EndpointSlice(namespace, name),
        }
    }

    pub(super) fn kind(&self) -> ObjectKind {
        match self {
            Self::Namespace(_) => ObjectKind::Namespace,
            Self::Node(_) => ObjectKind::Node,
            Self::Policy(_) => ObjectKind::Policy,
            Self::Pod(..) => ObjectKind::Pod,
            Self::Service(..) => ObjectKind::Service,
            Self::EndpointSlice(..) => ObjectKind::EndpointSlice,
        }
    }

    /// The change by which the object stays as it is known, though a reset does not apply it.
    pub(super) fn keep(self) -> Change {
        let kind = self.kind();
        let (namespace, name) = match self {
            Self::Namespace(name) | Self::Node(name) => (None, name),
            Self::Policy(PolicyKey { namespace, name })
            | Self::Pod(namespace, name)
            | Self::Service(namespace, name)
            | Self::EndpointSlice(namespace, name) => (Some(namespace), name),
        };
        Change::Keep { kind, namespace, name }
    }

    /// `None` for kinds that are not read.
    pub(super) fn named(object: &ObjectRef) -> Option<Self> {
        let name = Arc::from(object.name.as_str());
        let namespace = || Some(Arc::from(object.namespace.as_deref()?));
        match object.kind.as_str() {
            "Namespace" => Some(Self::Namespace(name)),
            "Node" => Some(Self::Node(name)),
            "NetworkPolicy" => Some(Self::Policy(PolicyKey { namespace: namespace()?, name })),
            "Pod" => Some(Self::Pod(namespace()?, name)),
            "Service" => Some(Self::Service(namespace()?, name)),
            "EndpointSlice" => Some(Self::EndpointSlice(namespace()?, name)),
            _ => None,
        }
    }

    /// The change by which the object goes.
    pub(super) fn deletion(self) -> Change {
        match self {
            Self::Namespace(name) => Change::DeleteNamespace(name),
            Self::Node(name) => Change::DeleteNode(name),
            Self::Policy(key) => Change::DeletePolicy(key),
            Self::Pod(namespace, name) => Change::DeletePod { namespace, name, uid: None },
            Self::Service(namespace, name) => Change::DeleteService { namespace, name },
            Self::EndpointSlice(namespace, name) => Change::DeleteEndpointSlice { namespace, name },
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(f, "Namespace {name}"),
            Self::Node(name) => write!(f, "Node {name}"),
            Self::Policy(key) => write!(f, "NetworkPolicy {key}"),
            Self::Pod(namespace, name) => write!(f, "Pod {namespace}/{name}"),
            Self::Service(namespace, name) => write!(f, "Service {namespace}/{name}"),
            Self::EndpointSlice(namespace, name) => write!(f, "EndpointSlice {namespace}/{name}"),
        }
    }
}

/// What a file declares, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// Those that are withheld do not count.
    pub objects: Vec<Object>,
    /// Declared but not understood; not gone.
    pub withheld: Vec<Withheld>,
}
