//! What a bridge learns, and where a frame goes that is addressed to one pod and whose packet is addressed to another.
//!
//! Policy judges addresses of IP, and a bridge goes by those of Ethernet. A pod that is isolated for egress may send to A; if the
//! frame goes to C, whose program reads it by a packet socket, then C has what policy keeps from it.

use std::net::IpAddr;

use palisade_lab::frame::Frame;
use palisade_lab::packet::Packet;

use crate::attack::{ON_BRIDGES, PLAIN, attack, carry_out};
use crate::stage::{Stage, fresh_port, mark};

/// Whether a packet of one pod to an address and port comes to another pod's interface by its hardware address.
fn misdirected(stage: &Stage<'_>, from: &str, to: IpAddr, port: u16, thither: &str) -> bool {
    let mark = mark();
    let packet = Packet::udp(stage.at(from), to, fresh_port(), port, &mark);
    let frame = Frame::ip(stage.mac(thither), stage.mac(from), &packet);
    stage.delivers(from, thither, &[frame], &mark)
}

#[test]
fn what_an_isolated_pod_may_send_to_one_pod_does_not_come_to_another() {
    carry_out(
        PLAIN,
        &[attack("switching: what X may send to A, in a frame to C", ON_BRIDGES, |stage| {
            misdirected(stage, "n/x", stage.at("n/a"), 53, "n/c")
        })],
    );
}

#[test]
fn what_is_for_another_address_does_not_come_to_an_isolated_pod() {
    carry_out(
        PLAIN,
        &[
            attack("switching: a packet of A's to C, in a frame to B", ON_BRIDGES, |stage| {
                misdirected(stage, "n/a", stage.at("n/c"), 7777, "n/b")
            }),
            attack("switching: a packet of A's to nobody, in a frame to B", ON_BRIDGES, |stage| {
                misdirected(stage, "n/a", stage.nobody(), 7777, "n/b")
            }),
        ],
    );
}

/// The thief sends a frame from another pod's hardware address, with its own addresses of IP, so that the bridge takes that pod to be at the
/// thief's port. Whether it then sees what a third pod sends to the other.
fn steals(stage: &Stage<'_>, thief: &str, from: &str, to: &str) -> bool {
    let own = Packet::udp(stage.at(thief), stage.at(from), fresh_port(), 7777, b"here I am");
    let macs = [stage.mac(from), stage.gateway_mac(thief)];
    stage.send(thief, from, &macs.map(|mac| Frame::ip(mac, stage.mac(to), &own)));
    let mark = mark();
    let sent = Packet::udp(stage.at(from), stage.at(to), fresh_port(), 53, &mark);
    let seen = stage.shows(from, thief, &[stage.frame(from, to, &sent)], &mark);
    // The other pod speaks, and is found again.
    let back = Packet::udp(stage.at(to), stage.at(from), fresh_port(), 7777, b"here I am");
    stage.send(to, from, &[stage.frame(to, from, &back)]);
    seen
}

#[test]
fn who_takes_anothers_hardware_address_does_not_hear_it() {
    carry_out(
        PLAIN,
        &[
            attack("switching: A takes B's hardware address, and hears C", ON_BRIDGES, |stage| {
                steals(stage, "n/a", "n/c", "n/b")
            }),
            attack("switching: C takes A's hardware address, and hears X", ON_BRIDGES, |stage| {
                steals(stage, "n/c", "n/x", "n/a")
            }),
        ],
    );
}
