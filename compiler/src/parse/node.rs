//! Namespaces and nodes.

use std::net::IpAddr;
use std::sync::Arc;

use super::lenient::Lenient;
use super::object::labels;
use super::report::{Subject, Told};
use super::wire::{Metadata, NodeAddress, NodeStatus};
use crate::model::{Labels, NAMESPACE_NAME_LABEL, Namespace, Node};

pub(super) fn namespace(
    subject: &mut Subject<'_, '_>,
    name: Arc<str>,
    metadata: Metadata,
) -> Result<Namespace, Told> {
    let given = labels(subject, metadata.labels)?;
    if given.get(NAMESPACE_NAME_LABEL).is_some_and(|label| *label != name) {
        let field = format!("metadata.labels[{NAMESPACE_NAME_LABEL:?}]");
        let message = "is not the namespace's name; its name is used, as the API server does";
        subject.warn(field, message, "remove the label");
    }
    let own = (Arc::from(NAMESPACE_NAME_LABEL), Arc::clone(&name));
    let given = given.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
    let labels: Labels = given.chain([own]).collect();
    Ok(Namespace { name, labels: Arc::new(labels) })
}

/// A node with the addresses that can be read (`NodeStatus.addresses`, those whose type is one of an address).
pub(super) fn node(
    subject: &mut Subject<'_, '_>,
    name: Arc<str>,
    status: Lenient<NodeStatus>,
) -> Node {
    let mut node = Node { name, addresses: Vec::new() };
    let Ok(Some(status)) = subject.read(status, "a map", || "status".into()) else { return node };
    let list = subject.read(status.addresses, "a list", || "status.addresses".into());
    for (at, item) in list.ok().flatten().unwrap_or_default().into_iter().enumerate() {
        let field = || format!("status.addresses[{at}]");
        let Ok(Some(item)) = subject.read(item, "a map", field) else { continue };
        if let Some(address) = node_address(subject, item, &field()) {
            node.addresses.push(address);
        }
    }
    node.addresses.sort_unstable();
    node.addresses.dedup();
    node
}

fn node_address(subject: &mut Subject<'_, '_>, item: NodeAddress, field: &str) -> Option<IpAddr> {
    let kind = subject.read(item.kind, "a string", || format!("{field}.type")).ok()??;
    if &*kind != "InternalIP" && &*kind != "ExternalIP" {
        return None;
    }
    let text = subject.read(item.address, "a string", || format!("{field}.address")).ok()??;
    let address = text.parse().ok();
    if address.is_none() {
        let message = format!("{text:?} is no IP address; it is left out");
        subject.error(format!("{field}.address"), message, "write an IPv4 or IPv6 address");
    }
    address
}
