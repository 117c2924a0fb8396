//! Other protocols, and segments of TCP that are none of a connection's usual ones.

use palisade_lab::packet::{Packet, tcp_flags};

use crate::attack::{EVERYWHERE, PLAIN, attack, carry_out};
use crate::stage::{Stage, fresh_port, mark};

const PAIRS: [(&str, &str); 2] = [("n/a", "n/b"), ("n/x", "n/c")];

/// Whether a packet of this protocol, which begins with the ports that are allowed to others, comes to its destination.
fn delivered(stage: &Stage<'_>, protocol: u8) -> bool {
    PAIRS.iter().any(|(from, to)| {
        let mark = mark();
        let body =
            [&fresh_port().to_be_bytes()[..], &53_u16.to_be_bytes(), &[0; 8], &mark].concat();
        let packet = Packet::new(stage.at(from), stage.at(to), protocol, body);
        stage.delivers(from, to, &[stage.frame(from, to, &packet)], &mark)
    })
}

#[test]
fn packets_of_other_protocols_are_judged() {
    let protocols: [(&'static str, u8); 9] = [
        ("protocols: IPIP to a pod", 4),
        ("protocols: DCCP", 33),
        ("protocols: GRE to a pod", 47),
        ("protocols: ESP", 50),
        ("protocols: OSPF", 89),
        ("protocols: L2TP", 115),
        ("protocols: SCTP", 132),
        ("protocols: UDP-Lite", 136),
        ("protocols: an experiment (253)", 253),
    ];
    let attacks = protocols
        .map(|(what, protocol)| attack(what, EVERYWHERE, move |stage| delivered(stage, protocol)));
    carry_out(PLAIN, &attacks);
}

/// The same port, from a pod that may reach it by UDP alone.
#[test]
fn a_rule_for_udp_opens_no_protocol_that_looks_like_it() {
    carry_out(
        PLAIN,
        &[attack("protocols: UDP-Lite where UDP is allowed", EVERYWHERE, |stage| {
            let mark = mark();
            let ports = [fresh_port(), 53, 8, 0].map(u16::to_be_bytes).concat();
            let body = [&ports[..], &mark].concat();
            let packet = Packet::new(stage.at("n/c"), stage.at("n/b"), 136, body);
            stage.delivers("n/c", "n/b", &[stage.frame("n/c", "n/b", &packet)], &mark)
        })],
    );
}

/// Flags in combinations that a connection may or may not have, with data, on a port that is allowed to others alone.
#[test]
fn segments_with_strange_flags_are_judged() {
    const FIN: u8 = 1;
    const PSH: u8 = 8;
    const URG: u8 = 0x20;
    const ECE_AND_CWR: u8 = 0xc0;
    let flags: [(&'static str, u8); 9] = [
        ("segments: without flags", 0),
        ("segments: SYN with data", tcp_flags::SYN),
        ("segments: SYN for ECN", tcp_flags::SYN | ECE_AND_CWR),
        ("segments: SYN and FIN", tcp_flags::SYN | FIN),
        ("segments: SYN and RST", tcp_flags::SYN | tcp_flags::RST),
        ("segments: SYN and ACK", tcp_flags::SYN | tcp_flags::ACK),
        ("segments: ACK", tcp_flags::ACK | PSH),
        ("segments: FIN", FIN),
        ("segments: FIN, PSH and URG", FIN | PSH | URG),
    ];
    let attacks = flags.map(|(what, flags)| {
        attack(what, EVERYWHERE, move |stage| {
            PAIRS.iter().any(|(from, to)| {
                let (mark, ports) = (mark(), (fresh_port(), 80));
                let (source, target) = (stage.at(from), stage.at(to));
                let packet = Packet::segment(source, target, ports, flags, (1, 1), &[], &mark);
                stage.delivers(from, to, &[stage.frame(from, to, &packet)], &mark)
            })
        })
    });
    carry_out(PLAIN, &attacks);
}
