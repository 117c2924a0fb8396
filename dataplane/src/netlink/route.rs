//! By which interface a network namespace reaches an address.

use std::io;
use std::net::IpAddr;

use super::route_message::{
    ANYCAST, BROADCAST, GETROUTE, LENGTH_OFFSET, LOCAL, MULTICAST, NEWROUTE, ROUTE_HEADER, RTA_DST,
    RTA_GATEWAY, RTA_OIF, TYPE_OFFSET,
};
use super::rtnetlink::{Client, number};
use super::wire::{self, Attributes};

/// Answer with the route that matches rather than with the one to the address (`RTM_F_FIB_MATCH`).
const FIB_MATCH: u32 = 0x2000;

/// The index that `lo` has in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// The routes of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Routes(Client);

impl Routes {
    pub(crate) fn open() -> io::Result<Self> {
        Client::open(false).map(Self)
    }

    /// The index of the interface on which the address is a neighbour; `lo` for the host's own. `None` where a default
    /// route or a gateway leads to it, or nothing.
    pub(crate) fn device(&mut self, address: IpAddr) -> io::Result<Option<u32>> {
        let mut device = None;
        self.route(address, |kind, attributes, is_default| {
            let is_own = !is_default && attributes.get(RTA_GATEWAY).is_none();
            if kind == LOCAL {
                device = Some(LOOPBACK);
            } else if is_own {
                device = attributes.get(RTA_OIF).and_then(|a| number(a.value));
            }
        })?;
        Ok(device)
    }

    /// Visits the route to the address, if there is one: its `RTN_*`, its attributes, and whether it is a default route.
    fn route(
        &mut self,
        address: IpAddr,
        mut visit: impl FnMut(u8, Attributes<'_>, bool),
    ) -> io::Result<()> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let bits = u8::try_from(octets.len() * 8).unwrap_or(0);
        let mut request = vec![u8::try_from(family).unwrap_or(0), bits];
        request.resize(ROUTE_HEADER - size_of::<u32>(), 0);
        request.extend(FIB_MATCH.to_ne_bytes());
        wire::put(&mut request, RTA_DST, &octets);
        let asked = self.0.ask(GETROUTE, 0, &request, |message| {
            if let Some((kind, attributes, is_default)) = route_of(&message) {
                visit(kind, attributes, is_default);
            }
        });
        match asked.as_ref().map_err(io::Error::raw_os_error) {
            // No route, or one that refuses.
            Err(Some(
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ESRCH,
            )) => Ok(()),
            Ok(()) | Err(_) => asked,
        }
    }
}

/// A route: its `RTN_*`, its attributes, and whether it is a default route.
pub(super) fn route_of<'a>(message: &wire::Message<'a>) -> Option<(u8, Attributes<'a>, bool)> {
    if message.kind != NEWROUTE {
        return None;
    }
    let attributes = Attributes(message.payload.get(ROUTE_HEADER..).unwrap_or_default());
    let is_default = message.payload.get(LENGTH_OFFSET).is_none_or(|&length| length == 0);
    let kind = message.payload.get(TYPE_OFFSET).copied().unwrap_or_default();
    Some((kind, attributes, is_default))
}

/// To whom packets to an address go, by the routes of the calling thread's network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// To the host itself: they are not forwarded.
    Host,
    /// To a network, by broadcast or multicast.
    Network,
    /// To another host, or to nobody.
    Elsewhere,
}

/// Asks the kernel to whom packets to the address go.
///
/// # Errors
///
/// Those of a netlink socket.
pub fn delivery(address: IpAddr) -> io::Result<Delivery> {
    let mut delivery = if address.is_multicast() { Delivery::Network } else { Delivery::Elsewhere };
    Routes::open()?.route(address, |kind, _, _| {
        delivery = match kind {
            LOCAL | ANYCAST => Delivery::Host,
            BROADCAST | MULTICAST => Delivery::Network,
            _ => delivery,
        };
    })?;
    Ok(delivery)
}
