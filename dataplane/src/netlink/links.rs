//! The interfaces of a network namespace, the addresses at the other ends of its veths, and what changes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;

use palisade_compiler::program::element::MacAddress;

use super::host_routes::{self, RouteEvent};
use super::rtnetlink::{Client, number};
use super::sys::{Bus, Socket};
use super::wire::{self, Attribute, Attributes, flag};

/// `RTM_*` (linux/rtnetlink.h).
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
pub(super) const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
pub(super) const GETADDR: u16 = 22;

/// `RTNLGRP_*`.
const GROUP_LINK: u32 = 1;
const GROUP_IPV4_ADDRESS: u32 = 5;
const GROUP_IPV4_ROUTE: u32 = 7;
const GROUP_IPV6_ADDRESS: u32 = 9;
const GROUP_IPV6_ROUTE: u32 = 11;

/// `IFLA_*` (linux/if_link.h).
const IFLA_ADDRESS: u16 = 1;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_GENEVE_PORT: u16 = 5;

/// `IFA_*` (linux/if_addr.h).
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_TARGET_NETNSID: u16 = 10;

/// `RTEXT_FILTER_SKIP_STATS`: without the counters of every link, which the kernel sums up over all processors.
const SKIP_STATS: u32 = 8;

/// `BR_BOOLOPT_NO_LL_LEARN` as a bit of a `struct br_boolopt_multi` (linux/if_bridge.h).
const NO_LL_LEARN: u32 = 1;

/// `IFF_UP`, and where the flags are in a `struct ifinfomsg`.
const UP: u32 = 1;
const FLAGS_OFFSET: usize = 8;

/// Lengths of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// Room for the events of some hundred links that come at once.
const RECEIVE_BUFFER: usize = 1024 * 1024;
const EVENT_BUFFER: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// `vlan_filtering`: frames inside it carry a VLAN tag, also those that come and go without.
    Bridge {
        vlan_filtering: bool,
        /// Whether it learns who is behind a port from frames to groups that bridges keep for themselves.
        learns_link_local: bool,
    },
    Vlan,
    Veth,
    /// One whose packets are carried by UDP to this port.
    Tunnel {
        port: u16,
    },
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    /// The index of the bridge (or bond, ...) that it is a port of.
    pub(crate) master: Option<u32>,
    /// A VLAN's interface, or a veth's other end, by its index in the network namespace of that end.
    pub(crate) lower: Option<u32>,
    /// This namespace's id of the one that the other end is in, if that is another.
    pub(crate) netns: Option<u32>,
    pub(crate) is_up: bool,
}

/// The links as they are.
#[derive(Debug)]
pub(crate) struct Links(Client);

impl Links {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Client::open(true).map(Self)
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.0
    }

    /// All links, by index.
    pub(crate) fn all(&mut self) -> io::Result<BTreeMap<u32, Link>> {
        let mut links = BTreeMap::new();
        let mut request = vec![0; LINK_HEADER];
        wire::put(&mut request, IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
        self.0.ask(GETLINK, flag::DUMP, &request, |message| links.extend(link_of(&message)))?;
        Ok(links)
    }

    /// The Ethernet address of an interface in another network namespace, which is known here by an id. None where the interface or the
    /// namespace is gone, or the kernel does not tell.
    pub(crate) fn mac_address(&mut self, netns: u32, index: u32) -> io::Result<Option<MacAddress>> {
        let mut found = None;
        let mut request = about(index);
        wire::put(&mut request, IFLA_TARGET_NETNSID, &netns.to_ne_bytes());
        wire::put(&mut request, IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
        let asked = self.0.ask(GETLINK, 0, &request, |message| {
            let attributes = message.payload.get(LINK_HEADER..).map(Attributes);
            let address = attributes.and_then(|a| a.get(IFLA_ADDRESS));
            found = address.and_then(|address| address.value.try_into().ok()).map(MacAddress);
        });
        unless_untold(asked)?;
        Ok(found)
    }

    /// Has a bridge learn nothing from frames to the groups that bridges keep for themselves.
    pub(crate) fn stop_link_local_learning(&mut self, bridge: u32) -> io::Result<()> {
        let mut request = about(bridge);
        let info = wire::open_nest(&mut request, IFLA_LINKINFO);
        wire::put_str(&mut request, IFLA_INFO_KIND, "bridge");
        let data = wire::open_nest(&mut request, IFLA_INFO_DATA);
        // The option's new value, and that it alone is changed.
        let options = [NO_LL_LEARN.to_ne_bytes(), NO_LL_LEARN.to_ne_bytes()].concat();
        wire::put(&mut request, IFLA_BR_MULTI_BOOLOPT, &options);
        wire::close_nest(&mut request, data);
        wire::close_nest(&mut request, info);
        self.0.ask(NEWLINK, flag::ACK, &request, |_| ())
    }

    /// The addresses of an interface in another network namespace, which is known here by an id. None where the interface or
    /// the namespace is gone, or the kernel does not tell.
    pub(crate) fn addresses(&mut self, netns: u32, index: u32) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut request = vec![u8::try_from(family).unwrap_or(0), 0, 0, 0];
            request.extend(index.to_ne_bytes());
            wire::put(&mut request, IFA_TARGET_NETNSID, &netns.to_ne_bytes());
            let asked = self.0.ask(GETADDR, flag::DUMP, &request, |message| {
                let is_of = message.payload.get(4..8).and_then(number) == Some(index);
                if message.kind == NEWADDR && is_of {
                    found.extend(address_of(&message));
                }
            });
            unless_untold(asked)?;
        }
        Ok(found)
    }
}

/// The header of a request about one link.
fn about(index: u32) -> Vec<u8> {
    let mut request = vec![0; LINK_HEADER];
    if let Some(slot) = request.get_mut(4..8) {
        slot.copy_from_slice(&index.to_ne_bytes());
    }
    request
}

/// That an interface or its namespace is gone, or that the kernel does not tell of it, is no error: nothing was found.
fn unless_untold(asked: io::Result<()>) -> io::Result<()> {
    match asked.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM)) => Ok(()),
        _ => asked,
    }
}

/// What happened to links, addresses and routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The link is new, or not as it was.
    Changed(u32, Link),
    Gone(u32),
    /// A unicast route by one interface changed.
    Route(RouteEvent),
    /// An address of this namespace is new.
    AddressNew,
    /// An address of this namespace is gone. The kernel does not tell of the routes that go with an interface's last one.
    AddressGone,
    /// Another route of this namespace changed.
    Routes,
    /// Some events were lost.
    Missed,
}

/// Receives events of the network namespace in which it was opened.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
    buffer: Vec<u8>,
}

impl LinkWatch {
    /// # Errors
    ///
    /// Those of a netlink socket.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::open(Bus::Route)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        for group in
            [GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV4_ROUTE, GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE]
        {
            socket.join(group)?;
        }
        Ok(Self { socket, buffer: vec![0; EVENT_BUFFER] })
    }

    /// Waits for an event, and forgets it. Returns whether events were lost before it, for which there was no room.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn wait(&mut self) -> io::Result<bool> {
        match self.socket.receive(&mut self.buffer, true) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            result => result.map(|_| false),
        }
    }

    /// The events since the last call, in order.
    pub(crate) fn events(&mut self) -> io::Result<Vec<LinkEvent>> {
        let mut events = Vec::new();
        loop {
            match self.socket.receive(&mut self.buffer, false) {
                Ok(length) => {
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    let _: ControlFlow<()> = wire::messages(datagram, |message| {
                        events.extend(event_of(&message));
                        ControlFlow::Continue(())
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    events.push(LinkEvent::Missed);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) fn event_of(message: &wire::Message<'_>) -> Option<LinkEvent> {
    match message.kind {
        NEWLINK => link_of(message).map(|(index, link)| LinkEvent::Changed(index, link)),
        DELLINK => link_of(message).map(|(index, _)| LinkEvent::Gone(index)),
        NEWADDR => Some(LinkEvent::AddressNew),
        DELADDR => Some(LinkEvent::AddressGone),
        _ => Some(host_routes::event_of(message).map_or(LinkEvent::Routes, LinkEvent::Route)),
    }
}

/// A message about a link as such; not one about its part in a bridge, which comes with the family of bridges.
fn link_of(message: &wire::Message<'_>) -> Option<(u32, Link)> {
    if message.payload.first() != Some(&(libc::AF_UNSPEC as u8)) {
        return None;
    }
    let index = message.payload.get(4..8).and_then(number)?;
    let attributes = Attributes(message.payload.get(LINK_HEADER..)?);
    let numbered = |kind| attributes.get(kind).and_then(|a| number(a.value));
    let link = Link {
        kind: kind_of(attributes),
        master: numbered(IFLA_MASTER),
        lower: numbered(IFLA_LINK),
        netns: numbered(IFLA_LINK_NETNSID),
        is_up: message
            .payload
            .get(FLAGS_OFFSET..FLAGS_OFFSET + 4)
            .and_then(number)
            .is_some_and(|flags| flags & UP != 0),
    };
    Some((index, link))
}

fn kind_of(link: Attributes<'_>) -> LinkKind {
    let Some(info) = link.get(IFLA_LINKINFO) else { return LinkKind::Other };
    match info.nested().get(IFLA_INFO_KIND).and_then(|kind| kind.string()) {
        Some("bridge") => {
            let data = info.nested().get(IFLA_INFO_DATA);
            let filtering = data.and_then(|data| data.nested().get(IFLA_BR_VLAN_FILTERING));
            let vlan_filtering = filtering.is_some_and(|f| f.value.first() == Some(&1));
            let options = data.and_then(|data| data.nested().get(IFLA_BR_MULTI_BOOLOPT));
            let options = options.and_then(|it| it.value.get(..4)).and_then(number).unwrap_or(0);
            let learns_link_local = options & NO_LL_LEARN == 0;
            LinkKind::Bridge { vlan_filtering, learns_link_local }
        }
        Some("vlan") => LinkKind::Vlan,
        Some("veth") => LinkKind::Veth,
        Some("vxlan") => tunnel(info, IFLA_VXLAN_PORT),
        Some("geneve") => tunnel(info, IFLA_GENEVE_PORT),
        Some(_) | None => LinkKind::Other,
    }
}

/// The port is in network byte order.
fn tunnel(info: Attribute<'_>, kind: u16) -> LinkKind {
    let data = info.nested().get(IFLA_INFO_DATA);
    let port = data.and_then(|data| data.nested().get(kind)).and_then(Attribute::be_u16);
    port.map_or(LinkKind::Other, |port| LinkKind::Tunnel { port })
}

/// The address itself: of a point-to-point interface `IFA_ADDRESS` is the other end's.
pub(super) fn address_of(message: &wire::Message<'_>) -> Option<IpAddr> {
    let attributes = Attributes(message.payload.get(ADDRESS_HEADER..)?);
    let value = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?.value;
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}
