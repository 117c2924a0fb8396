//! The policies of each namespace, and which of them select which pods.
//!
//! Pods of a namespace that differ in no label under a key that some policy's `podSelector` names are selected by the
//! same policies. They share a *selection*, which an edit of a policy brings up to date once for all of them: ten thousand
//! policies that select every pod are never looked at one by one for each pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::ids::{PolicyId, PortName};
use super::peers::demanded_label;
use crate::model::{
    Direction, Labels, Pod, Policy, PolicyKey, PolicyRule, PortSpec, Ports, Selector,
};
use crate::snapshot::{PodId, Snapshot};

/// Policies by id, ascending. Equal lists are one value at one address as long as one of them is held.
pub(super) type PolicyList = Arc<[PolicyId]>;

/// A policy, and what of it is looked up often.
#[derive(Debug)]
pub(super) struct IndexedPolicy {
    pub(super) policy: Arc<Policy>,
    /// The port names of its ingress rules, which are looked up on the subject; sorted, each once.
    pub(super) ingress_names: Vec<PortName>,
}

/// The port names of a rule: sorted, each once.
pub(super) fn port_names(rule: &PolicyRule) -> Vec<PortName> {
    let Ports::AnyOf(matches) = &rule.ports else { return Vec::new() };
    let named = matches.iter().filter_map(|m| match &m.port {
        PortSpec::Named(name) => Some((m.protocol, Arc::clone(name))),
        PortSpec::Any | PortSpec::Range { .. } => None,
    });
    sorted(named.collect())
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

/// The policies that select some pods, by direction.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// `None` where no policy isolates in the direction. In the order of `Direction::ALL`.
    lists: [Option<PolicyList>; 2],
    /// The port names of the ingress rules of these policies, with the number of policies that use each.
    names: BTreeMap<PortName, usize>,
    /// The local pods that have this selection.
    pods: BTreeSet<PodId>,
}

impl Selection {
    pub(super) fn list(&self, direction: Direction) -> Option<&PolicyList> {
        let [ingress, egress] = &self.lists;
        match direction {
            Direction::Ingress => ingress.as_ref(),
            Direction::Egress => egress.as_ref(),
        }
    }

    /// The port names that ingress rules look up on these pods.
    pub(super) fn names(&self) -> impl Iterator<Item = &PortName> {
        self.names.keys()
    }
}

/// The labels of a pod under the keys that the selectors of its namespace's policies name.
pub(super) type SelectionKey = Labels;

#[derive(Debug, Default)]
struct NamespacePolicies {
    ids: BTreeMap<PolicyKey, PolicyId>,
    /// Policies by a label that they demand of a pod, and those that demand none.
    by_label: HashMap<(Arc<str>, Arc<str>), Vec<PolicyId>>,
    others: Vec<PolicyId>,
    /// How many policies' selectors name each label key.
    label_keys: HashMap<Arc<str>, usize>,
    selections: HashMap<SelectionKey, Selection>,
}

/// What a batch does to the policies of one namespace.
#[derive(Debug, Default)]
struct PolicyEdits {
    removed: HashSet<PolicyId>,
    /// Ascending.
    added: Vec<PolicyId>,
}

impl NamespacePolicies {
    fn is_unused(&self) -> bool {
        self.ids.is_empty() && self.selections.is_empty()
    }

    fn bucket(&mut self, selector: &Selector) -> &mut Vec<PolicyId> {
        match demanded_label(selector) {
            Some(label) => self.by_label.entry(label).or_default(),
            None => &mut self.others,
        }
    }

    /// Notes that a policy names these label keys; true if one is new.
    fn note_keys(&mut self, selector: &Selector) -> bool {
        let mut is_new = false;
        for requirement in &selector.requirements {
            let count = self.label_keys.entry(Arc::clone(&requirement.key)).or_insert(0);
            is_new |= *count == 0;
            *count += 1;
        }
        is_new
    }

    /// Takes such a note back; true if a key is named by no policy any more.
    fn forget_keys(&mut self, selector: &Selector) -> bool {
        let mut is_last = false;
        for requirement in &selector.requirements {
            if let Some(count) = self.label_keys.get_mut(&requirement.key) {
                *count -= 1;
                if *count == 0 {
                    self.label_keys.remove(&requirement.key);
                    is_last = true;
                }
            }
        }
        is_last
    }

    fn selection_key(&self, pod: &Pod) -> SelectionKey {
        if self.label_keys.is_empty() {
            return Labels::default();
        }
        let named = pod.labels.iter().filter(|(key, _)| self.label_keys.contains_key(*key));
        named.map(|(key, value)| (Arc::clone(key), Arc::clone(value))).collect()
    }

    /// The policies that may select pods with these labels: a superset, each once.
    fn candidates<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = PolicyId> + 'a {
        let labelled = labels
            .iter()
            .filter_map(|(key, value)| self.by_label.get(&(Arc::clone(key), Arc::clone(value))));
        labelled.flatten().chain(&self.others).copied()
    }
}

/// All policies, the selections of the local pods, and the lists of policies that these have.
#[derive(Debug, Default)]
pub(super) struct Policies {
    by_id: HashMap<PolicyId, IndexedPolicy>,
    namespaces: BTreeMap<Arc<str>, NamespacePolicies>,
    lists: HashSet<PolicyList>,
    next: u32,
}

impl Policies {
    /// `None` for a version that was replaced or deleted.
    pub(super) fn get(&self, id: PolicyId) -> Option<&IndexedPolicy> {
        self.by_id.get(&id)
    }

    /// Takes over the edits of these policies. Returns the local pods whose selection is another now; all of them have
    /// to be selected for anew.
    pub(super) fn update(
        &mut self,
        touched: &BTreeSet<PolicyKey>,
        snapshot: &Snapshot,
    ) -> BTreeSet<PodId> {
        let mut pods = BTreeSet::new();
        let mut keys = touched.iter().peekable();
        while let Some(first) = keys.peek().copied() {
            let namespace = Arc::clone(&first.namespace);
            let mut policies = self.namespaces.remove(&namespace).unwrap_or_default();
            let mut edits = PolicyEdits::default();
            let mut has_other_keys = false;
            while let Some(key) = keys.next_if(|key| key.namespace == namespace) {
                has_other_keys |=
                    self.replace(&mut policies, key, snapshot.policy(key), &mut edits);
            }
            if has_other_keys {
                let selections = std::mem::take(&mut policies.selections);
                pods.extend(selections.into_values().flat_map(|selection| selection.pods));
            }
            for (labels, selection) in &mut policies.selections {
                if self.edit_selection(labels, selection, &edits) {
                    pods.extend(&selection.pods);
                }
            }
            edits.removed.iter().for_each(|id| _ = self.by_id.remove(id));
            if !policies.is_unused() {
                self.namespaces.insert(namespace, policies);
            }
        }
        self.lists.retain(|list| Arc::strong_count(list) > 1);
        pods
    }

    /// Puts a policy in the place of its older version. True if the namespace's policies name other label keys now.
    fn replace(
        &mut self,
        policies: &mut NamespacePolicies,
        key: &PolicyKey,
        policy: Option<&Arc<Policy>>,
        edits: &mut PolicyEdits,
    ) -> bool {
        let mut has_other_keys = false;
        let new = policy.map(|policy| (PolicyId(self.next), policy));
        if let Some((_, policy)) = new {
            // Noted before the old ones are forgotten, so that a key that both versions name is no other key.
            has_other_keys |= policies.note_keys(&policy.subjects);
        }
        if let Some(id) = policies.ids.remove(key) {
            edits.removed.insert(id);
            if let Some(old) = self.by_id.get(&id) {
                let selector = &old.policy.subjects;
                has_other_keys |= policies.forget_keys(selector);
                let bucket = policies.bucket(selector);
                bucket.retain(|&other| other != id);
                if bucket.is_empty()
                    && let Some(label) = demanded_label(selector)
                {
                    policies.by_label.remove(&label);
                }
            }
        }
        if let Some((id, policy)) = new {
            // A version that lives 2^32 edits long would be met again; wrapping keeps every other id apart.
            self.next = self.next.wrapping_add(1);
            let rules = policy.rules(Direction::Ingress).iter();
            let ingress_names = sorted(rules.flat_map(port_names).collect());
            policies.ids.insert(key.clone(), id);
            policies.bucket(&policy.subjects).push(id);
            edits.added.push(id);
            let policy = Arc::clone(policy);
            self.by_id.insert(id, IndexedPolicy { policy, ingress_names });
        }
        has_other_keys
    }

    /// Whether the selection changed.
    fn edit_selection(
        &mut self,
        labels: &Labels,
        selection: &mut Selection,
        edits: &PolicyEdits,
    ) -> bool {
        let matches =
            |id: &PolicyId| self.by_id.get(id).is_some_and(|p| p.policy.subjects.matches(labels));
        let added: Vec<PolicyId> = edits.added.iter().copied().filter(matches).collect();
        let mut changed = false;
        for (direction, list) in Direction::ALL.into_iter().zip(&mut selection.lists) {
            let isolates = |id: &&PolicyId| {
                self.by_id.get(*id).is_some_and(|p| p.policy.isolates.in_direction(direction))
            };
            let old = list.as_deref().unwrap_or_default();
            let added: Vec<PolicyId> = added.iter().filter(isolates).copied().collect();
            let loses =
                !edits.removed.is_empty() && old.iter().any(|id| edits.removed.contains(id));
            if added.is_empty() && !loses {
                continue;
            }
            changed = true;
            if direction == Direction::Ingress {
                let removed = old.iter().filter(|id| edits.removed.contains(*id));
                count_names(&self.by_id, removed, &mut selection.names, false);
                count_names(&self.by_id, added.iter(), &mut selection.names, true);
            }
            let kept = old.iter().copied().filter(|id| !edits.removed.contains(id));
            *list = intern(&mut self.lists, sorted(kept.chain(added).collect()));
        }
        changed
    }

    /// Enters a local pod and returns the key of its selection. Every local pod has one, also where no policy selects it.
    pub(super) fn enter(&mut self, id: PodId, pod: &Pod) -> SelectionKey {
        let policies = self.namespaces.entry(Arc::clone(&pod.namespace)).or_default();
        let key = policies.selection_key(pod);
        if let Some(selection) = policies.selections.get_mut(&key) {
            selection.pods.insert(id);
            return key;
        }
        let mut selection = Selection { pods: [id].into(), ..Selection::default() };
        let selecting: Vec<(PolicyId, &IndexedPolicy)> = policies
            .candidates(&key)
            .filter_map(|id| Some((id, self.by_id.get(&id)?)))
            .filter(|(_, indexed)| indexed.policy.subjects.matches(&key))
            .collect();
        for (direction, list) in Direction::ALL.into_iter().zip(&mut selection.lists) {
            let isolating =
                selecting.iter().filter(|(_, p)| p.policy.isolates.in_direction(direction));
            *list = intern(&mut self.lists, sorted(isolating.map(|(id, _)| *id).collect()));
        }
        let ingress = selection.lists.first().and_then(Option::as_deref).unwrap_or_default();
        count_names(&self.by_id, ingress.iter(), &mut selection.names, true);
        policies.selections.insert(key.clone(), selection);
        key
    }

    pub(super) fn selection(&self, namespace: &str, key: &SelectionKey) -> Option<&Selection> {
        self.namespaces.get(namespace)?.selections.get(key)
    }

    /// Takes a pod out of its selection, where that is still there.
    pub(super) fn leave(&mut self, id: PodId, namespace: &str, key: &SelectionKey) {
        let Some(policies) = self.namespaces.get_mut(namespace) else { return };
        let Some(selection) = policies.selections.get_mut(key) else { return };
        selection.pods.remove(&id);
        if selection.pods.is_empty() {
            policies.selections.remove(key);
        }
        if policies.is_unused() {
            self.namespaces.remove(namespace);
        }
    }
}

/// `None` for an empty list.
fn intern(lists: &mut HashSet<PolicyList>, list: Vec<PolicyId>) -> Option<PolicyList> {
    if list.is_empty() {
        return None;
    }
    Some(Arc::clone(lists.get_or_insert_with(list.as_slice(), |list| list.into())))
}

/// Counts the port names of these policies' ingress rules, or takes the count back.
fn count_names<'a, P: Iterator<Item = &'a PolicyId>>(
    by_id: &HashMap<PolicyId, IndexedPolicy>,
    policies: P,
    names: &mut BTreeMap<PortName, usize>,
    add: bool,
) {
    for name in policies.filter_map(|id| by_id.get(id)).flat_map(|p| &p.ingress_names) {
        let count = names.entry(name.clone()).or_insert(0);
        if add {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                names.remove(name);
            }
        }
    }
}
