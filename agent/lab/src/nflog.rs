//! Packets that rules copy to an NFLOG group, as a log daemon receives them (linux/netfilter/nfnetlink_log.h).

use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{
    ConfigCmd, ConfigMode, ConfigNla, PacketNla, ULogMessage, config_request,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};

use crate::{LabError, Namespace};

/// Receive buffer in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A listener of one NFLOG group of a namespace. The kernel gives each group one listener.
#[derive(Debug)]
pub struct Nflog(OwnedFd);

/// A packet that a rule copied to the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The prefix of the rule, as in `log prefix "..."`.
    pub prefix: String,
    /// The packet, from its IP header on.
    pub packet: Vec<u8>,
}

impl Nflog {
    /// Listens to a group in this namespace. Packets are copied whole, and delivered without delay.
    ///
    /// # Errors
    /// `Missing` where the kernel has no nfnetlink_log; `NotPermitted`; `Io` with EBUSY where another socket listens.
    pub fn listen(namespace: &Namespace, group: u16) -> Result<Self, LabError> {
        let failed = |errno| LabError::of_errno(format!("listen to NFLOG group {group}"), errno);
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let protocol = SockProtocol::NetlinkNetFilter;
            let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok::<_, Errno>(fd)
        };
        let socket = namespace.run(open)?.map_err(failed)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).map_err(failed)?;
        let configuration =
            vec![ConfigCmd::Bind.into(), ConfigMode::PACKET_MAX.into(), ConfigNla::QThresh(1)];
        let request = config_request(NetfilterProtoFamily::Unspec, group, configuration);
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        send(socket.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(failed)?;
        let log = Self(socket);
        // The kernel answers before `send` returns.
        for message in log.receive()? {
            if let NetlinkPayload::Error(error) = message.payload
                && error.code.is_some()
            {
                return Err(failed(Errno::from_raw(-error.raw_code())));
            }
        }
        Ok(log)
    }

    /// The packets that were copied since the last call.
    ///
    /// # Errors
    /// `Io` with ENOBUFS where packets were lost because the socket's buffer was full.
    pub fn records(&self) -> Result<Vec<Record>, LabError> {
        let records = self.receive()?.into_iter().filter_map(|message| match message.payload {
            NetlinkPayload::InnerMessage(NetfilterMessage {
                inner: NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)),
                ..
            }) => Some(record(attributes)),
            _ => None,
        });
        Ok(records.collect())
    }

    fn receive(&self) -> Result<Vec<NetlinkMessage<NetfilterMessage>>, LabError> {
        let mut messages = Vec::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => return Ok(messages),
                Err(errno) => return Err(LabError::of_errno("read an NFLOG group", errno)),
            };
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest);
                let message = message.map_err(|error| {
                    LabError::io("read an NFLOG group", std::io::Error::other(error))
                })?;
                let size = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(size..).unwrap_or_default();
                messages.push(message);
            }
        }
    }
}

fn record(attributes: Vec<PacketNla>) -> Record {
    let mut record = Record { prefix: String::new(), packet: Vec::new() };
    for attribute in attributes {
        match attribute {
            PacketNla::Prefix(prefix) => record.prefix = prefix.to_string_lossy().into_owned(),
            PacketNla::Payload(packet) => record.packet = packet,
            _ => {}
        }
    }
    record
}
