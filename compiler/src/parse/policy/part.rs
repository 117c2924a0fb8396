//! The parts of a policy, of which every field must be known.

use serde_json::{Map, Value};

use crate::parse::names;
use crate::parse::path::Path;
use crate::parse::subject::{Reported, Subject};

/// A part of a policy: what it is called, and all of its fields.
pub(super) struct Part {
    pub(super) what: &'static str,
    pub(super) fields: &'static [&'static str],
}

/// Reports each field that the part does not have. A misspelt field would otherwise count as one that is left out, which
/// mostly means that more is allowed.
pub(super) fn only_known(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    map: &Map<String, Value>,
    part: &Part,
) -> Result<(), Reported> {
    let mut result = Ok(());
    for field in map.keys().filter(|field| !part.fields.contains(&field.as_str())) {
        let message = format!("is not a field of {}", part.what);
        result = Err(subject.error(&path.field(field), message, remedy_for(field, part.fields)));
    }
    result
}

/// What to do about a field that stands in the wrong place or is misspelt, by the fields that its place has.
fn remedy_for(field: &str, known: &[&str]) -> String {
    let in_rule = known.contains(&"from") || known.contains(&"to");
    let end = if known.contains(&"to") { "to" } else { "from" };
    match field {
        "from" if in_rule => {
            return "Write to in an egress rule, and from in an ingress rule".into();
        }
        "to" if in_rule => return "Write from in an ingress rule, and to in an egress rule".into(),
        "podSelector" | "namespaceSelector" | "ipBlock" if in_rule => {
            return format!("Write it into an item of the list {end}");
        }
        "port" | "protocol" | "endPort" if in_rule => {
            return "Write it into an item of the list ports".into();
        }
        "cidr" | "except" if known.contains(&"ipBlock") => return "Write it under ipBlock".into(),
        "from" | "to" | "ports" if known.contains(&"policyTypes") => {
            return "Write it into an item of the list ingress or egress".into();
        }
        _ => {}
    }
    if let Some(near) = names::nearest(field, known) {
        return format!("Did you mean {near}?");
    }
    if known.contains(&"matchLabels") {
        return "Write labels under matchLabels".into();
    }
    format!("Remove it, or write one of {}", known.join(", "))
}
