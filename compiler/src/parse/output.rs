//! What reading a source takes and gives: settings, objects, and what is known about the source besides them.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, ObjectRef, Place, Severity};
use crate::model::{EndpointSlice, Namespace, Node, Pod, Policy, Service};
use crate::snapshot::Change;

/// An object of a kind that is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Object {
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
    Policy(Policy),
    Service(Service),
    EndpointSlice(EndpointSlice),
}

impl From<Object> for Change {
    fn from(object: Object) -> Self {
        match object {
            Object::Namespace(namespace) => Self::ApplyNamespace(namespace),
            Object::Node(node) => Self::ApplyNode(node),
            Object::Pod(pod) => Self::ApplyPod(pod),
            Object::Policy(policy) => Self::ApplyPolicy(policy),
            Object::Service(service) => Self::ApplyService(service),
            Object::EndpointSlice(slice) => Self::ApplyEndpointSlice(slice),
        }
    }
}

/// How a source is read.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The namespace of objects that name none. If it is missing, they are read into `default`, each with a warning.
    pub namespace: Option<Arc<str>>,
    /// Whether an API server wrote it, which misspells no field: one that is not known is of a later Kubernetes. In the spec of
    /// a policy it is an error all the same, since it may narrow what the policy allows.
    pub from_api_server: bool,
}

/// The result of reading a source, besides the objects that the sink received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the source; at most `MAX_DIAGNOSTICS`, and one more that counts the rest.
    pub diagnostics: Vec<Diagnostic>,
    /// The number of objects that the sink received.
    pub objects: usize,
    /// False if a document is not understood, so that the set of objects is not the one that was meant. The caller must
    /// then keep what it knew: the absence of an object means nothing.
    pub readable: bool,
    /// Objects that the source declares and that are not understood, each once and sorted. Each has an error among the
    /// diagnostics. The sink may have received one of them before it was found to be given twice: it does not count.
    pub withheld: Vec<Withheld>,
    /// Where the text ends in a key or a list item without a value, if it does so in the rules or the types of a policy. The
    /// text may be cut short there: a policy that ends in `- from:` would allow everyone. There is an error about it among the
    /// diagnostics. A caller should not take this version over.
    pub cut_short: Option<Place>,
}

impl Parsed {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// An object that is declared but not understood. It is not gone: a caller that knew it keeps what it knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    pub object: ObjectRef,
    /// What the object stands for where it was never known: a policy that isolates and allows nothing. `None` for other
    /// kinds: a caller that never knew such an object must not take the rest for the whole, since a pod that is not read
    /// may be one that a policy isolates.
    pub closed: Option<Policy>,
}
