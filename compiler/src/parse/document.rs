//! One document -> its object, or the objects of its list, item by item.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::draft::{Draft, OBJECT_REMEDY, Typed};
use super::key::{Key, given_twice};
use super::lenient::Lenient;
use super::list::ItemsRead;
use super::object;
use super::output::{Object, Settings};
use super::path::OBJECT;
use super::report::Report;
use super::split::is_blank;
use super::tree::{Skip, Tree, skip_list, skip_map};

/// How deep lists may be nested: deeper than anyone writes, and bounded where aliases nest them.
const MAX_LIST_LEVELS: usize = 8;

pub(super) struct Reader<'a, 's> {
    pub(super) report: Report<'a>,
    settings: &'s Settings,
    sink: &'s mut dyn FnMut(Object),
    /// Whether the document that is being read holds nothing.
    is_blank: bool,
    /// After a document: what its items without a kind are, if the list said so too late to read them.
    typed: Option<Typed>,
    /// Only the items without a kind of their own are read, as `typed`: the others have been read before.
    is_rereading: bool,
}

impl<'a, 's> Reader<'a, 's> {
    pub(super) fn new(
        report: Report<'a>,
        settings: &'s Settings,
        sink: &'s mut dyn FnMut(Object),
    ) -> Self {
        Self { report, settings, sink, is_blank: false, typed: None, is_rereading: false }
    }

    pub(super) fn begin_document(&mut self, document: &str) {
        self.is_blank = is_blank(document);
        self.report.begin_document(document);
    }

    /// Reads a document, and once more if a list told its kind only after items that rely on it.
    pub(super) fn read<E>(
        &mut self,
        mut once: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.report.restart_document();
        once(self)?;
        if self.typed.is_none() {
            return Ok(());
        }
        self.report.restart_document();
        self.is_rereading = true;
        let result = once(self);
        self.is_rereading = false;
        self.typed = None;
        result
    }

    fn refuse_root(&mut self, found: &str) {
        if self.is_rereading {
            return;
        }
        let message = format!("The document is {found} and declares nothing that is known");
        self.report.refuse_at(None, Some(OBJECT), message, OBJECT_REMEDY);
    }
}

/// Visits values that are neither null, list nor map: `$found` calls them by their type.
macro_rules! visit_scalars {
    ($self:ident, $found:ident, $result:expr) => {
        fn visit_bool<E>($self, _: bool) -> Result<Self::Value, E> {
            let $found = "a truth value";
            Ok($result)
        }

        fn visit_i64<E>($self, _: i64) -> Result<Self::Value, E> {
            let $found = "a number";
            Ok($result)
        }

        fn visit_u64<E>($self, _: u64) -> Result<Self::Value, E> {
            let $found = "a number";
            Ok($result)
        }

        fn visit_f64<E>($self, _: f64) -> Result<Self::Value, E> {
            let $found = "a number";
            Ok($result)
        }

        fn visit_str<E>($self, _: &str) -> Result<Self::Value, E> {
            let $found = "a string";
            Ok($result)
        }

        fn visit_bytes<E>($self, _: &[u8]) -> Result<Self::Value, E> {
            let $found = "binary data";
            Ok($result)
        }
    };
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
        if !self.reader.is_blank {
            self.reader.refuse_root("null");
        }
        Ok(())
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    visit_scalars!(self, found, self.reader.refuse_root(found));

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let draft = fill(Draft::default(), self.reader, map, 0)?;
        if draft.has_kind() {
            return finish(draft, self.reader, 0);
        }
        draft.refuse_without_kind(&mut self.reader.report);
        Ok(())
    }

    /// What `jq .items` leaves of a list: read if it holds objects, since what they are is then known.
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        let items = Items { reader: &mut *self.reader, inherited: None, level: 1, has_key: false };
        let read = items.visit_seq(list)?;
        if read.count == 0 {
            self.reader.refuse_root("an empty list");
        }
        read.refuse_bare(&mut self.reader.report);
        Ok(())
    }
}

struct Items<'r, 'a, 's> {
    reader: &'r mut Reader<'a, 's>,
    inherited: Option<Typed>,
    /// How many lists they stand in.
    level: usize,
    /// Whether they stand under the key `items`, and are not the document itself.
    has_key: bool,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_> {
    type Value = ItemsRead;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ItemsRead, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_> {
    type Value = ItemsRead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E>(self) -> Result<ItemsRead, E> {
        Ok(ItemsRead::default())
    }

    fn visit_none<E: de::Error>(self) -> Result<ItemsRead, E> {
        self.visit_unit()
    }

    visit_scalars!(self, found, ItemsRead::wrong(found));

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ItemsRead, A::Error> {
        skip_map(map)?;
        Ok(ItemsRead::wrong("a map"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ItemsRead, A::Error> {
        let mut read = ItemsRead::default();
        self.reader.report.enter_list(self.has_key);
        loop {
            self.reader.report.enter_item(read.count);
            let inherited = self.inherited.clone();
            let item = Item { reader: &mut *self.reader, inherited, level: self.level };
            match list.next_element_seed(item)? {
                None => {
                    self.reader.report.leave_list(self.has_key);
                    return Ok(read);
                }
                Some(ItemRead::Read) => {}
                Some(ItemRead::Bare(offset)) => {
                    read.bare += 1;
                    read.first_bare = read.first_bare.or(offset);
                }
            }
            read.count += 1;
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
    /// Without a kind; and where it begins.
    Bare(Option<usize>),
}

impl Item<'_, '_, '_> {
    fn refuse(self, found: &str) -> ItemRead {
        if !self.reader.is_rereading {
            let message = format!("An item of the list is {found}, not an object");
            self.reader.report.refuse_at(None, Some(OBJECT), message, OBJECT_REMEDY);
        }
        ItemRead::Read
    }
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

    fn visit_unit<E>(self) -> Result<ItemRead, E> {
        Ok(self.refuse("empty"))
    }

    fn visit_none<E: de::Error>(self) -> Result<ItemRead, E> {
        self.visit_unit()
    }

    visit_scalars!(self, found, self.refuse(found));

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ItemRead, A::Error> {
        skip_list(list)?;
        Ok(self.refuse("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ItemRead, A::Error> {
        let Self { reader, inherited, level } = self;
        let draft = fill(Draft::of_item(inherited), reader, map, level)?;
        if !draft.has_kind() {
            return Ok(ItemRead::Bare(draft.offset));
        }
        if !reader.is_rereading || draft.kind.is_absent() {
            finish(draft, reader, level)?;
        }
        Ok(ItemRead::Read)
    }
}

/// Reads the keys of an object.
fn fill<'de, A: MapAccess<'de>>(
    mut draft: Draft,
    reader: &mut Reader<'_, '_>,
    mut map: A,
    level: usize,
) -> Result<Draft, A::Error> {
    while let Some(Key(key)) = map.next_key()? {
        if draft.offset.is_none() {
            draft.offset = reader.report.key_offset(&key);
        }
        match &*key {
            "apiVersion" => draft.api_version.put(&key, map.next_value()?)?,
            "kind" => draft.kind.put(&key, map.next_value()?)?,
            "metadata" => draft.metadata.put(&key, map.next_value()?)?,
            "items" => fill_items(&mut draft, reader, &mut map, level)?,
            "message" if matches!(draft.says, Lenient::Missing) => {
                draft.note_other(&key);
                draft.says = map.next_value()?;
            }
            _ => draft.fill_field(&key, &mut map)?,
        }
        if matches!(&*key, "kind" | "metadata") {
            draft.note_current(&mut reader.report.current);
        }
    }
    Ok(draft)
}

fn fill_items<'de, A: MapAccess<'de>>(
    draft: &mut Draft,
    reader: &mut Reader<'_, '_>,
    map: &mut A,
    level: usize,
) -> Result<(), A::Error> {
    if draft.read.is_some() || draft.trees.items.is_some() || draft.are_items_stray {
        return Err(given_twice("items"));
    }
    if draft.own_kind().is_none() && draft.inherited.is_some() {
        draft.trees.items = Some(map.next_value::<Tree>()?.0);
        return Ok(());
    }
    match items_to_read(draft, reader, level)? {
        Some(items) => draft.read = Some(map.next_value_seed(items)?),
        None => _ = map.next_value::<Skip>()?,
    }
    Ok(())
}

/// How to read the items, if they are those of a list.
fn items_to_read<'r, 'a, 's, E: de::Error>(
    draft: &mut Draft,
    reader: &'r mut Reader<'a, 's>,
    level: usize,
) -> Result<Option<Items<'r, 'a, 's>>, E> {
    let is_list = draft.whole_kind().is_none_or(|kind| kind.ends_with("List"));
    if !is_list || (reader.is_rereading && level > 0) {
        draft.are_items_stray |= !is_list;
        return Ok(None);
    }
    if level >= MAX_LIST_LEVELS {
        let message = format_args!("lists are nested more than {MAX_LIST_LEVELS} deep");
        return Err(E::custom(message));
    }
    // Only the items of a document can be read again.
    let is_early = draft.kind.is_absent() || (level == 0 && draft.api_version.is_absent());
    draft.are_items_early = is_early;
    let told = if reader.is_rereading { reader.typed.clone() } else { None };
    let inherited = told.or_else(|| draft.typed_items().filter(|_| !is_early));
    Ok(Some(Items { reader, inherited, level: level + 1, has_key: true }))
}

/// Reads the object that the keys make up.
fn finish<E: de::Error>(
    mut draft: Draft,
    reader: &mut Reader<'_, '_>,
    level: usize,
) -> Result<(), E> {
    if reader.is_rereading && level == 0 {
        return Ok(());
    }
    let Some(kind) = draft.whole_kind().map(str::to_owned) else { return Ok(()) };
    if let Some(items) = draft.trees.items.take()
        && let Some(seed) = items_to_read(&mut draft, reader, level)?
    {
        draft.read = Some(seed.deserialize(items).map_err(E::custom)?);
    }
    if let Lenient::Wrong(found) = draft.kind {
        let message = format!("is {found}, not a string, and the object is not read");
        let path = OBJECT.field("kind");
        let remedy = "Write the kind as a string";
        reader.report.refuse_at(draft.offset, Some(&path), message, remedy);
        return Ok(());
    }
    if draft.is_list(&kind) {
        if let Some(typed) = draft.finish_list(&mut reader.report, &kind, level == 0) {
            reader.typed = Some(typed);
        }
        return Ok(());
    }
    let written = draft.written(&kind)?;
    object::read(&mut reader.report, reader.sink, reader.settings, written);
    Ok(())
}
