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
}
