//! EndpointSlices. No verdict depends on them: what is wrong is a warning, and is left out.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::fields::{list_of, maps};
use super::lenient::Lenient;
use super::path::{OBJECT, Path};
use super::service::{map_of, port, protocol, text_of};
use super::subject::Subject;
use super::wire::Metadata;
use crate::model::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice, SERVICE_NAME_LABEL};

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    (namespace, name): (Arc<str>, Arc<str>),
    metadata: Metadata,
    (endpoints, ports): (Option<&Value>, Option<&Value>),
) -> EndpointSlice {
    let mut slice = EndpointSlice {
        namespace,
        name,
        service: service_name(metadata),
        endpoints: Vec::new(),
        ports: Vec::new(),
    };
    let path = OBJECT.field("endpoints");
    for (at, written) in maps(subject, &path, endpoints) {
        slice.endpoints.extend(endpoint(subject, &path.item(at), written));
    }
    let path = OBJECT.field("ports");
    for (at, written) in maps(subject, &path, ports) {
        slice.ports.extend(endpoint_port(subject, &path.item(at), written));
    }
    slice
}

fn service_name(metadata: Metadata) -> Option<Arc<str>> {
    let Lenient::Is(labels) = metadata.labels else { return None };
    let label = labels.0.into_iter().find(|(key, _)| **key == *SERVICE_NAME_LABEL);
    match label?.1 {
        Lenient::Is(name) => Some(name),
        Lenient::Missing | Lenient::Null | Lenient::Wrong(_) => None,
    }
}

/// An endpoint with an address. (Those of slices of host names, `addressType: FQDN`, have none.)
fn endpoint(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Map<String, Value>,
) -> Option<Endpoint> {
    let field = path.field("addresses");
    let items = list_of(subject, &field, written.get("addresses")).unwrap_or_default();
    let addresses: Vec<IpAddr> =
        items.iter().filter_map(Value::as_str).filter_map(|text| text.parse().ok()).collect();
    let field = path.field("conditions");
    let conditions = map_of(subject, &field, written.get("conditions"));
    let field = path.field("targetRef");
    let target = map_of(subject, &field, written.get("targetRef"));
    let pod = target.filter(|target| target.get("kind").is_none_or(|kind| kind == "Pod"));
    let pod = pod.and_then(|pod| text_of(subject, &field.field("name"), pod.get("name")));
    let node = text_of(subject, &path.field("nodeName"), written.get("nodeName"));
    let conditions = conditions.map_or_else(EndpointConditions::default, conditions_of);
    (!addresses.is_empty()).then_some(Endpoint { addresses, conditions, pod, node })
}

fn conditions_of(written: &Map<String, Value>) -> EndpointConditions {
    let flag = |name: &str| written.get(name).and_then(Value::as_bool);
    let ready = flag("ready").unwrap_or(true);
    EndpointConditions {
        ready,
        serving: flag("serving").unwrap_or(ready),
        terminating: flag("terminating").unwrap_or(false),
    }
}

fn endpoint_port(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Map<String, Value>,
) -> Option<EndpointPort> {
    let protocol = protocol(subject, &path.field("protocol"), written.get("protocol"))?;
    let number = match written.get("port") {
        None | Some(Value::Null) => None,
        Some(number) => Some(port(subject, &path.field("port"), Some(number))?),
    };
    let name = text_of(subject, &path.field("name"), written.get("name"));
    Some(EndpointPort { name: name.filter(|name| !name.is_empty()), protocol, port: number })
}
