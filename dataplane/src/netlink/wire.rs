//! Netlink messages as bytes: the parts that need no C structs. Headers and attribute headers are in host byte order,
//! what nf_tables puts into attributes is big endian unless said otherwise.

use std::ops::ControlFlow;

/// `struct nlmsghdr` and the `struct nfgenmsg` after it.
pub(super) const HEADER: usize = 16;
pub(super) const NF_HEADER: usize = 4;

/// `enum nf_tables_msg_types` (linux/netfilter/nf_tables.h); those of chains and rules are the `nftnl` crate's to write.
pub(super) mod msg {
    pub(crate) const NEWTABLE: u16 = 0;
    pub(crate) const GETTABLE: u16 = 1;
    pub(crate) const DELTABLE: u16 = 2;
    pub(crate) const GETCHAIN: u16 = 4;
    pub(crate) const GETRULE: u16 = 7;
    pub(crate) const NEWSET: u16 = 9;
    pub(crate) const GETSET: u16 = 10;
    pub(crate) const DELSET: u16 = 11;
    pub(crate) const NEWSETELEM: u16 = 12;
    pub(crate) const GETSETELEM: u16 = 13;
    pub(crate) const DELSETELEM: u16 = 14;
    pub(crate) const NEWGEN: u16 = 15;
    pub(crate) const GETGEN: u16 = 16;
    pub(crate) const GETOBJ: u16 = 19;
    pub(crate) const GETFLOWTABLE: u16 = 23;
}

/// Message types outside nf_tables: batch bounds (linux/netfilter/nfnetlink.h) and answers (linux/netlink.h).
pub(super) const BATCH_BEGIN: u16 = 0x10;
pub(super) const BATCH_END: u16 = 0x11;
const SUBSYS_NFTABLES: u16 = 10;
const SUBSYS_CONNTRACK: u16 = 1;
const SUBSYS_LOG: u16 = 4;
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

/// `NLM_F_*`.
pub(super) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP_INTR: u16 = 0x10;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
    /// In an error: the request is not echoed whole, attributes follow.
    pub(crate) const CAPPED: u16 = 0x100;
    pub(crate) const ACK_TLVS: u16 = 0x200;
}

const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// The most bytes of attributes inside one nest: its length field has 16 bits.
pub(super) const MAX_NEST: usize = u16::MAX as usize;

/// What identifies a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: u16,
    pub(super) flags: u16,
    /// `NFPROTO_*`
    pub(super) family: u8,
    pub(super) sequence: u32,
}

impl Header {
    /// `nlmsg_type` of an nf_tables message.
    pub(super) fn message_type(self) -> u16 {
        (SUBSYS_NFTABLES << 8) | self.kind
    }
}

/// `enum cntl_msg_types` (linux/netfilter/nfnetlink_conntrack.h).
pub(super) mod conntrack_msg {
    pub(crate) const NEW: u16 = 0;
    pub(crate) const GET: u16 = 1;
    pub(crate) const DELETE: u16 = 2;
}

/// `enum nfulnl_msg_types` (linux/netfilter/nfnetlink_log.h).
pub(super) mod log_msg {
    pub(crate) const PACKET: u16 = 0;
    pub(crate) const CONFIG: u16 = 1;
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn overwrite(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = out.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

/// Starts a message; `close` sets its length.
pub(super) fn open(out: &mut Vec<u8>, header: Header) -> usize {
    open_raw(out, header.message_type(), header, 0)
}

/// Starts a message to connection tracking; `header.kind` is one of `conntrack_msg`.
pub(super) fn open_conntrack(out: &mut Vec<u8>, header: Header) -> usize {
    open_raw(out, (SUBSYS_CONNTRACK << 8) | header.kind, header, 0)
}

/// Starts a message to a group of nfnetlink_log; `header.kind` is one of `log_msg`.
pub(super) fn open_log(out: &mut Vec<u8>, header: Header, group: u16) -> usize {
    open_raw(out, (SUBSYS_LOG << 8) | header.kind, header, group)
}

fn open_raw(out: &mut Vec<u8>, message_type: u16, header: Header, resource: u16) -> usize {
    let at = open_plain(out, message_type, header.flags, header.sequence);
    out.extend_from_slice(&[header.family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
    at
}

/// Starts a message of any netlink family: `struct nlmsghdr` alone.
pub(super) fn open_plain(out: &mut Vec<u8>, message_type: u16, flags: u16, sequence: u32) -> usize {
    let at = out.len();
    out.extend_from_slice(&0u32.to_ne_bytes());
    out.extend_from_slice(&message_type.to_ne_bytes());
    out.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
    at
}

pub(super) fn close(out: &mut [u8], at: usize) {
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    overwrite(out, at, &length.to_ne_bytes());
}

/// Sets the flags of the message that starts at `at`.
pub(super) fn set_flags(out: &mut [u8], at: usize, flags: u16) {
    overwrite(out, at + 6, &(flags | flag::REQUEST).to_ne_bytes());
}

/// `NFNL_MSG_BATCH_BEGIN`, bound to a generation of the ruleset if one is given (`NFNL_BATCH_GENID`).
pub(super) fn batch_begin(out: &mut Vec<u8>, sequence: u32, generation: Option<u32>) {
    let header = Header { kind: 0, flags: 0, family: 0, sequence };
    let at = open_raw(out, BATCH_BEGIN, header, SUBSYS_NFTABLES);
    if let Some(generation) = generation {
        put(out, 1, &generation.to_be_bytes());
    }
    close(out, at);
}

/// `NFNL_MSG_BATCH_END`: without it the kernel checks the batch and then discards it.
pub(super) fn batch_end(out: &mut Vec<u8>, sequence: u32) {
    let header = Header { kind: 0, flags: flag::ACK, family: 0, sequence };
    let at = open_raw(out, BATCH_END, header, SUBSYS_NFTABLES);
    close(out, at);
}

/// Appends an attribute, padded.
pub(super) fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(align(out.len()), 0);
}

/// Appends a string attribute, with the NUL that the kernel wants.
pub(super) fn put_str(out: &mut Vec<u8>, kind: u16, value: &str) {
    let mut bytes = Vec::with_capacity(value.len() + 1);
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(0);
    put(out, kind, &bytes);
}

/// Starts a nested attribute; `close_nest` sets its length.
pub(super) fn open_nest(out: &mut Vec<u8>, kind: u16) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(kind | NESTED).to_ne_bytes());
    at
}

pub(super) fn close_nest(out: &mut [u8], at: usize) {
    let length = u16::try_from(out.len() - at).unwrap_or(u16::MAX);
    overwrite(out, at, &length.to_ne_bytes());
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// What follows `struct nlmsghdr`.
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Whether it is an nf_tables message of that kind.
    pub(super) fn is_nf(self, kind: u16) -> bool {
        self.kind == (SUBSYS_NFTABLES << 8) | kind
    }

    /// Whether it is a message of connection tracking of that kind.
    pub(super) fn is_conntrack(self, kind: u16) -> bool {
        self.kind == (SUBSYS_CONNTRACK << 8) | kind
    }

    /// Whether it is a message of nfnetlink_log of that kind.
    pub(super) fn is_log(self, kind: u16) -> bool {
        self.kind == (SUBSYS_LOG << 8) | kind
    }

    /// The attributes of a netfilter message, and the family it is about.
    pub(super) fn nf(self) -> Option<(u8, Attributes<'a>)> {
        let family = *self.payload.first()?;
        Some((family, Attributes(self.payload.get(NF_HEADER..)?)))
    }

    /// The error number of an `NLMSG_ERROR` (0: an acknowledgement) or `NLMSG_DONE`.
    pub(super) fn errno(self) -> i32 {
        self.payload.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes).abs()
    }

    /// Where in the request the error is (`NLMSGERR_ATTR_OFFS`), in bytes from its start.
    pub(super) fn error_offset(self) -> Option<u32> {
        if self.flags & flag::ACK_TLVS == 0 {
            return None;
        }
        let echoed = if self.flags & flag::CAPPED == 0 {
            let length = self.payload.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?;
            usize::try_from(length).ok()?.max(HEADER)
        } else {
            HEADER
        };
        let mut attributes = Attributes(self.payload.get(4 + align(echoed)..)?);
        // The extended ACK is the one place where nfnetlink answers in host byte order.
        attributes.find(|a| a.kind == 2)?.value.try_into().ok().map(u32::from_ne_bytes)
    }
}

/// Walks the messages of one datagram; a broken length ends the walk.
pub(super) fn messages<'a, B>(
    mut datagram: &'a [u8],
    mut visit: impl FnMut(Message<'a>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    while let Some((length, message)) = first_message(datagram) {
        visit(message)?;
        datagram = datagram.get(align(length)..).unwrap_or_default();
    }
    ControlFlow::Continue(())
}

fn first_message(datagram: &[u8]) -> Option<(usize, Message<'_>)> {
    let u32_at = |at: usize| datagram.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let u16_at = |at: usize| datagram.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
    let length = usize::try_from(u32_at(0)?).ok()?;
    let payload = datagram.get(HEADER..length)?;
    Some((length, Message { kind: u16_at(4)?, flags: u16_at(6)?, sequence: u32_at(8)?, payload }))
}

/// A netlink attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) kind: u16,
    pub(super) value: &'a [u8],
}

impl<'a> Attribute<'a> {
    pub(super) fn nested(self) -> Attributes<'a> {
        Attributes(self.value)
    }

    pub(super) fn be_u16(self) -> Option<u16> {
        self.value.try_into().ok().map(u16::from_be_bytes)
    }

    pub(super) fn be_u32(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn be_u64(self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// A string without its NUL.
    pub(super) fn string(self) -> Option<&'a str> {
        let bytes = self.value.split(|&b| b == 0).next()?;
        std::str::from_utf8(bytes).ok()
    }

    /// The bytes of a nested `NFTA_DATA_VALUE`.
    pub(super) fn data(self) -> Option<&'a [u8]> {
        self.nested().find(|a| a.kind == 1).map(|a| a.value)
    }
}

/// The attributes in a stretch of bytes; a broken length ends the walk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (head, _) = self.0.split_first_chunk::<4>()?;
        let [l0, l1, k0, k1] = *head;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some(Attribute { kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value })
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn get(mut self, kind: u16) -> Option<Attribute<'a>> {
        self.find(|a| a.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let mut out = Vec::new();
        put(&mut out, 1, b"abcde");
        let nest = open_nest(&mut out, 2);
        put_str(&mut out, 3, "x");
        close_nest(&mut out, nest);
        assert_eq!(out.len(), 12 + 4 + 8);
        let all: Vec<_> = Attributes(&out).map(|a| (a.kind, a.value.len())).collect();
        assert_eq!(all, [(1, 5), (2, 8)]);
        let inner = Attributes(&out).get(2).unwrap().nested().get(3).unwrap();
        assert_eq!(inner.string(), Some("x"));
    }

    #[test]
    fn a_broken_length_ends_the_walk() {
        assert_eq!(Attributes(&[200, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        assert_eq!(Attributes(&[2, 0, 1, 0, 9, 9, 9, 9]).count(), 0);
        let mut seen = 0;
        let _: ControlFlow<()> = messages(&[0; 64], |_| {
            seen += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(seen, 0);
    }

    #[test]
    fn the_offset_of_an_error_is_found_behind_a_capped_request() {
        let mut payload = (-2i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        put(&mut payload, 2, &44u32.to_ne_bytes());
        let message = Message {
            kind: ERROR,
            flags: flag::CAPPED | flag::ACK_TLVS,
            sequence: 7,
            payload: &payload,
        };
        assert_eq!((message.errno(), message.error_offset()), (2, Some(44)));
    }
}
