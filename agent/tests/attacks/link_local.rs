//! Neighbours and routers of IPv6 on a bridge, whose addresses policy does not know, and redirects (attacks 2, 5 and 13 of
//! docs/semantics.md).

use std::net::{IpAddr, Ipv6Addr};

use palisade_compiler::model::Family;
use palisade_lab::frame::{Frame, multicast_mac};
use palisade_lab::packet::{DESTINATION_OPTIONS, Packet, tcp_flags};

use crate::attack::{EVERYWHERE, ON_BRIDGES_V6, PLAIN, attack, carry_out};
use crate::cast::CAST;
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark};

const ROUTER_ADVERTISEMENT: u8 = 134;
const REDIRECT: u8 = 137;
const REDIRECT_V4: u8 = 5;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn by_link_local(stage: &Stage<'_>, from: &str, to: &str, by_tcp: bool) -> bool {
    let (source, target): (IpAddr, IpAddr) =
        (stage.link_local(from).into(), stage.link_local(to).into());
    let (port, mark) = (fresh_port(), mark());
    let packet = if by_tcp {
        Packet::segment(source, target, (port, 7777), tcp_flags::SYN, (1, 0), &[], &mark)
    } else {
        Packet::udp(source, target, port, 7777, &mark)
    };
    stage.delivers(from, to, &[stage.frame(from, to, &packet)], &mark)
}

/// Attack 2.
#[test]
fn link_local_neighbours_on_a_bridge_are_not_reached() {
    carry_out(
        PLAIN,
        &[
            attack("link-local: a datagram to B", ON_BRIDGES_V6, |stage| {
                by_link_local(stage, "n/a", "n/b", false)
            })
            .control(|stage| by_link_local(stage, "n/a", "n/c", false) && stage.allowed_passes()),
            attack("link-local: a SYN of X's to C", ON_BRIDGES_V6, |stage| {
                by_link_local(stage, "n/x", "n/c", true)
            })
            .control(|stage| by_link_local(stage, "n/a", "n/c", true) && stage.allowed_passes()),
            attack("link-local: from a link-local address to B's own", ON_BRIDGES_V6, |stage| {
                stage.datagram("n/a", stage.link_local("n/a").into(), "n/b", 53)
            }),
        ],
    );
}

/// Attack 2 in a cluster without IPv6: every interface has a link-local address.
#[test]
fn link_local_neighbours_are_not_reached_where_pods_have_ipv4_addresses_only() {
    let mut cast = CAST.to_owned();
    for n in 1..=4 {
        cast = cast.replace(&format!(r#", {{"ip": "fd00:1::{n}"}}"#), "");
    }
    let scene = Scene::new(palisade_lab::Layout::Bridged, &cast);
    let stage = Stage::new(&scene, Family::V4);
    assert!(by_link_local(&stage, "n/a", "n/b", false), "without rules");
    assert!(by_link_local(&stage, "n/x", "n/c", true), "without rules");
    scene.enforce();
    assert!(!by_link_local(&stage, "n/a", "n/b", false));
    assert!(!by_link_local(&stage, "n/x", "n/c", true));
    assert!(stage.allowed_passes());
}

/// Attack 5: a router advertisement (RFC 4861, 4.2) with a prefix whose addresses no policy knows.
fn advertise(stage: &Stage<'_>, from: &str, to: &str, address: IpAddr, source: IpAddr) -> bool {
    advertise_in(stage, (from, to), address, source, |packet| packet)
}

fn advertise_in(
    stage: &Stage<'_>,
    (from, to): (&str, &str),
    address: IpAddr,
    source: IpAddr,
    changed: fn(Packet) -> Packet,
) -> bool {
    let mark = mark();
    // Lifetimes, the option of a prefix (4.6.2), and one that nobody knows, with the mark.
    let mut rest = vec![64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    rest.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    rest.extend("fd00:bad::".parse::<Ipv6Addr>().expect("an address").octets());
    rest.extend([253, u8::try_from((2 + mark.len()).div_ceil(8)).expect("short")]);
    rest.extend(&mark);
    rest.resize((rest.len() + 4).next_multiple_of(8) - 4, 0);
    let packet = Packet::icmp(source, address, ROUTER_ADVERTISEMENT, 0, &rest).with_hops(255);
    let mac = if address.is_multicast() { multicast_mac(address) } else { stage.mac(to) };
    stage.delivers(from, to, &[Frame::ip(mac, stage.mac(from), &changed(packet))], &mark)
}

#[test]
fn a_rogue_router_advertisement_does_not_arrive() {
    carry_out(
        PLAIN,
        &[
            attack("routers: an advertisement to all nodes, of X's", ON_BRIDGES_V6, |stage| {
                advertise(stage, "n/x", "n/b", ALL_NODES.into(), stage.link_local("n/x").into())
            }),
            attack("routers: an advertisement to B alone, of A's", ON_BRIDGES_V6, |stage| {
                advertise(stage, "n/a", "n/b", stage.at("n/b"), stage.link_local("n/a").into())
            }),
            attack(
                "routers: an advertisement to all nodes, as the gateway",
                ON_BRIDGES_V6,
                |stage| {
                    let gateway = IpAddr::from(palisade_lab::GATEWAY_V6);
                    advertise(stage, "n/a", "n/b", ALL_NODES.into(), gateway)
                },
            ),
        ],
    );
}

/// The same to pods that no policy selects, and behind extension headers, which hide it from what looks at the first header alone.
#[test]
fn a_pod_is_no_router_for_any_other() {
    carry_out(
        PLAIN,
        &[
            attack(
                "routers: an advertisement to C, whom nothing isolates",
                ON_BRIDGES_V6,
                |stage| {
                    advertise(stage, "n/a", "n/c", stage.at("n/c"), stage.link_local("n/a").into())
                },
            ),
            attack(
                "routers: an advertisement behind a header of options",
                ON_BRIDGES_V6,
                |stage| {
                    let hidden = |packet: Packet| {
                        packet.with_extension(DESTINATION_OPTIONS, vec![1, 4, 0, 0, 0, 0])
                    };
                    let (from, to) = (stage.link_local("n/a").into(), stage.at("n/c"));
                    advertise_in(stage, ("n/a", "n/c"), to, from, hidden)
                },
            ),
        ],
    );
}

/// A redirect (RFC 792; RFC 4861, 4.5) that quotes a packet: the better way to its destination is by the attacker.
fn redirect(source: IpAddr, to: IpAddr, better: IpAddr, of: &Packet) -> Packet {
    let mut rest = Vec::new();
    match (better, of.to) {
        (IpAddr::V6(better), IpAddr::V6(destination)) => {
            rest.extend([0; 4]);
            rest.extend(better.octets());
            rest.extend(destination.octets());
            let mut quoted = of.bytes();
            quoted.resize(quoted.len().next_multiple_of(8), 0);
            // The option of the redirected header (4.6.3).
            rest.extend([4, u8::try_from(quoted.len() / 8 + 1).expect("short"), 0, 0, 0, 0, 0, 0]);
            rest.extend(quoted);
            Packet::icmp(source, to, REDIRECT, 0, &rest).with_hops(255)
        }
        (IpAddr::V4(better), _) => {
            rest.extend(better.octets());
            rest.extend(of.bytes());
            Packet::icmp(source, to, REDIRECT_V4, 1, &rest)
        }
        _ => panic!("addresses of both families"),
    }
}

/// B sends to C, which is tracked and allowed. Whether a redirect of the attacker's that quotes it comes to B.
fn redirects(stage: &Stage<'_>, attacker: &str, source: IpAddr, better: IpAddr) -> bool {
    let mark = mark();
    let sent = Packet::udp(stage.at("n/b"), stage.at("n/c"), fresh_port(), 7777, &mark);
    let frame = stage.frame("n/b", "n/c", &sent);
    assert!(stage.delivers("n/b", "n/c", &[frame], &mark), "B may send to C");
    let packet = redirect(source, stage.at("n/b"), better, &sent);
    stage.delivers(attacker, "n/b", &[stage.frame(attacker, "n/b", &packet)], &mark)
}

/// Attack 13: connection tracking calls it related.
#[test]
fn a_redirect_that_quotes_a_tracked_connection_does_not_arrive() {
    carry_out(
        PLAIN,
        &[
            attack("redirects: X's, from its link-local address", ON_BRIDGES_V6, |stage| {
                let own = IpAddr::from(stage.link_local("n/x"));
                redirects(stage, "n/x", own, own)
            }),
            attack("redirects: X's, as the gateway", ON_BRIDGES_V6, |stage| {
                let better = IpAddr::from(stage.link_local("n/x"));
                redirects(stage, "n/x", palisade_lab::GATEWAY_V6.into(), better)
            }),
            attack("redirects: of the pod that B speaks with", EVERYWHERE, |stage| {
                redirects(stage, "n/c", stage.at("n/c"), stage.at("n/c"))
            }),
        ],
    );
}
