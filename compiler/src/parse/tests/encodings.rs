//! Encodings: what PowerShell writes is read as kubectl reads it.

use super::{findings, names, read_bytes};

const TEXT: &str = "\
# ä comment
apiVersion: v1
kind: Namespace
metadata: {name: x, annotations: {note: \"ä 😀\"}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x}
---
{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {\"name\": \"n1\"}}
";

#[track_caller]
fn assert_whole(bytes: &[u8]) {
    let (objects, parsed) = read_bytes("in.yaml", bytes, None);
    assert_eq!(findings(&parsed), "");
    assert_eq!(names(&objects), ["namespace x", "pod x/a", "node n1"]);
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn utf_16_with_a_byte_order_mark_is_read() {
    for text in [TEXT.to_owned(), TEXT.replace('\n', "\r\n")] {
        let marked = format!("\u{feff}{text}");
        assert_whole(marked.as_bytes());
        assert_whole(&utf16(&marked, u16::to_le_bytes));
        assert_whole(&utf16(&marked, u16::to_be_bytes));
    }
}

#[test]
fn a_byte_order_mark_before_a_later_document_is_left_out() {
    for text in [
        TEXT.replace("---\n", "---\n\u{feff}"),
        TEXT.replace("---\n", "\u{feff}---\n"),
        TEXT.replace("---\n", "---\n\u{feff}\n# more\n\u{feff}"),
        format!("\u{feff}{}", TEXT.replace("---\n", "---\n\u{feff}# more\n")),
        TEXT.replace("---\n{", "\u{feff}---\n\u{feff}{"),
    ] {
        assert_whole(text.as_bytes());
    }
    let one = |name: &str| {
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{{\"name\":\"{name}\"}}}}")
    };
    let (objects, parsed) =
        read_bytes("in.json", format!("{}\n\u{feff}{}\n", one("a"), one("b")).as_bytes(), None);
    assert_eq!((findings(&parsed), objects.len()), (String::new(), 2));
}

#[test]
fn other_bytes_are_refused_with_their_place() {
    for (bytes, said) in [
        (&b"a: b\n\xff"[..], "in.yaml:2:1: error: Byte 6 is not UTF-8"),
        (b"\xff\xfea\0\0\xd8\n\0", "in.yaml (document 1): error: Byte 5 is not UTF-16"),
        (b"\xff\xfe\0\0a\0\0\0", "Byte 1 is not UTF-8 or UTF-16"),
        (b"a\0p\0i\0", "not YAML"),
    ] {
        let (objects, parsed) = read_bytes("in.yaml", bytes, None);
        assert!(objects.is_empty() && !parsed.readable);
        assert!(findings(&parsed).contains(said), "{}", findings(&parsed));
    }
}
