//! Interfaces and routes of a network namespace, over rtnetlink, where all numbers are in host byte order.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;

use super::sys::{Bus, Socket};
use super::wire::{self, Attributes, DONE, ERROR, flag};

/// `RTM_*`, `IFLA_*` and `RTA_*` (linux/rtnetlink.h, linux/if_link.h).
const GETLINK: u16 = 18;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// Answer with the route that matches rather than with the one to the address (`RTM_F_FIB_MATCH`).
const FIB_MATCH: u32 = 0x2000;

/// `RTEXT_FILTER_SKIP_STATS`: without the counters of every link, which the kernel sums up over all processors.
const SKIP_STATS: u32 = 8;

/// Lengths of `struct ifinfomsg` and `struct rtmsg`.
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;

/// `RTN_LOCAL` in a `struct rtmsg`, and the index that `lo` has in every network namespace (`LOOPBACK_IFINDEX`).
const LOCAL: u8 = 2;
const TYPE_OFFSET: usize = 7;
const LOOPBACK: u32 = 1;

const BUFFER: usize = 64 * 1024;

/// A link that matters to whether packets between pods are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Bridge,
    /// A VLAN of the interface with this index.
    Vlan(u32),
}

pub(crate) struct Routes {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Routes {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Bus::Route)?, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// All bridges and VLANs, by index.
    pub(crate) fn links(&mut self) -> io::Result<BTreeMap<u32, Link>> {
        let mut links = BTreeMap::new();
        let mut request = vec![0; LINK_HEADER];
        wire::put(&mut request, IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
        self.ask(GETLINK, flag::DUMP, &request, |message| {
            let index = message.payload.get(4..8).and_then(number);
            let attributes = Attributes(message.payload.get(LINK_HEADER..).unwrap_or_default());
            let link = match kind(attributes) {
                Some("bridge") => Some(Link::Bridge),
                Some("vlan") => {
                    attributes.get(IFLA_LINK).and_then(|a| number(a.value)).map(Link::Vlan)
                }
                _ => None,
            };
            links.extend(index.zip(link));
        })?;
        Ok(links)
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
        let asked = self.ask(GETROUTE, 0, &request, |message| {
            let attributes = Attributes(message.payload.get(ROUTE_HEADER..).unwrap_or_default());
            let is_default = message.payload.get(1).is_none_or(|&length| length == 0);
            let is_own = !is_default && attributes.get(RTA_GATEWAY).is_none();
            if message.payload.get(TYPE_OFFSET) == Some(&LOCAL) {
                device = Some(LOOPBACK);
            } else if message.kind == NEWROUTE && is_own {
                device = attributes.get(RTA_OIF).and_then(|a| number(a.value));
            }
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

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut visit: impl FnMut(wire::Message<'_>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Vec::with_capacity(wire::HEADER + body.len());
        let at = wire::open_plain(&mut request, kind, flags, self.sequence);
        request.extend_from_slice(body);
        wire::close(&mut request, at);
        self.socket.send(&request)?;
        loop {
            let length = self.socket.receive(&mut self.buffer, true)?;
            let datagram = self.buffer.get(..length).unwrap_or_default();
            let end = wire::messages(datagram, |message| {
                if message.sequence != self.sequence {
                    return ControlFlow::Continue(());
                }
                if matches!(message.kind, DONE | ERROR) {
                    return ControlFlow::Break(message.errno());
                }
                visit(message);
                if flags & flag::DUMP == 0 {
                    ControlFlow::Break(0)
                } else {
                    ControlFlow::Continue(())
                }
            });
            match end {
                ControlFlow::Break(0) => return Ok(()),
                ControlFlow::Break(errno) => return Err(io::Error::from_raw_os_error(errno)),
                ControlFlow::Continue(()) => {}
            }
        }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// `bridge`, `veth` and so on; `None` for hardware.
fn kind(link: Attributes<'_>) -> Option<&str> {
    link.get(IFLA_LINKINFO)?.nested().get(IFLA_INFO_KIND)?.string()
}
