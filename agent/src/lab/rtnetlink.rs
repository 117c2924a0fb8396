//! Interfaces, addresses, routes and neighbours of the calling thread's network namespace, as one batch of rtnetlink
//! messages (linux/rtnetlink.h): a lab of ten namespaces is up in some milliseconds.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::LabError;

/// The index of `lo` in every namespace.
pub(super) const LOOPBACK: u32 = 1;

pub(super) type Mac = [u8; 6];

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    /// The interface index to take; free in its namespace.
    pub(super) index: u32,
    pub(super) mac: Mac,
}

/// Messages that the kernel will get in one go, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// What each message does, for errors; message `n` has sequence number `n`.
    described: Vec<String>,
    /// Where the last message starts: the only one whose success is acknowledged.
    last: usize,
}

/// From linux/veth.h and linux/rtnetlink.h: what the libc crate leaves out.
const VETH_INFO_PEER: u16 = 1;
const RTNH_F_ONLINK: u32 = 4;
const NESTED: u16 = libc::NLA_F_NESTED as u16;
/// The size of `struct nlmsghdr`, and where in it the low byte of the flags stands.
const HEADER: usize = 16;
const FLAGS: usize = if cfg!(target_endian = "little") { 6 } else { 7 };

impl Batch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A veth pair: one end here and up, the peer in the other namespace and down (it could not be up before it has
    /// its other end).
    pub(super) fn veth(&mut self, near: End<'_>, far: End<'_>, far_in: &File, master: Option<u32>) {
        self.message(libc::RTM_NEWLINK, format!("create interface {}", near.name), |m| {
            link_header(m, near.index, UP);
            link_attributes(m, near);
            if let Some(master) = master {
                attribute(m, libc::IFLA_MASTER, &master.to_ne_bytes());
            }
            nest(m, libc::IFLA_LINKINFO, |m| {
                attribute(m, libc::IFLA_INFO_KIND, b"veth");
                nest(m, libc::IFLA_INFO_DATA, |m| {
                    nest(m, VETH_INFO_PEER, |m| {
                        link_header(m, far.index, 0);
                        link_attributes(m, far);
                        attribute(m, libc::IFLA_NET_NS_FD, &far_in.as_raw_fd().to_ne_bytes());
                    });
                });
            });
        });
    }

    pub(super) fn bridge(&mut self, end: End<'_>) {
        self.message(libc::RTM_NEWLINK, format!("create bridge {}", end.name), |m| {
            link_header(m, end.index, UP);
            link_attributes(m, end);
            nest(m, libc::IFLA_LINKINFO, |m| attribute(m, libc::IFLA_INFO_KIND, b"bridge"));
        });
    }

    pub(super) fn up(&mut self, index: u32) {
        self.message(libc::RTM_SETLINK, format!("set interface {index} up"), |m| {
            link_header(m, index, UP);
        });
    }

    pub(super) fn address(&mut self, index: u32, address: IpAddr, prefix: u8) {
        let what = format!("add address {address}/{prefix} to interface {index}");
        self.message(libc::RTM_NEWADDR, what, |m| {
            m.extend([family(address), prefix, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_UNIVERSE]);
            m.extend(index.to_ne_bytes());
            attribute(m, libc::IFA_LOCAL, &octets(address));
            attribute(m, libc::IFA_ADDRESS, &octets(address));
        });
    }

    /// A route by an interface; `via` need not be in any prefix of it.
    pub(super) fn route(&mut self, to: IpNet, via: Option<IpAddr>, index: u32) {
        self.message(libc::RTM_NEWROUTE, format!("add route {to} on interface {index}"), |m| {
            let scope = match (to, via) {
                (IpNet::V4(_), None) => libc::RT_SCOPE_LINK,
                (IpNet::V4(_) | IpNet::V6(_), _) => libc::RT_SCOPE_UNIVERSE,
            };
            m.extend([family(to.addr()), to.prefix_len(), 0, 0, libc::RT_TABLE_MAIN]);
            m.extend([libc::RTPROT_STATIC, scope, libc::RTN_UNICAST]);
            let flags = if via.is_some() { RTNH_F_ONLINK } else { 0 };
            m.extend(flags.to_ne_bytes());
            attribute(m, libc::RTA_DST, &octets(to.addr()));
            attribute(m, libc::RTA_OIF, &index.to_ne_bytes());
            if let Some(via) = via {
                attribute(m, libc::RTA_GATEWAY, &octets(via));
            }
        });
    }

    /// A neighbour that needs no resolution.
    pub(super) fn neighbour(&mut self, index: u32, address: IpAddr, mac: Mac) {
        let what = format!("add neighbour {address} to interface {index}");
        self.message(libc::RTM_NEWNEIGH, what, |m| {
            neighbour_header(m, family(address), index, libc::NUD_PERMANENT, 0);
            attribute(m, libc::NDA_DST, &octets(address));
            attribute(m, libc::NDA_LLADDR, &mac);
        });
    }

    /// An entry of the forwarding database of the bridge that `port` belongs to.
    pub(super) fn forwarding(&mut self, port: u32, mac: Mac) {
        self.message(libc::RTM_NEWNEIGH, format!("add bridge entry for port {port}"), |m| {
            let state = libc::NUD_NOARP;
            neighbour_header(m, libc::AF_BRIDGE as u8, port, state, libc::NTF_MASTER);
            attribute(m, libc::NDA_LLADDR, &mac);
        });
    }

    /// Sends all and waits for the answers, in the namespace of the calling thread.
    ///
    /// # Errors
    /// The first message that the kernel refused, by what it was to do. Those before and after it may stand.
    pub(super) fn commit(mut self) -> Result<(), LabError> {
        if self.described.is_empty() {
            return Ok(());
        }
        if let Some(flags) = self.bytes.get_mut(self.last + FLAGS) {
            *flags |= libc::NLM_F_ACK as u8;
        }
        let netlink = |errno| LabError::of_errno("talk to rtnetlink", errno);
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, kind, flags, route).map_err(netlink)?;
        let kernel = NetlinkAddr::new(0, 0);
        sendto(socket.as_raw_fd(), &self.bytes, &kernel, MsgFlags::empty()).map_err(netlink)?;
        self.answers(&socket)
    }

    fn message(&mut self, kind: u16, what: String, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let flags = if kind == libc::RTM_SETLINK { 0 } else { create };
        self.last = start;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        self.bytes.extend((self.described.len() as u32).to_ne_bytes());
        self.bytes.extend([0; 4]);
        body(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        put(&mut self.bytes, start, &length.to_ne_bytes());
        self.described.push(what);
    }

    fn answers(&self, socket: &OwnedFd) -> Result<(), LabError> {
        let mut buffer = vec![0; 1 << 16];
        let last = self.described.len().saturating_sub(1);
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .map_err(|errno| LabError::of_errno("read an answer of rtnetlink", errno))?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((sequence, error, size)) = answer(rest) {
                if error != 0 {
                    let what = self.described.get(sequence as usize);
                    let what = what.map_or("an unknown message", String::as_str);
                    return Err(LabError::of_errno(what, nix::errno::Errno::from_raw(-error)));
                }
                if sequence as usize == last {
                    return Ok(());
                }
                rest = rest.get(size..).unwrap_or_default();
            }
        }
    }
}

/// (sequence number, negative errno or 0, aligned size) of an NLMSG_ERROR message.
fn answer(bytes: &[u8]) -> Option<(u32, i32, usize)> {
    let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let size = number(0)? as usize;
    Some((number(8)?, number(HEADER)?.cast_signed(), size.next_multiple_of(4).max(HEADER)))
}

const UP: u32 = libc::IFF_UP as u32;

/// `struct ifinfomsg` of an interface that is to have these flags.
fn link_header(m: &mut Vec<u8>, index: u32, flags: u32) {
    m.extend([0; 4]);
    m.extend(index.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m.extend(UP.to_ne_bytes());
}

fn link_attributes(m: &mut Vec<u8>, end: End<'_>) {
    let mut name = end.name.as_bytes().to_vec();
    name.push(0);
    attribute(m, libc::IFLA_IFNAME, &name);
    attribute(m, libc::IFLA_ADDRESS, &end.mac);
}

/// `struct ndmsg`.
fn neighbour_header(m: &mut Vec<u8>, family: u8, index: u32, state: u16, flags: u8) {
    m.extend([family, 0, 0, 0]);
    m.extend(index.to_ne_bytes());
    m.extend(state.to_ne_bytes());
    m.extend([flags, 0]);
}

fn attribute(m: &mut Vec<u8>, kind: u16, value: &[u8]) {
    m.extend(((value.len() + 4) as u16).to_ne_bytes());
    m.extend(kind.to_ne_bytes());
    m.extend(value);
    m.resize(m.len().next_multiple_of(4), 0);
}

fn nest(m: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = m.len();
    m.extend([0; 2]);
    m.extend((kind | NESTED).to_ne_bytes());
    body(m);
    let length = (m.len() - start) as u16;
    put(m, start, &length.to_ne_bytes());
}

fn put(m: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = m.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
