//! The namespaces of a snapshot: those that are declared, and those that pods and policies only name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::label_index::LabelIndex;
use crate::intern::Interner;
use crate::model::{Labels, NAMESPACE_NAME_LABEL, Namespace};

/// What a namespace is that pods or policies name and nothing declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UndeclaredNamespaces {
    /// It exists, with the label `kubernetes.io/metadata.name`: manifests in files often leave namespaces out.
    #[default]
    Implied,
    /// It does not exist yet. No peer selector matches its pods; its policies isolate them all the same. An API server has
    /// every namespace, so that one that was not seen is one whose labels are not known.
    Absent,
}

#[derive(Debug, Clone)]
struct Entry {
    namespace: Namespace,
    declared: bool,
    /// How many pods and policies name it.
    references: usize,
}

#[derive(Debug, Default)]
pub(super) struct NamespaceTable {
    undeclared: UndeclaredNamespaces,
    entries: BTreeMap<Arc<str>, Entry>,
    declared: usize,
    /// Of those that exist.
    by_label: LabelIndex,
}

impl NamespaceTable {
    pub(super) fn new(undeclared: UndeclaredNamespaces) -> Self {
        Self { undeclared, ..Self::default() }
    }

    fn exists(&self, entry: &Entry) -> bool {
        entry.declared || self.undeclared == UndeclaredNamespaces::Implied
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.entries.values().filter(|entry| self.exists(entry)).map(|entry| &entry.namespace)
    }

    /// How many exist.
    pub(super) fn len(&self) -> usize {
        match self.undeclared {
            UndeclaredNamespaces::Implied => self.entries.len(),
            UndeclaredNamespaces::Absent => self.declared,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|namespace| &namespace.name)
    }

    pub(super) fn declared(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().filter(|(_, entry)| entry.declared).map(|(name, _)| name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Namespace> {
        let entry = self.entries.get(name).filter(|entry| self.exists(entry))?;
        Some(&entry.namespace)
    }

    pub(super) fn labelled(
        &self,
        label: &(Arc<str>, Arc<str>),
    ) -> impl Iterator<Item = &Namespace> {
        self.by_label.with(label).iter().filter_map(|name| self.get(name))
    }

    /// Declares a namespace. Returns its name if it came to exist or its labels changed.
    pub(super) fn apply(
        &mut self,
        mut namespace: Namespace,
        interner: &mut Interner,
    ) -> Option<Arc<str>> {
        if namespace.labels.get(NAMESPACE_NAME_LABEL) != Some(&namespace.name) {
            namespace.labels = Arc::new(with_name_label(&namespace.labels, &namespace.name));
        }
        let name = interner.string(&namespace.name);
        let labels = interner.labels(&namespace.labels);
        let lint_ignore = namespace.lint_ignore;
        let namespace = Namespace { name: Arc::clone(&name), labels, lint_ignore };
        let existed = self.get(&name).is_some();
        match self.entries.get_mut(&name) {
            Some(entry) => {
                self.declared += usize::from(!std::mem::replace(&mut entry.declared, true));
                if existed && entry.namespace == namespace {
                    return None;
                }
                if existed {
                    self.by_label.remove(&entry.namespace);
                }
                self.by_label.add(&namespace);
                entry.namespace = namespace;
            }
            None => {
                self.by_label.add(&namespace);
                self.declared += 1;
                let entry = Entry { namespace, declared: true, references: 0 };
                self.entries.insert(Arc::clone(&name), entry);
            }
        }
        Some(name)
    }

    /// Takes the declaration back. Returns the name if there was one.
    pub(super) fn delete(&mut self, name: &str, interner: &mut Interner) -> Option<Arc<str>> {
        let entry = self.entries.get_mut(name).filter(|entry| entry.declared)?;
        let name = Arc::clone(&entry.namespace.name);
        self.declared -= 1;
        self.by_label.remove(&entry.namespace);
        if entry.references == 0 {
            self.entries.remove(&name);
            return Some(name);
        }
        entry.declared = false;
        entry.namespace = undeclared(&name, interner);
        if self.undeclared == UndeclaredNamespaces::Implied {
            self.by_label.add(&entry.namespace);
        }
        Some(name)
    }

    /// A pod or a policy names it. Returns whether it came to exist by that.
    pub(super) fn reference(&mut self, name: &Arc<str>, interner: &mut Interner) -> bool {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.references += 1;
            return false;
        }
        let namespace = undeclared(name, interner);
        let exists = self.undeclared == UndeclaredNamespaces::Implied;
        if exists {
            self.by_label.add(&namespace);
        }
        let entry = Entry { namespace, declared: false, references: 1 };
        self.entries.insert(Arc::clone(name), entry);
        exists
    }

    /// A pod or a policy that named it is gone. Returns whether the namespace ceased to exist by that.
    pub(super) fn release(&mut self, name: &Arc<str>) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        entry.references -= 1;
        if entry.references > 0 || entry.declared {
            return false;
        }
        let existed = self.undeclared == UndeclaredNamespaces::Implied;
        if existed {
            self.by_label.remove(&entry.namespace);
        }
        self.entries.remove(name);
        existed
    }
}

fn undeclared(name: &Arc<str>, interner: &mut Interner) -> Namespace {
    let labels = with_name_label(&Labels::default(), name);
    Namespace {
        name: Arc::clone(name),
        labels: interner.labels(&Arc::new(labels)),
        lint_ignore: None,
    }
}

fn with_name_label(labels: &Labels, name: &Arc<str>) -> Labels {
    let given = labels.iter().map(|(k, v)| (Arc::clone(k), Arc::clone(v)));
    given.chain([(Arc::from(NAMESPACE_NAME_LABEL), Arc::clone(name))]).collect()
}
