//! Neighbour discovery and ARP as carriers: they must pass between neighbours, and have room for data.

use std::net::IpAddr;
use std::time::Duration;

use palisade_compiler::model::Family;
use palisade_lab::frame::{Frame, arp, nd, neighbour_message};
use palisade_lab::packet::{DESTINATION_OPTIONS, Packet};
use palisade_lab::{Conversation, LabSpec, Layout};

use crate::attack::{ON_BRIDGES_V4, ON_BRIDGES_V6, PLAIN, Place, attack, carry_out};
use crate::cast::CAST;
use crate::scene::Scene;
use crate::stage::{Stage, mark};

const PAIRS: [(&str, &str); 2] = [("n/a", "n/b"), ("n/x", "n/c")];
const KINDS: [u8; 2] = [nd::SOLICITATION, nd::ADVERTISEMENT];

/// Data in an option that nobody knows, some 800 bytes of it.
fn load() -> (Vec<u8>, Vec<u8>) {
    let mark = mark();
    let mut option = vec![253, 100];
    option.extend(&mark);
    option.resize(800, 7);
    (option, mark)
}

fn carried(stage: &Stage<'_>, changed: fn(Packet) -> Packet) -> bool {
    PAIRS.iter().any(|(from, to)| {
        KINDS.iter().any(|&kind| {
            let (source, target) = (stage.v6(from), stage.v6(to));
            let about = if kind == nd::SOLICITATION { target } else { source };
            let (option, mark) = load();
            let packet = neighbour_message((source, target), kind, about, stage.mac(from), &option);
            stage.delivers(from, to, &[stage.frame(from, to, &changed(packet))], &mark)
        })
    })
}

#[test]
fn neighbour_discovery_carries_no_data() {
    carry_out(
        PLAIN,
        &[
            attack("discovery: 800 bytes in a message to a neighbour", ON_BRIDGES_V6, |stage| {
                carried(stage, |packet| packet)
            }),
            attack("discovery: the same with another hop limit", ON_BRIDGES_V6, |stage| {
                carried(stage, |packet| packet.with_hops(64))
            }),
            attack("discovery: the same behind an extension header", ON_BRIDGES_V6, |stage| {
                carried(stage, |packet| {
                    packet.with_extension(DESTINATION_OPTIONS, vec![1, 4, 0, 0, 0, 0])
                })
            }),
            attack("discovery: the same in fragments", ON_BRIDGES_V6, |stage| {
                PAIRS.iter().any(|(from, to)| {
                    let (option, mark) = load();
                    let source = stage.v6(from);
                    let ends = (source, stage.v6(to));
                    let packet = neighbour_message(
                        ends,
                        nd::ADVERTISEMENT,
                        source,
                        stage.mac(from),
                        &option,
                    );
                    let parts = packet.fragments(400, crate::stage::fresh_port());
                    let frame =
                        |part| Frame::of_bytes(stage.next_hop(from, to), stage.mac(from), part);
                    let frames: Vec<Frame> = parts.into_iter().map(frame).collect();
                    stage.delivers(from, to, &frames, &mark)
                })
            }),
        ],
    );
}

/// A router passes on what carries the type of neighbour discovery, with data of the sender's choice.
#[test]
fn neighbour_discovery_carries_nothing_across_a_router() {
    const ROUTED: &[Place] = &[(Layout::Routed, Family::V6)];
    carry_out(
        PLAIN,
        &[attack("discovery: a message across the node", ROUTED, |stage| {
            carried(stage, |packet| packet)
        })],
    );
}

/// What follows an ARP message in its frame is padding, for which a frame has more room than for IPv4's least.
#[test]
fn arp_carries_no_data() {
    carry_out(
        PLAIN,
        &[attack("discovery: 800 bytes behind an ARP message", ON_BRIDGES_V4, |stage| {
            PAIRS.iter().any(|(from, to)| {
                let (load, mark) = load();
                let own = (stage.mac(from), stage.v4(from));
                let target = (stage.mac(to), stage.v4(to));
                let frame = Frame::arp(target.0, own.0, arp::REPLY, own, target);
                stage.delivers(from, to, &[frame.with_trailer(&load)], &mark)
            })
        })],
    );
}

/// What is legitimate: neighbours find each other, isolated or not.
#[test]
fn neighbours_on_a_bridge_are_found_between_isolated_pods() {
    for family in Family::ALL {
        let scene = Scene::with(CAST, |pods| LabSpec {
            discover_neighbours: true,
            ..LabSpec::new(Layout::Bridged, pods)
        });
        scene.enforce();
        let at = |name: &str| -> IpAddr { scene.address(name, family) };
        for (from, to, expected) in
            [("n/c", "n/b", true), ("n/x", "n/a", true), ("n/a", "n/b", false)]
        {
            // The first packets wait for the neighbour to be found.
            let answered = (0..50).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                scene.lab.connect_tcp(at(from), at(to), 80).expect("tried")
                    == Conversation::Answered
            });
            assert_eq!(answered, expected, "{family:?} {from} -> {to}");
        }
    }
}
