//! What a connection carried, where the kernel counts it.

use std::time::Duration;

use super::super::wire::{Attribute, Attributes};

/// `enum ctattr_type`, `ctattr_counters`, `ctattr_tstamp` (linux/netfilter/nfnetlink_conntrack.h).
const COUNTERS_ORIGINAL: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const TIMESTAMPS: u16 = 20;
const PACKETS: u16 = 1;
const BYTES: u16 = 2;
const START: u16 = 1;
const STOP: u16 = 2;

/// What both directions of a connection carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accounting {
    /// `None` where `nf_conntrack_acct` was off when the connection began.
    pub carried: Option<Carried>,
    /// From its first packet to its end; `None` where `nf_conntrack_timestamp` was off when it began.
    pub duration: Option<Duration>,
}

/// Packets, and their bytes from the IP header on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    pub packets: u64,
    pub bytes: u64,
}

impl Accounting {
    pub(super) fn read(attributes: Attributes<'_>) -> Self {
        let mut accounting = Self::default();
        for attribute in attributes {
            match attribute.kind {
                COUNTERS_ORIGINAL | COUNTERS_REPLY => accounting.add(attribute.nested()),
                TIMESTAMPS => accounting.duration = duration(attribute.nested()),
                _ => {}
            }
        }
        accounting
    }

    fn add(&mut self, counters: Attributes<'_>) {
        let (mut packets, mut bytes) = (None, None);
        for counter in counters {
            match counter.kind {
                PACKETS => packets = be_u64(counter),
                BYTES => bytes = be_u64(counter),
                _ => {}
            }
        }
        let (Some(packets), Some(bytes)) = (packets, bytes) else { return };
        let before = self.carried.unwrap_or_default();
        self.carried = Some(Carried {
            packets: before.packets.saturating_add(packets),
            bytes: before.bytes.saturating_add(bytes),
        });
    }
}

/// Nanoseconds since 1970.
fn duration(timestamps: Attributes<'_>) -> Option<Duration> {
    let (mut start, mut stop) = (None, None);
    for timestamp in timestamps {
        match timestamp.kind {
            START => start = be_u64(timestamp),
            STOP => stop = be_u64(timestamp),
            _ => {}
        }
    }
    // The clock may have been set back meanwhile.
    Some(Duration::from_nanos(stop?.checked_sub(start?)?))
}

fn be_u64(attribute: Attribute<'_>) -> Option<u64> {
    <[u8; 8]>::try_from(attribute.value).ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::wire;
    use super::*;

    /// What the kernel writes of a connection that has ended.
    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        let nests = [
            (COUNTERS_ORIGINAL, [3u64, 180]),
            (COUNTERS_REPLY, [2, 1100]),
            (TIMESTAMPS, [5_000_000_000, 6_500_000_000]),
        ];
        for (kind, values) in nests {
            let nest = wire::open_nest(&mut out, kind);
            for (kind, value) in [1u16, 2].into_iter().zip(values) {
                wire::put(&mut out, kind, &value.to_be_bytes());
            }
            wire::close_nest(&mut out, nest);
        }
        out
    }

    #[test]
    fn both_directions_are_added() {
        let read = Accounting::read(Attributes(&written()));
        assert_eq!(read.carried, Some(Carried { packets: 5, bytes: 1280 }));
        assert_eq!(read.duration, Some(Duration::from_millis(1500)));
        assert_eq!(Accounting::read(Attributes(&[])), Accounting::default());
    }

    #[test]
    fn bytes_that_are_cut_short_or_garbled_are_no_panic() {
        let bytes = written();
        for length in 0..bytes.len() {
            _ = Accounting::read(Attributes(&bytes[..length]));
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut garbled = bytes.clone();
                garbled[at] ^= flip;
                _ = Accounting::read(Attributes(&garbled));
            }
        }
    }
}
