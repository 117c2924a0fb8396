//! Which addresses a network namespace reaches by which interface directly, as routes say it, and what changes.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::links::Links;
use super::route_message::{
    DELROUTE, FLAGS_OFFSET, GETROUTE, LENGTH_OFFSET, NEWROUTE, PROTOCOL_OFFSET, ROUTE_HEADER,
    RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PRIORITY, RTA_TABLE, RTA_VIA, TABLE_OFFSET, TYPE_OFFSET,
    UNICAST,
};
use super::rtnetlink::number;
use super::wire::{self, Attributes, flag};

/// `RTPROT_KERNEL`, and `RTM_F_CLONED`: a route that the kernel made of another for one address.
const OF_KERNEL: u8 = 2;
const CLONED: u32 = 0x200;

/// `NLM_F_REPLACE` in the message of a new route: it took the place of one with the same destination, table and metric.
const REPLACE: u16 = 0x100;

/// A unicast route by one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeviceRoute {
    pub(crate) destination: IpAddr,
    /// The length of the destination's prefix, in bits.
    pub(crate) length: u8,
    pub(crate) table: u32,
    pub(crate) metric: u32,
    pub(crate) device: u32,
    /// Whether a gateway on the interface is the next hop.
    pub(crate) has_gateway: bool,
    /// Whether the kernel made it for an address of the interface itself.
    pub(crate) is_of_kernel: bool,
}

impl DeviceRoute {
    /// The address, if the route is to a single one that is a neighbour on the interface.
    pub(crate) fn host(&self) -> Option<IpAddr> {
        let bits = if self.destination.is_ipv4() { 32 } else { 128 };
        (self.length == bits && !self.has_gateway).then_some(self.destination)
    }

    /// Whether it is one that every interface with IPv6 has.
    pub(crate) fn is_link_local(&self) -> bool {
        match self.destination {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => {
                self.length > 0 && (address.is_unicast_link_local() || address.is_multicast())
            }
        }
    }

    fn takes_place_of(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.destination, it.length, it.table, it.metric);
        place(self) == place(other)
    }
}

/// What happened to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteEvent {
    Come(DeviceRoute),
    /// It took the place of those to the same destination with its table and metric.
    Replaced(DeviceRoute),
    Gone(DeviceRoute),
}

impl RouteEvent {
    pub(crate) fn apply_to(self, routes: &mut BTreeSet<DeviceRoute>) {
        match self {
            Self::Come(route) => _ = routes.insert(route),
            Self::Replaced(route) => {
                routes.retain(|other| !route.takes_place_of(other));
                routes.insert(route);
            }
            Self::Gone(route) => _ = routes.remove(&route),
        }
    }

    pub(crate) fn route(&self) -> &DeviceRoute {
        match self {
            Self::Come(route) | Self::Replaced(route) | Self::Gone(route) => route,
        }
    }
}

impl Links {
    /// The routes by interfaces for which `counts` is true.
    pub(crate) fn device_routes(
        &mut self,
        counts: impl Fn(u32) -> bool,
    ) -> io::Result<BTreeSet<DeviceRoute>> {
        let mut routes = BTreeSet::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut request = vec![u8::try_from(family).unwrap_or(0)];
            request.resize(ROUTE_HEADER, 0);
            self.client().ask(GETROUTE, flag::DUMP, &request, |message| {
                routes.extend(route_of(&message).filter(|route| counts(route.device)));
            })?;
        }
        Ok(routes)
    }
}

/// `None` for a message about something else, or about a route by no interface or by several.
pub(super) fn event_of(message: &wire::Message<'_>) -> Option<RouteEvent> {
    let route = route_of(message)?;
    match message.kind {
        NEWROUTE if message.flags & REPLACE != 0 => Some(RouteEvent::Replaced(route)),
        NEWROUTE => Some(RouteEvent::Come(route)),
        DELROUTE => Some(RouteEvent::Gone(route)),
        _ => None,
    }
}

fn route_of(message: &wire::Message<'_>) -> Option<DeviceRoute> {
    if !matches!(message.kind, NEWROUTE | DELROUTE) {
        return None;
    }
    let header = message.payload.get(..ROUTE_HEADER)?;
    let flags = header.get(FLAGS_OFFSET..).and_then(number)?;
    if header.get(TYPE_OFFSET) != Some(&UNICAST) || flags & CLONED != 0 {
        return None;
    }
    let attributes = Attributes(message.payload.get(ROUTE_HEADER..)?);
    let numbered = |kind| attributes.get(kind).and_then(|a| number(a.value));
    let is_v4 = i32::from(*header.first()?) == libc::AF_INET;
    let destination = match attributes.get(RTA_DST).map(|a| a.value) {
        None if is_v4 => IpAddr::from([0; 4]),
        None => IpAddr::from([0; 16]),
        Some(octets) if is_v4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        Some(octets) => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    Some(DeviceRoute {
        destination,
        length: *header.get(LENGTH_OFFSET)?,
        table: numbered(RTA_TABLE)
            .unwrap_or_else(|| header.get(TABLE_OFFSET).map_or(0, |&table| table.into())),
        metric: numbered(RTA_PRIORITY).unwrap_or(0),
        device: numbered(RTA_OIF)?,
        has_gateway: attributes.get(RTA_GATEWAY).is_some() || attributes.get(RTA_VIA).is_some(),
        is_of_kernel: header.get(PROTOCOL_OFFSET) == Some(&OF_KERNEL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(device: u32, metric: u32) -> DeviceRoute {
        let destination = IpAddr::from([10, 0, 0, 1]);
        DeviceRoute {
            destination,
            length: 32,
            table: 254,
            metric,
            device,
            has_gateway: false,
            is_of_kernel: false,
        }
    }

    #[test]
    fn a_route_that_replaces_another_leaves_none_of_the_same_metric() {
        let mut routes = BTreeSet::new();
        for event in [
            RouteEvent::Come(route(5, 0)),
            RouteEvent::Come(route(6, 0)),
            RouteEvent::Come(route(7, 100)),
            RouteEvent::Replaced(route(8, 0)),
        ] {
            event.apply_to(&mut routes);
        }
        let devices: Vec<u32> = routes.iter().map(|route| route.device).collect();
        assert_eq!(devices, [8, 7]);
        RouteEvent::Gone(route(8, 0)).apply_to(&mut routes);
        assert_eq!(routes.len(), 1);
    }

    #[test]
    fn a_host_route_is_to_one_address_without_a_gateway() {
        assert_eq!(route(5, 0).host(), Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(DeviceRoute { has_gateway: true, ..route(5, 0) }.host(), None);
        assert_eq!(DeviceRoute { length: 24, ..route(5, 0) }.host(), None);
    }
}
