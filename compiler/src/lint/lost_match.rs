//! What loses its match when labels change: a policy its last pod, a pod its isolation, an entry of `from` or `to` its last pod.
//!
//! A look at one snapshot cannot tell a policy that never selected anything from one that did a minute ago. So labels are noted
//! before a batch of changes is applied, and compared with what there is afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use super::code::Code;
use super::entries::pod_entries;
use super::finding::Finding;
use super::subjects::FIELD as SUBJECTS_FIELD;
use super::words::{self, finding};
use crate::model::{Direction, Labels, Namespaces, Pod, Policy, Selector};
use crate::snapshot::{Change, Snapshot};

/// Objects of one batch whose labels are compared: each is compared with every policy. Further ones are counted.
pub const MAX_RELABELLED: usize = 32;
/// Policies and entries of one batch that may have lost their last pod: each is compared with every pod. Further ones are counted.
pub const MAX_SUSPECTS: usize = 16;

/// What lost its match by a batch of changes.
#[derive(Debug, Default)]
pub struct LostMatches {
    pub findings: Vec<Finding>,
    /// Objects and selectors beyond the bounds, of which it is not known whether something lost its match.
    pub unexamined: usize,
}

/// Pods and namespaces whose labels a batch of changes is about to change.
#[derive(Debug, Default)]
pub struct Relabelled {
    pods: Vec<Before>,
    namespaces: Vec<Before>,
    /// Which objects these are: each is compared once, as it was before the first of its changes.
    noted: HashSet<Noted>,
    unexamined: usize,
}

/// Namespace and name of a pod; a namespace has no name beside its own.
type Noted = (Arc<str>, Option<Arc<str>>);

/// An object as it was before the batch.
#[derive(Debug)]
struct Before {
    /// Its own name, for a namespace.
    namespace: Arc<str>,
    name: Arc<str>,
    labels: Arc<Labels>,
}

impl Relabelled {
    /// Notes the labels of what these changes apply with other labels. Of pods, only those for which `is_watched` holds: in a
    /// cluster, each pod is the business of one agent. What `earlier` batches noted and nobody looked at yet stays theirs.
    pub fn note(
        snapshot: &Snapshot,
        changes: &[Change],
        earlier: &[Self],
        mut is_watched: impl FnMut(&Pod) -> bool,
    ) -> Self {
        let mut relabelled = Self::default();
        for change in changes {
            match change {
                Change::ApplyPod(new) => {
                    let old = snapshot.pod_named(&new.namespace, &new.name);
                    let old = old.filter(|old| old.labels != new.labels && is_watched(old));
                    let before = old.map(|old| Before::of(&old.namespace, &old.name, &old.labels));
                    relabelled.add(before, earlier, true);
                }
                Change::ApplyNamespace(new) => {
                    let old = snapshot.namespace(&new.name).filter(|old| old.labels != new.labels);
                    let before = old.map(|old| Before::of(&old.name, &old.name, &old.labels));
                    relabelled.add(before, earlier, false);
                }
                _ => {}
            }
        }
        relabelled
    }

    fn add(&mut self, before: Option<Before>, earlier: &[Self], is_pod: bool) {
        let Some(before) = before else { return };
        let own_name = is_pod.then(|| Arc::clone(&before.name));
        let noted: Noted = (Arc::clone(&before.namespace), own_name);
        if self.noted.contains(&noted) || earlier.iter().any(|other| other.noted.contains(&noted)) {
            return;
        }
        if self.pods.len() + self.namespaces.len() < MAX_RELABELLED {
            self.noted.insert(noted);
            let list = if is_pod { &mut self.pods } else { &mut self.namespaces };
            list.push(before);
        } else {
            self.unexamined += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many objects, examined or not.
    pub fn len(&self) -> usize {
        self.pods.len() + self.namespaces.len() + self.unexamined
    }

    /// What lost its match, by what there is once the changes are applied.
    pub fn lost(&self, snapshot: &Snapshot) -> LostMatches {
        let pods: Vec<(&Before, &Pod)> =
            self.pods.iter().filter_map(|old| old.pod(snapshot)).collect();
        let mut findings: Vec<Finding> =
            pods.iter().filter_map(|(old, pod)| freed(snapshot, old, pod)).collect();
        let mut suspects: Vec<Suspect<'_>> =
            pods.iter().flat_map(|(old, pod)| lost_by_pod(snapshot, old, pod)).collect();
        suspects.extend(self.namespaces.iter().flat_map(|old| lost_by_namespace(snapshot, old)));
        suspects.sort_by(|a, b| (&a.policy.key, &a.field).cmp(&(&b.policy.key, &b.field)));
        suspects.dedup_by(|a, b| (&a.policy.key, &a.field) == (&b.policy.key, &b.field));
        let unexamined = self.unexamined + suspects.len().saturating_sub(MAX_SUSPECTS);
        suspects.truncate(MAX_SUSPECTS);
        for pod in snapshot.pods().filter(|pod| pod.has_identity()) {
            if suspects.is_empty() {
                break;
            }
            suspects.retain(|suspect| !suspect.matches(snapshot, pod));
        }
        findings.extend(suspects.iter().map(Suspect::finding));
        findings.retain(|finding| !is_accepted(snapshot, finding));
        LostMatches { findings, unexamined }
    }
}

impl Before {
    fn of(namespace: &Arc<str>, name: &Arc<str>, labels: &Arc<Labels>) -> Self {
        let [namespace, name] = [namespace, name].map(Arc::clone);
        Self { namespace, name, labels: Arc::clone(labels) }
    }

    /// The pod as it is now, if it still has other labels and policies apply to it.
    fn pod<'a, 's>(&'a self, snapshot: &'s Snapshot) -> Option<(&'a Self, &'s Pod)> {
        let pod = snapshot.pod_named(&self.namespace, &self.name)?;
        (pod.has_identity() && pod.labels != self.labels).then_some((self, pod))
    }
}

/// A pod that policies isolated in a direction, and none does any more.
fn freed(snapshot: &Snapshot, old: &Before, pod: &Pod) -> Option<Finding> {
    let mut directions = Vec::new();
    let mut policies: Vec<&Policy> = Vec::new();
    for direction in Direction::ALL {
        let isolating = |labels: &Labels| {
            let all = snapshot.policies_of(&pod.namespace);
            all.filter(|p| p.isolates.in_direction(direction) && p.subjects.matches(labels))
                .map(AsRef::as_ref)
                .collect::<Vec<&Policy>>()
        };
        let before = isolating(&old.labels);
        if !before.is_empty() && isolating(&pod.labels).is_empty() {
            directions.push(direction.to_string());
            policies.extend(before);
        }
    }
    policies.sort_by(|a, b| a.key.cmp(&b.key));
    policies.dedup_by(|a, b| a.key == b.key);
    let first = policies.first()?;
    let count = policies.len();
    let names = words::some_of(policies.iter().map(|policy| &policy.key), count);
    let message = format!(
        "{} was isolated for {} by {names} until its labels changed ({}); no policy isolates it so any more",
        words::pod(pod),
        directions.join(" and "),
        difference(&first.subjects, &old.labels, &pod.labels)
    );
    let found = Finding::new(Code::PodLostIsolation, Some(words::pod_object(pod)), message);
    Some(found.at("metadata.labels".to_owned()))
}

/// A policy, or an entry of `from` or `to`, that matched something before its labels changed.
#[derive(Debug)]
struct Suspect<'s> {
    policy: &'s Policy,
    field: String,
    namespaces: &'s Namespaces,
    pods: &'s Selector,
    code: Code,
    /// What changed, in words.
    change: String,
}

impl Suspect<'_> {
    fn matches(&self, snapshot: &Snapshot, pod: &Pod) -> bool {
        self.pods.matches(&pod.labels)
            && is_within(snapshot, self.policy, (self.code, self.namespaces), pod)
    }

    fn finding(&self) -> Finding {
        let message = format!("matches no pod any more: {}", self.change);
        finding(self.code, self.policy, self.field.clone(), &message)
    }
}

/// Whether the pod is in a namespace that the policy's subjects, or an entry of `from` or `to`, are of. No entry matches pods of
/// a namespace of which nothing is known; subjects they are nevertheless.
fn is_within(
    snapshot: &Snapshot,
    policy: &Policy,
    (code, namespaces): (Code, &Namespaces),
    pod: &Pod,
) -> bool {
    let namespace = snapshot.namespace(&pod.namespace);
    match namespaces {
        Namespaces::Own => {
            pod.namespace == policy.key.namespace
                && (code == Code::PolicyLostPods || namespace.is_some())
        }
        Namespaces::Selected(selector) => {
            namespace.is_some_and(|namespace| selector.matches(&namespace.labels))
        }
    }
}

/// What selected the pod before, and does not now.
fn lost_by_pod<'s>(snapshot: &'s Snapshot, old: &Before, pod: &Pod) -> Vec<Suspect<'s>> {
    suspects(snapshot, |code, policy, namespaces, pods| {
        let is_lost = pods.matches(&old.labels)
            && !pods.matches(&pod.labels)
            && is_within(snapshot, policy, (code, namespaces), pod);
        is_lost.then(|| {
            let difference = difference(pods, &old.labels, &pod.labels);
            format!("the last one was {} ({difference})", words::pod(pod))
        })
    })
}

/// What selected the namespace before, and does not now.
fn lost_by_namespace<'s>(snapshot: &'s Snapshot, old: &Before) -> Vec<Suspect<'s>> {
    let Some(now) = snapshot.namespace(&old.name) else { return Vec::new() };
    suspects(snapshot, |_, _, namespaces, _| {
        let Namespaces::Selected(selector) = namespaces else { return None };
        let is_lost = selector.matches(&old.labels) && !selector.matches(&now.labels);
        is_lost.then(|| {
            let difference = difference(selector, &old.labels, &now.labels);
            format!("the last ones were in the namespace {} ({difference})", old.name)
        })
    })
}

/// The selectors of policies, and of their entries of `from` and `to`, of which `change` says what took a match from them.
fn suspects<'s>(
    snapshot: &'s Snapshot,
    change: impl Fn(Code, &Policy, &Namespaces, &Selector) -> Option<String>,
) -> Vec<Suspect<'s>> {
    let mut suspects = Vec::new();
    for policy in snapshot.policies() {
        let (own, pods) = (&Namespaces::Own, &policy.subjects);
        let code = Code::PolicyLostPods;
        if let Some(change) = change(code, policy, own, pods) {
            let field = SUBJECTS_FIELD.to_owned();
            suspects.push(Suspect { policy, field, namespaces: own, pods, code, change });
        }
        for entry in pod_entries(policy) {
            let (namespaces, pods) = (entry.namespaces, entry.pods);
            let code = Code::PeerLostPods;
            if let Some(change) = change(code, policy, namespaces, pods) {
                let field = entry.field();
                suspects.push(Suspect { policy, field, namespaces, pods, code, change });
            }
        }
    }
    suspects
}

/// How the labels differ that the selector names: `app changed from db to web, tier=back was removed`.
fn difference(selector: &Selector, old: &Labels, new: &Labels) -> String {
    let mut keys: Vec<&Arc<str>> = selector.requirements.iter().map(|each| &each.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let differ = keys.into_iter().filter_map(|key| match (old.get(key), new.get(key)) {
        (Some(old), Some(new)) if old != new => Some(format!("{key} changed from {old} to {new}")),
        (Some(old), None) => Some(format!("{key}={old} was removed")),
        (None, Some(new)) => Some(format!("{key}={new} was added")),
        _ => None,
    });
    differ.collect::<Vec<_>>().join(", ")
}

/// Whether the object that the finding is about accepts it.
fn is_accepted(snapshot: &Snapshot, finding: &Finding) -> bool {
    super::input::ignore(snapshot, finding).is_some_and(|ignore| ignore.holds(finding.code.id()))
}
