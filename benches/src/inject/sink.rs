//! Counts packets after the rules under test (nf_tables), and deletes connections (conntrack).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use palisade_lab::LabError;

use super::InjectError;
use super::route::{Ingress, run};

const TABLE: &str = "palisade_inject";
const COUNTER: &str = "arrived";

/// Message types and attributes of linux/netfilter/nfnetlink.h, nf_tables.h and nfnetlink_conntrack.h.
const GET_OBJECT: u16 = (10 << 8) | 19;
const DELETE_CONNECTIONS: u16 = (1 << 8) | 2;
const NFPROTO_INET: u8 = 1;
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const COUNTER_PACKETS: u16 = 2;
const TYPE_COUNTER: u32 = 1;
const ATTRIBUTE_TYPE: u16 = 0x3fff;
/// The size of `struct nlmsghdr`, and of it together with `struct nfgenmsg`.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// A netlink socket in the router's namespace.
#[derive(Debug)]
pub(super) struct Sink {
    netlink: OwnedFd,
}

impl Sink {
    /// Creates the counter and opens the socket in the calling thread's namespace.
    pub(super) fn new() -> Result<Self, InjectError> {
        run("nft", &["-f", "-"], &rules())?;
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let family = AddressFamily::Netlink;
        let netlink = socket(family, kind, flags, SockProtocol::NetlinkNetFilter)
            .map_err(|errno| InjectError::errno("a netlink socket", errno))?;
        Ok(Self { netlink })
    }

    /// The number of packets that were counted after the rules so far.
    pub(super) fn arrived(&self) -> Result<u64, InjectError> {
        let mut body = Vec::new();
        attribute(&mut body, OBJECT_TABLE, &c_string(TABLE));
        attribute(&mut body, OBJECT_NAME, &c_string(COUNTER));
        attribute(&mut body, OBJECT_TYPE, &TYPE_COUNTER.to_be_bytes());
        match self.ask(GET_OBJECT, 0, NFPROTO_INET, &body) {
            Ok(reply) => counter_packets(&reply).ok_or(InjectError::SinkGone),
            Err(Errno::ENOENT) => Err(InjectError::SinkGone),
            Err(errno) => Err(InjectError::errno("read the count of arrivals", errno)),
        }
    }

    /// Deletes all conntrack entries of this namespace.
    pub(super) fn forget_connections(&self) -> Result<(), InjectError> {
        let failed = |errno| match errno {
            Errno::EINVAL => LabError::Missing { what: "conntrack's netlink".into() }.into(),
            errno => InjectError::errno("flush conntrack", errno),
        };
        self.ask(DELETE_CONNECTIONS, libc::NLM_F_ACK as u16, 0, &[]).map(drop).map_err(failed)
    }

    /// Sends a request. Returns the answer, including its headers.
    fn ask(&self, kind: u16, flags: u16, family: u8, body: &[u8]) -> nix::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(HEADERS + body.len());
        message.extend(((HEADERS + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend([family, 0, 0, 0]);
        message.extend(body);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.netlink.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
        let mut answer = vec![0; 4096];
        let length = recv(self.netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        answer.truncate(length);
        match error_of(&answer) {
            Some(0) | None => Ok(answer),
            Some(errno) => Err(Errno::from_raw(-errno)),
        }
    }
}

fn rules() -> String {
    let (fresh, kept) = (Ingress::Fresh.index(), Ingress::Kept.index());
    format!(
        "table inet {TABLE} {{
            counter {COUNTER} {{ }}
            chain arrivals {{
                type filter hook forward priority 500; policy accept;
                meta iif {fresh} counter name {COUNTER} drop
                meta iif {kept} counter name {COUNTER}
            }}
        }}"
    )
}

/// The error code of an NLMSG_ERROR message. `None` for other messages.
fn error_of(message: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let code = i32::from_ne_bytes(*message.get(HEADER..)?.first_chunk()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then_some(code)
}

fn counter_packets(reply: &[u8]) -> Option<u64> {
    let data = find(reply.get(HEADERS..)?, OBJECT_DATA)?;
    Some(u64::from_be_bytes(*find(data, COUNTER_PACKETS)?.first_chunk()?))
}

/// The value of the wanted attribute.
fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & ATTRIBUTE_TYPE;
        if kind == wanted {
            return bytes.get(4..length);
        }
        bytes = bytes.get(length.next_multiple_of(4).max(4)..)?;
    }
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(((value.len() + 4) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
