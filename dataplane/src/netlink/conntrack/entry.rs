//! A tracked connection.

use std::net::IpAddr;

use palisade_compiler::model::{Connection, Family, Protocol};
use palisade_compiler::program::live::LiveConnection;
use palisade_compiler::program::skeleton::TCP;

use super::super::wire::{self, Attribute, Attributes};
use super::tuple::{Tuple, Upper};

/// `enum ctattr_type`, `ctattr_protoinfo`, `ctattr_protoinfo_tcp` (linux/netfilter/nfnetlink_conntrack.h).
pub(in crate::netlink) const TUPLE_ORIGINAL: u16 = 1;
pub(super) const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
const PROTOINFO_TCP: u16 = 1;
const TCP_FLAGS_ORIGINAL: u16 = 4;

/// `IPS_EXPECTED`, `IPS_DST_NAT`, `IPS_OFFLOAD` (linux/netfilter/nf_conntrack_common.h).
const EXPECTED: u32 = 1;
const DESTINATION_TRANSLATED: u32 = 1 << 5;
const OFFLOADED: u32 = 1 << 14;

/// `IP_CT_TCP_FLAG_BE_LIBERAL` (linux/netfilter/nf_conntrack_tcp.h): the kernel sets it where its first packet of a connection
/// was no SYN (`tcp_new`), and on connections that a flow table takes over.
const LIBERAL: u8 = 0x08;

/// A tracked connection, as the kernel lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Tells it from a later one with the same tuple.
    pub id: u32,
    /// The packets of the end that was first to send, as they come from it: with a Service's address for destination.
    pub original: Tuple,
    /// The answers, as they come from the end that really sends them.
    pub reply: Tuple,
    /// `IPS_*` bits.
    pub status: u32,
    /// The conntrack zone of both directions, if it is not the default one.
    pub zone: Option<u16>,
    /// `IP_CT_TCP_FLAG_*` of the original direction.
    pub tcp_flags: u8,
}

impl Entry {
    /// The address of the end that was first to send, before any translation.
    pub fn opener(&self) -> IpAddr {
        self.original.source
    }

    /// The address of the other end, after any translation: a Service's backend.
    pub fn answerer(&self) -> IpAddr {
        self.reply.source
    }

    /// The ends that packets really come from.
    pub fn ends(&self) -> [IpAddr; 2] {
        [self.opener(), self.answerer()]
    }

    /// Whether connection tracking first saw a packet from the middle of the connection: then either end may have opened it.
    pub fn is_midstream(&self) -> bool {
        self.original.protocol == TCP
            && self.tcp_flags & LIBERAL != 0
            && self.status & OFFLOADED == 0
    }

    /// Tells connections apart: the kernel's id is a hash of 32 bits, which two of a hundred thousand connections may well share.
    pub fn identity(&self) -> u64 {
        let (high, low) = match self.original.upper {
            Upper::Ports { source, destination } => (source, destination),
            Upper::Icmp { id, kind, code } => (id, u16::from_be_bytes([kind, code])),
            Upper::None => (0, 0),
        };
        u64::from(self.id) << 32 | u64::from(high) << 16 | u64::from(low)
    }

    /// Whether another connection announced it, as FTP does its data connections: the rules take it as a part of that one.
    pub fn is_expected(&self) -> bool {
        self.status & EXPECTED != 0
    }

    /// The address and port that the opener used, where a Service translated them. The port is 0 for protocols without ports.
    pub fn service(&self) -> Option<(IpAddr, u16)> {
        let is_translated = self.status & DESTINATION_TRANSLATED != 0;
        let port = match self.original.upper {
            Upper::Ports { destination, .. } => destination,
            Upper::Icmp { .. } | Upper::None => 0,
        };
        is_translated.then_some((self.original.destination, port))
    }

    /// The connection as a program judges it: after destination and before source translation.
    pub fn live(&self) -> LiveConnection {
        let protocol = self.original.protocol;
        let port = |tuple: &Tuple| {
            let known = Protocol::from_number(protocol).and_then(|_| tuple.source_port());
            known.unwrap_or(0)
        };
        let (from, to) = (self.opener(), self.answerer());
        LiveConnection {
            connection: Connection { from, to, protocol, port: port(&self.reply) },
            dnat: self.status & DESTINATION_TRANSLATED != 0,
            midstream: self.is_midstream().then(|| port(&self.original)),
        }
    }

    /// `NFPROTO_*`
    pub(super) fn family(&self) -> u8 {
        number(Family::of(self.original.source))
    }

    /// `None` for an entry without one of its tuples.
    pub(in crate::netlink) fn read(attributes: Attributes<'_>) -> Option<Self> {
        let (mut original, mut reply, mut id) = (None, None, None);
        let (mut status, mut zone, mut tcp_flags) = (0, None, 0);
        for attribute in attributes {
            match attribute.kind {
                TUPLE_ORIGINAL => original = Tuple::read(attribute.nested()),
                TUPLE_REPLY => reply = Tuple::read(attribute.nested()),
                STATUS => status = attribute.be_u32()?,
                ID => id = attribute.be_u32(),
                ZONE => zone = attribute.be_u16(),
                PROTOINFO => tcp_flags = tcp_flags_of(attribute).unwrap_or(0),
                _ => {}
            }
        }
        let (original, reply, id) = (original?, reply?, id?);
        Some(Self { id, original, reply, status, zone, tcp_flags })
    }

    /// What names the entry to the kernel. Without a tuple a deletion would mean all entries; there always is one.
    pub(in crate::netlink) fn put(&self, out: &mut Vec<u8>) {
        let nest = wire::open_nest(out, TUPLE_ORIGINAL);
        self.original.put(out);
        wire::close_nest(out, nest);
        if let Some(zone) = self.zone {
            wire::put(out, ZONE, &zone.to_be_bytes());
        }
        wire::put(out, ID, &self.id.to_be_bytes());
    }
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The first byte of a `struct nf_ct_tcp_flags`; the second is a mask.
fn tcp_flags_of(protoinfo: Attribute<'_>) -> Option<u8> {
    let tcp = protoinfo.nested().get(PROTOINFO_TCP)?;
    tcp.nested().get(TCP_FLAGS_ORIGINAL)?.value.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: &str, destination: &str, protocol: u8, upper: Upper) -> Tuple {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Tuple { source, destination, protocol, upper, zone: None }
    }

    /// What the kernel writes of an entry.
    fn written(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, tuple) in [(TUPLE_ORIGINAL, &entry.original), (TUPLE_REPLY, &entry.reply)] {
            let nest = wire::open_nest(&mut out, kind);
            tuple.put(&mut out);
            wire::close_nest(&mut out, nest);
        }
        wire::put(&mut out, ID, &entry.id.to_be_bytes());
        wire::put(&mut out, STATUS, &entry.status.to_be_bytes());
        let nests = [PROTOINFO, PROTOINFO_TCP].map(|kind| wire::open_nest(&mut out, kind));
        wire::put(&mut out, TCP_FLAGS_ORIGINAL, &[entry.tcp_flags, 0xff]);
        nests.into_iter().rev().for_each(|nest| wire::close_nest(&mut out, nest));
        if let Some(zone) = entry.zone {
            wire::put(&mut out, ZONE, &zone.to_be_bytes());
        }
        out
    }

    /// A client of the Service 10.96.0.1:80, whose backend answers on 8080, and which the node's address stands for.
    fn translated() -> Entry {
        let ports = |source, destination| Upper::Ports { source, destination };
        Entry {
            id: 0xdead_beef,
            original: tuple("10.0.0.1", "10.96.0.1", TCP, ports(40_000, 80)),
            reply: tuple("10.0.0.2", "192.0.2.1", TCP, ports(8080, 50_000)),
            status: DESTINATION_TRANSLATED | 0xe,
            zone: None,
            tcp_flags: 0x03,
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read_back() {
        let icmp = |kind| Upper::Icmp { id: 7, kind, code: 0 };
        let v4 = translated();
        let v6 = Entry {
            original: tuple("fd00::1", "fd00::2", 58, icmp(128)),
            reply: tuple("fd00::2", "fd00::1", 58, icmp(129)),
            ..v4
        };
        let echo = Entry {
            original: tuple("10.0.0.1", "10.0.0.2", 1, icmp(8)),
            reply: tuple("10.0.0.2", "10.0.0.1", 1, icmp(0)),
            zone: Some(9),
            ..v4
        };
        let other = Entry {
            original: Tuple { zone: Some(3), ..tuple("10.0.0.1", "10.0.0.2", 99, Upper::None) },
            reply: tuple("10.0.0.2", "10.0.0.1", 99, Upper::None),
            ..v4
        };
        for entry in [v4, v6, echo, other] {
            assert_eq!(Entry::read(Attributes(&written(&entry))), Some(entry));
        }
    }

    #[test]
    fn bytes_that_are_cut_short_or_garbled_are_no_entry_and_no_panic() {
        let bytes = written(&translated());
        for length in 0..bytes.len() {
            _ = Entry::read(Attributes(&bytes[..length]));
        }
        for at in 0..bytes.len() {
            let mut garbled = bytes.clone();
            garbled[at] ^= 0xff;
            _ = Entry::read(Attributes(&garbled));
        }
        assert_eq!(Entry::read(Attributes(&bytes[..8])), None);
    }

    #[test]
    fn a_service_is_judged_by_client_and_backend() {
        let live = translated().live();
        let [from, to] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        assert_eq!(live.connection, Connection { from, to, protocol: TCP, port: 8080 });
        assert_eq!((live.dnat, live.midstream), (true, None));
        assert_eq!(translated().service(), Some(("10.96.0.1".parse().unwrap(), 80)));
        assert_eq!(Entry { status: 0, ..translated() }.service(), None);
    }

    #[test]
    fn an_entry_from_the_middle_of_a_connection_may_stand_reversed() {
        let liberal = Entry { tcp_flags: LIBERAL | 1, ..translated() };
        assert_eq!(liberal.live().midstream, Some(40_000));
        let offloaded = Entry { status: liberal.status | OFFLOADED, ..liberal };
        assert_eq!(offloaded.live().midstream, None);
    }
}
