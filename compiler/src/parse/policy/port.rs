//! The ports of a rule (`NetworkPolicyPort`).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{only_known, wrong_type};
use crate::model::{PortMatch, PortSpec, Protocol};
use crate::parse::names::{self, PORT_NAME_RULE};
use crate::parse::pod::{port_number, protocol_named};
use crate::parse::report::{Subject, Told};

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    path: &str,
    written: &Map<String, Value>,
) -> Result<PortMatch, Told> {
    let known = only_known(subject, path, written, &["protocol", "port", "endPort"]);
    let given = |field: &str| written.get(field).filter(|value| !value.is_null());
    let protocol = match given("protocol") {
        Some(value) => protocol(subject, format!("{path}.protocol"), value),
        None => Ok(Protocol::Tcp),
    };
    let port = match given("port") {
        Some(value) => port(subject, format!("{path}.port"), value),
        None => Ok(PortSpec::Any),
    };
    let (protocol, port) = (protocol?, port?);
    known?;
    let port = match given("endPort") {
        Some(value) => end_port(subject, format!("{path}.endPort"), value, &port)?,
        None => port,
    };
    Ok(PortMatch { protocol, port })
}

fn protocol(subject: &mut Subject<'_, '_>, field: String, value: &Value) -> Result<Protocol, Told> {
    let Value::String(text) = value else {
        return Err(wrong_type(subject, field, value, "a string"));
    };
    protocol_named(text).ok_or_else(|| {
        let message = format!("{text:?} is no protocol that a NetworkPolicy can name");
        subject.error(field, message, "write TCP, UDP or SCTP")
    })
}

fn port(subject: &mut Subject<'_, '_>, field: String, value: &Value) -> Result<PortSpec, Told> {
    match value {
        Value::Number(_) => {
            let port = number(subject, field, value)?;
            Ok(PortSpec::Range { first: port, last: port })
        }
        Value::String(name) if names::is_port_name(name) => {
            Ok(PortSpec::Named(Arc::from(name.as_str())))
        }
        Value::String(text) if text.parse::<u16>().is_ok() => {
            let message = format!("{text:?} is a string, and no port has such a name");
            Err(subject.error(field, message, format!("write the number {text} without quotes")))
        }
        Value::String(text) => {
            let message = format!("{text:?} is no port name");
            Err(subject.error(field, message, PORT_NAME_RULE))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong_type(subject, field, value, "a number or the name of a port"))
        }
    }
}

fn number(subject: &mut Subject<'_, '_>, field: String, value: &Value) -> Result<u16, Told> {
    value.as_i64().and_then(port_number).ok_or_else(|| {
        let message = format!("{value} is no port number");
        subject.error(field, message, "write a whole number from 1 to 65535")
    })
}

/// `endPort`: the last port of the range that begins with `port`, which must be a number.
fn end_port(
    subject: &mut Subject<'_, '_>,
    field: String,
    value: &Value,
    port: &PortSpec,
) -> Result<PortSpec, Told> {
    let Value::Number(_) = value else {
        return Err(wrong_type(subject, field, value, "a number"));
    };
    let first = match port {
        PortSpec::Range { first, .. } => *first,
        PortSpec::Any => {
            return Err(subject.error(
                field,
                "stands without port",
                "write the first port as port",
            ));
        }
        PortSpec::Named(name) => {
            let message = format!("stands with a named port, {name}");
            return Err(subject.error(field, message, "write the first port as a number"));
        }
    };
    let last = number(subject, field.clone(), value)?;
    if last < first {
        let message = format!("{last} is less than port, {first}");
        return Err(subject.error(field, message, "write the greater of the two as endPort"));
    }
    Ok(PortSpec::Range { first, last })
}
