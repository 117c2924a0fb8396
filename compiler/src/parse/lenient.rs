//! Fields as they were written: any type is accepted, and a wrong one is remembered instead of ending the document.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A field of a manifest.
#[derive(Debug, Default)]
pub(super) enum Lenient<T> {
    #[default]
    Missing,
    Null,
    Is(T),
    /// Of another type: which, in words.
    Wrong(&'static str),
}

impl<T> Lenient<T> {
    pub(super) fn as_known(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Missing | Self::Null | Self::Wrong(_) => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Missing | Self::Null)
    }

    /// Fills a field once. A key given twice has no meaning that two readers would agree on.
    pub(super) fn put<E: de::Error>(&mut self, key: &str, value: Self) -> Result<(), E> {
        match self {
            Self::Missing => {
                *self = value;
                Ok(())
            }
            Self::Null | Self::Is(_) | Self::Wrong(_) => Err(given_twice(key)),
        }
    }
}

pub(super) fn given_twice<E: de::Error>(key: &str) -> E {
    let hint = match key {
        "apiVersion" | "kind" => " (if a second object begins there, put a line --- before it)",
        _ => "",
    };
    E::custom(format_args!("the key {key:?} is given twice{hint}"))
}

/// A type that a field may have: built from those forms that fit it.
pub(super) trait Shape<'de>: Sized {
    fn of_text(_: &str) -> Option<Self> {
        None
    }

    fn of_flag(_: bool) -> Option<Self> {
        None
    }

    fn of_integer(_: i64) -> Option<Self> {
        None
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Lenient<Self>, A::Error> {
        skip_list(list)?;
        Ok(Lenient::Wrong("a list"))
    }

    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Lenient<Self>, A::Error> {
        skip_map(map)?;
        Ok(Lenient::Wrong("a map"))
    }
}

pub(super) fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<Skip>()?.is_some() {}
    Ok(())
}

pub(super) fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<Skip, Skip>()?.is_some() {}
    Ok(())
}

impl Shape<'_> for Arc<str> {
    fn of_text(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
}

impl Shape<'_> for bool {
    fn of_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl Shape<'_> for i64 {
    fn of_integer(integer: i64) -> Option<Self> {
        Some(integer)
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Vec<Lenient<T>> {
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Lenient<Self>, A::Error> {
        let mut read = Self::new();
        while let Some(item) = list.next_element()? {
            read.push(item);
        }
        Ok(Lenient::Is(read))
    }
}

/// Labels as written; a key may stand twice.
#[derive(Debug, Default)]
pub(super) struct Pairs(pub(super) Vec<(Arc<str>, Lenient<Arc<str>>)>);

impl<'de> Shape<'de> for Pairs {
    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Lenient<Self>, A::Error> {
        let mut read = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            read.push((Arc::from(&*key.0), map.next_value()?));
        }
        Ok(Lenient::Is(Self(read)))
    }
}

/// Whether a field is there at all, whatever is in it.
#[derive(Debug)]
pub(super) struct Present;

impl<'de> Shape<'de> for Present {
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Lenient<Self>, A::Error> {
        skip_map(map)?;
        Ok(Lenient::Is(Self))
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(PhantomData))
    }
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for LenientVisitor<T> {
    type Value = Lenient<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(T::of_flag(flag).map_or(Lenient::Wrong("a truth value"), Lenient::Is))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Self::Value, E> {
        Ok(T::of_integer(integer).map_or(Lenient::Wrong("a number"), Lenient::Is))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Self::Value, E> {
        let read = i64::try_from(integer).ok().and_then(T::of_integer);
        Ok(read.map_or(Lenient::Wrong("a number"), Lenient::Is))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Lenient::Wrong("a number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(text).map_or(Lenient::Wrong("a string"), Lenient::Is))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Lenient::Wrong("binary data"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::of_map(map)
    }
}

/// A key of a map, borrowed from the input where it stands there unescaped.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string as the key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }

            fn visit_string<E>(self, key: String) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key)))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// How deep lists and maps may stand in each other in what is read. (What is skipped in JSON may be deeper.)
///
/// A level of YAML costs up to 16 KiB of stack in a debug build, and threads have 2 MiB. The YAML parser keeps the
/// same bound for what is written; here it is kept for aliases of aliases, which nest deeper than any text.
pub const MAX_DEPTH: usize = 64;

fn deeper<E: de::Error>(depth: usize) -> Result<usize, E> {
    if depth >= MAX_DEPTH {
        return Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep")));
    }
    Ok(depth + 1)
}

/// A value without a meaning here.
pub(super) struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SkipSeed(0).deserialize(deserializer).map(|()| Self)
    }
}

struct SkipSeed(usize);

impl<'de> DeserializeSeed<'de> for SkipSeed {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_ignored_any(self)
    }
}

impl<'de> Visitor<'de> for SkipSeed {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.deserialize(inner)
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = deeper(self.0)?;
        while list.next_element_seed(Self(depth))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = deeper(self.0)?;
        while map.next_key_seed(Self(depth))?.is_some() {
            map.next_value_seed(Self(depth))?;
        }
        Ok(())
    }
}

/// A whole subtree, for the few that are read after their kind is known. A key given twice is an error.
pub(super) struct Tree(pub(super) Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TreeSeed(0).deserialize(deserializer).map(Self)
    }
}

struct TreeSeed(usize);

impl<'de> DeserializeSeed<'de> for TreeSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::from(flag))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Value, E> {
        Ok(Value::from(integer))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Value, E> {
        Ok(Value::from(integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::from(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let depth = deeper(self.0)?;
        let mut read = Vec::new();
        while let Some(item) = list.next_element_seed(Self(depth))? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = deeper(self.0)?;
        let mut read = serde_json::Map::new();
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value_seed(Self(depth))?;
            if read.contains_key(&*key) {
                return Err(given_twice(&key));
            }
            read.insert(key.into_owned(), value);
        }
        Ok(Value::Object(read))
    }
}
