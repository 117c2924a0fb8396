//! Resets under way: what was applied since each began, so that its end deletes the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::PodId;
use super::change::ObjectKind;
use crate::model::PolicyKey;

/// What was applied since the reset of its kind began; `None` where none is under way. An object that is deleted
/// meanwhile may stay marked: only what exists at the end is compared with the marks, and what exists again was applied
/// again. That holds for a pod's id, which a deleted pod may leave to another, too.
#[derive(Debug, Default)]
pub(super) struct Resets {
    pub(super) namespaces: Option<BTreeSet<Arc<str>>>,
    pub(super) nodes: Option<BTreeSet<Arc<str>>>,
    pub(super) pods: Option<BTreeSet<PodId>>,
    pub(super) policies: Option<BTreeSet<PolicyKey>>,
    /// By namespace and name.
    pub(super) services: Option<BTreeSet<(Arc<str>, Arc<str>)>>,
    pub(super) slices: Option<BTreeSet<(Arc<str>, Arc<str>)>>,
}

impl Resets {
    pub(super) fn begin(&mut self, kind: ObjectKind) {
        match kind {
            ObjectKind::Namespace => self.namespaces = Some(BTreeSet::new()),
            ObjectKind::Node => self.nodes = Some(BTreeSet::new()),
            ObjectKind::Pod => self.pods = Some(BTreeSet::new()),
            ObjectKind::Policy => self.policies = Some(BTreeSet::new()),
            ObjectKind::Service => self.services = Some(BTreeSet::new()),
            ObjectKind::EndpointSlice => self.slices = Some(BTreeSet::new()),
        }
    }

    /// Marks an object other than a pod, if a reset of its kind is under way.
    pub(super) fn keep(&mut self, kind: ObjectKind, namespace: Option<Arc<str>>, name: Arc<str>) {
        fn mark<T: Ord>(marks: &mut Option<BTreeSet<T>>, object: T) {
            if let Some(marks) = marks {
                marks.insert(object);
            }
        }
        let namespace = namespace.unwrap_or_default();
        match kind {
            ObjectKind::Namespace => mark(&mut self.namespaces, name),
            ObjectKind::Node => mark(&mut self.nodes, name),
            // Pods are marked by their ids.
            ObjectKind::Pod => {}
            ObjectKind::Policy => mark(&mut self.policies, PolicyKey { namespace, name }),
            ObjectKind::Service => mark(&mut self.services, (namespace, name)),
            ObjectKind::EndpointSlice => mark(&mut self.slices, (namespace, name)),
        }
    }
}
