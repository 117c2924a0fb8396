//! The cluster's own encapsulation, sent by a pod (attack 6 of docs/semantics.md): the node would take what is inside for a packet that
//! another node sends, with any source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::model::Family;
use palisade_lab::frame::{Frame, Mac, ether_type, multicast_mac};
use palisade_lab::packet::{DESTINATION_OPTIONS, GRE, Packet};
use palisade_lab::{GATEWAY_V4, GATEWAY_V6, tool};

use crate::attack::{EVERYWHERE, OVER_V6, PLAIN, Setting, attack, carry_out};
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

/// The kernel's VXLAN takes what comes to its port at any of the node's addresses, and at a group that all hosts are in.
#[derive(Debug, Clone, Copy)]
enum To {
    Node,
    Gateway,
    AllHosts,
    /// All hosts of the link; over IPv6 the same as the group.
    Broadcast,
}

impl To {
    fn address(self, stage: &Stage<'_>) -> IpAddr {
        match (self, stage.family) {
            (Self::Node, _) => stage.node(),
            (Self::Gateway, Family::V4) => GATEWAY_V4.into(),
            (Self::Gateway, Family::V6) => GATEWAY_V6.into(),
            (Self::Broadcast, Family::V4) => Ipv4Addr::BROADCAST.into(),
            (_, Family::V4) => Ipv4Addr::new(224, 0, 0, 1).into(),
            (_, Family::V6) => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
        }
    }
}

/// A's VXLAN, with C's question to B inside, and that question's mark.
fn vxlan(stage: &Stage<'_>, to: To) -> (Packet, Vec<u8>) {
    let mark = mark();
    let number = u8::from(stage.family == Family::V6);
    let question = inner(stage, stage.family, &mark);
    let within = Frame::of_bytes(TUNNEL_MAC, [2, 0, 0, 0, 9, 8], question);
    // The flag of a valid network identifier, and the identifier (RFC 7348, 5).
    let payload = [&[8, 0, 0, 0, 0, 0, number, 0][..], &within.bytes()].concat();
    let to = to.address(stage);
    (Packet::udp(stage.at("n/a"), to, fresh_port(), TUNNEL_PORT, &payload), mark)
}

/// Whether what is within comes to B, if these are the packets that A sends to the node.
fn taken_out(
    stage: &Stage<'_>,
    to: To,
    packets: impl Fn(Packet) -> Vec<Vec<u8>>,
    changed: impl Fn(Frame) -> Frame,
) -> bool {
    let (packet, mark) = vxlan(stage, to);
    let is_group = packet.to.is_multicast() || packet.to == IpAddr::from(Ipv4Addr::BROADCAST);
    let mac = if is_group { multicast_mac(packet.to) } else { stage.gateway_mac("n/a") };
    let frame = |bytes| changed(Frame::of_bytes(mac, stage.mac("n/a"), bytes));
    let frames: Vec<Frame> = packets(packet).into_iter().map(frame).collect();
    stage.delivers("n/a", "n/b", &frames, &mark)
}

/// The node would take out what is inside and forward it as C's.
#[test]
fn what_a_pod_encapsulates_is_not_taken_out() {
    let whole = |packet: Packet| vec![packet.bytes()];
    let plain = |frame: Frame| frame;
    let to = |what, to| attack(what, EVERYWHERE, move |stage| taken_out(stage, to, whole, plain));
    carry_out(
        Setting { prepare: tunnel, ..PLAIN },
        &[
            to("tunnels: within VXLAN of the node's own port, as C to B", To::Node),
            to("tunnels: the same, to the gateway's address", To::Gateway),
            attack("tunnels: the same, in fragments", EVERYWHERE, move |stage| {
                let parts = |packet: Packet| packet.fragments(24, fresh_port());
                taken_out(stage, To::Node, parts, plain)
            }),
            attack("tunnels: the same, behind an extension header", OVER_V6, move |stage| {
                let hidden = |packet: Packet| {
                    let options = vec![1, 4, 0, 0, 0, 0];
                    vec![packet.with_extension(DESTINATION_OPTIONS, options).bytes()]
                };
                taken_out(stage, To::Node, hidden, plain)
            }),
            attack("tunnels: the same, in a frame with a tag", EVERYWHERE, move |stage| {
                let tagged = |frame: Frame| frame.with_tag(ether_type::VLAN, 0);
                taken_out(stage, To::Node, whole, tagged)
            }),
        ],
    );
}

/// The kernel's VXLAN takes what comes to its port in a group that all hosts are in, too.
#[test]
fn what_a_pod_encapsulates_to_all_hosts_is_not_taken_out() {
    let to = |what, to| {
        let whole = |packet: Packet| vec![packet.bytes()];
        attack(what, EVERYWHERE, move |stage| taken_out(stage, to, whole, |frame| frame))
    };
    carry_out(
        Setting { prepare: tunnel, ..PLAIN },
        &[
            to("tunnels: the same, to the group of all hosts", To::AllHosts),
            to("tunnels: the same, to all hosts of the link", To::Broadcast),
        ],
    );
}
