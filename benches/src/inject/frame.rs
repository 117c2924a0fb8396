//! Ethernet frames of flows, for each step of a connection.

use std::net::IpAddr;

use palisade_lab::packet::{ICMP, ICMPV6, Packet, SCTP, TCP, UDP, tcp_flags};

use super::route::MAC;
use super::{Flow, InjectError};

/// The bytes of an Ethernet frame, at most [`MAX_FRAME`] of them.
pub(super) type Frame = Vec<u8>;

/// Larger than any frame that is created here, and a multiple of 8.
pub(super) const MAX_FRAME: usize = 128;

/// A step of a connection: one of its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    First,
    Answer,
    /// A packet in the original direction, after the answer.
    Later,
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "first packets",
            Self::Answer => "answers",
            Self::Later => "packets after the answers",
        }
    }
}

const ETHERTYPE_V4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];
/// The source MAC address.
const FROM: [u8; 6] = [2, 0, 0, 0, 3, 3];

/// ICMP echo replies (RFC 792, RFC 4443).
const ECHO_REPLY: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;

/// The TCP sequence numbers of the SYNs of both ends.
const SEQUENCE: u32 = 1_000;
const ANSWERED: u32 = 2_000;

/// The id in first packets. Nothing reads it.
const ID: u32 = 1;

pub(super) fn of_flows(flows: &[Flow], step: Step) -> Result<Vec<Frame>, InjectError> {
    flows.iter().map(|flow| of_flow(flow, step)).collect()
}

/// A frame between two unused addresses, to find out whether frames are received at all.
pub(super) fn trial() -> Result<Frame, InjectError> {
    let [from, to] = [[198, 18, 0, 1], [198, 18, 0, 2]].map(IpAddr::from);
    of_flow(&Flow { from, to, protocol: UDP, source_port: 9, port: 9 }, Step::First)
}

fn of_flow(flow: &Flow, step: Step) -> Result<Frame, InjectError> {
    let packet =
        packet(flow, step).map_err(|why| InjectError::Flow { flow: Box::new(*flow), why })?;
    let ethertype = if flow.from.is_ipv4() { ETHERTYPE_V4 } else { ETHERTYPE_V6 };
    let mut frame = [&MAC[..], &FROM, &ethertype].concat();
    frame.extend(packet.bytes());
    Ok(frame)
}

fn packet(flow: &Flow, step: Step) -> Result<Packet, &'static str> {
    let Flow { from, to, protocol, source_port, port } = *flow;
    if from.is_ipv4() != to.is_ipv4() {
        return Err("its addresses are of two families");
    }
    let echo = if from.is_ipv4() { ICMP } else { ICMPV6 };
    if ![TCP, UDP, SCTP, echo].contains(&protocol) {
        return Err("it is none of TCP, UDP, SCTP and its family's ICMP");
    }
    if step == Step::First {
        return Ok(Packet::first(
            &flow.connection(),
            source_port,
            if protocol == TCP { SEQUENCE } else { ID },
        ));
    }
    Ok(match (protocol, step) {
        (TCP, Step::Answer) => {
            let flags = tcp_flags::SYN | tcp_flags::ACK;
            Packet::tcp(to, from, (port, source_port), flags, (ANSWERED, SEQUENCE + 1))
        }
        (TCP, _) => {
            let numbers = (SEQUENCE + 1, ANSWERED + 1);
            Packet::tcp(from, to, (source_port, port), tcp_flags::ACK, numbers)
        }
        (UDP, Step::Answer) => Packet::udp(to, from, port, source_port, &ID.to_be_bytes()),
        (ICMP | ICMPV6, Step::Answer) => {
            let [a, b] = source_port.to_be_bytes();
            let rest = [[a, b, 0, 1], ID.to_be_bytes()].concat();
            let kind = if protocol == ICMP { ECHO_REPLY } else { ECHO_REPLY_V6 };
            Packet::icmp(to, from, kind, 0, &rest)
        }
        (SCTP, _) => return Err("SCTP associations are not opened here"),
        _ => packet(flow, Step::First)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_lab::packet::Arrival;

    #[test]
    fn answers_go_the_other_way_round() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for protocol in [TCP, UDP] {
                let flow = Flow { from, to, protocol, source_port: 4000, port: 80 };
                for (step, expected) in [
                    (Step::First, (from, to, 4000, 80)),
                    (Step::Answer, (to, from, 80, 4000)),
                    (Step::Later, (from, to, 4000, 80)),
                ] {
                    let frame = of_flow(&flow, step).unwrap();
                    assert!(frame.len() <= MAX_FRAME);
                    let read = Arrival::read(&frame[14..]).expect("readable");
                    assert_eq!((read.from, read.to, read.source_port, read.port), expected);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let flow = |from, to, protocol| Flow { from, to, protocol, source_port: 1, port: 1 };
        assert!(of_flow(&flow(v4, v6, UDP), Step::First).is_err());
        assert!(of_flow(&flow(v4, v4, ICMPV6), Step::First).is_err());
        assert!(of_flow(&flow(v4, v4, 47), Step::First).is_err());
        assert!(of_flow(&flow(v4, v4, SCTP), Step::Later).is_err());
        assert!(of_flow(&flow(v6, v6, SCTP), Step::First).unwrap().len() <= MAX_FRAME);
    }
}
