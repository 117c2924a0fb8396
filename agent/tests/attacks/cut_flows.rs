//! Connections that go on after they were cut, or began before there was a table (attacks 1 and 8 of docs/semantics.md).

use std::io::{Read, Write};
use std::net::TcpStream;

use palisade::protocol::State;
use palisade_compiler::model::Family;
use palisade_lab::packet::{Packet, TCP, tcp_flags};

use crate::attack::{EVERYWHERE, report};
use crate::cast::{CAST, LAYOUTS_AND_FAMILIES, connected};
use crate::command::{Agent, Scratch};
use crate::lab::nft;
use crate::scene::Scene;
use crate::stage::{Stage, fresh_port, manifest, mark, scene};
use crate::table::Row;

/// Whether a segment with data gets from one machine to another when `speaker` writes.
fn data_arrives(scene: &Scene, speaker: &mut TcpStream, from: &str, to: &str) -> bool {
    let pair = (scene.number(from), scene.number(to));
    let port = speaker.peer_addr().expect("connected").port();
    let write = || {
        speaker.write_all(b"still here?").expect("written");
        Ok(())
    };
    let arrivals = scene.lab.observe(&[pair], write).expect("observed");
    arrivals[pair.1]
        .iter()
        .any(|a| a.protocol == TCP && a.port == port && a.body.ends_with(b"here?"))
}

/// Attack 1. The connections are older than any connection tracking, as if their entries had been deleted.
#[test]
fn a_connection_without_an_entry_does_not_go_on_from_its_other_side() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        let at = |name: &str| scene.address(name, family);
        let (mut x, mut c) = connected(&scene.lab, at("n/x"), at("n/c"), 80);
        let (mut a, mut b) = connected(&scene.lab, at("n/a"), at("n/b"), 80);
        assert!(data_arrives(&scene, &mut c, "n/c", "n/x"), "{layout:?} {family:?}");
        scene.enforce();
        // The servers speak first, then those who opened the connections.
        assert!(!data_arrives(&scene, &mut c, "n/c", "n/x"), "{layout:?} {family:?}");
        assert!(!data_arrives(&scene, &mut x, "n/x", "n/c"), "{layout:?} {family:?}");
        assert!(!data_arrives(&scene, &mut b, "n/b", "n/a"), "{layout:?} {family:?}");
        assert!(!data_arrives(&scene, &mut a, "n/a", "n/b"), "{layout:?} {family:?}");
    }
}

/// A connection that began under the rules goes on, both ways.
#[test]
fn an_allowed_connection_goes_on() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        scene.enforce();
        let at = |name: &str| scene.address(name, family);
        let (mut x, mut a) = connected(&scene.lab, at("n/x"), at("n/a"), 80);
        x.write_all(b"ask").expect("written");
        let mut heard = [0; 3];
        a.read_exact(&mut heard).expect("read");
        a.write_all(b"answer").expect("written");
        let mut heard = [0; 6];
        x.read_exact(&mut heard).expect("read");
    }
}

/// Nothing of the node tracks connections before the first table is there: what is allowed goes on as soon as the side that
/// opened it speaks, and not before. (What is forbidden does not: attack 1.)
#[test]
fn an_allowed_flow_older_than_the_first_table_goes_on_when_its_opener_speaks() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        let at = |name: &str| scene.address(name, family);
        let (mut c, mut b) = connected(&scene.lab, at("n/c"), at("n/b"), 80);
        let (mut x, mut a) = connected(&scene.lab, at("n/x"), at("n/a"), 80);
        scene.enforce();
        assert!(!data_arrives(&scene, &mut b, "n/b", "n/c"), "{layout:?} {family:?}");
        assert!(!data_arrives(&scene, &mut a, "n/a", "n/x"), "{layout:?} {family:?}");
        let mut heard = [0; 11];
        for (opener, other) in [(&mut c, &mut b), (&mut x, &mut a)] {
            opener.write_all(b"go on there").expect("written");
            other.read_exact(&mut heard).expect("read");
            assert_eq!(&heard, b"go on there", "{layout:?} {family:?}");
            // What was dropped before comes again.
            opener.read_exact(&mut heard).expect("read");
            assert_eq!(&heard, b"still here?", "{layout:?} {family:?}");
        }
    }
}

/// Where connections were tracked already (kube-proxy's tables do that), a flow that the first policies forbid is an
/// established one, and a live connection is not cut; a new one is judged.
#[test]
fn a_tracked_flow_older_than_the_first_table_goes_on() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        nft(
            scene.lab.node(),
            "table inet other { chain c { type filter hook forward priority 10; ct state new counter\n}\n}",
        );
        let at = |name: &str| scene.address(name, family);
        let (mut a, mut b) = connected(&scene.lab, at("n/a"), at("n/b"), 80);
        scene.enforce();
        assert!(data_arrives(&scene, &mut a, "n/a", "n/b"), "{layout:?} {family:?}");
        assert!(data_arrives(&scene, &mut b, "n/b", "n/a"), "{layout:?} {family:?}");
        let again = Packet::tcp(at("n/a"), at("n/b"), (4000, 80), tcp_flags::SYN, (1, 0));
        assert!(!scene.passes("n/a", "n/b", &again), "{layout:?} {family:?}");
    }
}

/// Packets of a flow between two ports, over the protocols whose packets have no direction: a datagram, and a heartbeat of SCTP (RFC
/// 9260, 3.3.5).
fn of_flow(
    from: std::net::IpAddr,
    to: std::net::IpAddr,
    ports: (u16, u16),
    mark: &[u8],
) -> [Packet; 2] {
    const HEARTBEAT: u8 = 4;
    // The parameter of what the sender wants back.
    let mut value = vec![0, 1, 0, 4 + 24];
    value.extend(mark);
    value.resize(4 + 24, 0);
    [
        Packet::udp(from, to, ports.0, ports.1, mark),
        Packet::sctp(from, to, ports, 0x7777, (HEARTBEAT, &value)),
    ]
}

/// Attack 8: B may send to anybody, and was asked by C until a policy forbade it. What B sends then with the ports of the answers would
/// open the flow anew, both ways.
#[test]
fn a_flow_that_was_cut_is_not_opened_anew_by_its_answering_end() {
    const WHAT: [&str; 2] =
        ["cut flows: a datagram of the answering end", "cut flows: a heartbeat of SCTP"];
    let allowing = manifest();
    let forbidding = allowing.replace(
        r#""ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]"#,
        r#""ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "nobody"}}}]"#,
    );
    let allowing = allowing.replace(
        r#"{"protocol": "UDP", "port": 53}]}]}}
]}"#,
        r#"{"protocol": "UDP", "port": 53}, {"protocol": "SCTP", "port": 53}]}]}}
]}"#,
    );
    assert!(allowing != forbidding && allowing.contains("SCTP"));
    let mut rows = Vec::new();
    for layout in palisade_lab::Layout::ALL {
        let scene = scene(layout);
        let stages = Family::ALL.map(|family| Stage::new(&scene, family));
        let port = fresh_port();
        let passes = |stage: &Stage<'_>, from: &str, to: &str, ports: (u16, u16), which: usize| {
            let mark = mark();
            let [packets_from, packets_to] = [from, to].map(|pod| stage.at(pod));
            let packet = &of_flow(packets_from, packets_to, ports, &mark)[which];
            stage.delivers(from, to, &[stage.frame(from, to, packet)], &mark)
        };
        let answers = |stage: &Stage<'_>, which| passes(stage, "n/b", "n/c", (53, port), which);
        let without: Vec<bool> =
            stages.iter().flat_map(|s| [0, 1].map(|which| answers(s, which))).collect();
        let scratch = Scratch::new();
        scratch.write("manifest.yaml", &allowing);
        let agent = Agent::of_node(scene.lab.node(), &scratch.0, &["--listen", "off"]);
        // The start looks at all connections.
        agent.until("the start", |now| now.state == State::Enforcing && now.connections.passes > 0);
        for stage in &stages {
            for which in [0, 1] {
                let what = format!("{layout:?} {:?} {}", stage.family, WHAT[which]);
                assert!(passes(stage, "n/c", "n/b", (port, 53), which), "{what}");
                assert!(answers(stage, which), "{what}");
            }
        }
        let status = agent.until_enforcing();
        let passed = status.connections.passes;
        scratch.write("manifest.yaml", &forbidding);
        agent.until("the look at connections", |now| {
            now.state == State::Enforcing
                && now.enforced_revision > status.enforced_revision
                && now.connections.passes > passed
        });
        for (number, stage) in stages.iter().enumerate() {
            for which in [0, 1] {
                rows.push(Row {
                    what: WHAT[which],
                    layout,
                    family: stage.family,
                    by: "agent",
                    without: without[2 * number + which],
                    with: answers(stage, which),
                    // Another flow of B's.
                    is_open: false,
                    control: passes(stage, "n/b", "n/c", (54, port), which),
                });
            }
        }
    }
    assert_eq!(rows.len(), 2 * EVERYWHERE.len());
    report(&rows);
}
