//! The cluster's own encapsulation, sent by a pod (attack 6 of docs/semantics.md): the node would take what is inside for a packet that
//! another node sends, with any source.

use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_lab::frame::{Frame, Mac};
use palisade_lab::packet::{GRE, Packet};
use palisade_lab::tool;

use crate::attack::{EVERYWHERE, PLAIN, Setting, attack, carry_out};
use crate::lab::nft;
use crate::scene::Scene;
use crate::stage::{NODE, Stage, fresh_port, mark};

const IPIP: u8 = 4;
const IPV6: u8 = 41;
/// VXLAN by its registered port and by that of Linux, and Geneve.
const PORTS: [u16; 3] = [4789, 8472, 6081];

/// Counts what the node itself takes of encapsulated packets, after all other rules.
fn count(scene: &Scene) {
    let ports = PORTS.map(|port| port.to_string()).join(", ");
    nft(
        scene.lab.node(),
        &format!(
            "table inet seen {{\n\
             counter taken {{ }}\n\
             chain input {{ type filter hook input priority 300\n\
             meta l4proto {{ {IPIP}, {IPV6}, {GRE} }} counter name taken\n\
             udp dport {{ {ports}, 9999 }} counter name taken\n}}\n}}"
        ),
    );
}

fn taken(stage: &Stage<'_>) -> u64 {
    let listing = nft(stage.scene.lab.node(), "list counter inet seen taken");
    let number = listing.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    number.expect("a count").parse().expect("a number")
}

/// What would be inside: C's question to B.
fn inner(stage: &Stage<'_>, family: Family, mark: &[u8]) -> Vec<u8> {
    let [from, to] = ["n/c", "n/b"].map(|pod| stage.scene.address(pod, family));
    Packet::udp(from, to, fresh_port(), 53, mark).bytes()
}

/// A packet of a protocol for tunnels, or a datagram to a port of one.
#[derive(Debug, Clone, Copy)]
enum Outer {
    Protocol(u8),
    Port(u16),
}

fn encapsulated(stage: &Stage<'_>, outer: Outer, from: IpAddr, to: IpAddr, mark: &[u8]) -> Packet {
    match outer {
        Outer::Protocol(IPIP) => Packet::new(from, to, IPIP, inner(stage, Family::V4, mark)),
        Outer::Protocol(IPV6) => Packet::new(from, to, IPV6, inner(stage, Family::V6, mark)),
        Outer::Protocol(protocol) => {
            let body = [&[0, 0, 8, 0], &inner(stage, Family::V4, mark)[..]].concat();
            Packet::new(from, to, protocol, body)
        }
        Outer::Port(port) => Packet::udp(from, to, fresh_port(), port, mark),
    }
}

fn send_to_node(stage: &Stage<'_>, from: &str, outer: Outer) -> bool {
    let before = taken(stage);
    let packet = encapsulated(stage, outer, stage.at_or_other_node(from), stage.node(), &mark());
    let frame = Frame::ip(stage.gateway_mac(from), stage.mac(from), &packet);
    stage.send(from, "n/c", &[frame]);
    taken(stage) > before
}

/// Another node's tunnels work, and pods reach the node.
fn node_is_reached(stage: &Stage<'_>) -> bool {
    let others = PORTS.map(Outer::Port).into_iter().chain([Outer::Protocol(GRE)]);
    others.into_iter().all(|outer| send_to_node(stage, "outside", outer))
        && send_to_node(stage, "n/a", Outer::Port(9999))
        && stage.allowed_passes()
}

const OUTERS: [(&str, &str, Outer); 6] = [
    ("tunnels: IPIP to the node", "tunnels: IPIP to another node", Outer::Protocol(IPIP)),
    (
        "tunnels: IPv6 within IP to the node",
        "tunnels: IPv6 within IP to another node",
        Outer::Protocol(IPV6),
    ),
    ("tunnels: GRE to the node", "tunnels: GRE to another node", Outer::Protocol(GRE)),
    (
        "tunnels: VXLAN (4789) to the node",
        "tunnels: VXLAN (4789) to another node",
        Outer::Port(PORTS[0]),
    ),
    (
        "tunnels: VXLAN (8472) to the node",
        "tunnels: VXLAN (8472) to another node",
        Outer::Port(PORTS[1]),
    ),
    ("tunnels: Geneve to the node", "tunnels: Geneve to another node", Outer::Port(PORTS[2])),
];

#[test]
fn no_pod_sends_the_encapsulation_of_the_cluster_to_its_node() {
    let attacks = OUTERS.map(|(what, _, outer)| {
        let succeeds = move |stage: &Stage<'_>| {
            ["n/a", "n/x"].iter().any(|from| send_to_node(stage, from, outer))
        };
        attack(what, EVERYWHERE, succeeds).control(node_is_reached)
    });
    carry_out(Setting { prepare: count, ..PLAIN }, &attacks);
}

#[test]
fn no_pod_sends_the_encapsulation_of_the_cluster_to_another_node() {
    fn to_outside(stage: &Stage<'_>, outer: Outer) -> bool {
        let mark = mark();
        let packet = encapsulated(stage, outer, stage.at("n/a"), stage.other_node(), &mark);
        stage.delivers("n/a", "outside", &[stage.frame("n/a", "outside", &packet)], &mark)
    }
    let attacks = OUTERS.map(|(_, what, outer)| {
        attack(what, EVERYWHERE, move |stage| to_outside(stage, outer))
            .control(|stage| to_outside(stage, Outer::Port(9999)) && stage.allowed_passes())
    });
    carry_out(PLAIN, &attacks);
}

const TUNNEL_MAC: Mac = [2, 0, 0, 0, 9, 9];
/// A port that only the node's device tells.
const TUNNEL_PORT: u16 = 4444;

/// Devices of VXLAN in the node, over either family.
fn tunnel(scene: &Scene) {
    let mac = TUNNEL_MAC.map(|byte| format!("{byte:02x}")).join(":");
    for (number, address) in NODE.iter().enumerate() {
        let add = format!(
            "link add vxlan{number} address {mac} type vxlan id {number} dstport {TUNNEL_PORT} local {address} nolearning"
        );
        for line in [add, format!("link set vxlan{number} up")] {
            let arguments: Vec<&str> = line.split(' ').collect();
            let run = || tool::run("ip", &arguments, "");
            scene.lab.node().run(run).expect("entered").expect("done");
        }
    }
}

/// Whether what is within A's VXLAN comes to B: the node takes it out and forwards it as C's.
#[test]
fn what_a_pod_encapsulates_is_not_taken_out() {
    carry_out(
        Setting { prepare: tunnel, ..PLAIN },
        &[attack(
            "tunnels: a packet as C to B within VXLAN of the node's own port",
            EVERYWHERE,
            |stage| {
                let mark = mark();
                let (family, number) = match stage.family {
                    Family::V4 => (Family::V4, 0),
                    Family::V6 => (Family::V6, 1),
                };
                let within =
                    Frame::of_bytes(TUNNEL_MAC, [2, 0, 0, 0, 9, 8], inner(stage, family, &mark));
                // The flag of a valid network identifier, and the identifier (RFC 7348, 5).
                let payload = [&[8, 0, 0, 0, 0, 0, number, 0][..], &within.bytes()].concat();
                let (from, to) = (stage.at("n/a"), stage.node());
                let packet = Packet::udp(from, to, fresh_port(), TUNNEL_PORT, &payload);
                let frame = Frame::ip(stage.gateway_mac("n/a"), stage.mac("n/a"), &packet);
                stage.delivers("n/a", "n/b", &[frame], &mark)
            },
        )],
    );
}
