//! One end of a rule (`NetworkPolicyPeer`): selectors, or a block of addresses.

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{list_of, only_known, wrong_type};
use crate::model::{IpBlock, Namespaces, Peer, Selector};
use crate::parse::report::{Subject, Told};
use crate::parse::selector::selector;

pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    path: &str,
    peer: &Map<String, Value>,
) -> Result<Peer, Told> {
    only_known(subject, path, peer, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let given = |field: &str| peer.get(field).filter(|value| !value.is_null());
    let (pods, namespaces) = (given("podSelector"), given("namespaceSelector"));
    if let Some(block) = given("ipBlock") {
        if pods.is_some() || namespaces.is_some() {
            let message = "has ipBlock together with a selector";
            return Err(subject.error(path, message, "make them two items of the list"));
        }
        return ip_block(subject, &format!("{path}.ipBlock"), block).map(Peer::Block);
    }
    if pods.is_none() && namespaces.is_none() {
        let remedy =
            "write podSelector, namespaceSelector or ipBlock; {} after a selector selects all";
        return Err(subject.error(path, "names no peer", remedy));
    }
    let mut read = |field: &str, value: Option<&Value>| match value {
        Some(value) => selector(subject, &format!("{path}.{field}"), value).map(Some),
        None => Ok(None),
    };
    let (pods, namespaces) = (read("podSelector", pods), read("namespaceSelector", namespaces));
    Ok(Peer::Pods {
        namespaces: namespaces?.map_or(Namespaces::Own, Namespaces::Selected),
        pods: pods?.unwrap_or_else(Selector::everything),
    })
}

fn ip_block(subject: &mut Subject<'_, '_>, path: &str, block: &Value) -> Result<IpBlock, Told> {
    let Value::Object(block) = block else {
        return Err(wrong_type(subject, path.into(), block, "a map"));
    };
    only_known(subject, path, block, &["cidr", "except"])?;
    let field = format!("{path}.cidr");
    let cidr = match block.get("cidr") {
        Some(value) => net(subject, &field, value)?,
        None => return Err(subject.error(field, "is missing", "write it as 10.0.0.0/8")),
    };
    let items = list_of(subject, &format!("{path}.except"), block.get("except"))?;
    let mut except = Vec::with_capacity(items.len());
    let mut result = Ok(());
    for (at, item) in items.iter().enumerate() {
        let field = format!("{path}.except[{at}]");
        match net(subject, &field, item) {
            Ok(net) if net != cidr && cidr.contains(&net) => except.push(net),
            Ok(net) => {
                let message = format!("{net} is no smaller block inside {cidr}");
                result =
                    Err(subject.error(field, message, "write a part of the cidr, or remove it"));
            }
            Err(told) => result = Err(told),
        }
    }
    result.map(|()| IpBlock { cidr, except })
}

/// A block of addresses. Host bits are masked, as Kubernetes does.
fn net(subject: &mut Subject<'_, '_>, field: &str, value: &Value) -> Result<IpNet, Told> {
    let Value::String(text) = value else {
        return Err(wrong_type(subject, field.into(), value, "a string"));
    };
    let Ok(net) = text.parse::<IpNet>() else {
        let remedy = match text.parse::<std::net::IpAddr>() {
            Ok(address) => format!("write {} for this one address", IpNet::from(address)),
            Err(_) => "write an address and a prefix length, as in 10.0.0.0/8 or fd00::/8".into(),
        };
        return Err(subject.error(field, format!("{text:?} is no CIDR"), remedy));
    };
    if matches!(net, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some()) {
        let message = format!("{net} is a block of IPv4-mapped IPv6 addresses");
        return Err(subject.error(field, message, "write the IPv4 block instead"));
    }
    let masked = net.trunc();
    if masked != net {
        let message = format!("{net} has bits set beyond its prefix; {masked} is meant by it");
        subject.warn(field, message, format!("write {masked}"));
    }
    Ok(masked)
}
