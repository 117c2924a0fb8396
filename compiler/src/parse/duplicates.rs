//! Objects that are given twice in one source.

use std::sync::Arc;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::diagnostic::ObjectRef;
use super::kinds::Kind;
use crate::model::{Isolation, Policy, PolicyKey, Selector};

/// What makes two objects one and the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) kind: Kind,
    /// Of kinds that have one.
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Arc<str>,
}

impl Name {
    pub(super) fn reference(&self) -> ObjectRef {
        ObjectRef {
            kind: self.kind.name().to_owned(),
            namespace: self.namespace.as_deref().map(str::to_owned),
            name: self.name.to_string(),
        }
    }
}

/// The objects of a source so far. `S` is where one stands.
#[derive(Debug)]
pub(super) struct Seen<S> {
    /// Where each object stands first. The names are those that the objects themselves hold.
    first: HashMap<Name, S>,
    /// What each policy isolates, for the case that it is given again.
    isolating: HashMap<PolicyKey, (Arc<Selector>, Isolation)>,
    /// Each selector once: one for each policy would leave as many holes in the heap.
    selectors: HashSet<Arc<Selector>>,
}

impl<S> Default for Seen<S> {
    fn default() -> Self {
        Self { first: HashMap::new(), isolating: HashMap::new(), selectors: HashSet::new() }
    }
}

impl<S: Copy> Seen<S> {
    pub(super) fn objects(&self) -> usize {
        self.first.len()
    }

    /// Notes an object. Returns where one of the same name stands, if there is one.
    pub(super) fn note(&mut self, name: Name, at: S) -> Option<S> {
        match self.first.entry(name) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(place) => {
                place.insert(at);
                None
            }
        }
    }

    pub(super) fn note_policy(&mut self, policy: &Policy) {
        let selector = self
            .selectors
            .get_or_insert_with(&policy.subjects, |subjects| Arc::new(subjects.clone()));
        self.isolating.insert(policy.key.clone(), (Arc::clone(selector), policy.isolates));
    }

    /// A policy that is given again -> one that isolates what this one and the first one do, and allows nothing.
    pub(super) fn closed(&self, again: &Policy) -> Policy {
        let mut closed = again.clone();
        (closed.ingress, closed.egress) = (Vec::new(), Vec::new());
        if let Some((subjects, isolates)) = self.isolating.get(&again.key) {
            let (subjects, isolates) = (subjects.as_ref().clone(), *isolates);
            widen(&mut closed, &Policy { subjects, isolates, ..again.clone() });
        }
        closed
    }
}

/// Makes a policy isolate what another one does, too. No selector is the union of two that differ, but the selector of
/// the whole namespace contains both.
pub(super) fn widen(policy: &mut Policy, other: &Policy) {
    if policy.subjects != other.subjects {
        policy.subjects = Selector::everything();
    }
    policy.isolates.ingress |= other.isolates.ingress;
    policy.isolates.egress |= other.isolates.egress;
}
