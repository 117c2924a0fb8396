//! Namespaces by label, so that a selector that demands one looks at no other namespace.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::Namespace;

type Label = (Arc<str>, Arc<str>);

/// The names of the namespaces with a label.
#[derive(Debug, Default)]
pub(super) struct LabelIndex(HashMap<Label, Vec<Arc<str>>>);

impl LabelIndex {
    pub(super) fn with(&self, label: &Label) -> &[Arc<str>] {
        self.0.get(label).map_or(&[], Vec::as_slice)
    }

    pub(super) fn add(&mut self, namespace: &Namespace) {
        for (key, value) in namespace.labels.iter() {
            let names = self.0.entry((Arc::clone(key), Arc::clone(value))).or_default();
            names.push(Arc::clone(&namespace.name));
        }
    }

    pub(super) fn remove(&mut self, namespace: &Namespace) {
        for (key, value) in namespace.labels.iter() {
            let label = (Arc::clone(key), Arc::clone(value));
            if let Some(names) = self.0.get_mut(&label) {
                names.retain(|name| *name != namespace.name);
                if names.is_empty() {
                    self.0.remove(&label);
                }
            }
        }
    }
}
