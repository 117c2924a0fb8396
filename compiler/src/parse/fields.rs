//! Values of trees: lists, maps, and values of a wrong type.

use serde_json::{Map, Value};

use super::path::Path;
use super::subject::{Reported, Subject};

/// The items of a list that may be missing.
pub(super) fn list_of<'v>(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&'v Value>,
) -> Result<&'v [Value], Reported> {
    match written.filter(|value| !value.is_null()) {
        None => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong_type(subject, path, other, "a list")),
    }
}

/// The items of a list of maps, each with its number. An empty item (`-`) is an error too: the API server would take it for
/// one that allows everything.
pub(super) fn maps<'v>(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&'v Value>,
) -> Vec<(usize, &'v Map<String, Value>)> {
    let items = list_of(subject, path, written).unwrap_or_default();
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let path = path.item(at);
        match item {
            Value::Object(map) => read.push((at, map)),
            Value::Null => {
                let remedy = "Remove it, or write {} if everything is meant";
                subject.error(&path, "is an empty item", remedy);
            }
            other => _ = wrong_type(subject, &path, other, "a map"),
        }
    }
    read
}

pub(super) fn wrong_type(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    found: &Value,
    expected: &str,
) -> Reported {
    let found = match found {
        Value::Null => "empty",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    subject.wrong_type(path, found, expected)
}
