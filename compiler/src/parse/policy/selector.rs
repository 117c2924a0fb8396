//! Label selectors (`metav1.LabelSelector`).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::part::{Part, only_known};
use crate::model::{Operator, Requirement, Selector};
use crate::parse::fields::{list_of, wrong_type};
use crate::parse::names::{self, LABEL_KEY_RULE, LABEL_VALUE_RULE};
use crate::parse::path::Path;
use crate::parse::subject::{Reported, Subject};

const SELECTOR: Part =
    Part { what: "a label selector", fields: &["matchLabels", "matchExpressions"] };
const EXPRESSION: Part =
    Part { what: "an expression of a label selector", fields: &["key", "operator", "values"] };

/// All of a selector or, with a report of each thing that is wrong, nothing of it.
pub(super) fn selector(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Value,
) -> Result<Selector, Reported> {
    let Value::Object(map) = written else {
        return Err(wrong_type(subject, path, written, "a map"));
    };
    let known = only_known(subject, path, map, &SELECTOR);
    let labels = match_labels(subject, &path.field("matchLabels"), map.get("matchLabels"));
    let field = path.field("matchExpressions");
    let expressions = match_expressions(subject, &field, map.get("matchExpressions"));
    known?;
    let mut requirements = labels?;
    requirements.extend(expressions?);
    Ok(Selector { requirements })
}

fn match_labels(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Result<Vec<Requirement>, Reported> {
    let map = match written {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong_type(subject, path, other, "a map of strings")),
    };
    let mut result = Ok(());
    let mut read = Vec::with_capacity(map.len());
    for (key, value) in map {
        let path = path.entry(key);
        let key = label_key(subject, &path, key);
        match (key, label_value(subject, &path, value)) {
            (Ok(key), Ok(value)) => {
                read.push(Requirement { key, operator: Operator::In(vec![value]) });
            }
            (Err(reported), _) | (_, Err(reported)) => result = Err(reported),
        }
    }
    result.map(|()| read)
}

fn match_expressions(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Result<Vec<Requirement>, Reported> {
    let items = list_of(subject, path, written)?;
    let read: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(at, item)| match item {
            Value::Object(map) => expression(subject, &path.item(at), map),
            other => Err(wrong_type(subject, &path.item(at), other, "a map")),
        })
        .collect();
    read.into_iter().collect()
}

fn expression(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Map<String, Value>,
) -> Result<Requirement, Reported> {
    let known = only_known(subject, path, written, &EXPRESSION);
    let field = path.field("key");
    let key = match written.get("key") {
        Some(Value::String(key)) => label_key(subject, &field, key),
        Some(other) => Err(wrong_type(subject, &field, other, "a string")),
        None => Err(subject.error(&field, "is missing", "Write the key of the label")),
    };
    let values_path = path.field("values");
    let values = values(subject, &values_path, written.get("values"));
    let field = path.field("operator");
    let operator = match written.get("operator") {
        Some(Value::String(operator)) => operator.as_str(),
        Some(other) => return Err(wrong_type(subject, &field, other, "a string")),
        None => {
            let remedy = "Write In, NotIn, Exists or DoesNotExist";
            return Err(subject.error(&field, "is missing", remedy));
        }
    };
    known?;
    let (key, values) = (key?, values?);
    let operator = match (operator, values.is_empty()) {
        ("In", false) => Operator::In(values),
        ("NotIn", false) => Operator::NotIn(values),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        ("In" | "NotIn", true) => {
            let message = format!("is empty, and {operator} needs a value");
            return Err(subject.error(&values_path, message, "Write at least one value"));
        }
        ("Exists" | "DoesNotExist", false) => {
            let message = format!("has values, and {operator} takes none");
            return Err(subject.error(
                &values_path,
                message,
                "Remove the values, or write In or NotIn",
            ));
        }
        (other, _) => {
            let message = format!("is {other:?}, which is not an operator");
            return Err(subject.error(&field, message, "Write In, NotIn, Exists or DoesNotExist"));
        }
    };
    Ok(Requirement { key, operator })
}

/// Sorted, each once, so that lists that mean the same are the same.
fn values(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Result<Vec<Arc<str>>, Reported> {
    let items = list_of(subject, path, written)?;
    let read: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(at, item)| label_value(subject, &path.item(at), item))
        .collect();
    let mut read = read.into_iter().collect::<Result<Vec<_>, _>>()?;
    read.sort_unstable();
    read.dedup();
    Ok(read)
}

fn label_key(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    key: &str,
) -> Result<Arc<str>, Reported> {
    if names::is_label_key(key) {
        return Ok(Arc::from(key));
    }
    let message = format!("has the key {key:?}, which no label can have");
    Err(subject.error(path, message, LABEL_KEY_RULE))
}

fn label_value(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    value: &Value,
) -> Result<Arc<str>, Reported> {
    let Value::String(text) = value else {
        return Err(wrong_type(subject, path, value, "a string"));
    };
    if names::is_label_value(text) {
        return Ok(Arc::from(text.as_str()));
    }
    let message = format!("is {text:?}, which no label can be");
    Err(subject.error(path, message, LABEL_VALUE_RULE))
}
