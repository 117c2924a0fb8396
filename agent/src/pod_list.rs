//! The cluster's pods with the policies that isolate them, for a reader who looks at all of them.
//!
//! Pods of one namespace with the same labels are selected by the same policies, so these are looked for once for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_compiler::compile::Locality;
use palisade_compiler::model::{Direction, Labels, Pod};
use palisade_compiler::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

/// Pods that are listed, those of the agent's node first; all are counted.
pub const MAX_PODS: usize = 5000;
/// Policies that are named for a set of labels and a direction; the rest is counted.
pub const MAX_NAMED: usize = 16;
/// Policies whose names are listed; all are counted.
pub const MAX_POLICY_NAMES: usize = 5000;
/// Comparisons of a policy's selector with labels: the loop does nothing else meanwhile.
const MAX_COMPARISONS: usize = 200_000;

/// The cluster's pods by namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodList {
    /// The revision of the objects that it is made from.
    pub revision: u64,
    /// By name.
    pub namespaces: Vec<NamespacePods>,
    /// All pods, listed or not.
    pub pod_count: usize,
    /// Pods that are not listed.
    pub further: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePods {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Policies of the namespace.
    pub policies: usize,
    /// Their names, of all namespaces at most `MAX_POLICY_NAMES`.
    #[serde(default)]
    pub policy_names: Vec<String>,
    pub label_sets: Vec<LabelSet>,
}

/// The pods of a namespace that have the same labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSet {
    pub labels: BTreeMap<String, String>,
    /// `None` where it was not looked for, since there are too many policies and labels.
    pub isolation: Option<PodIsolation>,
    /// By name.
    pub pods: Vec<ListedPod>,
}

/// Who isolates pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIsolation {
    pub ingress: IsolatedBy,
    pub egress: IsolatedBy,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolatedBy {
    /// The policies' names, at most `MAX_NAMED`.
    pub policies: Vec<String>,
    /// How many policies more there are.
    pub further: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPod {
    pub name: String,
    /// What made it, as `Deployment/web`, by the labels that controllers set.
    #[serde(default)]
    pub workload: Option<String>,
    pub addresses: Vec<String>,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// Whether this agent enforces its policies.
    pub is_local: bool,
    /// Whether it is on its host's network: no policy selects it then.
    pub host_network: bool,
}

impl PodList {
    /// Of the pods that are there.
    pub fn of(snapshot: &Snapshot, revision: u64, locality: &Locality) -> Self {
        let is_local = |pod: &Pod| locality.is_node(pod.node.as_ref());
        let is_there = |pod: &&Pod| pod.has_identity() || pod.is_host();
        let listed = |local| snapshot.pods().filter(is_there).filter(move |p| is_local(p) == local);
        let mut lists: BTreeMap<&str, BTreeMap<&Arc<Labels>, Vec<ListedPod>>> = BTreeMap::new();
        for pod in listed(true).chain(listed(false)).take(MAX_PODS) {
            let sets = lists.entry(&pod.namespace).or_default();
            sets.entry(&pod.labels).or_default().push(ListedPod {
                name: pod.name.to_string(),
                workload: pod.workload().map(|it| it.to_string()),
                addresses: pod.addresses.iter().map(|address| address.to_string()).collect(),
                node: pod.node.as_deref().map(Into::into),
                is_local: is_local(pod),
                host_network: pod.host_network,
            });
        }
        let pod_count = snapshot.pods().filter(is_there).count();
        let (mut comparisons, mut room) = (0, MAX_POLICY_NAMES);
        let namespaces = lists.into_iter().map(|(name, sets)| {
            let policies = snapshot.policies_of(name).count();
            let label_sets = sets.into_iter().map(|(labels, mut pods)| {
                comparisons += policies;
                pods.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                let isolation =
                    (comparisons <= MAX_COMPARISONS).then(|| isolation(snapshot, name, labels));
                LabelSet { labels: texts(labels), isolation, pods }
            });
            let label_sets = label_sets.collect();
            let names = snapshot.policies_of(name).map(|policy| policy.key.name.to_string());
            let policy_names: Vec<String> = names.take(room).collect();
            room -= policy_names.len();
            let labels = snapshot.namespace(name).map(|it| texts(&it.labels)).unwrap_or_default();
            NamespacePods { name: name.to_owned(), labels, policies, policy_names, label_sets }
        });
        let namespaces = namespaces.collect();
        Self { revision, namespaces, pod_count, further: pod_count.saturating_sub(MAX_PODS) }
    }
}

fn texts(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn isolation(snapshot: &Snapshot, namespace: &str, labels: &Labels) -> PodIsolation {
    let mut isolation = PodIsolation::default();
    let selecting = snapshot.policies_of(namespace).filter(|it| it.subjects.matches(labels));
    for policy in selecting {
        let isolates = |direction: &Direction| policy.isolates.in_direction(*direction);
        for direction in Direction::ALL.into_iter().filter(isolates) {
            let by = match direction {
                Direction::Ingress => &mut isolation.ingress,
                Direction::Egress => &mut isolation.egress,
            };
            if by.policies.len() < MAX_NAMED {
                by.policies.push(policy.key.name.to_string());
            } else {
                by.further += 1;
            }
        }
    }
    isolation
}

#[cfg(test)]
mod tests {
    use palisade_compiler::parse::parse;
    use palisade_compiler::snapshot::Change;

    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        let mut snapshot = Snapshot::new();
        let parsed = parse("a.yaml", text.as_bytes(), &mut |it| snapshot.apply(Change::from(it)));
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        snapshot
    }

    fn pod(name: &str, labels: &str, node: &str, address: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{namespace: x, name: {name}, labels: {labels}}}\n\
             spec: {{nodeName: {node}}}\nstatus: {{phase: Running, podIPs: [{{ip: {address}}}]}}\n---\n"
        )
    }

    const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: x, name: both}
spec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: x, name: incoming}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

    #[test]
    fn pods_are_listed_by_labels_with_who_isolates_them() {
        let text = pod("one", "{app: a}", "n1", "10.0.0.1")
            + &pod("two", "{app: a}", "n2", "10.0.0.2")
            + &pod("three", "{app: b}", "n2", "fd00::3")
            + POLICIES;
        let list = PodList::of(&snapshot(&text), 7, &Locality::Node("n1".into()));
        assert_eq!((list.revision, list.pod_count, list.further), (7, 3, 0));
        let [namespace] = list.namespaces.as_slice() else { panic!("{list:?}") };
        assert_eq!((namespace.name.as_str(), namespace.policies), ("x", 2));
        assert_eq!(namespace.policy_names, ["both", "incoming"]);
        let [a, b] = namespace.label_sets.as_slice() else { panic!("{list:?}") };
        let names = |set: &LabelSet| set.pods.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(a), names(b)), (vec!["one".into(), "two".into()], vec!["three".into()]));
        assert_eq!(a.pods.iter().map(|pod| pod.is_local).collect::<Vec<_>>(), [true, false]);
        let isolation = a.isolation.as_ref().unwrap();
        assert_eq!(isolation.ingress.policies, ["both", "incoming"]);
        assert_eq!(isolation.egress.policies, ["both"]);
        let isolation = b.isolation.as_ref().unwrap();
        assert_eq!((isolation.ingress.policies.len(), isolation.egress.policies.len()), (1, 0));
    }

    #[test]
    fn beyond_the_bound_pods_are_counted_and_those_of_the_node_are_listed() {
        let each =
            |n: usize| pod(&format!("p{n}"), "{}", "n2", &format!("10.1.{}.{}", n / 250, n % 250));
        let text =
            (0..MAX_PODS).map(each).collect::<String>() + &pod("own", "{}", "n1", "10.0.0.1");
        let list = PodList::of(&snapshot(&text), 1, &Locality::Node("n1".into()));
        assert_eq!((list.pod_count, list.further), (MAX_PODS + 1, 1));
        let mut pods = list.namespaces.iter().flat_map(|n| &n.label_sets).flat_map(|s| &s.pods);
        assert!(pods.any(|pod| pod.name == "own" && pod.is_local));
    }
}
