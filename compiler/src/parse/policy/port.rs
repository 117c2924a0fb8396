//! The ports of a rule (`NetworkPolicyPort`).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::part::{Part, only_known};
use crate::model::{PortMatch, PortSpec, Protocol};
use crate::parse::fields::wrong_type;
use crate::parse::names::{self, PORT_NAME_RULE};
use crate::parse::path::Path;
use crate::parse::subject::{Reported, Subject};
use crate::parse::values::{PORT_REMEDY, PROTOCOL_REMEDY, port_number, protocol_named};

const PORT: Part = Part { what: "a port", fields: &["protocol", "port", "endPort"] };

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Map<String, Value>,
) -> Result<PortMatch, Reported> {
    let known = only_known(subject, path, written, &PORT);
    let given = |field: &str| written.get(field).filter(|value| !value.is_null());
    let protocol = match given("protocol") {
        Some(value) => protocol(subject, &path.field("protocol"), value),
        None => Ok(Protocol::Tcp),
    };
    let port = match given("port") {
        Some(value) => port(subject, &path.field("port"), value),
        None => Ok(PortSpec::Any),
    };
    let (protocol, port) = (protocol?, port?);
    known?;
    let port = match given("endPort") {
        Some(value) => end_port(subject, &path.field("endPort"), value, &port)?,
        None => port,
    };
    Ok(PortMatch { protocol, port })
}

fn protocol(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    value: &Value,
) -> Result<Protocol, Reported> {
    let Value::String(text) = value else {
        return Err(wrong_type(subject, path, value, "a string"));
    };
    protocol_named(text).ok_or_else(|| {
        let message = format!("is {text:?}, which is not a protocol that a NetworkPolicy can name");
        subject.error(path, message, PROTOCOL_REMEDY)
    })
}

fn port(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    value: &Value,
) -> Result<PortSpec, Reported> {
    match value {
        Value::Number(_) => {
            let port = number(subject, path, value)?;
            Ok(PortSpec::Range { first: port, last: port })
        }
        Value::String(name) if names::is_port_name(name) => {
            Ok(PortSpec::Named(Arc::from(name.as_str())))
        }
        Value::String(text) => {
            let message = format!("is {text:?}, which is not the name of a port");
            Err(subject.error(path, message, remedy_for(text)))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong_type(subject, path, value, "a number or the name of a port"))
        }
    }
}

/// What to write instead of a text that is not the name of a port.
fn remedy_for(text: &str) -> String {
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port != 0);
    if let Some(port) = number(text) {
        return format!("Write the number {port} without quotes");
    }
    let ends = ["-", ":", ".."].iter().find_map(|sign| text.split_once(sign));
    if let Some((first, last)) = ends.and_then(|(a, b)| Some((number(a)?, number(b)?))) {
        let (first, last) = (first.min(last), first.max(last));
        return format!("Write port: {first} and endPort: {last}");
    }
    if text.contains(',') {
        return "Write each port as an item of its own".into();
    }
    PORT_NAME_RULE.into()
}

fn number(subject: &mut Subject<'_, '_>, path: &Path<'_>, value: &Value) -> Result<u16, Reported> {
    value.as_i64().and_then(port_number).ok_or_else(|| {
        subject.error(path, format!("is {value}, which is not a port number"), PORT_REMEDY)
    })
}

/// `endPort`: the last port of the range that begins with `port`, which must be a number.
fn end_port(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    value: &Value,
    port: &PortSpec,
) -> Result<PortSpec, Reported> {
    let Value::Number(_) = value else {
        return Err(wrong_type(subject, path, value, "a number"));
    };
    let first = match port {
        PortSpec::Range { first, .. } => *first,
        PortSpec::Any => {
            return Err(subject.error(path, "stands without port", "Write the first port as port"));
        }
        PortSpec::Named(name) => {
            let message = format!("stands together with the named port {name}");
            return Err(subject.error(path, message, "Write the first port as a number"));
        }
    };
    let last = number(subject, path, value)?;
    if last < first {
        let message = format!("is {last}, which is less than port, {first}");
        return Err(subject.error(path, message, "Write the greater of the two as endPort"));
    }
    Ok(PortSpec::Range { first, last })
}
