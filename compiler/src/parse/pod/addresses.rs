//! The addresses of a pod and of the host that it runs on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::model::{Family, PodAddresses};
use crate::parse::lenient::Lenient;
use crate::parse::names;
use crate::parse::path::{OBJECT, Path};
use crate::parse::subject::{Reported, Subject};
use crate::parse::wire::Address;

const STATUS: &Path<'static> = &Path::Field(OBJECT, "status");
const REMEDY: &str = "Write the IPv4 or IPv6 address that the pod has";

/// `status.podIPs`, or `status.podIP` where there is none: the first address of each family.
pub(super) fn of_pod(
    subject: &mut Subject<'_, '_>,
    list: Lenient<Vec<Lenient<Address>>>,
    single: Lenient<Arc<str>>,
) -> Result<PodAddresses, Reported> {
    let before = subject.errors();
    let mut found = PodAddresses::default();
    let is_empty = list.as_known().is_none_or(Vec::is_empty) && !matches!(list, Lenient::Wrong(_));
    let list_path = STATUS.field("podIPs");
    for (at, item) in subject.items(list, &list_path) {
        let path = list_path.item(at);
        let Ok(text) = ip(subject, item, &path) else { continue };
        if let Ok(address) = address(subject, &text, &path.field("ip")) {
            add(subject, &mut found, address, &path.field("ip"));
        }
    }
    let path = STATUS.field("podIP");
    if is_empty
        && let Ok(Some(text)) = subject.read(single, "a string", &path)
        && !text.is_empty()
        && let Ok(address) = address(subject, &text, &path)
    {
        add(subject, &mut found, address, &path);
    }
    if subject.errors() > before { Err(Reported) } else { Ok(found) }
}

/// `status.hostIPs`, or `status.hostIP` where there is none. What cannot be read is left out.
pub(super) fn of_host(
    subject: &mut Subject<'_, '_>,
    list: Lenient<Vec<Lenient<Address>>>,
    single: Lenient<Arc<str>>,
) -> PodAddresses {
    let mut found = Vec::new();
    let list_path = STATUS.field("hostIPs");
    for (at, item) in subject.items(list, &list_path) {
        let path = list_path.item(at);
        let Ok(text) = ip(subject, item, &path) else { continue };
        found.extend(host_address(subject, &text, &path.field("ip")));
    }
    let path = STATUS.field("hostIP");
    if found.is_empty()
        && let Ok(Some(text)) = subject.read(single, "a string", &path)
    {
        found.extend(host_address(subject, &text, &path));
    }
    found.into_iter().collect()
}

fn host_address(subject: &mut Subject<'_, '_>, text: &str, path: &Path<'_>) -> Option<IpAddr> {
    let address = text.parse().ok();
    if address.is_none() && !text.is_empty() {
        let message = format!("is {text:?}, which is not an IP address, and is left out");
        subject.error(path, message, "Write an IPv4 or IPv6 address of the node");
    }
    address
}

fn ip(subject: &mut Subject<'_, '_>, item: Address, path: &Path<'_>) -> Result<Arc<str>, Reported> {
    let field = path.field("ip");
    match subject.read(item.ip, "a string", &field)? {
        Some(text) => Ok(text),
        None => {
            let misspelt = item
                .unknown
                .iter()
                .find(|own| names::nearest(own, Address::FIELDS.known).is_some());
            let remedy = match misspelt {
                Some(own) => format!("Did you mean ip by {own}?"),
                None => REMEDY.into(),
            };
            Err(subject.error(&field, "is missing", remedy))
        }
    }
}

fn add(subject: &mut Subject<'_, '_>, found: &mut PodAddresses, address: IpAddr, path: &Path<'_>) {
    if found.get(Family::of(address)).is_some_and(|first| first != address) {
        let message = format!("is {address}, a second address of its family, and is left out");
        subject.warn(path, message, "Keep one IPv4 and one IPv6 address");
        return;
    }
    *found = found.iter().chain([address]).collect();
}

/// An address that a pod can have: one by which packets reach a single host. (The link-local ones of IPv4 count, since some
/// networks give them to pods and the kernel forwards them; those of IPv6 mean something on one link only.)
fn address(subject: &mut Subject<'_, '_>, text: &str, path: &Path<'_>) -> Result<IpAddr, Reported> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let message = format!("is {text:?}, which is not an IP address");
        return Err(subject.error(path, message, REMEDY));
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let message = format!("is {address}, an IPv4-mapped IPv6 address, which no pod can have");
        return Err(subject.error(path, message, format!("Write {v4}")));
    }
    let of_v4 = |is: fn(&Ipv4Addr) -> bool| matches!(&address, IpAddr::V4(v4) if is(v4));
    let of_v6 = |is: fn(&Ipv6Addr) -> bool| matches!(&address, IpAddr::V6(v6) if is(v6));
    let kinds = [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (of_v4(Ipv4Addr::is_broadcast), "the broadcast address"),
        (of_v6(Ipv6Addr::is_unicast_link_local), "a link-local address"),
    ];
    let Some((_, kind)) = kinds.into_iter().find(|(is, _)| *is) else { return Ok(address) };
    let message = format!("is {address}, {kind}, which no pod can have");
    Err(subject.error(path, message, REMEDY))
}
