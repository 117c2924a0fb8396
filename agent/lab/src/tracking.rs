//! Entries in a namespace's connection tracking that no packet made: they fill its table, whose size no namespace can choose.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Status, Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::{LabError, Namespace};

/// Entries that are sent to the kernel at once.
const BATCH: u16 = 256;
/// Longer than any test, in seconds.
const TIMEOUT: u32 = 3600;

impl Namespace {
    /// Tracks UDP connections from one address to another, each from another port, until the table is full. They count as
    /// answered, so that the kernel does not drop them for the sake of new ones. Returns how many connections there are then.
    ///
    /// # Errors
    /// `Missing` where this kernel does not track connections; `NotPermitted`.
    pub fn fill_tracking(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<u64, LabError> {
        self.run(|| {
            let most = number("nf_conntrack_max")?;
            let ports = (1..=u16::MAX).flat_map(|to| {
                (1..=u16::MAX / BATCH).map(move |batch| (to, (batch - 1) * BATCH + 1))
            });
            for (port, first) in ports {
                let tracked = number("nf_conntrack_count")?;
                if tracked >= most {
                    return Ok(tracked);
                }
                let entries = (first..first + BATCH).map(|source| entry(from, to, source, port));
                send(&entries.collect::<Vec<_>>())?;
            }
            number("nf_conntrack_count")
        })?
    }

    /// Forgets all IPv4 connections that are tracked.
    ///
    /// # Errors
    /// As `fill_tracking`.
    pub fn forget_tracked(&self) -> Result<(), LabError> {
        let delete = message(NLM_F_ACK, ConntrackMessage::Delete(Vec::new()));
        self.run(|| send(&[delete]))?
    }
}

/// A sysctl of connection tracking, in the namespace of the calling thread.
fn number(name: &str) -> Result<u64, LabError> {
    let path = format!("/proc/sys/net/netfilter/{name}");
    let text = fs::read_to_string(&path).map_err(|error| LabError::io(path.clone(), error))?;
    let number = text.trim().parse();
    number.map_err(|error| LabError::io(path, std::io::Error::other(error)))
}

fn entry(from: Ipv4Addr, to: Ipv4Addr, source: u16, port: u16) -> NetlinkMessage<NetfilterMessage> {
    let tuple = |from: Ipv4Addr, to: Ipv4Addr, source, port| {
        let ip = vec![IPTuple::SourceAddress(from.into()), IPTuple::DestinationAddress(to.into())];
        let protocol = ProtoTuple::Protocol(Protocol::Udp);
        let ports = [ProtoTuple::SourcePort(source), ProtoTuple::DestinationPort(port)];
        let upper = std::iter::once(protocol).chain(ports).collect();
        vec![Tuple::Ip(ip), Tuple::Proto(upper)]
    };
    let status = Status::Confirmed | Status::SeenReply | Status::Assured;
    let attributes = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(from, to, source, port)),
        ConntrackAttribute::CtaTupleReply(tuple(to, from, port, source)),
        ConntrackAttribute::CtaStatus(status),
        ConntrackAttribute::CtaTimeout(TIMEOUT),
    ];
    message(NLM_F_CREATE | NLM_F_EXCL, ConntrackMessage::New(attributes))
}

fn message(flags: u16, content: ConntrackMessage) -> NetlinkMessage<NetfilterMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let family = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let payload = NetlinkPayload::from(NetfilterMessage::new(family, content));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    message
}

/// Sends messages in the namespace of the calling thread. The kernel has carried them out when this returns; a refusal for want of
/// room is no error.
fn send(messages: &[NetlinkMessage<NetfilterMessage>]) -> Result<(), LabError> {
    let failed = |errno| LabError::of_errno("change what connections are tracked", errno);
    let mut bytes = Vec::new();
    for message in messages {
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(bytes.get_mut(start..).unwrap_or_default());
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(failed)?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &bytes, &kernel, MsgFlags::empty()).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(length) => length,
        // Nothing was answered, or more than there is room for: that the table is full.
        Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    let answer = buffer.get(..length).unwrap_or_default();
    let answer = NetlinkMessage::<NetfilterMessage>::deserialize(answer)
        .map_err(|error| LabError::io("read netfilter", std::io::Error::other(error)))?;
    match answer.payload {
        NetlinkPayload::Error(error) => match Errno::from_raw(-error.raw_code()) {
            Errno::ENOMEM | Errno::UnknownErrno => Ok(()),
            errno => Err(failed(errno)),
        },
        _ => Ok(()),
    }
}
