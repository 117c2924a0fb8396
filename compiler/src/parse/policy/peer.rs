//! One end of a rule (`NetworkPolicyPeer`): selectors, or a block of addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::part::{Part, only_known};
use super::selector::selector;
use crate::model::{IpBlock, Namespaces, Peer, Selector};
use crate::parse::fields::{list_of, wrong_type};
use crate::parse::path::Path;
use crate::parse::subject::{Reported, Subject};

const PEER: Part =
    Part { what: "a peer", fields: &["podSelector", "namespaceSelector", "ipBlock"] };
const IP_BLOCK: Part = Part { what: "an ipBlock", fields: &["cidr", "except"] };

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    peer: &Map<String, Value>,
) -> Result<Peer, Reported> {
    only_known(subject, path, peer, &PEER)?;
    let given = |field: &str| peer.get(field).filter(|value| !value.is_null());
    let (pods, namespaces) = (given("podSelector"), given("namespaceSelector"));
    if let Some(block) = given("ipBlock") {
        if pods.is_some() || namespaces.is_some() {
            let message = "has ipBlock together with a selector";
            return Err(subject.error(path, message, "Make them two items of the list"));
        }
        return ip_block(subject, &path.field("ipBlock"), block).map(Peer::Block);
    }
    if pods.is_none() && namespaces.is_none() {
        let remedy =
            "Write podSelector, namespaceSelector or ipBlock; {} after a selector selects all";
        return Err(subject.error(path, "names no peer", remedy));
    }
    let mut read = |field: &str, value: Option<&Value>| match value {
        Some(value) => selector(subject, &path.field(field), value).map(Some),
        None => Ok(None),
    };
    let (pods, namespaces) = (read("podSelector", pods), read("namespaceSelector", namespaces));
    Ok(Peer::Pods {
        namespaces: namespaces?.map_or(Namespaces::Own, Namespaces::Selected),
        pods: pods?.unwrap_or_else(Selector::everything),
    })
}

fn ip_block(
    subject: &mut Subject<'_, '_>,
    path: &Path<'_>,
    block: &Value,
) -> Result<IpBlock, Reported> {
    let Value::Object(block) = block else {
        return Err(wrong_type(subject, path, block, "a map"));
    };
    only_known(subject, path, block, &IP_BLOCK)?;
    let field = path.field("cidr");
    let cidr = match block.get("cidr") {
        Some(value) => net(subject, &field, value)?,
        None => return Err(subject.error(&field, "is missing", "Write it as 10.0.0.0/8")),
    };
    let field = path.field("except");
    let items = list_of(subject, &field, block.get("except"))?;
    let mut except = Vec::with_capacity(items.len());
    let mut result = Ok(());
    for (at, item) in items.iter().enumerate() {
        let field = field.item(at);
        match net(subject, &field, item) {
            Ok(net) if net != cidr && cidr.contains(&net) => except.push(net),
            Ok(net) => {
                let message = format!("is {net}, which is not a smaller block inside {cidr}");
                let remedy = "Write a part of the cidr, or remove it";
                result = Err(subject.error(&field, message, remedy));
            }
            Err(reported) => result = Err(reported),
        }
    }
    result.map(|()| IpBlock { cidr, except })
}

/// A block of addresses. Host bits are masked, as Kubernetes does.
fn net(subject: &mut Subject<'_, '_>, path: &Path<'_>, value: &Value) -> Result<IpNet, Reported> {
    let Value::String(text) = value else {
        return Err(wrong_type(subject, path, value, "a string"));
    };
    let Ok(net) = text.parse::<IpNet>() else {
        let remedy = match text.parse::<IpAddr>() {
            Ok(address) => format!("Write {} for this one address", IpNet::from(address)),
            Err(_) => "Write an address and a prefix length, as in 10.0.0.0/8 or fd00::/8".into(),
        };
        return Err(subject.error(path, format!("is {text:?}, which is not a CIDR"), remedy));
    };
    if matches!(net, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some()) {
        let message = format!("is {net}, a block of IPv4-mapped IPv6 addresses");
        return Err(subject.error(path, message, "Write the IPv4 block instead"));
    }
    let masked = net.trunc();
    if masked != net {
        let message =
            format!("is {net}, which has bits set beyond its prefix, and is read as {masked}");
        subject.warn(path, message, format!("Write {masked}"));
    }
    Ok(masked)
}
