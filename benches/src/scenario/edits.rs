//! Edits of a scenario's cluster. Each has a connection whose verdict it changes.

use std::fmt;
use std::sync::Arc;

use palisade_compiler::model::{
    Family, NAMESPACE_NAME_LABEL, Pod, Policy, PolicyRule, PortMatch, PortSpec, Ports, Protocol,
    Verdict,
};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{policy, rule};

use super::flows::{Sampler, Selected};
use super::node_oracle::NodeOracle;
use super::shape::WithAddresses;
use super::{Flow, LOCAL_PODS, Scenario, UNPOLICED, addresses, named};

/// The number of places in the cluster at which each kind of edit is made, in turn.
const SITES: usize = 32;

/// The kind of an edit. Its name is used to store results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EditKind {
    /// A pod is added on another node.
    PodBorn,
    PodGone,
    PodRelabelled,
    /// A pod that policies select is added on this node.
    LocalPodBorn,
    LocalPodGone,
    LocalPodRelabelled,
    NamespaceRelabelled,
    /// A policy is added that allows what was denied, or isolates what was not isolated.
    PolicyAdded,
    PolicyRemoved,
}

impl EditKind {
    pub const ALL: [Self; 9] = [
        Self::PodBorn,
        Self::PodGone,
        Self::PodRelabelled,
        Self::LocalPodBorn,
        Self::LocalPodGone,
        Self::LocalPodRelabelled,
        Self::NamespaceRelabelled,
        Self::PolicyAdded,
        Self::PolicyRemoved,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::PodBorn => "pod-born",
            Self::PodGone => "pod-gone",
            Self::PodRelabelled => "pod-relabelled",
            Self::LocalPodBorn => "local-pod-born",
            Self::LocalPodGone => "local-pod-gone",
            Self::LocalPodRelabelled => "local-pod-relabelled",
            Self::NamespaceRelabelled => "namespace-relabelled",
            Self::PolicyAdded => "policy-added",
            Self::PolicyRemoved => "policy-removed",
        }
    }
}

impl fmt::Display for EditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An edit of the cluster, with a connection that shows when it is enforced: the verdict on `probe` is `from` before and
/// `to` after the edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub kind: EditKind,
    pub change: Change,
    pub probe: Flow,
    pub from: Verdict,
    pub to: Verdict,
}

/// A sequence of edits that ends with the cluster as it was before.
struct EditCycle {
    probe: Flow,
    steps: Vec<(EditKind, Change)>,
}

/// All edits of a scenario in turn. After the last one the cluster is as it was at the beginning. Edits that change no
/// verdict are left out.
pub(super) fn all(scenario: &Scenario) -> Vec<Edit> {
    let mut sampler = Sampler::new(scenario);
    let mut sites = |selected, verdict| sampler.sample(Some(selected), verdict, SITES);
    let allowed = sites(Selected::One, Verdict::Allow);
    let denied = sites(Selected::One, Verdict::Deny);
    let open = sites(Selected::None, Verdict::Allow);
    let mut node_oracle = NodeOracle::new(scenario);
    let mut edits = Vec::new();
    for site in 0..SITES {
        let cycles = [
            allowed.get(site).and_then(|flow| remote_pod(scenario, &node_oracle, flow, site)),
            denied.get(site).and_then(|flow| local_pod(scenario, &node_oracle, flow, site)),
            allowed.get(site).and_then(|flow| remote_namespace(scenario, &node_oracle, flow)),
            denied.get(site).and_then(|flow| opening(&node_oracle, flow, site)),
            open.get(site).and_then(|flow| isolating(&node_oracle, flow, site)),
        ];
        for cycle in cycles.into_iter().flatten() {
            edits.extend(edits_of_cycle(&mut node_oracle, cycle));
        }
    }
    edits
}

/// The edits of a cycle, if each of them changes the verdict on its probe. If a change of labels and its reversal change
/// nothing (because peers are whole namespaces), they are left out and the rest is judged again.
fn edits_of_cycle(node_oracle: &mut NodeOracle<'_>, cycle: EditCycle) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut all_change_verdict = true;
    for (kind, change) in &cycle.steps {
        let from = node_oracle.judge(&cycle.probe).verdict;
        node_oracle.apply(change);
        let to = node_oracle.judge(&cycle.probe).verdict;
        all_change_verdict &= from != to;
        edits.push(Edit { kind: *kind, change: change.clone(), probe: cycle.probe, from, to });
    }
    if all_change_verdict {
        return edits;
    }
    match cycle.steps.as_slice() {
        [first, _, _, last] => edits_of_cycle(
            node_oracle,
            EditCycle { steps: vec![first.clone(), last.clone()], ..cycle },
        ),
        _ => Vec::new(),
    }
}

fn is_local(pod: &Pod) -> bool {
    pod.node == Some(Scenario::node())
}

fn deleted(pod: &Pod) -> Change {
    let (namespace, name) = (Arc::clone(&pod.namespace), Arc::clone(&pod.name));
    Change::DeletePod { namespace, name, uid: None }
}

/// The pod with labels of no app, so that no selector of the scenario selects it.
fn of_no_app(pod: &Pod) -> Pod {
    pod.clone().labelled("app=none")
}

fn pod_cycle(kinds: [EditKind; 3], pod: &Pod, probe: Flow) -> EditCycle {
    let [born, relabelled, gone] = kinds;
    let steps = vec![
        (born, Change::ApplyPod(pod.clone())),
        (relabelled, Change::ApplyPod(of_no_app(pod))),
        (relabelled, Change::ApplyPod(pod.clone())),
        (gone, deleted(pod)),
    ];
    EditCycle { probe, steps }
}

/// A copy of the pod at another place of the cluster, and `flow` with the copy instead of the pod.
fn copy_at(
    scenario: &Scenario,
    pod: &Pod,
    place: (usize, usize),
    flow: &Flow,
) -> Option<(Pod, Flow)> {
    let (node, slot) = place;
    let name = Arc::from(format!("newcomer-{node}-{slot}"));
    let copy = Pod { name, node: Some(format!("node-{node}").into()), ..pod.clone() }
        .with_addresses(addresses(node, slot, scenario.dual_stack));
    let moved = |address| match pod.addresses.iter().any(|a| a == address) {
        true => copy.addresses.get(Family::of(address)),
        false => Some(address),
    };
    let flow = Flow { from: moved(flow.from)?, to: moved(flow.to)?, ..*flow };
    Some((copy, flow))
}

/// Adds a copy, on a node that had no pods, of a remote pod at the end of an allowed connection.
fn remote_pod(
    scenario: &Scenario,
    node_oracle: &NodeOracle<'_>,
    flow: &Flow,
    site: usize,
) -> Option<EditCycle> {
    let ends = [flow.from, flow.to].into_iter().filter_map(|end| node_oracle.pod_at(end));
    let remote = ends.into_iter().find(|pod| !is_local(pod))?;
    let (copy, probe) = copy_at(scenario, &remote, (scenario.empty_node(), site), flow)?;
    Some(pod_cycle([EditKind::PodBorn, EditKind::PodRelabelled, EditKind::PodGone], &copy, probe))
}

/// Adds a copy of a local pod that denies a connection.
fn local_pod(
    scenario: &Scenario,
    node_oracle: &NodeOracle<'_>,
    flow: &Flow,
    site: usize,
) -> Option<EditCycle> {
    let ends = [flow.from, flow.to].into_iter().filter_map(|end| node_oracle.pod_at(end));
    let local = ends.into_iter().find(is_local)?;
    let (copy, probe) = copy_at(scenario, &local, (0, LOCAL_PODS + site), flow)?;
    let kinds = [EditKind::LocalPodBorn, EditKind::LocalPodRelabelled, EditKind::LocalPodGone];
    Some(pod_cycle(kinds, &copy, probe))
}

/// Removes the namespace of the remote pod of an allowed connection from its team, and adds it again.
fn remote_namespace(
    scenario: &Scenario,
    node_oracle: &NodeOracle<'_>,
    flow: &Flow,
) -> Option<EditCycle> {
    let ends = [flow.from, flow.to].into_iter().filter_map(|end| node_oracle.pod_at(end));
    let remote = ends.into_iter().find(|pod| !is_local(pod))?;
    let number = remote.namespace.strip_prefix("ns-")?.parse().ok()?;
    let left = Change::ApplyNamespace(named(&remote.namespace, "none"));
    let kind = EditKind::NamespaceRelabelled;
    Some(EditCycle { probe: *flow, steps: vec![(kind, left), (kind, scenario.namespace(number))] })
}

/// Adds a policy that allows a denied connection of an isolated pod, and of the other pods of its app.
fn opening(node_oracle: &NodeOracle<'_>, flow: &Flow, site: usize) -> Option<EditCycle> {
    let (source, target) = (node_oracle.pod_at(flow.from)?, node_oracle.pod_at(flow.to)?);
    let ports = Ports::AnyOf(vec![PortMatch {
        protocol: Protocol::from_number(flow.protocol)?,
        port: PortSpec::Range { first: flow.port, last: flow.port },
    }]);
    let from = |peer: &Pod| -> PolicyRule {
        let space = format!("{NAMESPACE_NAME_LABEL}={}", peer.namespace);
        PolicyRule { ports: ports.clone(), ..rule().pods_in(&space, &app_of(peer)) }
    };
    let policy = if is_local(&target) {
        addition(&target, "opens", site).allow_in(from(&source))
    } else {
        addition(&source, "opens", site).allow_out(from(&target))
    };
    Some(policy_cycle(policy, *flow))
}

/// Adds a policy that isolates a pod that no other policy selects.
fn isolating(node_oracle: &NodeOracle<'_>, flow: &Flow, site: usize) -> Option<EditCycle> {
    let ends = [flow.from, flow.to].into_iter().filter_map(|end| node_oracle.pod_at(end));
    let open = ends.into_iter().find(|pod| is_local(pod) && &*pod.namespace == UNPOLICED)?;
    let policy = addition(&open, "isolates", site).isolate_ingress().isolate_egress();
    Some(policy_cycle(policy, *flow))
}

fn addition(subject: &Pod, does: &str, site: usize) -> Policy {
    policy(&format!("{}/{does}-{site}", subject.namespace)).select(&app_of(subject))
}

fn app_of(pod: &Pod) -> String {
    pod.labels.get("app").map_or_else(String::new, |app| format!("app={app}"))
}

fn policy_cycle(policy: Policy, probe: Flow) -> EditCycle {
    let key = policy.key.clone();
    let steps = vec![
        (EditKind::PolicyAdded, Change::ApplyPolicy(policy)),
        (EditKind::PolicyRemoved, Change::DeletePolicy(key)),
    ];
    EditCycle { probe, steps }
}
