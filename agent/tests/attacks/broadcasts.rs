//! Broadcast and multicast on a bridge, and what looks like it (attack 7 of docs/semantics.md).

use std::net::{IpAddr, Ipv4Addr};

use palisade_lab::frame::{BROADCAST, Frame, Mac, multicast_mac};
use palisade_lab::packet::{HOP_BY_HOP, Packet};

use crate::attack::{ON_BRIDGES, ON_BRIDGES_V4, ON_BRIDGES_V6, PLAIN, attack, carry_out};
use crate::stage::{Stage, fresh_port, mark, of_family};

/// Groups that no interface has joined, in either family.
const GROUP: [&str; 2] = ["239.1.2.3", "ff05::1:3"];
/// Groups that all hosts are in.
const ALL: [&str; 2] = ["224.0.0.1", "ff02::1"];

/// To B, from X, and from B: what a subject hears and what it sends.
const PAIRS: [(&str, &str); 3] = [("n/a", "n/b"), ("n/x", "n/c"), ("n/a", "n/x")];

fn group_arrives(stage: &Stage<'_>, from: &str, to: &str, group: IpAddr, mac: Mac) -> bool {
    let mark = mark();
    let packet = Packet::udp(stage.at(from), group, fresh_port(), 7777, &mark);
    stage.delivers(from, to, &[Frame::ip(mac, stage.mac(from), &packet)], &mark)
}

fn any_arrives(stage: &Stage<'_>, group: IpAddr) -> bool {
    let mac = multicast_mac(group);
    PAIRS.iter().any(|(from, to)| group_arrives(stage, from, to, group, mac))
}

/// Pods that no policy selects hear each other as before.
fn unselected_hear(stage: &Stage<'_>, groups: [&str; 2]) -> bool {
    let group = of_family(groups, stage.family);
    let mac = multicast_mac(group);
    group_arrives(stage, "n/a", "n/c", group, mac)
        && group_arrives(stage, "n/c", "n/a", group, mac)
        && stage.allowed_passes()
}

#[test]
fn multicast_neither_reaches_nor_leaves_isolated_pods() {
    carry_out(
        PLAIN,
        &[
            attack("multicast: to all hosts", ON_BRIDGES, |stage| {
                any_arrives(stage, of_family(ALL, stage.family))
            })
            .control(|stage| unselected_hear(stage, ALL)),
            attack("multicast: to a group that nobody joined", ON_BRIDGES, |stage| {
                any_arrives(stage, of_family(GROUP, stage.family))
            })
            .control(|stage| unselected_hear(stage, GROUP)),
        ],
    );
}

#[test]
fn broadcast_neither_reaches_nor_leaves_isolated_pods() {
    const TO_ALL: [&str; 2] = ["255.255.255.255", "ff02::1"];
    carry_out(
        PLAIN,
        &[
            attack("broadcast: to all hosts of the link", ON_BRIDGES_V4, |stage| {
                any_arrives(stage, Ipv4Addr::BROADCAST.into())
            })
            .control(|stage| unselected_hear(stage, TO_ALL)),
            attack("broadcast: to the network's broadcast address", ON_BRIDGES_V4, |stage| {
                let network = Ipv4Addr::new(10, 1, 0, 255).into();
                PAIRS.iter().any(|(from, to)| group_arrives(stage, from, to, network, BROADCAST))
            }),
            attack("broadcast: an offer of a rogue DHCP server", ON_BRIDGES_V4, |stage| {
                let mark = mark();
                let packet =
                    Packet::udp(stage.at("n/a"), Ipv4Addr::BROADCAST.into(), 67, 68, &mark);
                let frame = Frame::ip(BROADCAST, stage.mac("n/a"), &packet);
                stage.delivers("n/a", "n/b", &[frame], &mark)
            }),
        ],
    );
}

/// A host takes a packet to a group also out of a frame to itself alone.
#[test]
fn packets_to_groups_do_not_arrive_in_frames_to_one_pod() {
    carry_out(
        PLAIN,
        &[
            attack("multicast: in a frame to one pod", ON_BRIDGES, |stage| {
                let group = of_family(ALL, stage.family);
                PAIRS.iter().any(|(from, to)| group_arrives(stage, from, to, group, stage.mac(to)))
            }),
            attack("broadcast: in a frame to one pod", ON_BRIDGES_V4, |stage| {
                let all = Ipv4Addr::BROADCAST.into();
                PAIRS.iter().any(|(from, to)| group_arrives(stage, from, to, all, stage.mac(to)))
            }),
        ],
    );
}

/// The other way round: a packet to one pod in a frame to all.
#[test]
fn packets_to_one_pod_do_not_arrive_in_frames_to_all() {
    fn in_a_frame_to(stage: &Stage<'_>, mac: Mac) -> bool {
        [("n/a", "n/b"), ("n/x", "n/c")].iter().any(|(from, to)| {
            let mark = mark();
            let packet = Packet::udp(stage.at(from), stage.at(to), fresh_port(), 7777, &mark);
            stage.delivers(from, to, &[Frame::ip(mac, stage.mac(from), &packet)], &mark)
        })
    }
    carry_out(
        PLAIN,
        &[
            attack("broadcast: a packet to one pod in a frame to all", ON_BRIDGES, |stage| {
                in_a_frame_to(stage, BROADCAST)
            }),
            attack("multicast: a packet to one pod in a frame to a group", ON_BRIDGES, |stage| {
                in_a_frame_to(stage, [0x01, 0, 0x5e, 1, 2, 3])
            }),
        ],
    );
}

/// What steers the snooping of multicast (RFC 3376, RFC 3810) is multicast itself, and has room for data.
#[test]
fn queries_of_multicast_listeners_do_not_arrive() {
    carry_out(
        PLAIN,
        &[
            attack("multicast: an MLD query", ON_BRIDGES_V6, |stage| {
                let mark = mark();
                let all = of_family(ALL, stage.family);
                let rest = [&[0; 20][..], &mark].concat();
                let source = stage.link_local("n/a").into();
                // With the option that has routers look at it (RFC 2711).
                let packet = Packet::icmp(source, all, 130, 0, &rest)
                    .with_hops(1)
                    .with_extension(HOP_BY_HOP, vec![5, 2, 0, 0, 1, 0]);
                let frame = Frame::ip(multicast_mac(all), stage.mac("n/a"), &packet);
                stage.delivers("n/a", "n/b", &[frame], &mark)
            }),
            attack("multicast: an IGMP query", ON_BRIDGES_V4, |stage| {
                const IGMP: u8 = 2;
                let mark = mark();
                let all = of_family(ALL, stage.family);
                // A general query of version 2 (RFC 2236), in the form of an ICMP message.
                let rest = [&[0; 4][..], &mark].concat();
                let mut packet = Packet::icmp(stage.at("n/a"), all, 0x11, 100, &rest).with_hops(1);
                packet.protocol = IGMP;
                let frame = Frame::ip(multicast_mac(all), stage.mac("n/a"), &packet);
                stage.delivers("n/a", "n/b", &[frame], &mark)
            }),
        ],
    );
}
