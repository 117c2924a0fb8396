//! ICMP errors. Those of an allowed connection belong to it; a forged one quotes somebody else's, and carries data in what it quotes
//! (attack 10 of docs/semantics.md).

use std::net::IpAddr;

use palisade_compiler::model::{Connection, Family};
use palisade_lab::Transmission;
use palisade_lab::packet::{Arrival, ICMP, ICMPV6, Packet};

use crate::attack::{EVERYWHERE, PLAIN, attack, carry_out};
use crate::cast::{CAST, LAYOUTS_AND_FAMILIES};
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark};

/// Type and code of what says that a port is unreachable, and that a packet is too big.
fn kinds(family: Family) -> [(u8, u8); 2] {
    match family {
        Family::V4 => [(3, 3), (3, 4)],
        Family::V6 => [(1, 4), (2, 0)],
    }
}

/// An ICMP error that quotes a packet: unused or MTU, then the packet.
fn icmp_error(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), of: &Packet) -> Packet {
    let mut rest = 1300_u32.to_be_bytes().to_vec();
    rest.extend(of.bytes());
    Packet::icmp(from, to, kind, code, &rest)
}

/// `asker` sends to `asked`, and `teller` tells `asker` that it did not arrive, with data in what it quotes. Whether any of that comes.
fn told(stage: &Stage<'_>, asker: &str, asked: &str, teller: &str) -> bool {
    kinds(stage.family).into_iter().any(|kind| {
        let mark = mark();
        let ends = (stage.at(asker), stage.at(asked), fresh_port(), 7777);
        let packet = Packet::udp(ends.0, ends.1, ends.2, ends.3, &mark);
        let frame = stage.frame(asker, asked, &packet);
        assert!(stage.delivers(asker, asked, &[frame], &mark), "{asker} may ask {asked}");
        let quoted = Packet::udp(ends.0, ends.1, ends.2, ends.3, &[&mark[..], &[7; 300]].concat());
        let error = icmp_error(stage.at(teller), ends.0, kind, &quoted);
        stage.delivers(teller, asker, &[stage.frame(teller, asker, &error)], &mark)
    })
}

#[test]
fn an_error_about_others_flow_does_not_arrive() {
    carry_out(
        PLAIN,
        &[attack("errors: of X's, to C about what C sent to A", EVERYWHERE, |stage| {
            told(stage, "n/c", "n/a", "n/x")
        })
        .control(|stage| told(stage, "n/c", "n/x", "n/x") && stage.allowed_passes())],
    );
}

/// Who is not isolated carries data to a pod that is: routers on the way send errors about others' flows too.
#[test]
fn an_error_about_others_flow_arrives_at_an_isolated_pod() {
    carry_out(
        PLAIN,
        &[attack("errors: of A's, to B about what B sent to C", EVERYWHERE, |stage| {
            told(stage, "n/b", "n/c", "n/a")
        })
        .open()
        .control(|stage| told(stage, "n/b", "n/a", "n/a") && stage.allowed_passes())],
    );
}

/// An error whose quoted packet nobody sent.
#[test]
fn an_error_about_a_flow_that_never_was_does_not_arrive() {
    fn invented(stage: &Stage<'_>, teller: &str, to: &str, other: &str) -> bool {
        let mark = mark();
        let quoted = Packet::udp(stage.at(to), stage.at(other), fresh_port(), 7777, &mark);
        let error = icmp_error(stage.at(teller), stage.at(to), kinds(stage.family)[0], &quoted);
        stage.delivers(teller, to, &[stage.frame(teller, to, &error)], &mark)
    }
    carry_out(
        PLAIN,
        &[attack("errors: about a flow that never was", EVERYWHERE, |stage| {
            invented(stage, "n/x", "n/c", "n/x") || invented(stage, "n/a", "n/b", "n/a")
        })],
    );
}

#[test]
fn icmp_errors_of_allowed_flows_arrive_and_others_do_not() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let at = |name: &str| scene.address(name, family);
        let (icmp, unreachable, too_big) = match family {
            Family::V4 => (ICMP, (3, 3), (3, 4)),
            Family::V6 => (ICMPV6, (1, 4), (2, 0)),
        };
        let error = |from: &str, to: &str, (kind, code): (u8, u8), of: &Packet| {
            let packet = icmp_error(at(from), at(to), (kind, code), of);
            let arrivals = scene.arrivals(from, to, &[packet.bytes()]);
            arrivals.iter().any(|a| a.protocol == icmp && a.body.starts_with(&[kind, code]))
        };
        // B answers C, and hears of what becomes of its answer; B is isolated for what comes in.
        let asked = Packet::udp(at("n/c"), at("n/b"), 4000, 53, b"asked");
        assert!(scene.passes("n/c", "n/b", &asked), "{layout:?} {family:?}");
        let answer = Packet::udp(at("n/b"), at("n/c"), 53, 4000, b"answer");
        assert!(scene.passes("n/b", "n/c", &answer), "{layout:?} {family:?}");
        assert!(error("n/c", "n/b", unreachable, &answer), "{layout:?} {family:?}");
        assert!(error("n/c", "n/b", too_big, &answer), "{layout:?} {family:?}");
        // About a flow that never was, and with an echo request.
        let never = Packet::udp(at("n/b"), at("n/c"), 53, 4001, b"never");
        assert!(!error("n/c", "n/b", unreachable, &never), "{layout:?} {family:?}");
        assert!(!error("n/c", "n/b", too_big, &never), "{layout:?} {family:?}");
        let (from, to) = (at("n/c"), at("n/b"));
        let echo = Packet::first(&Connection { from, to, protocol: icmp, port: 0 }, 4000, 1);
        assert!(!scene.passes("n/c", "n/b", &echo), "{layout:?} {family:?}");
    }
}

/// The kernel of A itself says that nobody listens there.
#[test]
fn an_isolated_pod_hears_that_a_port_is_closed() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let at = |name: &str| scene.address(name, family);
        let (x, a) = (scene.number("n/x"), scene.number("n/a"));
        let ask = Packet::udp(at("n/x"), at("n/a"), 4000, 53, b"anybody?").bytes();
        let shot = Transmission { from: x, to: a, packet: ask };
        let closed = if family == Family::V4 { (ICMP, [3, 3]) } else { (ICMPV6, [1, 4]) };
        let heard = |a: &Arrival| a.protocol == closed.0 && a.body.starts_with(&closed.1);
        // The answer is under way longer than the marker that ends a round.
        let answered = (0..20).any(|_| {
            let arrivals = scene.lab.exchange(std::slice::from_ref(&shot)).expect("exchanged");
            arrivals[x].iter().any(heard)
        });
        assert!(answered, "{layout:?} {family:?}");
    }
}
