//! What a pod says of neighbours' addresses: whoever is believed to have another pod's address, or the gateway's, gets what is sent to it.

use std::net::{Ipv4Addr, Ipv6Addr};

use palisade_lab::frame::{BROADCAST, Frame, Mac, arp, multicast_mac, nd, neighbour_message};
use palisade_lab::{GATEWAY_V4, GATEWAY_V6, tool};

use crate::attack::{ON_BRIDGES_V4, ON_BRIDGES_V6, PLAIN, Setting, attack, carry_out};
use crate::scene::Scene;
use crate::stage::{Stage, mark};

/// Whether A's ARP message about an address comes to B, in a frame to `mac`.
fn claims(stage: &Stage<'_>, operation: u16, address: Ipv4Addr, mac: Mac) -> bool {
    let mark = short_mark();
    let own = stage.mac("n/a");
    let target = (stage.mac("n/b"), stage.v4("n/b"));
    let frame = Frame::arp(mac, own, operation, (own, address), target).with_trailer(&mark);
    stage.delivers("n/a", "n/b", &[frame], &mark)
}

/// A mark that fits into the padding of an ARP message, which fills a frame of the least size up (46 bytes).
fn short_mark() -> Vec<u8> {
    mark()[..13].to_vec()
}

/// ARP between neighbours works.
fn arp_passes(stage: &Stage<'_>) -> bool {
    let own = stage.v4("n/a");
    claims(stage, arp::REQUEST, own, BROADCAST)
        && claims(stage, arp::REPLY, own, stage.mac("n/b"))
        && stage.allowed_passes()
}

#[test]
fn nobody_is_believed_to_have_anothers_ipv4_address() {
    carry_out(
        PLAIN,
        &[
            attack(
                "neighbours: an ARP reply of A's about C's address, to B",
                ON_BRIDGES_V4,
                |stage| claims(stage, arp::REPLY, stage.v4("n/c"), stage.mac("n/b")),
            )
            .control(arp_passes),
            attack(
                "neighbours: an ARP reply of A's about the gateway's address, to B",
                ON_BRIDGES_V4,
                |stage| claims(stage, arp::REPLY, GATEWAY_V4, stage.mac("n/b")),
            )
            .control(arp_passes),
            attack(
                "neighbours: an ARP request to all with C's address as its own",
                ON_BRIDGES_V4,
                |stage| claims(stage, arp::REQUEST, stage.v4("n/c"), BROADCAST),
            )
            .control(arp_passes),
        ],
    );
}

/// Whether a message of neighbour discovery of A's, from `from` and about `target`, comes to B. It is as long as such messages are, and
/// recognised by what it says.
fn tells(stage: &Stage<'_>, from: Ipv6Addr, to: Ipv6Addr, kind: u8, target: Ipv6Addr) -> bool {
    let own = stage.mac("n/a");
    let packet = neighbour_message((from, to), kind, target, own, &[]);
    // Behind the header, type, code and checksum.
    let said = packet.bytes().split_off(44);
    let mac = if to.is_multicast() { multicast_mac(to.into()) } else { stage.mac("n/b") };
    stage.delivers("n/a", "n/b", &[Frame::ip(mac, own, &packet)], &said)
}

/// Neighbour discovery works.
fn discovery_passes(stage: &Stage<'_>) -> bool {
    let (a, b) = (stage.v6("n/a"), stage.v6("n/b"));
    tells(stage, a, b, nd::ADVERTISEMENT, a)
        && tells(stage, a, solicited(b), nd::SOLICITATION, b)
        && stage.allowed_passes()
}

/// The group of all who have an address with the same last 24 bits (RFC 4291, 2.7.1).
pub(crate) fn solicited(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

#[test]
fn nobody_is_believed_to_have_anothers_ipv6_address() {
    carry_out(
        PLAIN,
        &[
            attack(
                "neighbours: an advertisement of A's about C's address, to B",
                ON_BRIDGES_V6,
                |stage| {
                    let (own, c) = (stage.v6("n/a"), stage.v6("n/c"));
                    tells(stage, own, stage.v6("n/b"), nd::ADVERTISEMENT, c)
                },
            )
            .control(discovery_passes),
            attack(
                "neighbours: an advertisement as C about C's address, to B",
                ON_BRIDGES_V6,
                |stage| {
                    let c = stage.v6("n/c");
                    tells(stage, c, stage.v6("n/b"), nd::ADVERTISEMENT, c)
                },
            )
            .control(discovery_passes),
            attack(
                "neighbours: an advertisement about the gateway's address, to B",
                ON_BRIDGES_V6,
                |stage| {
                    let own = stage.link_local("n/a");
                    tells(stage, own, stage.v6("n/b"), nd::ADVERTISEMENT, GATEWAY_V6)
                },
            )
            .control(discovery_passes),
            attack(
                "neighbours: a solicitation as C with A's hardware address, to B",
                ON_BRIDGES_V6,
                |stage| {
                    let b = stage.v6("n/b");
                    tells(stage, stage.v6("n/c"), solicited(b), nd::SOLICITATION, b)
                },
            )
            .control(discovery_passes),
        ],
    );
}

/// What the node believes of neighbours decides where it sends what it forwards. It forgets what the lab told it of C, and believes the last who speaks.
fn believe_anybody(scene: &Scene) {
    for family in ["ipv4", "ipv6"] {
        scene.lab.node().set(&format!("{family}/neigh/br0/locktime"), "0").expect("set");
    }
}

/// Whether the node takes A for C after a frame of A's.
fn node_believes(stage: &Stage<'_>, frame: &Frame) -> bool {
    let c = stage.at("n/c").to_string();
    let text = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
    let known = text(stage.mac("n/c"));
    let ip = |arguments: &[&str]| {
        stage
            .scene
            .lab
            .node()
            .run(|| tool::run("ip", arguments, ""))
            .expect("entered")
            .expect("done")
    };
    ip(&["neigh", "replace", &c, "lladdr", &known, "dev", "br0", "nud", "reachable"]);
    stage.send("n/a", "n/c", std::slice::from_ref(frame));
    let believed = ip(&["neigh", "show", &c, "dev", "br0"]).contains(&text(stage.mac("n/a")));
    ip(&["neigh", "replace", &c, "lladdr", &known, "dev", "br0", "nud", "permanent"]);
    believed
}

#[test]
fn the_node_believes_nobody_to_have_anothers_address() {
    carry_out(
        Setting { prepare: believe_anybody, ..PLAIN },
        &[
            attack(
                "neighbours: an ARP reply of A's about C's address, to the node",
                ON_BRIDGES_V4,
                |stage| {
                    let own = stage.mac("n/a");
                    let node = stage.gateway_mac("n/a");
                    let claim = (own, stage.v4("n/c"));
                    node_believes(
                        stage,
                        &Frame::arp(node, own, arp::REPLY, claim, (node, GATEWAY_V4)),
                    )
                },
            ),
            attack(
                "neighbours: an advertisement of A's about C's address, to the node",
                ON_BRIDGES_V6,
                |stage| {
                    let (own, c) = (stage.mac("n/a"), stage.v6("n/c"));
                    let ends = (stage.v6("n/a"), GATEWAY_V6);
                    let packet = neighbour_message(ends, nd::ADVERTISEMENT, c, own, &[]);
                    node_believes(stage, &Frame::ip(stage.gateway_mac("n/a"), own, &packet))
                },
            ),
        ],
    );
}
