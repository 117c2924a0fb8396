//! By which interface a network namespace reaches an address.

use std::io;
use std::net::IpAddr;

use super::rtnetlink::{Client, number};
use super::wire::{self, Attributes};

/// `RTM_*` and `RTA_*` (linux/rtnetlink.h).
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// Answer with the route that matches rather than with the one to the address (`RTM_F_FIB_MATCH`).
const FIB_MATCH: u32 = 0x2000;

/// The length of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;

/// `RTN_LOCAL` in a `struct rtmsg`, and the index that `lo` has in every network namespace (`LOOPBACK_IFINDEX`).
const LOCAL: u8 = 2;
const TYPE_OFFSET: usize = 7;
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
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let bits = u8::try_from(octets.len() * 8).unwrap_or(0);
        let mut request = vec![u8::try_from(family).unwrap_or(0), bits];
        request.resize(ROUTE_HEADER - size_of::<u32>(), 0);
        request.extend(FIB_MATCH.to_ne_bytes());
        wire::put(&mut request, RTA_DST, &octets);
        let mut device = None;
        let asked = self.0.ask(GETROUTE, 0, &request, |message| {
            device = device_of(&message);
        });
        match asked.as_ref().map_err(io::Error::raw_os_error) {
            Ok(()) => Ok(device),
            // No route, or one that refuses.
            Err(Some(
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ESRCH,
            )) => Ok(None),
            Err(_) => asked.map(|()| None),
        }
    }
}

/// The interface to which a route leads as to a neighbour; `lo` for the host's own.
pub(super) fn device_of(message: &wire::Message<'_>) -> Option<u32> {
    let attributes = Attributes(message.payload.get(ROUTE_HEADER..).unwrap_or_default());
    let is_default = message.payload.get(1).is_none_or(|&length| length == 0);
    let is_own = !is_default && attributes.get(RTA_GATEWAY).is_none();
    if message.payload.get(TYPE_OFFSET) == Some(&LOCAL) {
        return Some(LOOPBACK);
    }
    let device = attributes.get(RTA_OIF).filter(|_| message.kind == NEWROUTE && is_own)?;
    number(device.value)
}
