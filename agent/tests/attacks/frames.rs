//! Frames that the tables of IP do not see: tagged ones, and those of other protocols (attacks 3 and 17 of docs/semantics.md).

use palisade_lab::frame::{BROADCAST, Frame, Mac, ether_type};
use palisade_lab::packet::Packet;

use crate::attack::{Attack, ON_BRIDGES, ON_BRIDGES_V4, PLAIN, Setting, attack, carry_out};
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, mark};

/// Both directions in which policy may not be left behind.
const PAIRS: [(&str, &str); 2] = [("n/a", "n/b"), ("n/x", "n/c")];

/// Whether a frame that is made of an ordinary one, of either pair, is delivered.
fn delivered(stage: &Stage<'_>, changed: fn(Frame) -> Frame) -> bool {
    PAIRS.iter().any(|(from, to)| {
        let mark = mark();
        let packet = Packet::udp(stage.at(from), stage.at(to), fresh_port(), 7777, &mark);
        stage.delivers(from, to, &[changed(stage.frame(from, to, &packet))], &mark)
    })
}

#[test]
fn tagged_frames_are_not_delivered() {
    type Change = fn(Frame) -> Frame;
    let tagged: [(&'static str, Change); 6] = [
        ("frames: tagged, VLAN 0", |frame| frame.with_tag(ether_type::VLAN, 0)),
        ("frames: tagged, VLAN 0, with a priority", |frame| {
            frame.with_tag(ether_type::VLAN, 7 << 13)
        }),
        ("frames: tagged, VLAN 5", |frame| frame.with_tag(ether_type::VLAN, 5)),
        ("frames: tagged twice", |frame| {
            frame.with_tag(ether_type::VLAN, 0).with_tag(ether_type::VLAN, 0)
        }),
        ("frames: tagged by 802.1ad", |frame| frame.with_tag(ether_type::SERVICE_VLAN, 0)),
        ("frames: tagged by 802.1ad and 802.1Q", |frame| {
            frame.with_tag(ether_type::SERVICE_VLAN, 5).with_tag(ether_type::VLAN, 6)
        }),
    ];
    let attacks = tagged.map(|(what, changed)| changed_frames(what, changed));
    carry_out(PLAIN, &attacks);
}

/// An attack of frames that are changed in this way.
fn changed_frames(what: &'static str, changed: fn(Frame) -> Frame) -> Attack {
    attack(what, ON_BRIDGES, move |stage| delivered(stage, changed))
}

#[test]
fn frames_of_other_protocols_are_not_delivered() {
    let others: [(&'static str, u16); 8] = [
        ("frames: of a local experiment (88b5)", 0x88b5),
        ("frames: PPPoE", 0x8864),
        ("frames: MPLS", 0x8847),
        ("frames: 802.1X", 0x888e),
        ("frames: LLDP", 0x88cc),
        ("frames: RARP", 0x8035),
        ("frames: IPX", 0x8137),
        ("frames: of an old VLAN protocol (9100)", 0x9100),
    ];
    let attacks = others.map(|(what, number)| {
        attack(what, ON_BRIDGES_V4, move |stage| {
            PAIRS.iter().any(|(from, to)| {
                let mark = mark();
                let frame = Frame::new(stage.mac(to), stage.mac(from), number, mark.clone());
                stage.delivers(from, to, &[frame], &mark)
            })
        })
    });
    carry_out(PLAIN, &attacks);
}

/// 802.3, with a length in the place of a type: LLC as of spanning trees, and IP within SNAP.
#[test]
fn frames_with_a_length_are_not_delivered() {
    fn with_llc(stage: &Stage<'_>, to: Option<Mac>, header: &[u8]) -> bool {
        PAIRS.iter().any(|(from, there)| {
            let mark = mark();
            let packet = Packet::udp(stage.at(from), stage.at(there), fresh_port(), 7777, &mark);
            let payload = [header, &packet.bytes()].concat();
            let to = to.unwrap_or_else(|| stage.mac(there));
            let frame = Frame::of_length(to, stage.mac(from), payload);
            stage.delivers(from, there, &[frame], &mark)
        })
    }
    carry_out(
        PLAIN,
        &[
            attack("frames: IP within SNAP", ON_BRIDGES, |stage| {
                with_llc(stage, None, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0])
            }),
            attack("frames: LLC to the group of spanning trees", ON_BRIDGES_V4, |stage| {
                with_llc(stage, Some([1, 0x80, 0xc2, 0, 0, 0]), &[0x42, 0x42, 3])
            }),
            attack("frames: LLC to all stations", ON_BRIDGES_V4, |stage| {
                with_llc(stage, Some(BROADCAST), &[0x42, 0x42, 3])
            }),
        ],
    );
}

/// The payload is of the other version than the type says: what reads it by the type sees another packet.
#[test]
fn a_frame_whose_type_is_not_its_packets_is_not_delivered() {
    let changed: fn(Frame) -> Frame = |mut frame| {
        frame.ether_type = match frame.ether_type {
            ether_type::IPV4 => ether_type::IPV6,
            _ => ether_type::IPV4,
        };
        frame
    };
    // The kernel itself drops them where bridged packets pass the tables of IP.
    let prepare = |scene: &Scene| {
        for family in ["iptables", "ip6tables"] {
            let name = format!("bridge/bridge-nf-call-{family}");
            scene.lab.node().set(&name, "0").expect("set");
        }
    };
    let what = "frames: of a type that is not the packet's";
    carry_out(Setting { prepare, ..PLAIN }, &[changed_frames(what, changed)]);
}

/// Attack 17: B answers what came in a tagged frame as it answers everything, so that the plain flow is established.
#[test]
fn a_tagged_frame_opens_no_flow_by_its_answer() {
    carry_out(
        PLAIN,
        &[attack("frames: B's answer to a tagged frame opens the flow", ON_BRIDGES, |stage| {
            let (from, to, port) = (stage.at("n/a"), stage.at("n/b"), fresh_port());
            let machine = &stage.scene.lab.machines()[stage.scene.number("n/b")];
            let bind = || std::net::UdpSocket::bind((to, 0));
            let server = machine.namespace().run(bind).expect("entered").expect("bound");
            server.set_nonblocking(true).expect("set");
            let server_port = server.local_addr().expect("bound").port();
            let question = Packet::udp(from, to, port, server_port, b"question");
            let frame = stage.frame("n/a", "n/b", &question).with_tag(ether_type::VLAN, 0);
            stage.send("n/a", "n/b", &[frame]);
            let mut buffer = [0; 64];
            if let Ok((_, asker)) = server.recv_from(&mut buffer) {
                let answer = || server.send_to(b"answer", asker);
                let pair = (stage.scene.number("n/b"), stage.scene.number("n/a"));
                let answer =
                    || answer().map(drop).map_err(|e| palisade_lab::LabError::io("answer", e));
                stage.scene.lab.observe(&[pair], answer).expect("observed");
            }
            stage.datagram_from(("n/a", from, port), "n/b", server_port)
        })],
    );
}
