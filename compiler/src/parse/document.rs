//! One document -> its object, or the objects of its list, item by item.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::lenient::{Key, Lenient, Skip, Tree, given_twice};
use super::object::{self, Written};
use super::output::Object;
use super::report::Report;
use super::wire::{Metadata, NodeStatus, PodSpec, PodStatus};

pub(super) struct Reader<'a, 's> {
    pub(super) report: Report<'a>,
    pub(super) sink: &'s mut dyn FnMut(Object),
    /// After a document: what its items without a kind are, which the list told too late to read them.
    pub(super) typed: Option<Typed>,
    /// Only the items without a kind of their own are read, as `typed`: the others have been read before.
    pub(super) rereading: bool,
}

/// What a typed list (`PodList`) says about items that do not say it themselves.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    api_version: Option<Arc<str>>,
    kind: Arc<str>,
}

/// The root of a document.
pub(super) struct DocumentSeed<'r, 'a, 's> {
    pub(super) reader: &'r mut Reader<'a, 's>,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with apiVersion, kind and metadata")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let document = Draft { offset: None, ..Draft::default() };
        let draft = document.fill(self.reader, map, 0)?;
        if draft.has_kind() {
            return draft.finish(self.reader, 0);
        }
        let message = "a document without a kind; it is not read".into();
        let remedy = "write apiVersion and kind, as in apiVersion: v1, kind: Pod";
        self.reader.report.unreadable(draft.offset, message, remedy);
        Ok(())
    }

    /// What `jq .items[]` leaves of a list.
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        let bare = Items { reader: self.reader, inherited: None, level: 1 }.visit_seq(list)?;
        tell_bare(self.reader, bare);
        Ok(())
    }
}

fn tell_bare(reader: &mut Reader<'_, '_>, bare: Bare) {
    if bare.count > 0 {
        let message = format!("{} items of the list have no kind; they are not read", bare.count);
        let remedy = "write apiVersion and kind into each, or the list's own kind before its items";
        reader.report.unreadable(bare.first, message, remedy);
    }
}

/// Items that say no kind, in a list that has not said one either.
#[derive(Debug, Default)]
struct Bare {
    count: usize,
    first: Option<usize>,
}

struct Items<'r, 'a, 's> {
    reader: &'r mut Reader<'a, 's>,
    inherited: Option<Typed>,
    /// How many lists they stand in.
    level: usize,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_> {
    type Value = Bare;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bare, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_> {
    type Value = Bare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E>(self) -> Result<Bare, E> {
        Ok(Bare::default())
    }

    fn visit_none<E>(self) -> Result<Bare, E> {
        Ok(Bare::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bare, A::Error> {
        let mut bare = Bare::default();
        loop {
            let inherited = self.inherited.clone();
            let item = Item { reader: &mut *self.reader, inherited, level: self.level };
            match list.next_element_seed(item)? {
                None => return Ok(bare),
                Some(ItemRead::Read) => {}
                Some(ItemRead::Bare(offset)) => {
                    bare.count += 1;
                    bare.first = bare.first.or(offset);
                }
            }
        }
    }
}

struct Item<'r, 'a, 's> {
    reader: &'r mut Reader<'a, 's>,
    inherited: Option<Typed>,
    level: usize,
}

enum ItemRead {
    Read,
    Bare(Option<usize>),
}

impl<'de> DeserializeSeed<'de> for Item<'_, '_, '_> {
    type Value = ItemRead;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ItemRead, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_, '_> {
    type Value = ItemRead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with apiVersion, kind and metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ItemRead, A::Error> {
        let Self { reader, inherited, level } = self;
        let draft = Draft { inherited, ..Draft::default() }.fill(reader, map, level)?;
        if !draft.has_kind() {
            return Ok(ItemRead::Bare(draft.offset));
        }
        if !reader.rereading || draft.kind.is_absent() {
            draft.finish(reader, level)?;
        }
        Ok(ItemRead::Read)
    }
}

/// An object while its keys come, in whatever order.
#[derive(Default)]
struct Draft {
    inherited: Option<Typed>,
    offset: Option<usize>,
    api_version: Lenient<Arc<str>>,
    kind: Lenient<Arc<str>>,
    metadata: Lenient<Metadata>,
    pod_spec: Lenient<PodSpec>,
    pod_status: Lenient<PodStatus>,
    node_status: Lenient<NodeStatus>,
    /// The spec of a policy, or of what has not said its kind yet.
    spec: Option<Value>,
    /// The status of what has not said its kind yet.
    status: Option<Value>,
    /// The items of what has not said its kind yet, and need not, in a typed list.
    items: Option<Value>,
    bare: Option<Bare>,
    /// Whether the items were read before the list had said what they are.
    early_items: bool,
    /// Whether there are items that were not read, of what is no list by its kind.
    stray_items: bool,
    /// The first few keys that no object has.
    unknown: Vec<String>,
}

const MAX_UNKNOWN: usize = 8;

/// How deep lists may stand in lists: more than anyone writes, and bounded where aliases make it deeper.
const MAX_LIST_LEVELS: usize = 8;

impl Draft {
    fn has_kind(&self) -> bool {
        !self.kind.is_absent() || self.inherited.is_some()
    }

    /// The kind that the object itself has said so far. What follows is read as that at once; as what its list says only when
    /// all of it is there, since its own kind may still come, and decides.
    fn own_kind(&self) -> Option<&str> {
        match &self.kind {
            Lenient::Is(kind) => Some(kind),
            Lenient::Wrong(_) => Some(""),
            Lenient::Missing | Lenient::Null => None,
        }
    }

    /// The kind, as far as it is known: its own, or else what the list says.
    fn whole_kind(&self) -> Option<&str> {
        self.own_kind().or_else(|| self.inherited.as_ref().map(|typed| &*typed.kind))
    }

    fn fill<'de, A: MapAccess<'de>>(
        mut self,
        reader: &mut Reader<'_, '_>,
        mut map: A,
        level: usize,
    ) -> Result<Self, A::Error> {
        let (mut spec, mut status, mut items) = (false, false, false);
        while let Some(Key(key)) = map.next_key()? {
            if self.offset.is_none() {
                self.offset = reader.report.offset_of(&key);
            }
            match &*key {
                "apiVersion" => self.api_version.put(&key, map.next_value()?)?,
                "kind" => self.kind.put(&key, map.next_value()?)?,
                "metadata" => self.metadata.put(&key, map.next_value()?)?,
                "spec" if std::mem::replace(&mut spec, true) => return Err(given_twice(&key)),
                "spec" => self.fill_spec(&mut map)?,
                "status" if std::mem::replace(&mut status, true) => return Err(given_twice(&key)),
                "status" => self.fill_status(&mut map)?,
                "items" if std::mem::replace(&mut items, true) => return Err(given_twice(&key)),
                "items" => self.fill_items(reader, &mut map, level)?,
                other => {
                    if self.unknown.len() < MAX_UNKNOWN {
                        self.unknown.push(other.to_owned());
                    }
                    map.next_value::<Skip>()?;
                }
            }
        }
        Ok(self)
    }

    fn fill_spec<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        match self.own_kind() {
            Some("Pod") => self.pod_spec = map.next_value()?,
            Some("NetworkPolicy") | None => self.spec = Some(map.next_value::<Tree>()?.0),
            Some(_) => _ = map.next_value::<Skip>()?,
        }
        Ok(())
    }

    fn fill_status<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        match self.own_kind() {
            Some("Pod") => self.pod_status = map.next_value()?,
            Some("Node") => self.node_status = map.next_value()?,
            None => self.status = Some(map.next_value::<Tree>()?.0),
            Some(_) => _ = map.next_value::<Skip>()?,
        }
        Ok(())
    }

    fn fill_items<'de, A: MapAccess<'de>>(
        &mut self,
        reader: &mut Reader<'_, '_>,
        map: &mut A,
        level: usize,
    ) -> Result<(), A::Error> {
        if self.own_kind().is_none() && self.inherited.is_some() {
            self.items = Some(map.next_value::<Tree>()?.0);
            return Ok(());
        }
        match self.items_to_read(reader, level)? {
            Some(items) => self.bare = Some(map.next_value_seed(items)?),
            None => _ = map.next_value::<Skip>()?,
        }
        Ok(())
    }

    /// How to read the items, unless they are none of a list.
    fn items_to_read<'r, 'a, 's, E: de::Error>(
        &mut self,
        reader: &'r mut Reader<'a, 's>,
        level: usize,
    ) -> Result<Option<Items<'r, 'a, 's>>, E> {
        let is_list = self.whole_kind().is_none_or(|kind| kind.ends_with("List"));
        if !is_list || (reader.rereading && level > 0) {
            self.stray_items |= !is_list;
            return Ok(None);
        }
        if level >= MAX_LIST_LEVELS {
            let message = format_args!("lists stand in lists more than {MAX_LIST_LEVELS} deep");
            return Err(E::custom(message));
        }
        // Only the items of a document can be read again.
        let untold = self.kind.is_absent() || (level == 0 && self.api_version.is_absent());
        self.early_items = untold;
        let told = if reader.rereading { reader.typed.clone() } else { None };
        let inherited = told.or_else(|| self.typed_items().filter(|_| !untold));
        Ok(Some(Items { reader, inherited, level: level + 1 }))
    }

    /// What the items of this list are, if it is a typed one.
    fn typed_items(&self) -> Option<Typed> {
        let kind = self.whole_kind()?.strip_suffix("List").filter(|kind| !kind.is_empty())?;
        Some(Typed { api_version: self.api_version.as_known().cloned(), kind: Arc::from(kind) })
    }

    fn finish<E: de::Error>(mut self, reader: &mut Reader<'_, '_>, level: usize) -> Result<(), E> {
        if reader.rereading && level == 0 {
            return Ok(());
        }
        let Some(kind) = self.whole_kind().map(str::to_owned) else { return Ok(()) };
        if let Some(items) = self.items.take()
            && let Some(seed) = self.items_to_read(reader, level)?
        {
            self.bare = Some(seed.deserialize(items).map_err(E::custom)?);
        }
        if let Lenient::Wrong(found) = self.kind {
            let message = format!("kind is {found}, not a string; the object is not read");
            reader.report.unreadable(self.offset, message, "write the kind as a string");
            return Ok(());
        }
        let is_list = |kind: &str| {
            kind.strip_suffix("List").is_some_and(|of| of.is_empty() || object::is_read(of))
        };
        let stray = self.stray_items && !object::is_foreign(&self.api_version);
        if self.bare.is_some() || stray || is_list(&kind) {
            return self.finish_list(reader, &kind, level);
        }
        let written = self.written(&kind)?;
        object::read(&mut reader.report, reader.sink, written);
        Ok(())
    }

    fn finish_list<E: de::Error>(
        self,
        reader: &mut Reader<'_, '_>,
        kind: &str,
        level: usize,
    ) -> Result<(), E> {
        if !kind.ends_with("List") {
            let message = format!("a {kind} with items, which only a list has");
            reader.report.unreadable(self.offset, message, "write kind: List, or remove the items");
            return Ok(());
        }
        let typed = self.typed_items();
        let Some(bare) = self.bare else {
            let message = format!("a {kind} without items; nothing of it is read");
            reader.report.unreadable(self.offset, message, "write items: [] if it is to be empty");
            return Ok(());
        };
        if bare.count > 0 && self.early_items && level == 0 && typed.is_some() {
            reader.typed = typed;
        } else {
            tell_bare(reader, bare);
        }
        Ok(())
    }

    fn written<E: de::Error>(mut self, kind: &str) -> Result<Written, E> {
        fn late<T: for<'de> super::lenient::Shape<'de>, E: de::Error>(
            read: Lenient<T>,
            tree: &mut Option<Value>,
        ) -> Result<Lenient<T>, E> {
            match tree.take() {
                Some(tree) => Lenient::deserialize(tree).map_err(E::custom),
                None => Ok(read),
            }
        }
        if kind == "Pod" {
            self.pod_spec = late(self.pod_spec, &mut self.spec)?;
            self.pod_status = late(self.pod_status, &mut self.status)?;
        }
        if kind == "Node" {
            self.node_status = late(self.node_status, &mut self.status)?;
        }
        let inherited = self
            .inherited
            .and_then(|typed| if &*typed.kind == kind { typed.api_version } else { None });
        let api_version = match (self.api_version, inherited) {
            (Lenient::Missing | Lenient::Null, Some(inherited)) => Lenient::Is(inherited),
            (own, _) => own,
        };
        Ok(Written {
            offset: self.offset,
            api_version,
            kind: Arc::from(kind),
            metadata: self.metadata,
            pod_spec: self.pod_spec,
            pod_status: self.pod_status,
            node_status: self.node_status,
            policy_spec: self.spec,
            unknown: self.unknown,
        })
    }
}
