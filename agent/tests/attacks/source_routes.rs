//! Packets that name the way they take. The kernel follows none of them unless the host turns that on; here it is on.

use std::net::Ipv4Addr;

use palisade_lab::frame::Frame;
use palisade_lab::packet::Packet;

use crate::attack::{OVER_V4, OVER_V6, PLAIN, Setting, attack, carry_out};
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark};

fn accept_source_routes(scene: &Scene) {
    for conf in ["ipv4/conf/all", "ipv4/conf/default"] {
        scene.lab.node().set(&format!("{conf}/accept_source_route"), "1").expect("set");
    }
}

const LOOSE: u8 = 131;
const STRICT: u8 = 137;

/// A datagram to the node, with the option that it goes on to another pod from there (RFC 791, 3.1). The tables of IP see it with the node's
/// address as its destination.
fn by_the_node(stage: &Stage<'_>, from: &str, to: &str, option: u8) -> bool {
    let mark = mark();
    let next: Ipv4Addr = stage.v4(to);
    // Type, length, where the next address is, that address; padding.
    let options = [&[option, 7, 4][..], &next.octets(), &[0]].concat();
    let packet = Packet::udp(stage.at(from), stage.node(), fresh_port(), 7777, &mark);
    let frame = Frame::ip(stage.gateway_mac(from), stage.mac(from), &packet.with_options(options));
    stage.delivers(from, to, &[frame], &mark)
}

#[test]
fn a_source_route_leads_to_an_isolated_pod_where_the_node_takes_it() {
    carry_out(
        Setting { prepare: accept_source_routes, ..PLAIN },
        &[attack("source routes: A to B by the node", OVER_V4, |stage| {
            by_the_node(stage, "n/a", "n/b", LOOSE)
        })
        .open()],
    );
}

#[test]
fn a_source_route_leads_no_isolated_pod_elsewhere() {
    carry_out(
        Setting { prepare: accept_source_routes, ..PLAIN },
        &[attack("source routes: X to C by the node, strictly", OVER_V4, |stage| {
            by_the_node(stage, "n/x", "n/c", STRICT)
        })],
    );
}

fn accept_segments(scene: &Scene) {
    for conf in ["ipv6/conf/all", "ipv6/conf/default"] {
        scene.lab.node().set(&format!("{conf}/seg6_enabled"), "1").expect("set");
    }
    for (number, _) in scene.lab.machines().iter().enumerate() {
        let name = format!("ipv6/conf/veth{number}/seg6_enabled");
        scene.lab.node().set(&name, "1").expect("set");
    }
    if scene.lab.layout() == palisade_lab::Layout::Bridged {
        scene.lab.node().set("ipv6/conf/br0/seg6_enabled", "1").expect("set");
    }
}

/// Segment routing (RFC 8754): the node replaces the destination by the next segment.
#[test]
fn segment_routing_leads_nobody_past_his_policy() {
    fn by_segments(stage: &Stage<'_>, from: &str, to: &str) -> bool {
        const ROUTING: u8 = 43;
        const SEGMENT_ROUTING: u8 = 4;
        let mark = mark();
        let (std::net::IpAddr::V6(node), last) = (stage.node(), stage.v6(to)) else {
            panic!("over IPv6");
        };
        // Segments left, the last one's number, flags and a tag; the list begins with the last segment.
        let mut rest = vec![SEGMENT_ROUTING, 1, 1, 0, 0, 0];
        rest.extend(last.octets());
        rest.extend(node.octets());
        let packet = Packet::udp(stage.at(from), node.into(), fresh_port(), 7777, &mark)
            .with_extension(ROUTING, rest);
        let frame = Frame::ip(stage.gateway_mac(from), stage.mac(from), &packet);
        stage.delivers(from, to, &[frame], &mark)
    }
    carry_out(
        Setting { prepare: accept_segments, ..PLAIN },
        &[attack("source routes: by segments, by the node", OVER_V6, |stage| {
            by_segments(stage, "n/a", "n/b") || by_segments(stage, "n/x", "n/c")
        })],
    );
}
