//! Namespaces and nodes.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::lenient::Lenient;
use super::metadata::{labels, lint_ignore};
use super::path::{OBJECT, Path};
use super::subject::{Reported, Subject};
use super::wire::{Metadata, NodeAddress, NodeSpec, NodeStatus};
use crate::model::{Labels, NAMESPACE_NAME_LABEL, Namespace, Node};

pub(super) fn namespace(
    subject: &mut Subject<'_, '_>,
    name: Arc<str>,
    mut metadata: Metadata,
) -> Result<Namespace, Reported> {
    let lint_ignore = lint_ignore(&mut metadata);
    let given = labels(subject, metadata.labels)?;
    if given.get(NAMESPACE_NAME_LABEL).is_some_and(|label| *label != name) {
        let path = OBJECT.field("metadata");
        let path = path.field("labels");
        let message =
            "is not the name of the namespace, which is used instead, as by the API server";
        subject.warn(&path.entry(NAMESPACE_NAME_LABEL), message, "Remove the label");
    }
    let own = (Arc::from(NAMESPACE_NAME_LABEL), Arc::clone(&name));
    let given = given.iter().map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
    let labels: Labels = given.chain([own]).collect();
    Ok(Namespace { name, labels: Arc::new(labels), lint_ignore })
}

/// A node with those of its addresses (`NodeStatus.addresses`) and of its pods' ranges (`NodeSpec.podCIDRs`) that can be read.
pub(super) fn node(
    subject: &mut Subject<'_, '_>,
    name: Arc<str>,
    (spec, status): (Lenient<NodeSpec>, Lenient<NodeStatus>),
) -> Node {
    let pod_ranges = pod_ranges(subject, spec);
    let mut node = Node { name, addresses: Vec::new(), pod_ranges };
    let path = OBJECT.field("status");
    let Ok(Some(status)) = subject.read(status, "a map", &path) else { return node };
    subject.misspelt(&path, "the status of a Node", &status.unknown, &NodeStatus::FIELDS);
    let path = path.field("addresses");
    for (at, item) in subject.items(status.addresses, &path) {
        node.addresses.extend(address(subject, item, &path.item(at)));
    }
    node.addresses.sort_unstable();
    node.addresses.dedup();
    node
}

/// `podCIDRs`, or the older `podCIDR` where there is no such list.
fn pod_ranges(subject: &mut Subject<'_, '_>, spec: Lenient<NodeSpec>) -> Vec<IpNet> {
    let path = OBJECT.field("spec");
    let Ok(Some(spec)) = subject.read(spec, "a map", &path) else { return Vec::new() };
    subject.misspelt(&path, "the spec of a Node", &spec.unknown, &NodeSpec::FIELDS);
    let list = path.field("podCIDRs");
    let items = subject.items(spec.pod_cidrs, &list);
    let mut ranges: Vec<IpNet> = items
        .into_iter()
        .filter_map(|(at, text)| pod_range(subject, &text, &list.item(at)))
        .collect();
    let path = path.field("podCIDR");
    if ranges.is_empty()
        && let Ok(Some(text)) = subject.read(spec.pod_cidr, "a string", &path)
        && !text.is_empty()
    {
        ranges.extend(pod_range(subject, &text, &path));
    }
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

fn pod_range(subject: &mut Subject<'_, '_>, text: &str, path: &Path<'_>) -> Option<IpNet> {
    let range = text.parse().ok().map(|net: IpNet| net.trunc());
    if range.is_none() {
        let message = format!("is {text:?}, which is not a range of addresses, and is left out");
        subject.error(path, message, "Write a CIDR block, as in 10.1.2.0/24");
    }
    range
}

/// An address of any type. Host names may be addresses, too; those that are not are left out.
fn address(subject: &mut Subject<'_, '_>, item: NodeAddress, path: &Path<'_>) -> Option<IpAddr> {
    subject.misspelt(path, "an address of a Node", &item.unknown, &NodeAddress::FIELDS);
    let kind = subject.read(item.kind, "a string", &path.field("type")).ok()??;
    let path = path.field("address");
    let text = subject.read(item.address, "a string", &path).ok()??;
    let address = text.parse().ok();
    if address.is_none() && matches!(&*kind, "InternalIP" | "ExternalIP") {
        let message = format!("is {text:?}, which is not an IP address, and is left out");
        subject.error(&path, message, "Write an IPv4 or IPv6 address");
    }
    address
}
