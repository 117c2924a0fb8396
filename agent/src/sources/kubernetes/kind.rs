//! The kinds of objects that are watched: where the API server has them.

use palisade_compiler::snapshot::ObjectKind;

/// A kind, with what its requests need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchedKind {
    pub(super) kind: ObjectKind,
    /// Under which the server lists all objects of the kind.
    pub(super) path: &'static str,
    pub(super) field_selector: Option<String>,
    /// Whether verdicts depend on it. Others serve explanations, and the agent may lack the permission to read them.
    pub(super) decides: bool,
    /// What an item of a list begins with: the fields that lists leave out of their items.
    pub(super) item_begin: &'static str,
}

/// What is watched for a node. Of the nodes it is the own one alone: only its addresses are exempt from the policies of the
/// pods on it, and the status of every other node, which changes all the time, would be sent to every node.
pub(super) fn watched(node: &str) -> impl Iterator<Item = WatchedKind> {
    ObjectKind::ALL.into_iter().map(move |kind| {
        let (path, item_begin) = place(kind);
        WatchedKind {
            kind,
            path,
            field_selector: (kind == ObjectKind::Node).then(|| format!("metadata.name={node}")),
            decides: !matches!(kind, ObjectKind::Service | ObjectKind::EndpointSlice),
            item_begin,
        }
    })
}

fn place(kind: ObjectKind) -> (&'static str, &'static str) {
    match kind {
        ObjectKind::Namespace => {
            ("/api/v1/namespaces", r#"{"kind":"Namespace","apiVersion":"v1","#)
        }
        ObjectKind::Node => ("/api/v1/nodes", r#"{"kind":"Node","apiVersion":"v1","#),
        ObjectKind::Pod => ("/api/v1/pods", r#"{"kind":"Pod","apiVersion":"v1","#),
        ObjectKind::Policy => (
            "/apis/networking.k8s.io/v1/networkpolicies",
            r#"{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","#,
        ),
        ObjectKind::Service => ("/api/v1/services", r#"{"kind":"Service","apiVersion":"v1","#),
        ObjectKind::EndpointSlice => (
            "/apis/discovery.k8s.io/v1/endpointslices",
            r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","#,
        ),
    }
}
