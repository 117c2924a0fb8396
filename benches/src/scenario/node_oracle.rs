//! The verdict of the node on a connection, according to the oracle.
//!
//! The oracle looks at every pod and policy each time. But the verdict on a connection depends only on the pods at its
//! ends, their namespaces and the policies in these, and the node judges only for its own pods. So the oracle is given only
//! these, and a verdict takes microseconds in a cluster of any size. A test compares the results with those of the oracle
//! on the whole cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_compiler::model::{Pod, Verdict};
use palisade_compiler::oracle::{Reason, decide};
use palisade_compiler::snapshot::{Change, Snapshot};

use super::{Flow, Scenario, Selected, UNPOLICED, named};

/// The cluster, with the edits that were applied.
#[derive(Debug)]
pub(super) struct NodeOracle<'a> {
    scenario: &'a Scenario,
    /// The policies in the namespaces of the local pods. Other objects are added only during a judgement.
    snapshot: Snapshot,
    /// Pods that edits added, by address.
    added_pods: BTreeMap<IpAddr, Pod>,
    /// Labels that edits gave to namespaces.
    namespaces: BTreeMap<Arc<str>, Change>,
}

/// The result for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) selected: Selected,
}

impl<'a> NodeOracle<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let local_namespaces: BTreeSet<Arc<str>> =
            (0..scenario.local_pods()).map(|i| scenario.pod(i).namespace).collect();
        let mut snapshot = Snapshot::new();
        let policies = (0..scenario.policies).map(|k| scenario.policy(k));
        for policy in policies.filter(|policy| local_namespaces.contains(&policy.key.namespace)) {
            snapshot.apply(Change::ApplyPolicy(policy));
        }
        Self { scenario, snapshot, added_pods: BTreeMap::new(), namespaces: BTreeMap::new() }
    }

    /// Applies an edit of the cluster: pods that are not part of the scenario, namespaces and policies.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::ApplyPod(pod) => {
                for address in pod.addresses.iter() {
                    self.added_pods.insert(address, pod.clone());
                }
            }
            Change::DeletePod { namespace, name, .. } => {
                self.added_pods.retain(|_, pod| (&pod.namespace, &pod.name) != (namespace, name));
            }
            Change::ApplyNamespace(namespace) => {
                self.namespaces.insert(Arc::clone(&namespace.name), change.clone());
            }
            policy => self.snapshot.apply(policy.clone()),
        }
    }

    pub(super) fn pod_at(&self, address: IpAddr) -> Option<Pod> {
        let added = self.added_pods.get(&address).cloned();
        added.or_else(|| self.scenario.number_at(address).map(|i| self.scenario.pod(i)))
    }

    fn namespace_of(&self, pod: &Pod) -> Change {
        if let Some(relabelled) = self.namespaces.get(&pod.namespace) {
            return relabelled.clone();
        }
        match pod.namespace.strip_prefix("ns-").and_then(|n| n.parse().ok()) {
            Some(n) => self.scenario.namespace(n),
            None => Change::ApplyNamespace(named(UNPOLICED, "none")),
        }
    }

    pub(super) fn judge(&mut self, flow: &Flow) -> Judgement {
        let ends = [flow.from, flow.to].map(|address| self.pod_at(address));
        for pod in ends.iter().flatten() {
            let namespace = self.namespace_of(pod);
            self.snapshot.apply(namespace);
            self.snapshot.apply(Change::ApplyPod(pod.clone()));
        }
        let decision = decide(&self.snapshot, &flow.connection());
        for pod in ends.iter().flatten() {
            let (namespace, name) = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
            self.snapshot.apply(Change::DeletePod { namespace, name, uid: None });
            self.snapshot.apply(Change::DeleteNamespace(Arc::clone(&pod.namespace)));
        }
        let [source, target] = ends;
        let is_local = |pod: &Pod| pod.node == Some(Scenario::node());
        let mut judgement = Judgement { verdict: Verdict::Allow, selected: Selected::None };
        for (pod, decision) in [(source, decision.egress), (target, decision.ingress)] {
            if !pod.as_ref().is_some_and(is_local) {
                continue;
            }
            judgement.verdict = judgement.verdict.and(decision.verdict);
            if matches!(decision.reason, Reason::Allowed { .. } | Reason::Denied { .. }) {
                judgement.selected = judgement.selected.plus_one();
            }
        }
        judgement
    }
}
