//! Label selectors (`metav1.LabelSelector`).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::names::{self, LABEL_KEY_RULE, LABEL_VALUE_RULE};
use super::policy::{list_of, only_known, wrong_type};
use super::report::{Subject, Told};
use crate::model::{Operator, Requirement, Selector};

/// All of a selector or, with word of each thing wrong, nothing of it.
pub(super) fn selector(
    subject: &mut Subject<'_, '_>,
    path: &str,
    written: &Value,
) -> Result<Selector, Told> {
    let Value::Object(map) = written else {
        return Err(wrong_type(subject, path.into(), written, "a map"));
    };
    let known = only_known(subject, path, map, &["matchLabels", "matchExpressions"]);
    let labels = match_labels(subject, &format!("{path}.matchLabels"), map.get("matchLabels"));
    let field = format!("{path}.matchExpressions");
    let expressions = match_expressions(subject, &field, map.get("matchExpressions"));
    known?;
    let mut requirements = labels?;
    requirements.extend(expressions?);
    Ok(Selector { requirements })
}

fn match_labels(
    subject: &mut Subject<'_, '_>,
    field: &str,
    written: Option<&Value>,
) -> Result<Vec<Requirement>, Told> {
    let map = match written {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong_type(subject, field.into(), other, "a map of strings")),
    };
    let mut result = Ok(());
    let mut read = Vec::with_capacity(map.len());
    for (key, value) in map {
        let field = format!("{field}[{key:?}]");
        let key = label_key(subject, &field, key);
        match (key, label_value(subject, &field, value)) {
            (Ok(key), Ok(value)) => {
                read.push(Requirement { key, operator: Operator::In(vec![value]) });
            }
            (Err(told), _) | (_, Err(told)) => result = Err(told),
        }
    }
    result.map(|()| read)
}

fn match_expressions(
    subject: &mut Subject<'_, '_>,
    field: &str,
    written: Option<&Value>,
) -> Result<Vec<Requirement>, Told> {
    let items = list_of(subject, field, written)?;
    let read: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(at, item)| match item.as_object() {
            Some(map) => expression(subject, &format!("{field}[{at}]"), map),
            None => Err(wrong_type(subject, format!("{field}[{at}]"), item, "a map")),
        })
        .collect();
    read.into_iter().collect()
}

fn expression(
    subject: &mut Subject<'_, '_>,
    path: &str,
    written: &Map<String, Value>,
) -> Result<Requirement, Told> {
    let known = only_known(subject, path, written, &["key", "operator", "values"]);
    let field = format!("{path}.key");
    let key = match written.get("key") {
        Some(Value::String(key)) => label_key(subject, &field, key),
        Some(other) => Err(wrong_type(subject, field, other, "a string")),
        None => Err(subject.error(field, "is missing", "write the label's key")),
    };
    let values = values(subject, &format!("{path}.values"), written.get("values"));
    let field = format!("{path}.operator");
    let operator = match written.get("operator") {
        Some(Value::String(operator)) => operator.as_str(),
        Some(other) => return Err(wrong_type(subject, field, other, "a string")),
        None => {
            let remedy = "write In, NotIn, Exists or DoesNotExist";
            return Err(subject.error(field, "is missing", remedy));
        }
    };
    known?;
    let (key, values) = (key?, values?);
    let misfit = |subject: &mut Subject<'_, '_>, what: &str, remedy: &str| {
        Err(subject.error(format!("{path}.values"), format!("{what} with {operator}"), remedy))
    };
    let operator = match (operator, values.is_empty()) {
        ("In", false) => Operator::In(values),
        ("NotIn", false) => Operator::NotIn(values),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        ("In" | "NotIn", true) => return misfit(subject, "is empty", "write at least one value"),
        ("Exists" | "DoesNotExist", false) => {
            return misfit(subject, "is given", "remove the values, or write In or NotIn");
        }
        (other, _) => {
            let message = format!("{other:?} is no operator");
            return Err(subject.error(field, message, "write In, NotIn, Exists or DoesNotExist"));
        }
    };
    Ok(Requirement { key, operator })
}

/// Sorted, each once: lists that mean the same are the same.
fn values(
    subject: &mut Subject<'_, '_>,
    field: &str,
    written: Option<&Value>,
) -> Result<Vec<Arc<str>>, Told> {
    let items = list_of(subject, field, written)?;
    let read: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(at, item)| label_value(subject, &format!("{field}[{at}]"), item))
        .collect();
    let mut read = read.into_iter().collect::<Result<Vec<_>, _>>()?;
    read.sort_unstable();
    read.dedup();
    Ok(read)
}

fn label_key(subject: &mut Subject<'_, '_>, field: &str, key: &str) -> Result<Arc<str>, Told> {
    if names::is_label_key(key) {
        return Ok(Arc::from(key));
    }
    Err(subject.error(field, format!("{key:?} is no label key"), LABEL_KEY_RULE))
}

fn label_value(
    subject: &mut Subject<'_, '_>,
    field: &str,
    value: &Value,
) -> Result<Arc<str>, Told> {
    let Value::String(text) = value else {
        return Err(wrong_type(subject, field.into(), value, "a string"));
    };
    if names::is_label_value(text) {
        return Ok(Arc::from(text.as_str()));
    }
    Err(subject.error(field, format!("{text:?} is no label value"), LABEL_VALUE_RULE))
}
