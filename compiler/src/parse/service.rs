//! Services. No verdict depends on them: what is wrong is a warning, and is left out.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::fields::{list_of, maps, wrong_type};
use super::path::{OBJECT, Path};
use super::subject::Subject;
use super::values::{PORT_REMEDY, PROTOCOL_REMEDY, port_number, protocol_named};
use crate::model::{Labels, Protocol, Service, ServiceKind, ServicePort, TargetPort};

/// Those that are read, for a field that stands in the wrong place.
pub(super) const SPEC_FIELDS: [&str; 6] =
    ["clusterIP", "clusterIPs", "externalIPs", "ports", "selector", "type"];

/// The cluster address of a Service that has none.
const HEADLESS: &str = "None";

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    (namespace, name): (Arc<str>, Arc<str>),
    (spec, status): (Option<&Value>, Option<&Value>),
) -> Service {
    let mut service = Service {
        namespace,
        name,
        kind: ServiceKind::default(),
        cluster_ips: Vec::new(),
        is_headless: false,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        selector: None,
        ports: Vec::new(),
    };
    let path = OBJECT.field("spec");
    if let Some(spec) = map_of(subject, &path, spec) {
        read_spec(subject, &path, spec, &mut service);
    }
    service.load_balancer_ips = load_balancer_ips(subject, status);
    service
}

fn read_spec(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    spec: &Map<String, Value>,
    service: &mut Service,
) {
    let field = path.field("type");
    service.kind = match text_of(subject, &field, spec.get("type")).as_deref() {
        None | Some("ClusterIP") => ServiceKind::ClusterIp,
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        Some("ExternalName") => ServiceKind::ExternalName,
        Some(other) => {
            let message = format!("is {other:?}, which is not a type of Service");
            subject.error(
                &field,
                message,
                "Write ClusterIP, NodePort, LoadBalancer or ExternalName",
            );
            ServiceKind::ClusterIp
        }
    };
    let listed = spec.get("clusterIPs").and_then(Value::as_array);
    service.is_headless = listed.is_some_and(|ips| ips.iter().any(|ip| ip == HEADLESS));
    service.cluster_ips = addresses(subject, &path.field("clusterIPs"), spec.get("clusterIPs"));
    if service.cluster_ips.is_empty() {
        let field = path.field("clusterIP");
        let text = text_of(subject, &field, spec.get("clusterIP"));
        service.is_headless |= text.as_deref() == Some(HEADLESS);
        service.cluster_ips.extend(text.and_then(|text| address(subject, &field, &text)));
    }
    service.external_ips = addresses(subject, &path.field("externalIPs"), spec.get("externalIPs"));
    let field = path.field("selector");
    if let Some(pairs) = map_of(subject, &field, spec.get("selector")) {
        service.selector = selector(subject, &field, pairs);
    }
    let field = path.field("ports");
    for (at, port) in maps(subject, &field, spec.get("ports")) {
        service.ports.extend(service_port(subject, &field.item(at), port));
    }
}

/// `None` if it is empty, or if some of it cannot be read: less of it would select more pods.
fn selector(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    pairs: &Map<String, Value>,
) -> Option<Arc<Labels>> {
    let mut read = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let text = text_of(subject, &path.entry(key), Some(value))?;
        read.push((Arc::from(key.as_str()), text));
    }
    let labels: Labels = read.into_iter().collect();
    (!labels.is_empty()).then(|| Arc::new(labels))
}

fn service_port(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Map<String, Value>,
) -> Option<ServicePort> {
    let protocol = protocol(subject, &path.field("protocol"), written.get("protocol"))?;
    let port = port(subject, &path.field("port"), written.get("port"))?;
    let target = match written.get("targetPort") {
        None | Some(Value::Null) => TargetPort::Number(port),
        Some(Value::String(name)) => TargetPort::Named(Arc::from(name.as_str())),
        // What an API server of old made of a missing one.
        Some(Value::Number(number)) if number.as_i64() == Some(0) => TargetPort::Number(port),
        Some(other) => {
            let field = path.field("targetPort");
            TargetPort::Number(self::port(subject, &field, Some(other))?)
        }
    };
    let node_port = match written.get("nodePort").and_then(Value::as_i64) {
        None | Some(0) => None,
        Some(_) => port_of(subject, path, written, "nodePort"),
    };
    let name = text_of(subject, &path.field("name"), written.get("name"));
    let name = name.filter(|name| !name.is_empty());
    Some(ServicePort { name, protocol, port, target, node_port })
}

fn port_of(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: &Map<String, Value>,
    field: &str,
) -> Option<u16> {
    port(subject, &path.field(field), written.get(field))
}

fn load_balancer_ips(subject: &mut Subject<'_, '_>, status: Option<&Value>) -> Vec<IpAddr> {
    let path = OBJECT.field("status");
    let Some(status) = map_of(subject, &path, status) else { return Vec::new() };
    let path = path.field("loadBalancer");
    let Some(balancer) = map_of(subject, &path, status.get("loadBalancer")) else {
        return Vec::new();
    };
    let path = path.field("ingress");
    let mut read = Vec::new();
    for (at, entry) in maps(subject, &path, balancer.get("ingress")) {
        let item = path.item(at);
        let field = item.field("ip");
        let text = text_of(subject, &field, entry.get("ip"));
        read.extend(text.and_then(|text| address(subject, &field, &text)));
    }
    read
}

/// A map that may be missing.
pub(super) fn map_of<'v>(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&'v Value>,
) -> Option<&'v Map<String, Value>> {
    match written? {
        Value::Null => None,
        Value::Object(map) => Some(map),
        other => {
            wrong_type(subject, path, other, "a map");
            None
        }
    }
}

/// A string that may be missing.
pub(super) fn text_of(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Option<Arc<str>> {
    match written? {
        Value::Null => None,
        Value::String(text) => Some(Arc::from(text.as_str())),
        other => {
            wrong_type(subject, path, other, "a string");
            None
        }
    }
}

fn addresses(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Vec<IpAddr> {
    let items = list_of(subject, path, written).unwrap_or_default();
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let path = path.item(at);
        let text = text_of(subject, &path, Some(item));
        read.extend(text.and_then(|text| address(subject, &path, &text)));
    }
    read
}

/// An address. Empty, and `None` of a headless Service, are none.
fn address(subject: &mut Subject<'_, '_>, path: &Path<'_>, text: &str) -> Option<IpAddr> {
    if text.is_empty() || text == HEADLESS {
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("is {text:?}, which is not an IP address");
        subject.error(path, message, "Write an IPv4 or IPv6 address");
    }
    address
}

/// The protocol of a port; TCP where it is missing.
pub(super) fn protocol(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Option<Protocol> {
    let Some(text) = text_of(subject, path, written) else { return Some(Protocol::Tcp) };
    let protocol = protocol_named(&text);
    if protocol.is_none() {
        subject.error(path, format!("is {text:?}, which is not a protocol"), PROTOCOL_REMEDY);
    }
    protocol
}

pub(super) fn port(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Option<u16> {
    let port = written.and_then(Value::as_i64).and_then(port_number);
    if port.is_none() {
        subject.error(path, "is not a port number", PORT_REMEDY);
    }
    port
}
