//! The forms that a packet may take without a change of its verdict: fragments, extension headers, service classes.

use palisade_compiler::model::Family;
use palisade_lab::Layout;
use palisade_lab::frame::Frame;
use palisade_lab::packet::{DESTINATION_OPTIONS, HOP_BY_HOP, Packet, UDP, tcp_flags};

use crate::attack::{EVERYWHERE, PLAIN, attack, carry_out};
use crate::cast::{CAST, LAYOUTS_AND_FAMILIES};
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark};

/// Whether the parts of a datagram of C's, which may ask B on port 53 alone, come to B. The first part has the port, and another one
/// says something else about it where it overlaps.
fn overlapped(stage: &Stage<'_>, overlap: bool) -> bool {
    let mark = mark();
    let [c, b] = ["n/c", "n/b"].map(|pod| stage.at(pod));
    let (port, id) = (fresh_port(), fresh_port());
    let allowed = Packet::udp(c, b, port, 53, &[&mark[..], &[7; 60]].concat());
    let denied = Packet::udp(c, b, port, 54, &[&mark[..], &[7; 60]].concat());
    let mut parts = allowed.fragments(40, id);
    if overlap {
        // All of the packet but its end, after its first part.
        parts.insert(1, denied.fragments(64, id).swap_remove(0));
    }
    let frame = |part| Frame::of_bytes(stage.next_hop("n/c", "n/b"), stage.mac("n/c"), part);
    let frames: Vec<Frame> = parts.into_iter().map(frame).collect();
    stage.delivers("n/c", "n/b", &frames, &mark)
}

#[test]
fn fragments_that_overlap_do_not_arrive() {
    carry_out(
        PLAIN,
        &[attack("forms: a fragment that lays another port over the first", EVERYWHERE, |stage| {
            overlapped(stage, true)
        })
        .control(|stage| overlapped(stage, false))],
    );
}

#[test]
fn fragments_are_judged_by_their_whole() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let at = |name: &str| scene.address(name, family);
        let mut id = 0;
        let mut passes = |from, to, port| {
            id += 1;
            let packet = Packet::udp(at(from), at(to), 4000 + id, port, &[7; 100]);
            // A first part that ends with the ports.
            let arrivals = scene.arrivals(from, to, &packet.fragments(8, id));
            arrivals.iter().any(|a| a.protocol == UDP && a.port == port)
        };
        for (from, to, port, expected) in [
            ("n/c", "n/b", 53, true),
            ("n/c", "n/b", 54, false),
            ("n/a", "n/b", 53, false),
            ("n/x", "n/a", 53, true),
            ("n/x", "n/a", 54, false),
            ("n/a", "n/c", 54, true),
        ] {
            let what = format!("{layout:?} {family:?} {from} -> {to} {port}");
            assert_eq!(passes(from, to, port), expected, "{what}");
        }
    }
}

#[test]
fn extension_headers_hide_no_port() {
    for layout in Layout::ALL {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let at = |name: &str| scene.address(name, Family::V6);
        let pad = |length: u8| {
            let mut rest = vec![1, length - 4];
            rest.resize(usize::from(length) - 2, 0);
            rest
        };
        let headers = [
            vec![(HOP_BY_HOP, pad(8))],
            vec![(DESTINATION_OPTIONS, pad(24))],
            vec![(HOP_BY_HOP, pad(8)), (DESTINATION_OPTIONS, pad(24))],
        ];
        for (n, headers) in headers.into_iter().enumerate() {
            for (from, to, port, expected) in [
                ("n/c", "n/b", 53, true),
                ("n/c", "n/b", 80, true),
                ("n/c", "n/b", 54, false),
                ("n/x", "n/c", 53, false),
            ] {
                let source = 4000 + n as u16;
                let udp = Packet::udp(at(from), at(to), source, port, b"hidden");
                let tcp = Packet::tcp(at(from), at(to), (source, port), tcp_flags::SYN, (1, 0));
                for packet in [udp, tcp] {
                    let expected = expected && (port == 53) == (packet.protocol == UDP);
                    let with = |p: Packet, (number, rest): &(u8, Vec<u8>)| {
                        p.with_extension(*number, rest.clone())
                    };
                    let packet = headers.iter().fold(packet, with);
                    let what =
                        format!("{layout:?} {from} -> {to} {} {port} {headers:?}", packet.protocol);
                    assert_eq!(scene.passes(from, to, &packet), expected, "{what}");
                }
            }
        }
    }
}

/// The scratch register of the walk is `skb->priority`, which forwarding derives from the TOS field.
#[test]
fn no_tos_changes_a_verdict() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let at = |name: &str| scene.address(name, family);
        for (from, to, port, expected) in [
            ("n/c", "n/b", 53, true),
            ("n/a", "n/b", 53, false),
            ("n/x", "n/a", 53, true),
            ("n/x", "n/c", 53, false),
        ] {
            let packet = |tos: u8| {
                let udp = Packet::udp(at(from), at(to), 4000 + u16::from(tos), port, &[tos]);
                udp.with_tos(tos).bytes()
            };
            let arrivals = scene.arrivals(from, to, &(0..=255).map(packet).collect::<Vec<_>>());
            let arrived = arrivals.iter().filter(|a| a.protocol == UDP && a.port == port).count();
            let expected = if expected { 256 } else { 0 };
            assert_eq!(arrived, expected, "{layout:?} {family:?} {from} -> {to}");
        }
    }
}
