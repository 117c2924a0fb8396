//! Keys of maps, and keys that are given twice.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

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

const GIVEN_TWICE: &str = " is given twice";

/// The error for a key that a map has already.
pub(super) fn given_twice<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("{key:?}{GIVEN_TWICE}"))
}

/// The quoted key, if the text is that of an error made by `given_twice`. Parsers hand on nothing but the text.
pub(super) fn key_given_twice(error: &str) -> Option<&str> {
    let quoted = error.split_once(GIVEN_TWICE)?.0;
    quoted.strip_prefix('"')?.strip_suffix('"')
}
