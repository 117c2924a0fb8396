//! What the API server answers, without a server.

use palisade_compiler::snapshot::ObjectKind;

use super::items::ListReader;
use super::objects::{bookmark, deletion, key, metadata, read};

/// A list of pods, in pieces whose length the first byte gives. It is cut into the same items whatever the pieces.
pub(crate) fn list(bytes: &[u8]) {
    let Some((&size, body)) = bytes.split_first() else { return };
    let whole = items(body, body.len().max(1));
    assert_eq!(items(body, usize::from(size).max(1)), whole);
    let Some((items, _)) = whole else { return };
    for item in items {
        let Ok(json) = std::str::from_utf8(&item) else { continue };
        let _ = bookmark(json);
        let Ok(metadata) = metadata(json) else { continue };
        for kind in ObjectKind::ALL {
            let key = key(kind, &metadata);
            let _ = (read(&key, json), deletion(key, &metadata));
        }
    }
}

/// The items and the rest; `None` where the list is too large.
fn items(body: &[u8], size: usize) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut reader = ListReader::new(r#"{"kind":"Pod","apiVersion":"v1","#);
    let mut items = Vec::new();
    for mut piece in body.chunks(size) {
        while !piece.is_empty() {
            let (taken, item) = reader.take(piece).ok()?;
            let is_end = item.is_some();
            items.extend(item.map(<[u8]>::to_vec));
            if is_end {
                reader.done();
            }
            piece = piece.get(taken..).unwrap_or_default();
        }
    }
    Some((items, reader.rest().to_vec()))
}
