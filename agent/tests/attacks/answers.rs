//! One packet in the name of the other end has connection tracking take the attacker's own packets for the answer (attack 12 of
//! docs/semantics.md): isolation would be void, with true addresses afterwards.

use palisade_lab::frame::{Frame, Mac};
use palisade_lab::packet::{Packet, tcp_flags};

use crate::attack::{EVERYWHERE, ON_BRIDGES, PLAIN, Setting, Without, attack, carry_out};
use crate::stage::{Stage, fresh_port, mark};

/// A may not reach B on this port, and X may not reach C.
const PORT: u16 = 53;

/// Sends a datagram in the name of the victim to the attacker itself, by way of `by`, and then one to the victim. Whether that arrives.
fn by_udp(stage: &Stage<'_>, attacker: &str, victim: &str, by: Mac) -> bool {
    let port = fresh_port();
    let forged = Packet::udp(stage.at(victim), stage.at(attacker), PORT, port, b"in your name");
    stage.send(attacker, "n/a", &[Frame::ip(by, stage.mac(attacker), &forged)]);
    stage.datagram_from((attacker, stage.at(attacker), port), victim, PORT)
}

/// The option for an MD5 digest (RFC 2385), padded. A host without a key for the other end drops a segment with it silently, where it
/// would answer another with a reset, by which the connection would end.
const MD5: [u8; 20] = {
    let mut option = [1; 20];
    (option[0], option[1]) = (19, 18);
    option
};

/// The same by TCP: the attacker's SYN then is that of one who opens at the same time, or the answer.
fn by_tcp(stage: &Stage<'_>, attacker: &str, victim: &str, flags: u8) -> bool {
    let (port, mark) = (fresh_port(), mark());
    let (own, other) = (stage.at(attacker), stage.at(victim));
    let ports = (PORT, port);
    let forged = Packet::segment(other, own, ports, tcp_flags::SYN, (7, 0), &MD5, &[]);
    let gateway = stage.gateway_mac(attacker);
    stage.send(attacker, "n/a", &[Frame::ip(gateway, stage.mac(attacker), &forged)]);
    let answer = Packet::segment(own, other, (port, PORT), flags, (9, 8), &[], &mark);
    stage.delivers(attacker, victim, &[stage.frame(attacker, victim, &answer)], &mark)
}

#[test]
fn a_forged_packet_opens_no_connection_for_its_answer() {
    carry_out(
        Setting { without: Without::SourceGuard, ..PLAIN },
        &[
            attack("answers: A to B, after a datagram as B", EVERYWHERE, |stage| {
                by_udp(stage, "n/a", "n/b", stage.gateway_mac("n/a"))
            }),
            attack("answers: X to C, after a datagram as C", EVERYWHERE, |stage| {
                by_udp(stage, "n/x", "n/c", stage.gateway_mac("n/x"))
            }),
        ],
    );
}

#[test]
fn a_forged_segment_opens_no_connection_for_its_answer() {
    carry_out(
        Setting { without: Without::SourceGuard, ..PLAIN },
        &[
            attack("answers: A to B by SYN, after a SYN as B", EVERYWHERE, |stage| {
                by_tcp(stage, "n/a", "n/b", tcp_flags::SYN)
            }),
            attack("answers: X to C by SYN and ACK, after a SYN as C", EVERYWHERE, |stage| {
                by_tcp(stage, "n/x", "n/c", tcp_flags::SYN | tcp_flags::ACK)
            }),
        ],
    );
}

/// What passes between two ports of a bridge is tracked as what is routed is.
#[test]
fn a_forged_frame_to_a_third_pod_opens_no_connection_either() {
    carry_out(
        Setting { without: Without::SourceGuard, ..PLAIN },
        &[
            attack("answers: A to B, after a frame to C as B", ON_BRIDGES, |stage| {
                by_udp(stage, "n/a", "n/b", stage.mac("n/c"))
            }),
            attack("answers: X to C, after a frame of A's to X as C", ON_BRIDGES, |stage| {
                let port = fresh_port();
                let forged = Packet::udp(stage.at("n/c"), stage.at("n/x"), PORT, port, b"for you");
                stage.send("n/a", "n/x", &[stage.frame("n/a", "n/x", &forged)]);
                stage.datagram_from(("n/x", stage.at("n/x"), port), "n/c", PORT)
            }),
        ],
    );
}
