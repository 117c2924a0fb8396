//! What made a pod, by the labels and the name that Kubernetes' controllers give it.

use std::fmt;

use super::Pod;

/// Labels that controllers set (k8s.io/api/apps/v1, batch/v1).
const DEPLOYMENT_LABEL: &str = "pod-template-hash";
const STATEFUL_SET_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const REVISION_LABEL: &str = "controller-revision-hash";
const JOB_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// The controller behind a pod. It is read off the labels that the controller sets, rather than off `ownerReferences`, which
/// name a Deployment's ReplicaSet only. No verdict depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Workload<'a> {
    pub kind: WorkloadKind,
    /// In the pod's namespace.
    pub name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

impl Pod {
    /// `None` for a pod that no such controller made.
    pub fn workload(&self) -> Option<Workload<'_>> {
        let (labels, name) = (&self.labels, &*self.name);
        if let Some(hash) = labels.get(DEPLOYMENT_LABEL) {
            let name = without_last(name)?.strip_suffix(&**hash)?.strip_suffix('-')?;
            return workload(WorkloadKind::Deployment, name);
        }
        if labels.get(STATEFUL_SET_LABEL).is_some_and(|value| **value == *name) {
            return workload(WorkloadKind::StatefulSet, without_last(name)?);
        }
        if labels.get(REVISION_LABEL).is_some() {
            return workload(WorkloadKind::DaemonSet, without_last(name)?);
        }
        let job = JOB_LABELS.iter().find_map(|label| labels.get(label))?;
        workload(WorkloadKind::Job, job)
    }
}

fn workload(kind: WorkloadKind, name: &str) -> Option<Workload<'_>> {
    (!name.is_empty()).then_some(Workload { kind, name })
}

/// The name without its last part, which tells the pods of a controller apart.
fn without_last(name: &str) -> Option<&str> {
    name.rsplit_once('-').map(|(rest, _)| rest)
}

/// `Deployment/web`
impl fmt::Display for Workload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::DaemonSet => "DaemonSet",
            WorkloadKind::Job => "Job",
        };
        write!(f, "{kind}/{}", self.name)
    }
}
