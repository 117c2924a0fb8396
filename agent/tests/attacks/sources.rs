//! Source addresses that are not the sender's own (attack 4 of docs/semantics.md).

use std::net::{IpAddr, UdpSocket};

use palisade_compiler::model::Family;
use palisade_lab::frame::{Frame, ether_type};
use palisade_lab::packet::Packet;
use palisade_lab::{Layout, tool};

use crate::attack::{EVERYWHERE, OVER_V6, PLAIN, Place, Setting, apply, attack, carry_out};
use crate::lab::address;
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark, scene};

/// To be taken for a pod that is allowed.
#[test]
fn a_pod_that_sends_as_another_reaches_nobody() {
    carry_out(
        PLAIN,
        &[
            attack("sources: a datagram as a pod that may reach B", EVERYWHERE, |stage| {
                stage.datagram("n/a", stage.at("n/c"), "n/b", 53)
            }),
            attack("sources: a SYN as a pod that may reach B", EVERYWHERE, |stage| {
                stage.opening("n/a", stage.at("n/c"), "n/b", 80)
            })
            .control(|stage| stage.opening("n/c", stage.at("n/c"), "n/b", 80)),
        ],
    );
}

/// To leave one's own isolation behind.
#[test]
fn an_isolated_pod_that_sends_as_somebody_else_reaches_nobody() {
    carry_out(
        PLAIN,
        &[
            attack("sources: X as a pod that nothing isolates", EVERYWHERE, |stage| {
                stage.datagram("n/x", stage.at("n/a"), "n/c", 7777)
            }),
            attack("sources: X as an address that nobody has", EVERYWHERE, |stage| {
                stage.datagram("n/x", stage.nobody(), "n/c", 7777)
            }),
        ],
    );
}

/// IPv4 itself drops a packet that is routed and has an address of the host's as its source.
const BUT_ROUTED_V4: &[Place] =
    &[(Layout::Routed, Family::V6), (Layout::Bridged, Family::V4), (Layout::Bridged, Family::V6)];

/// The own node is always allowed.
#[test]
fn a_pod_that_sends_as_the_node_reaches_nobody() {
    carry_out(
        PLAIN,
        &[
            attack("sources: a datagram to B as the node", BUT_ROUTED_V4, |stage| {
                stage.datagram("n/a", stage.node(), "n/b", 7777)
            }),
            attack("sources: X as the node", BUT_ROUTED_V4, |stage| {
                stage.datagram("n/x", stage.node(), "n/c", 7777)
            }),
        ],
    );
}

/// An IPv4 address of another pod within an IPv6 one, which no table of IPv6 knows.
#[test]
fn an_ipv4_address_within_an_ipv6_one_is_nobodys() {
    carry_out(
        PLAIN,
        &[attack("sources: X as an IPv4 address within an IPv6 one", OVER_V6, |stage| {
            let mapped = stage.v4("n/a").to_ipv6_mapped();
            stage.datagram("n/x", mapped.into(), "n/c", 7777)
        })],
    );
}

/// A service of the node may trust a pod's address.
#[test]
fn the_node_hears_nobody_in_anothers_name() {
    fn heard(stage: &Stage<'_>, from: &str, source: IpAddr) -> bool {
        let mark = mark();
        let node = stage.node();
        let bind = || UdpSocket::bind((node, 0));
        let socket = stage.scene.lab.node().run(bind).expect("entered").expect("bound");
        socket.set_nonblocking(true).expect("set");
        let port = socket.local_addr().expect("bound").port();
        let packet = Packet::udp(source, stage.node(), fresh_port(), port, &mark);
        let frame = Frame::ip(stage.gateway_mac(from), stage.mac(from), &packet);
        stage.send(from, "n/c", &[frame]);
        let mut buffer = [0; 100];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count() > 0
    }
    carry_out(
        PLAIN,
        &[attack("sources: a datagram to the node as another pod", EVERYWHERE, |stage| {
            heard(stage, "n/a", stage.at("n/b"))
        })
        .control(|stage| heard(stage, "n/a", stage.at("n/a")))],
    );
}

/// To speak in the name of one who is connected, in the midst of the connection.
#[test]
fn nothing_is_injected_into_others_connections() {
    carry_out(
        PLAIN,
        &[attack(
            "sources: a datagram in the midst of another pod's connection",
            EVERYWHERE,
            |stage| {
                let (port, c) = (fresh_port(), stage.at("n/c"));
                let asked = stage.datagram_from(("n/c", c, port), "n/b", 53);
                let answered = stage.datagram_from(("n/b", stage.at("n/b"), 53), "n/c", port);
                assert!(asked && answered, "C may ask B");
                stage.datagram_from(("n/a", c, port), "n/b", 53)
            },
        )],
    );
}

/// By the gateway, which forwards, and in frames that are tagged.
#[test]
fn no_form_of_a_frame_hides_a_source() {
    fn by_the_gateway(
        stage: &Stage<'_>,
        (from, source, to): (&str, IpAddr, &str),
        tag: bool,
    ) -> bool {
        let mark = mark();
        let packet = Packet::udp(source, stage.at(to), fresh_port(), 53, &mark);
        let frame = Frame::ip(stage.gateway_mac(from), stage.mac(from), &packet);
        let frame = if tag { frame.with_tag(ether_type::VLAN, 0) } else { frame };
        stage.delivers(from, to, &[frame], &mark)
    }
    let own = |stage: &Stage<'_>| {
        by_the_gateway(stage, ("n/c", stage.at("n/c"), "n/b"), false) && stage.allowed_passes()
    };
    carry_out(
        PLAIN,
        &[
            attack("sources: as C to B, by the gateway", EVERYWHERE, |stage| {
                by_the_gateway(stage, ("n/a", stage.at("n/c"), "n/b"), false)
            })
            .control(own),
            attack("sources: as C to B, by the gateway, in a tagged frame", EVERYWHERE, |stage| {
                by_the_gateway(stage, ("n/a", stage.at("n/c"), "n/b"), true)
            })
            .control(own),
            attack("sources: X as A, by the gateway, in a tagged frame", EVERYWHERE, |stage| {
                by_the_gateway(stage, ("n/x", stage.at("n/a"), "n/c"), true)
            })
            .control(own),
            attack("sources: as C to B, in fragments", EVERYWHERE, |stage| {
                let mark = mark();
                let data = [&mark[..], &[7; 100]].concat();
                let (source, to) = (stage.at("n/c"), stage.at("n/b"));
                let packet = Packet::udp(source, to, fresh_port(), 53, &data);
                let parts = packet.fragments(64, fresh_port());
                let mac = stage.next_hop("n/a", "n/b");
                let frame = |part| Frame::of_bytes(mac, stage.mac("n/a"), part);
                let frames: Vec<Frame> = parts.into_iter().map(frame).collect();
                stage.delivers("n/a", "n/b", &frames, &mark)
            }),
        ],
    );
}

/// A pod that may configure its own interface (CAP_NET_ADMIN, which container runtimes do not grant) has another pod's address.
#[test]
fn who_gives_itself_anothers_address_is_not_believed() {
    fn take_address_of_c(scene: &Scene) {
        let a = &scene.lab.machines()[scene.number("n/a")];
        for address in &scene.lab.machines()[scene.number("n/c")].addresses {
            let (whole, family) = match address {
                IpAddr::V4(_) => (format!("{address}/32"), "-4"),
                IpAddr::V6(_) => (format!("{address}/128"), "-6"),
            };
            let mut add = vec![family, "address", "add", &whole, "dev", "eth0"];
            if family == "-6" {
                add.push("nodad");
            }
            a.namespace().run(|| tool::run("ip", &add, "")).expect("entered").expect("added");
        }
    }
    carry_out(
        Setting { prepare: take_address_of_c, ..PLAIN },
        &[attack("sources: an address of C's that A gives itself", EVERYWHERE, |stage| {
            stage.datagram("n/a", stage.at("n/c"), "n/b", 53)
        })],
    );
}

/// What the modes of the guard leave.
#[test]
fn a_guard_of_first_packets_stops_all_but_injection() {
    for &(layout, family) in EVERYWHERE {
        let scene = scene(layout);
        let stage = Stage::new(&scene, family);
        let what = format!("{layout:?} {family:?}");
        for mode in ["off", "first", "all"] {
            apply(&scene, mode);
            let is_off = mode == "off";
            let c = stage.at("n/c");
            assert_eq!(stage.datagram("n/a", c, "n/b", 53), is_off, "{what} {mode}");
            let as_nobody = stage.datagram("n/x", stage.nobody(), "n/c", 7777);
            assert_eq!(as_nobody, is_off, "{what} {mode}");
            let port = fresh_port();
            assert!(stage.datagram_from(("n/c", c, port), "n/b", 53), "{what} {mode}");
            let answer = stage.datagram_from(("n/b", stage.at("n/b"), 53), "n/c", port);
            assert!(answer, "{what} {mode}");
            let injected = stage.datagram_from(("n/a", c, port), "n/b", 53);
            // A bridge has no connection tracking, so every frame is looked at.
            let passes = is_off || (mode == "first" && layout == Layout::Routed);
            assert_eq!(injected, passes, "{what} {mode}");
            assert!(stage.allowed_passes(), "{what} {mode}");
            assert!(stage.own_datagram("n/a", "n/c", 7777), "{what} {mode}");
        }
    }
}

/// The reverse path filter of the kernel stays what it is, and nothing relies on it.
#[test]
fn no_reverse_path_filter_is_relied_upon() {
    for value in ["0", "2"] {
        let scene = scene(Layout::Routed);
        scene.lab.node().set("ipv4/conf/all/rp_filter", value).expect("set");
        let stage = Stage::new(&scene, Family::V4);
        assert!(stage.datagram("n/a", stage.at("n/c"), "n/b", 53), "without rules, {value}");
        apply(&scene, "all");
        assert!(!stage.datagram("n/a", stage.at("n/c"), "n/b", 53), "{value}");
        assert!(!stage.datagram("n/x", address("10.9.9.9"), "n/c", 7777), "{value}");
        assert!(stage.allowed_passes(), "{value}");
    }
}
