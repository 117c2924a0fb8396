//! `metadata.uid`: tells an object from a successor of the same name.

use std::fmt;
use std::sync::Arc;

/// A uid. The API server's are UUIDs and held as 16 bytes; any other text is kept as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    /// Only of text that is written as `Display` writes it, so that equal uids are equal texts.
    Uuid([u8; 16]),
    Other(Arc<str>),
}

/// Where the dashes stand among the bytes of a UUID: `00000000-0000-0000-0000-000000000000`.
const DASH_BEFORE: [usize; 4] = [4, 6, 8, 10];

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(uuid(text).map_or_else(|| Form::Other(text.into()), Form::Uuid))
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = text.bytes();
    let mut uuid = [0; 16];
    for (at, value) in uuid.iter_mut().enumerate() {
        if DASH_BEFORE.contains(&at) && bytes.next() != Some(b'-') {
            return None;
        }
        *value = digit(bytes.next()?)? << 4 | digit(bytes.next()?)?;
    }
    bytes.next().is_none().then_some(uuid)
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = match &self.0 {
            Form::Uuid(uuid) => uuid,
            Form::Other(text) => return f.write_str(text),
        };
        for (at, byte) in uuid.iter().enumerate() {
            if DASH_BEFORE.contains(&at) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_the_text_it_was_made_of() {
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let upper = uuid.to_uppercase();
        let others = [&*upper, &uuid[1..], &uuid.replace('-', ""), "u1", "", "ü"];
        for text in others.into_iter().chain([uuid]) {
            assert_eq!(Uid::from(text).to_string(), text);
            assert_eq!(matches!(Uid::from(text).0, Form::Uuid(_)), text == uuid, "{text}");
        }
        assert_ne!(Uid::from(uuid), Uid::from(&*upper));
    }
}
