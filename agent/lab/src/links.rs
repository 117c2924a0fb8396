//! Interfaces, addresses, routes and neighbours of the calling thread's network namespace, made by one batch of rtnetlink messages:
//! a lab of ten namespaces is up in a few milliseconds.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{
    self, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::LabError;
use crate::frame::Mac;

/// The index of every machine's `eth0`.
pub(crate) const ETH0: u32 = 2;
/// How long anything here may take. It is a matter of microseconds, so that only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The index of `lo` in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// One end of a veth pair, or a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface<'a> {
    pub(crate) name: &'a str,
    /// The interface index to assign. It must be unique in the namespace.
    pub(crate) index: u32,
    pub(crate) mac: Mac,
}

/// Messages that are sent to the kernel together. The kernel carries them out in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Vec<NetlinkMessage<RouteNetlinkMessage>>,
    /// What each message does, for errors.
    descriptions: Vec<String>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A veth pair: one end in this namespace and up, its peer in the other namespace and down (an end cannot be up before the other
    /// one exists).
    pub(crate) fn veth(
        &mut self,
        near: Interface<'_>,
        far: Interface<'_>,
        far_in: &File,
        bridge: Option<u32>,
    ) {
        let mut peer = link(far, LinkFlags::empty());
        peer.attributes.push(LinkAttribute::NetNsFd(far_in.as_raw_fd()));
        let mut message = link(near, LinkFlags::Up);
        message.attributes.extend(bridge.map(LinkAttribute::Controller));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.add(format!("{CREATE} veth {}", near.name), RouteNetlinkMessage::NewLink(message));
    }

    pub(crate) fn bridge(&mut self, bridge: Interface<'_>) {
        let mut message = link(bridge, LinkFlags::Up);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.add(format!("{CREATE} bridge {}", bridge.name), RouteNetlinkMessage::NewLink(message));
    }

    pub(crate) fn up(&mut self, index: u32) {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.add(format!("set interface {index} up"), RouteNetlinkMessage::SetLink(message));
    }

    pub(crate) fn address(&mut self, index: u32, address: IpAddr, prefix: u8) {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.index = index;
        message.attributes =
            vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        self.add(
            format!("add address {address}/{prefix} to interface {index}"),
            RouteNetlinkMessage::NewAddress(message),
        );
    }

    /// A route by an interface; the gateway `via` need not be in any prefix of that interface.
    pub(crate) fn route(&mut self, to: IpNet, via: Option<IpAddr>, index: u32) {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(to.addr()),
            destination_prefix_length: to.prefix_len(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: match (to, via) {
                (IpNet::V4(_), None) => RouteScope::Link,
                (IpNet::V4(_) | IpNet::V6(_), _) => RouteScope::Universe,
            },
            kind: RouteType::Unicast,
            flags: if via.is_some() { RouteFlags::Onlink } else { RouteFlags::empty() },
            ..RouteHeader::default()
        };
        message.attributes =
            vec![RouteAttribute::Destination(to.addr().into()), RouteAttribute::Oif(index)];
        message.attributes.extend(via.map(|via| RouteAttribute::Gateway(via.into())));
        self.add(
            format!("add route {to} on interface {index}"),
            RouteNetlinkMessage::NewRoute(message),
        );
    }

    /// A neighbour that needs no resolution.
    pub(crate) fn neighbour(&mut self, index: u32, address: IpAddr, mac: Mac) {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        let destination = match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        self.add(
            format!("add neighbour {address} to interface {index}"),
            RouteNetlinkMessage::NewNeighbour(message),
        );
    }

    /// An entry of the forwarding database of the bridge that has `port`.
    pub(crate) fn bridge_entry(&mut self, port: u32, mac: Mac) {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.state = NeighbourState::Noarp;
        message.header.flags = NeighbourFlags::Controller;
        message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
        self.add(
            format!("add bridge entry for port {port}"),
            RouteNetlinkMessage::NewNeighbour(message),
        );
    }

    fn add(&mut self, description: String, message: RouteNetlinkMessage) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        if !matches!(message, RouteNetlinkMessage::SetLink(_)) {
            header.flags |= NLM_F_CREATE | NLM_F_EXCL;
        }
        // The kernel's answer carries this number.
        header.sequence_number = self.messages.len() as u32;
        self.messages.push(NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message)));
        self.descriptions.push(description);
    }

    /// Sends all messages and waits for the answers, in the namespace of the calling thread.
    ///
    /// # Errors
    /// The first message that the kernel refused. Those before and after it may have been carried out.
    pub(crate) fn commit(mut self) -> Result<(), LabError> {
        // Errors are always answered, but success only if an acknowledgement is requested. That of the last message stands
        // for all.
        let Some(last) = self.messages.last_mut() else { return Ok(()) };
        last.header.flags |= NLM_F_ACK;
        let mut bytes = Vec::new();
        for message in &mut self.messages {
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len(), 0);
            message.serialize(bytes.get_mut(start..).unwrap_or_default());
        }
        let failed = |errno| LabError::of_errno("use rtnetlink", errno);
        let (family, flags) = (socket::AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute);
        let socket = socket.map_err(failed)?;
        let kernel = NetlinkAddr::new(0, 0);
        sendto(socket.as_raw_fd(), &bytes, &kernel, MsgFlags::empty()).map_err(failed)?;
        self.read_answers(&socket)
    }

    /// Returns at the first error, or when the last message has been acknowledged.
    fn read_answers(&self, socket: &OwnedFd) -> Result<(), LabError> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .map_err(|errno| LabError::of_errno("read an answer of rtnetlink", errno))?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let answer =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|error| {
                        LabError::io("read rtnetlink", std::io::Error::other(error))
                    })?;
                let number = answer.header.sequence_number as usize;
                if let NetlinkPayload::Error(error) = &answer.payload {
                    if error.code.is_some() {
                        let what = self.descriptions.get(number);
                        let what = what.map_or("an unknown message", String::as_str);
                        return Err(refused(what, Errno::from_raw(-error.raw_code())));
                    }
                    if number + 1 == self.messages.len() {
                        return Ok(());
                    }
                }
                let size = (answer.header.length as usize).next_multiple_of(4);
                rest = rest.get(size..).unwrap_or_default();
            }
        }
    }
}

/// Waits until the calling thread's namespace takes packets to these addresses for its own. An IPv6 address can be bound to as soon as
/// it is added, but the kernel makes its local route later, in the background, and drops packets until then.
pub(crate) fn await_local_routes(addresses: &[IpAddr]) -> Result<(), LabError> {
    const ROUTES: &str = "/proc/thread-self/net/ipv6_route";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let routes = std::fs::read_to_string(ROUTES)
            .map_err(|error| LabError::io(format!("read {ROUTES}"), error))?;
        let missing = addresses.iter().find(|address| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => !routes.lines().any(|route| is_local_route(route, *v6)),
        });
        let Some(&address) = missing else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(LabError::Address {
                address,
                why: "the kernel did not make its local route",
            });
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Whether a line of `/proc/net/ipv6_route` is the local route of an address. Its fields are destination, prefix length, source, prefix
/// length, gateway, metric, reference count, use count, flags and interface, all numbers in hexadecimal.
fn is_local_route(route: &str, address: Ipv6Addr) -> bool {
    // RTF_LOCAL of linux/ipv6_route.h.
    const LOCAL: u32 = 0x8000_0000;
    let fields: Vec<_> = route.split_whitespace().collect();
    let [destination, "80", _, _, _, _, _, _, flags, _] = fields.as_slice() else { return false };
    let number = u128::from_str_radix(destination, 16);
    let flags = u32::from_str_radix(flags, 16);
    number == Ok(address.to_bits()) && flags.is_ok_and(|flags| flags & LOCAL != 0)
}

/// How the description of a message that creates an interface begins; its type and name follow.
const CREATE: &str = "create";

fn refused(what: &str, errno: Errno) -> LabError {
    match (what.split(' ').collect::<Vec<_>>().as_slice(), errno) {
        ([CREATE, kind, _], Errno::EOPNOTSUPP) => LabError::Missing {
            what: format!("network interfaces of type {kind} (modprobe {kind})"),
        },
        _ => LabError::of_errno(what, errno),
    }
}

fn link(interface: Interface<'_>, flags: LinkFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = interface.index;
    message.header.flags = flags;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName(interface.name.to_owned()),
        LinkAttribute::Address(interface.mac.to_vec()),
    ];
    message
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
