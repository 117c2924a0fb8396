//! An object while its keys come, in whatever order.

use std::sync::Arc;

use serde::de::{self, Deserialize, MapAccess};
use serde_json::Value;

use super::key::given_twice;
use super::kinds::{self, Kind, Other, SourceOf};
use super::lenient::{Lenient, Shape};
use super::list::{ItemsRead, refuse_fields, refuse_unfinished};
use super::object::Written;
use super::path::{OBJECT, Path};
use super::report::{Current, Report};
use super::tree::{Skip, Tree};
use super::wire::{Metadata, NodeSpec, NodeStatus, PodSpec, PodStatus};

pub(super) const OBJECT_REMEDY: &str = "Write an object with apiVersion, kind and metadata";

/// What a typed list (`PodList`) says about items that do not say it themselves.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    api_version: Option<Arc<str>>,
    kind: Arc<str>,
}

/// An object while its keys come, in whatever order.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) inherited: Option<Typed>,
    /// Where it begins.
    pub(super) offset: Option<usize>,
    pub(super) api_version: Lenient<Arc<str>>,
    pub(super) kind: Lenient<Arc<str>>,
    pub(super) metadata: Lenient<Metadata>,
    pod_spec: Lenient<PodSpec>,
    pod_status: Lenient<PodStatus>,
    node_spec: Lenient<NodeSpec>,
    node_status: Lenient<NodeStatus>,
    /// Kept until the kind is known, or read as a tree.
    pub(super) trees: Trees,
    /// What was read of the items.
    pub(super) read: Option<ItemsRead>,
    /// Whether the items were read before the list had said what they are.
    pub(super) are_items_early: bool,
    /// Whether there are items that were not read, since it is no list by its kind.
    pub(super) are_items_stray: bool,
    /// What an answer says.
    pub(super) says: Lenient<Arc<str>>,
    /// The first few keys that only some kinds have, or none.
    others: Vec<String>,
}

/// Values of fields that depend on the kind.
#[derive(Default)]
pub(super) struct Trees {
    spec: Option<Value>,
    status: Option<Value>,
    endpoints: Option<Value>,
    ports: Option<Value>,
    pub(super) items: Option<Value>,
}

const MAX_OTHERS: usize = 16;

impl Draft {
    /// An item of a list that may say what it is.
    pub(super) fn of_item(inherited: Option<Typed>) -> Self {
        Self { inherited, ..Self::default() }
    }

    pub(super) fn has_kind(&self) -> bool {
        !self.kind.is_absent() || self.inherited.is_some()
    }

    /// The kind that the object itself has said so far. What follows is read as that at once. What its list says counts only
    /// when all of it is there, since its own kind may still come, and decides.
    pub(super) fn own_kind(&self) -> Option<&str> {
        match &self.kind {
            Lenient::Is(kind) => Some(kind),
            Lenient::Wrong(_) => Some(""),
            Lenient::Missing | Lenient::Null => None,
        }
    }

    /// The kind, as far as it is known: its own, or else the one that the list says.
    pub(super) fn whole_kind(&self) -> Option<&str> {
        self.own_kind().or_else(|| self.inherited.as_ref().map(|typed| &*typed.kind))
    }

    /// For an error that ends the document before the object is complete.
    pub(super) fn note_current(&self, current: &mut Current) {
        let metadata = self.metadata.as_known();
        let text = |field: Option<&Lenient<Arc<str>>>| field.and_then(Lenient::as_known).cloned();
        current.kind = self.kind.as_known().cloned();
        current.name = text(metadata.map(|metadata| &metadata.name));
        current.namespace = text(metadata.map(|metadata| &metadata.namespace));
    }

    pub(super) fn note_other(&mut self, key: &str) {
        if self.others.len() < MAX_OTHERS {
            self.others.push(key.to_owned());
        }
    }

    /// A field that only some kinds have.
    pub(super) fn fill_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let own = self.own_kind();
        let kind = own.and_then(Kind::named);
        match (key, kind) {
            ("spec", Some(Kind::Pod)) => return self.pod_spec.put(key, map.next_value()?),
            ("status", Some(Kind::Pod)) => return self.pod_status.put(key, map.next_value()?),
            ("spec", Some(Kind::Node)) => return self.node_spec.put(key, map.next_value()?),
            ("status", Some(Kind::Node)) => return self.node_status.put(key, map.next_value()?),
            _ => {}
        }
        let is_kept = own.is_none()
            || matches!(
                (key, kind),
                ("spec", Some(Kind::Policy | Kind::Service))
                    | ("status", Some(Kind::Service))
                    | ("endpoints" | "ports", Some(Kind::EndpointSlice))
            );
        let tree = match key {
            "spec" => &mut self.trees.spec,
            "status" => &mut self.trees.status,
            "endpoints" => &mut self.trees.endpoints,
            "ports" => &mut self.trees.ports,
            _ => {
                self.note_other(key);
                return map.next_value::<Skip>().map(|_| ());
            }
        };
        let is_first = tree.is_none();
        let value = if is_kept {
            map.next_value::<Tree>()?.0
        } else {
            map.next_value::<Skip>()?;
            Value::Null
        };
        *tree = Some(value);
        if !is_first {
            return Err(given_twice(key));
        }
        if matches!(key, "endpoints" | "ports") {
            self.note_other(key);
        }
        Ok(())
    }

    /// What the items of this list are, if it is a typed one.
    pub(super) fn typed_items(&self) -> Option<Typed> {
        let kind = self.whole_kind()?.strip_suffix("List").filter(|kind| !kind.is_empty())?;
        Some(Typed { api_version: self.api_version.as_known().cloned(), kind: Arc::from(kind) })
    }

    /// Whether it is a list, or is meant to be one.
    pub(super) fn is_list(&self, kind: &str) -> bool {
        let is_foreign = self.api_version.as_known().is_some_and(|given| kinds::is_foreign(given));
        let is_stray = self.are_items_stray && !is_foreign;
        self.read.is_some() || is_stray || kinds::is_list(kind)
    }

    /// Reports what is wrong with a list. Returns what its items without a kind are, if they must be read once more.
    pub(super) fn finish_list(
        self,
        report: &mut Report<'_>,
        kind: &str,
        is_root: bool,
    ) -> Option<Typed> {
        let offset = self.offset;
        let mut refuse = |path: &Path<'_>, message: String, remedy: &str| {
            report.refuse_at(offset, Some(path), message, remedy);
            None
        };
        if !kind.ends_with("List") {
            let message = format!("is {kind}, but there are items, which only a list has");
            let remedy = "Write kind: List, or remove the items";
            return refuse(&OBJECT.field("kind"), message, remedy);
        }
        let Some(read) = &self.read else {
            let message = format!("A {kind} without items declares nothing that is known");
            return refuse(OBJECT, message, "Write items: [] if it is meant to be empty");
        };
        if let Some(found) = read.wrong {
            let message = format!("is {found}, not a list of objects");
            return refuse(&OBJECT.field("items"), message, OBJECT_REMEDY);
        }
        let version = self.api_version.as_known().cloned().unwrap_or_default();
        if read.count == 0 && kinds::other(kind, &version) == Other::Answer {
            report.unread((Arc::from(kind), version), None, offset);
        }
        if let Some(metadata) = self.metadata.as_known() {
            refuse_unfinished(report, offset, metadata);
        }
        if kinds::is_list(kind) {
            refuse_fields(report, offset, kind, &self.others);
        }
        let typed = self.typed_items();
        if read.bare > 0 && self.are_items_early && is_root && typed.is_some() {
            return typed;
        }
        read.refuse_bare(report);
        None
    }

    /// Refuses a document that says no kind.
    pub(super) fn refuse_without_kind(self, report: &mut Report<'_>) {
        let is_object =
            self.metadata.as_known().is_some() || self.trees.spec.is_some() || self.read.is_some();
        let source = kinds::without_kind(report.source(), &self.others).filter(|_| !is_object);
        if let Some((message, remedy)) = source.map(SourceOf::sentences) {
            return report.refuse_at(self.offset, None, message, remedy);
        }
        let message = "The document has no kind and declares nothing that is known";
        let remedy = "Write apiVersion and kind, as in apiVersion: v1, kind: Pod";
        report.refuse_at(self.offset, None, message, remedy);
    }

    pub(super) fn written<E: de::Error>(mut self, kind: &str) -> Result<Written, E> {
        fn late<T: for<'de> Shape<'de>, E: de::Error>(
            read: Lenient<T>,
            tree: &mut Option<Value>,
        ) -> Result<Lenient<T>, E> {
            match tree.take() {
                Some(tree) => Lenient::deserialize(tree).map_err(E::custom),
                None => Ok(read),
            }
        }
        let of = Kind::named(kind);
        if of == Some(Kind::Pod) {
            self.pod_spec = late(self.pod_spec, &mut self.trees.spec)?;
            self.pod_status = late(self.pod_status, &mut self.trees.status)?;
        }
        if of == Some(Kind::Node) {
            self.node_spec = late(self.node_spec, &mut self.trees.spec)?;
            self.node_status = late(self.node_status, &mut self.trees.status)?;
        }
        let inherited = self
            .inherited
            .and_then(|typed| if &*typed.kind == kind { typed.api_version } else { None });
        let api_version = match (self.api_version, inherited) {
            (Lenient::Missing | Lenient::Null, Some(inherited)) => Lenient::Is(inherited),
            (own, _) => own,
        };
        let mut unknown = self.others;
        unknown.retain(|field| of.is_some_and(|kind| !kind.fields().contains(&field.as_str())));
        Ok(Written {
            offset: self.offset,
            api_version,
            kind: Arc::from(kind),
            metadata: self.metadata,
            pod_spec: self.pod_spec,
            pod_status: self.pod_status,
            node_spec: self.node_spec,
            node_status: self.node_status,
            spec: self.trees.spec,
            status: self.trees.status,
            endpoints: self.trees.endpoints,
            ports: self.trees.ports,
            says: self.says.as_known().cloned(),
            unknown,
        })
    }
}
