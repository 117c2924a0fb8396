//! A packet that a rule copied to a group.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_compiler::program::skeleton::{Direction, log_prefix};

use super::super::wire::{Attribute, Attributes, Message, log_msg};
use super::header::{HeaderError, PacketHeader};

/// `enum nfulnl_attr_type` (linux/netfilter/nfnetlink_log.h).
const TIMESTAMP: u16 = 3;
const INPUT: u16 = 4;
const OUTPUT: u16 = 5;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const NUMBER: u16 = 12;

/// A packet that a rule copied to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// By the rule's prefix; `None` where it is not one of Palisade's rules.
    pub direction: Option<Direction>,
    /// The interface indexes in the hook: a bridged packet has its bridge's in both.
    pub input: Option<u32>,
    pub output: Option<u32>,
    /// When the packet came, where the kernel noted that; it mostly does not for packets that it forwards.
    pub timestamp: Option<SystemTime>,
    /// The record's number within the group.
    pub number: Option<u32>,
    pub packet: Result<PacketHeader, HeaderError>,
}

impl Record {
    /// `None` for a message that is no record.
    pub(in crate::netlink) fn read(message: Message<'_>) -> Option<Self> {
        if !message.is_log(log_msg::PACKET) {
            return None;
        }
        let (_, attributes) = message.nf()?;
        Some(Self::of(attributes))
    }

    fn of(attributes: Attributes<'_>) -> Self {
        let mut record = Self {
            direction: None,
            input: None,
            output: None,
            timestamp: None,
            number: None,
            packet: Err(HeaderError::CutShort),
        };
        for attribute in attributes {
            match attribute.kind {
                TIMESTAMP => record.timestamp = time(attribute),
                INPUT => record.input = attribute.be_u32(),
                OUTPUT => record.output = attribute.be_u32(),
                PAYLOAD => record.packet = PacketHeader::read(attribute.value),
                PREFIX => record.direction = direction(attribute),
                NUMBER => record.number = attribute.be_u32(),
                _ => {}
            }
        }
        record
    }
}

fn direction(prefix: Attribute<'_>) -> Option<Direction> {
    let prefix = prefix.string()?;
    Direction::ALL.into_iter().find(|&direction| log_prefix(direction) == prefix)
}

/// `struct nfulnl_msg_packet_timestamp`: seconds and microseconds, in 64 bits each.
fn time(attribute: Attribute<'_>) -> Option<SystemTime> {
    let (seconds, micros) = attribute.value.split_first_chunk::<8>()?;
    let (micros, _) = micros.split_first_chunk::<8>()?;
    let micros = Duration::from_micros(u64::from_be_bytes(*micros));
    let since = Duration::from_secs(u64::from_be_bytes(*seconds)).checked_add(micros)?;
    UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::super::super::wire;
    use super::super::header::Upper;
    use super::*;

    fn packet() -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 32, 0, 0, 0x40, 0, 63, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x9c, 0x40, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        packet
    }

    /// What the kernel writes of a packet.
    fn written(prefix: &str) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put(&mut out, 1, &[8, 0, 2, 0]);
        wire::put_str(&mut out, PREFIX, prefix);
        wire::put(&mut out, INPUT, &3u32.to_be_bytes());
        wire::put(&mut out, OUTPUT, &4u32.to_be_bytes());
        wire::put(&mut out, TIMESTAMP, &[7u64.to_be_bytes(), 5u64.to_be_bytes()].concat());
        wire::put(&mut out, NUMBER, &9u32.to_be_bytes());
        wire::put(&mut out, PAYLOAD, &packet());
        out
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        let record = Record::of(Attributes(&written("palisade out")));
        assert_eq!(record.direction, Some(Direction::Egress));
        assert_eq!((record.input, record.output, record.number), (Some(3), Some(4), Some(9)));
        assert_eq!(record.timestamp, Some(UNIX_EPOCH + Duration::from_micros(7_000_005)));
        let header = record.packet.unwrap();
        assert_eq!(header.upper, Upper::Ports { source: 40_000, destination: 53, tcp_flags: 0 });
        assert_eq!(Record::of(Attributes(&written("other"))).direction, None);
        let ingress = Record::of(Attributes(&written("palisade in"))).direction;
        assert_eq!(ingress, Some(Direction::Ingress));
    }

    #[test]
    fn bytes_that_are_cut_short_or_garbled_are_typed_and_no_panic() {
        let bytes = written("palisade in");
        for length in 0..bytes.len() {
            let record = Record::of(Attributes(&bytes[..length]));
            assert!(record.packet.is_err(), "{length}: {record:?}");
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut garbled = bytes.clone();
                garbled[at] ^= flip;
                _ = Record::of(Attributes(&garbled));
            }
        }
        let endless = [u64::MAX.to_be_bytes(); 2].concat();
        assert_eq!(time(Attribute { kind: TIMESTAMP, value: &endless }), None);
    }
}
