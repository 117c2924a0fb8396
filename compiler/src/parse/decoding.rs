//! Bytes -> text: UTF-8, or UTF-16 with a byte order mark, as PowerShell writes it.

use std::borrow::Cow;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why bytes are not text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecodable {
    /// The offset of the first byte that is not text.
    pub(super) at: usize,
    pub(super) encoding: &'static str,
}

/// Decodes a source. Byte order marks before documents are left out.
///
/// # Errors
///
/// `Undecodable`: none of the text can be relied on.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Undecodable> {
    match bytes {
        // Before UTF-16, whose mark it begins with.
        [0xFF, 0xFE, 0, 0, ..] => Err(Undecodable { at: 0, encoding: "UTF-8 or UTF-16" }),
        [0xFF, 0xFE, units @ ..] => utf16(units, u16::from_le_bytes).map(without_marks_of),
        [0xFE, 0xFF, units @ ..] => utf16(units, u16::from_be_bytes).map(without_marks_of),
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest, 3),
        _ => utf8(bytes, 0),
    }
}

fn utf8(bytes: &[u8], skipped: usize) -> Result<Cow<'_, str>, Undecodable> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(without_marks(text)),
        Err(error) => Err(Undecodable { at: skipped + error.valid_up_to(), encoding: "UTF-8" }),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Undecodable> {
    const MARK_BYTES: usize = 2;
    let undecodable = |units: usize| Undecodable { at: MARK_BYTES + 2 * units, encoding: "UTF-16" };
    let (units, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(units.len());
    let mut read = 0;
    for character in char::decode_utf16(units.iter().map(|&bytes| unit(bytes))) {
        let Ok(character) = character else { return Err(undecodable(read)) };
        read += character.len_utf16();
        text.push(character);
    }
    if rest.is_empty() { Ok(text) } else { Err(undecodable(read)) }
}

fn without_marks_of<'t>(text: String) -> Cow<'t, str> {
    match without_marks(&text) {
        Cow::Owned(without) => Cow::Owned(without),
        Cow::Borrowed(_) => Cow::Owned(text),
    }
}

/// The text without the byte order marks at the beginning of a document, where files that each have one were put together.
/// (YAML 1.2, `l-document-prefix`.)
fn without_marks(text: &str) -> Cow<'_, str> {
    if !text.contains(BYTE_ORDER_MARK) {
        return Cow::Borrowed(text);
    }
    let mut read = String::with_capacity(text.len());
    // Whether the lines of this document so far say nothing.
    let mut is_before = true;
    for line in text.split_inclusive('\n') {
        let unmarked = line.trim_start_matches(BYTE_ORDER_MARK);
        let is_marker = ["---", "..."].iter().any(|marker| unmarked.starts_with(marker));
        let is_value = unmarked.starts_with(['{', '[']);
        read.push_str(if is_before || is_marker || is_value { unmarked } else { line });
        let says = unmarked.trim_ascii_start();
        is_before = is_marker || (is_before && (says.is_empty() || says.starts_with(['#', '%'])));
    }
    Cow::Owned(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_of(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "a: ä😀\n---\nb: 1\n";
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16_of(text, u16::to_le_bytes),
            utf16_of(text, u16::to_be_bytes),
            format!("\u{feff}{}", text.replace("---\n", "---\n\u{feff}")).into_bytes(),
            text.replace("---\n", "\u{feff}---\n").into_bytes(),
            utf16_of(&text.replace("---\n", "\u{feff}---\n"), u16::to_le_bytes),
        ] {
            assert_eq!(decode(&bytes).unwrap(), text, "{bytes:?}");
        }
    }

    #[test]
    fn marks_inside_a_document_stay() {
        for text in ["a: \"x\n\u{feff}y\"\n", "a: \u{feff}\n"] {
            assert_eq!(decode(text.as_bytes()).unwrap(), text);
        }
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        for (bytes, at) in [
            (&b"ab\xff"[..], 2),
            (b"\xef\xbb\xbfab\xff", 5),
            (b"\xff\xfea\0\0\xd8b\0", 4),
            (b"\xff\xfea\0b", 4),
            (b"\xfe\xff\0a\xdc\0", 4),
            (b"\xff\xfe\0\0a\0\0\0", 0),
        ] {
            assert_eq!(decode(bytes).unwrap_err().at, at, "{bytes:?}");
        }
    }
}
