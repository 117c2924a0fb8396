//! What manifests mean, and what is said about wrong ones.

mod documents;

use super::{Object, Parsed, parse};

/// Reads a source named `in.yaml`.
fn read(text: &str) -> (Vec<Object>, Parsed) {
    let mut objects = Vec::new();
    let parsed = parse("in.yaml", text.as_bytes(), &mut |object| objects.push(object));
    (objects, parsed)
}

/// Everything that is said, one finding a line.
fn findings(parsed: &Parsed) -> String {
    parsed.diagnostics.iter().map(|finding| format!("{finding}\n")).collect()
}

/// The objects of a source with nothing wrong in it.
#[track_caller]
fn good(text: &str) -> Vec<Object> {
    let (objects, parsed) = read(text);
    assert_eq!(findings(&parsed), "");
    assert!(parsed.readable && parsed.withheld.is_empty());
    assert_eq!(parsed.objects, objects.len());
    objects
}
