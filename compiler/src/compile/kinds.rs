//! Kinds of pods. All pods of a kind match the same selectors in use.
//!
//! A *template* is the part of a pod that selectors and rules can see: namespace, labels and named ports. A *kind* is a
//! template reduced to the label keys and port names that rules in use mention. Selectors are evaluated once for each kind,
//! so that a label such as `pod-template-hash`, or the name of a pod, costs nothing until a rule mentions it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::ids::{KindId, PeerSetId};
use super::peer_sets::{Item, PeerSets};
use super::peers::{TermNamespaces, demanded_label};
use crate::compact::grow_slowly;
use crate::model::{ContainerPort, Labels, Namespace, Pod};
use crate::snapshot::{PodId, Snapshot};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TemplateId(u32);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KindKey {
    namespace: Arc<str>,
    labels: Labels,
    ports: Vec<ContainerPort>,
}

#[derive(Debug)]
pub(super) struct Kind {
    key: Arc<KindKey>,
    /// Whether the namespace existed at the last evaluation.
    is_known: bool,
    templates: BTreeSet<TemplateId>,
    /// The sets with a term that matches, with the ports that their port names have on these pods.
    pub(super) items: BTreeSet<Item>,
}

impl Kind {
    /// The named ports of these pods as peers. Empty while their namespace does not exist.
    pub(super) fn ports(&self) -> &[ContainerPort] {
        if self.is_known { &self.key.ports } else { &[] }
    }
}

#[derive(Debug)]
struct Template {
    namespace: Arc<str>,
    labels: Arc<Labels>,
    ports: Arc<[ContainerPort]>,
    kind: KindId,
    pods: Vec<PodId>,
}

/// Labels and ports by address: the snapshot holds equal values once, and the template keeps them allocated.
type TemplateKey = (Arc<str>, usize, usize);

fn template_key(pod: &Pod) -> TemplateKey {
    let labels = Arc::as_ptr(&pod.labels) as usize;
    let ports = pod.ports.as_ptr() as usize;
    (Arc::clone(&pod.namespace), labels, if pod.ports.is_empty() { 0 } else { ports })
}

#[derive(Debug, Default)]
pub(super) struct Kinds {
    kinds: HashMap<KindId, Kind>,
    by_key: HashMap<Arc<KindKey>, KindId>,
    by_namespace: BTreeMap<Arc<str>, BTreeSet<KindId>>,
    templates: HashMap<TemplateId, Template>,
    by_template: HashMap<TemplateKey, TemplateId>,
    /// For each pod, by its id, its template and its index in the template's list of pods.
    pods: Vec<Option<(TemplateId, u32)>>,
    next_kind: u32,
    next_template: u32,
}

impl Kinds {
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn get(&self, id: KindId) -> Option<&Kind> {
        self.kinds.get(&id)
    }

    pub(super) fn of_pod(&self, pod: PodId) -> Option<KindId> {
        let (template, _) = self.template_of(pod)?;
        Some(self.templates.get(&template)?.kind)
    }

    fn template_of(&self, pod: PodId) -> Option<(TemplateId, u32)> {
        *self.pods.get(pod.0 as usize)?
    }

    /// Adds a pod, or moves it to the template that it has after a change.
    pub(super) fn insert(
        &mut self,
        id: PodId,
        pod: &Pod,
        sets: &mut PeerSets,
        snapshot: &Snapshot,
    ) {
        let key = template_key(pod);
        let template = match self.by_template.get(&key) {
            Some(&template) => template,
            None => self.new_template(key, pod, sets, snapshot),
        };
        if self.template_of(id).is_some_and(|(old, _)| old == template) {
            return;
        }
        self.remove(id, sets);
        while self.pods.len() <= id.0 as usize {
            grow_slowly(&mut self.pods);
            self.pods.push(None);
        }
        if let Some(entry) = self.templates.get_mut(&template)
            && let Some(slot) = self.pods.get_mut(id.0 as usize)
        {
            // There are at most as many pods as pod ids, which are `u32`.
            *slot = Some((template, u32::try_from(entry.pods.len()).unwrap_or(u32::MAX)));
            entry.pods.push(id);
        }
    }

    pub(super) fn remove(&mut self, id: PodId, sets: &mut PeerSets) {
        let entry = self.pods.get_mut(id.0 as usize).and_then(Option::take);
        let Some((template, index)) = entry else { return };
        let Some(entry) = self.templates.get_mut(&template) else { return };
        entry.pods.swap_remove(index as usize);
        if let Some(moved) = entry.pods.get(index as usize)
            && let Some(Some(moved)) = self.pods.get_mut(moved.0 as usize)
        {
            moved.1 = index;
        }
        if !entry.pods.is_empty() {
            return;
        }
        if let Some(gone) = self.templates.remove(&template) {
            let ports = if gone.ports.is_empty() { 0 } else { gone.ports.as_ptr() as usize };
            self.by_template.remove(&(gone.namespace, Arc::as_ptr(&gone.labels) as usize, ports));
            self.leave_kind(gone.kind, template, sets);
        }
    }

    fn new_template(
        &mut self,
        key: TemplateKey,
        pod: &Pod,
        sets: &mut PeerSets,
        snapshot: &Snapshot,
    ) -> TemplateId {
        let id = TemplateId(self.next_template);
        self.next_template = self.next_template.wrapping_add(1);
        let kind = self.kind_for(&pod.namespace, &pod.labels, &pod.ports, sets, snapshot);
        if let Some(kind) = self.kinds.get_mut(&kind) {
            kind.templates.insert(id);
        }
        let template = Template {
            namespace: Arc::clone(&pod.namespace),
            labels: Arc::clone(&pod.labels),
            ports: Arc::clone(&pod.ports),
            kind,
            pods: Vec::new(),
        };
        self.templates.insert(id, template);
        self.by_template.insert(key, id);
        id
    }

    fn kind_for(
        &mut self,
        namespace: &Arc<str>,
        labels: &Labels,
        ports: &[ContainerPort],
        sets: &mut PeerSets,
        snapshot: &Snapshot,
    ) -> KindId {
        let key = project(namespace, labels, ports, sets);
        if let Some(&id) = self.by_key.get(&key) {
            return id;
        }
        let id = KindId(self.next_kind);
        self.next_kind = self.next_kind.wrapping_add(1);
        let key = Arc::new(key);
        let kind = Kind {
            key: Arc::clone(&key),
            is_known: false,
            templates: BTreeSet::new(),
            items: BTreeSet::new(),
        };
        self.kinds.insert(id, kind);
        self.by_namespace.entry(Arc::clone(&key.namespace)).or_default().insert(id);
        self.by_key.insert(key, id);
        self.evaluate(id, sets, snapshot);
        id
    }

    fn leave_kind(&mut self, id: KindId, template: TemplateId, sets: &mut PeerSets) {
        let Some(kind) = self.kinds.get_mut(&id) else { return };
        kind.templates.remove(&template);
        if !kind.templates.is_empty() {
            return;
        }
        let Some(kind) = self.kinds.remove(&id) else { return };
        self.by_key.remove(&kind.key);
        if let Some(kinds) = self.by_namespace.get_mut(&kind.key.namespace) {
            kinds.remove(&id);
            if kinds.is_empty() {
                self.by_namespace.remove(&kind.key.namespace);
            }
        }
        for item in &kind.items {
            if let Some(set) = sets.get_mut(item.set) {
                set.kinds.remove(&id);
            }
        }
    }

    /// Evaluates all sets for a kind. Returns whether its items or its ports changed.
    pub(super) fn evaluate(
        &mut self,
        id: KindId,
        sets: &mut PeerSets,
        snapshot: &Snapshot,
    ) -> bool {
        let Some(kind) = self.kinds.get_mut(&id) else { return false };
        let mut items = BTreeSet::new();
        let namespace = snapshot.namespace(&kind.key.namespace);
        let was_known = std::mem::replace(&mut kind.is_known, namespace.is_some());
        // No selector matches pods of a namespace that does not exist.
        if let Some(namespace) = namespace {
            for candidate in sets.candidates(namespace, &kind.key.labels) {
                let Some(set) = sets.get(candidate) else { continue };
                if set.matches(namespace, &kind.key.labels) {
                    items.extend(set.item(candidate, &kind.key.ports));
                }
            }
        }
        if items == kind.items {
            return was_known != kind.is_known;
        }
        for item in kind.items.difference(&items) {
            if let Some(set) = sets.get_mut(item.set) {
                set.kinds.remove(&id);
            }
        }
        for item in &items {
            if let Some(set) = sets.get_mut(item.set) {
                set.kinds.insert(id);
            }
        }
        kind.items = items;
        true
    }

    /// Evaluates a new set for the kinds that its terms can match. Returns the kinds that match.
    pub(super) fn enter_set(
        &mut self,
        id: PeerSetId,
        sets: &mut PeerSets,
        snapshot: &Snapshot,
    ) -> Vec<KindId> {
        let Some(set) = sets.get(id) else { return Vec::new() };
        let mut matched = Vec::new();
        for term in &set.key.terms {
            match &term.namespaces {
                TermNamespaces::Named(name) => {
                    matched.extend(self.by_namespace.get(name).into_iter().flatten().copied());
                }
                TermNamespaces::Selected(selector) => {
                    let mut take = |namespace: &Namespace| {
                        if selector.matches(&namespace.labels) {
                            let kinds = self.by_namespace.get(&namespace.name);
                            matched.extend(kinds.into_iter().flatten().copied());
                        }
                    };
                    match demanded_label(selector) {
                        Some(label) => snapshot.namespaces_labelled(&label).for_each(take),
                        None => snapshot.namespaces().for_each(&mut take),
                    }
                }
            }
        }
        matched.sort_unstable();
        matched.dedup();
        matched.retain(|&kind| self.enter(id, kind, sets, snapshot));
        matched
    }

    fn enter(
        &mut self,
        id: PeerSetId,
        kind_id: KindId,
        sets: &mut PeerSets,
        snapshot: &Snapshot,
    ) -> bool {
        let Some(kind) = self.kinds.get_mut(&kind_id) else { return false };
        let Some(namespace) = snapshot.namespace(&kind.key.namespace) else { return false };
        let Some(set) = sets.get_mut(id) else { return false };
        if !set.matches(namespace, &kind.key.labels) {
            return false;
        }
        let Some(item) = set.item(id, &kind.key.ports) else { return false };
        set.kinds.insert(kind_id);
        kind.items.insert(item)
    }

    /// Removes a set from the items of the kinds that matched it.
    pub(super) fn leave_set(&mut self, id: PeerSetId, kinds: &BTreeSet<KindId>) {
        for kind in kinds {
            if let Some(kind) = self.kinds.get_mut(kind) {
                kind.items.retain(|item| item.set != id);
            }
        }
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<KindId> {
        self.by_namespace.get(namespace).into_iter().flatten().copied().collect()
    }

    /// Assigns all templates to kinds again after the label keys or port names in use changed. Returns the pods whose kind
    /// changed.
    pub(super) fn regroup(&mut self, sets: &mut PeerSets, snapshot: &Snapshot) -> Vec<PodId> {
        let mut changed: Vec<TemplateId> = Vec::new();
        for (&id, template) in &self.templates {
            let key = project(&template.namespace, &template.labels, &template.ports, sets);
            if self.kinds.get(&template.kind).is_none_or(|kind| *kind.key != key) {
                changed.push(id);
            }
        }
        changed.sort_unstable();
        let mut moved = Vec::new();
        for id in changed {
            let Some(template) = self.templates.get(&id) else { continue };
            let old = template.kind;
            let (namespace, labels, ports) = (
                Arc::clone(&template.namespace),
                Arc::clone(&template.labels),
                Arc::clone(&template.ports),
            );
            let kind = self.kind_for(&namespace, &labels, &ports, sets, snapshot);
            self.leave_kind(old, id, sets);
            if let Some(kind) = self.kinds.get_mut(&kind) {
                kind.templates.insert(id);
            }
            if let Some(template) = self.templates.get_mut(&id) {
                template.kind = kind;
                moved.extend_from_slice(&template.pods);
            }
        }
        moved
    }
}

fn project(
    namespace: &Arc<str>,
    labels: &Labels,
    ports: &[ContainerPort],
    sets: &PeerSets,
) -> KindKey {
    let named = labels.iter().filter(|(key, _)| sets.names_label(key));
    KindKey {
        namespace: Arc::clone(namespace),
        labels: named.map(|(k, v)| (Arc::clone(k), Arc::clone(v))).collect(),
        ports: ports.iter().filter(|port| sets.names_port(port)).cloned().collect(),
    }
}
