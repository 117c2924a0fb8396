//! Fields as they were written. Any type is accepted: a wrong one is remembered instead of ending the document, so that one
//! wrong field does not hide the others.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::key::{Key, given_twice};
use super::tree::{Skip, skip_list, skip_map};
use crate::model::{AllowedSources, LintIgnore};

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

    /// Fills a field once. Two readers would not agree on the meaning of a key that is given twice.
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

/// Of the annotations those that are for Palisade, if they have values of text. Whatever else is wrong with annotations
/// changes nothing, since no verdict depends on them.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) lint_ignore: Option<LintIgnore>,
    /// As it is written.
    pub(super) allowed_sources: Option<Arc<str>>,
}

impl<'de> Shape<'de> for Annotations {
    fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Lenient<Self>, A::Error> {
        let mut found = Self::default();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                LintIgnore::ANNOTATION => {
                    if let Lenient::Is(text) = map.next_value::<Lenient<Arc<str>>>()? {
                        found.lint_ignore = LintIgnore::of_text(&text);
                    }
                }
                AllowedSources::ANNOTATION => {
                    if let Lenient::Is(text) = map.next_value::<Lenient<Arc<str>>>()? {
                        found.allowed_sources = Some(text);
                    }
                }
                _ => _ = map.next_value::<Skip>()?,
            }
        }
        Ok(Lenient::Is(found))
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
