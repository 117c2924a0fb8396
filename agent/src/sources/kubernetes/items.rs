//! The body of a list, as it comes -> its items one by one, and the rest of the list.
//!
//! A server whose watch cache answers may ignore the limit of a page and send everything in one body: it is never held whole.

/// The largest object, in bytes. The store behind the API server takes at most 1.5 MB by default; as JSON it may be longer.
pub(super) const MAX_OBJECT_BYTES: usize = 16 << 20;

/// The list holds more outside its items, or in one of them, than `MAX_OBJECT_BYTES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Cuts a list into its items. A small state machine over the JSON text: braces, brackets and strings; what they hold is
/// judged by those who parse the pieces.
#[derive(Debug)]
pub(super) struct ListReader {
    /// What an item that names no kind begins with, in the place of its brace.
    item_begin: &'static str,
    /// The list without its items.
    rest: Vec<u8>,
    item: Vec<u8>,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Whether the list's items are being read, which stand at depth 2.
    in_items: bool,
}

/// Beyond this an item's buffer is given back after the item.
const KEPT_BYTES: usize = 256 << 10;
/// What the list has before its items, without space.
const ITEMS_KEY: &[u8] = br#""items":"#;
/// The fields that say what an object is, one of which comes first where an item has them.
const TYPE_FIELDS: [&[u8]; 2] = [br#"{"kind":"#, br#"{"apiVersion":"#];

impl ListReader {
    pub(super) fn new(item_begin: &'static str) -> Self {
        Self {
            item_begin,
            rest: Vec::new(),
            item: Vec::new(),
            depth: 0,
            in_string: false,
            is_escaped: false,
            in_items: false,
        }
    }

    /// Takes a piece of the body up to the end of the first item in it. Returns how many bytes were taken, and the item, with
    /// its kind, if one ended. `done` must be called before the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(usize, Option<&[u8]>), TooLarge> {
        let mut taken = 0;
        for &byte in piece {
            taken += 1;
            if self.push(byte)? {
                return Ok((taken, Some(&self.item)));
            }
        }
        Ok((taken, None))
    }

    /// The item that was returned is no longer needed.
    pub(super) fn done(&mut self) {
        self.item.clear();
        self.item.shrink_to(KEPT_BYTES);
    }

    /// The list without its items, which is whole if the body was.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// Returns whether the byte ends an item.
    fn push(&mut self, byte: u8) -> Result<bool, TooLarge> {
        let was_in_items = self.in_items;
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => return Ok(false),
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.in_items |=
                        byte == b'[' && self.depth == 1 && self.rest.ends_with(ITEMS_KEY);
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.in_items &= self.depth >= 2;
                }
                _ => {}
            }
        }
        if !(was_in_items && self.in_items) {
            return self.put(byte, false).map(|()| false);
        }
        // Commas between items belong to neither.
        if self.depth == 2 && byte == b',' && !self.in_string {
            return Ok(false);
        }
        self.put(byte, true)?;
        let ends = self.depth == 2 && byte == b'}' && !self.in_string;
        if ends {
            self.name_kind();
        }
        Ok(ends)
    }

    fn put(&mut self, byte: u8, in_item: bool) -> Result<(), TooLarge> {
        let buffer = if in_item { &mut self.item } else { &mut self.rest };
        if buffer.len() >= MAX_OBJECT_BYTES {
            return Err(TooLarge);
        }
        buffer.push(byte);
        Ok(())
    }

    /// Writes the kind into an item that does not have it.
    fn name_kind(&mut self) {
        let is_named = TYPE_FIELDS.iter().any(|field| self.item.starts_with(field));
        if !is_named && self.item.first() == Some(&b'{') {
            self.item.splice(..1, self.item_begin.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    /// Reads a body that comes in pieces of this size.
    fn read(body: &str, size: usize) -> (Vec<String>, String) {
        let mut reader = ListReader::new(r#"{"kind":"Pod","#);
        let mut items = Vec::new();
        for mut piece in body.as_bytes().chunks(size) {
            while !piece.is_empty() {
                let (taken, item) = reader.take(piece).unwrap();
                if let Some(item) = item {
                    items.push(String::from_utf8(item.to_vec()).unwrap());
                    reader.done();
                }
                piece = &piece[taken..];
            }
        }
        (items, String::from_utf8(reader.rest().to_vec()).unwrap())
    }

    #[test]
    fn a_list_falls_into_its_items_and_the_rest_however_it_is_cut() {
        let body = r#"{"kind":"PodList","metadata":{"resourceVersion":"7","x":["items"]},
            "items": [ {"a":"]}\"[{","items":[{"b":1}]}, {"kind":"Pod","c":[[],{}]},
            {"d":"\\"} ],"after":{"items":[1]}}"#;
        for size in [1, 2, 3, 7, 64, body.len()] {
            let (items, rest) = read(body, size);
            assert_eq!(
                items,
                [
                    r#"{"kind":"Pod","a":"]}\"[{","items":[{"b":1}]}"#,
                    r#"{"kind":"Pod","c":[[],{}]}"#,
                    r#"{"kind":"Pod","d":"\\"}"#
                ],
                "{size}"
            );
            let expected = r#"{"kind":"PodList","metadata":{"resourceVersion":"7","x":["items"]},"items":[],"after":{"items":[1]}}"#;
            assert_eq!(rest, expected, "{size}");
        }
    }

    #[test]
    fn a_list_without_items_is_its_own_rest() {
        for body in [r#"{"items":null}"#, r#"{"items":[]}"#, "{}", r#"{"items":[{"a":"#] {
            let (items, _) = read(body, 1);
            assert_eq!(items, [""; 0], "{body}");
        }
        assert_eq!(read(r#"{"items":[]}"#, 3).1, r#"{"items":[]}"#);
    }
}
