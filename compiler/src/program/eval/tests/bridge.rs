//! The bridge table: which frames enter by a port, and which pass between two.

use std::collections::BTreeSet;

use super::*;
use crate::program::element::MacAddress;
use crate::program::skeleton::{ARP_LENGTH, ND_LENGTH, NetworkProtocol, VlanTag};

/// The ports of a subject, of two pods that no policy selects, of a pod that is not known, of a router, and of the outside.
const SUBJECT_PORT: u32 = 7;
const POD: u32 = 8;
const OTHER_POD: u32 = 9;
const UNKNOWN: u32 = 10;
const ROUTER: u32 = 11;
const OUTSIDE: u32 = 12;

const FIRST_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const SUBJECT_V6: &str = "fd00::2";
const POD_V4: &str = "10.0.0.8";
const POD_V6: &str = "fd00::8";
const NODE: &str = "192.0.2.1";

/// A bridge table looks up facts of the host only.
static NOTHING: Tables = Tables::EMPTY;

struct OnBridge(BTreeSet<(SetName, Element)>);

impl View for OnBridge {
    fn tables(&mut self, _lookup: SetName) -> &Tables {
        &NOTHING
    }

    fn host_has(&mut self, lookup: SetName, element: Element) -> bool {
        self.0.contains(&(lookup, element))
    }
}

fn facts() -> BTreeSet<(SetName, Element)> {
    let mut facts: BTreeSet<(SetName, Element)> = [
        (SetName::BridgePorts, Element::Interface(SUBJECT_PORT)),
        (SetName::RouterPorts, Element::Interface(ROUTER)),
        (SetName::UnidentifiedPorts, Element::Interface(UNKNOWN)),
        (SetName::PortTargets, Element::Target(UNKNOWN, ip("fd00::10"))),
        (SetName::NodesIpv4, Element::Address(ip(NODE))),
        (SetName::TunnelPorts, Element::Service(4789)),
    ]
    .into();
    for port in [SUBJECT_PORT, POD, OTHER_POD, UNKNOWN] {
        facts.insert((SetName::PodPorts, Element::Interface(port)));
    }
    for (port, v4, v6) in [
        (SUBJECT_PORT, SUBJECT, SUBJECT_V6),
        (POD, POD_V4, POD_V6),
        (OTHER_POD, "10.0.0.9", "fd00::9"),
    ] {
        facts.insert((SetName::GuardedPorts, Element::Interface(port)));
        for address in [FIRST_MAC, MacAddress([2, 0, 0, 0, 0, 2])] {
            facts.insert((SetName::PortMacs, Element::PortMac(port, address)));
            facts.insert((SetName::PodMacs, Element::Mac(address)));
        }
        facts.insert((SetName::PodAddressesIpv4, Element::Address(ip(v4))));
        facts.insert((SetName::PodAddressesIpv6, Element::Address(ip(v6))));
        facts.insert((SetName::PortSourcesIpv4, Element::Source(port, ip(v4))));
        facts.insert((SetName::PortSourcesIpv6, Element::Source(port, ip(v6))));
        facts.insert((SetName::PortTargets, Element::Target(port, ip(v6))));
    }
    facts
}

/// The pods that are known have two Ethernet addresses each; the one that is not has another.
fn passes(iif: u32, oif: u32, packet: Packet) -> bool {
    let packet = match (iif, packet.frame.sender) {
        (UNKNOWN, FIRST_MAC) => from_mac(10, packet),
        _ => packet,
    };
    let frame = Packet { iif, oif, hop_limit: 255, ..packet };
    eval(&mut OnBridge(facts()), TableFamily::Bridge, &frame).verdict == Verdict::Allow
}

fn of_protocol(protocol: Option<NetworkProtocol>, packet: Packet) -> Packet {
    Packet { frame: Frame { protocol, ..packet.frame }, ..packet }
}

fn arp(sender: &str) -> Packet {
    let message = of_protocol(Some(NetworkProtocol::Arp), packet(sender, "10.0.0.77", 0, 0));
    of_length(28, message)
}

fn of_length(length: u32, packet: Packet) -> Packet {
    Packet { frame: Frame { length, ..packet.frame }, ..packet }
}

#[test]
fn an_arp_message_carries_nothing_behind_it() {
    assert!(passes(POD, OTHER_POD, of_length(ARP_LENGTH, arp(POD_V4))));
    assert!(!passes(POD, OTHER_POD, of_length(ARP_LENGTH + 1, arp(POD_V4))));
}

/// The bridge learns from what is for these groups who sent it, and hands it to the host without asking any other chain.
#[test]
fn no_pod_sends_to_the_groups_that_bridges_keep_for_themselves() {
    let reserved = |packet: Packet| Packet {
        frame: Frame { is_to_reserved_group: true, ..packet.frame },
        ..packet
    };
    let lldp = reserved(of_protocol(None, packet(POD_V4, "10.0.0.9", 0, 0)));
    assert!(!passes(POD, OUTSIDE, lldp) && !passes(UNKNOWN, OUTSIDE, lldp));
    assert!(!passes(POD, OUTSIDE, reserved(packet(POD_V4, NODE, 17, 53))));
    assert!(passes(OUTSIDE, POD, lldp), "a switch tells of itself");
}

/// The first fragment of a packet whose message begins in the second one.
#[test]
fn fragments_hide_nothing() {
    let fragment = |of, packet: Packet| Packet {
        frame: Frame { fragment_of: Some(of), ..packet.frame },
        ..packet
    };
    for port in [POD, UNKNOWN] {
        for of in [6, 17, 58, 132] {
            let from = if port == POD { POD_V6 } else { "fd00::10" };
            assert!(passes(port, OTHER_POD, fragment(of, packet(from, "fd00::9", of, 0))));
        }
        for of in [0, 43, 60, 89] {
            assert!(!passes(port, OTHER_POD, fragment(of, packet(POD_V6, "fd00::9", of, 0))));
        }
    }
}

fn about(target: &str, message: Packet) -> Packet {
    Packet { frame: Frame { target: Some(ip(target)), ..message.frame }, ..message }
}

fn from_mac(last: u8, packet: Packet) -> Packet {
    let sender = MacAddress([2, 0, 0, 0, 0, last]);
    Packet { frame: Frame { sender, ..packet.frame }, ..packet }
}

/// A bridge sends what is for an Ethernet address to the port by which that was heard last.
#[test]
fn nobody_sends_from_the_ethernet_address_of_another() {
    let own = packet(POD_V4, "10.0.0.9", 17, 53);
    assert!(passes(POD, OTHER_POD, own));
    assert!(passes(POD, OTHER_POD, from_mac(2, own)));
    for last in [10, 77] {
        assert!(!passes(POD, OTHER_POD, from_mac(last, own)));
        assert!(!passes(POD, OTHER_POD, from_mac(last, arp(POD_V4))));
        assert!(!passes(POD, OTHER_POD, from_mac(last, of_protocol(None, own))));
    }
    let of_unknown = packet(STRANGER, "10.0.0.9", 17, 53);
    assert!(passes(UNKNOWN, OTHER_POD, of_unknown));
    assert!(!passes(UNKNOWN, OTHER_POD, from_mac(2, of_unknown)), "a known pod's");
    assert!(passes(UNKNOWN, OTHER_POD, from_mac(77, of_unknown)));
    assert!(passes(OUTSIDE, OTHER_POD, from_mac(2, of_unknown)));
}

fn to_group(packet: Packet) -> Packet {
    Packet { frame: Frame { is_to_group: true, ..packet.frame }, ..packet }
}

/// Attacks 4 and 12.
#[test]
fn what_enters_by_a_port_has_a_source_of_that_port() {
    assert!(passes(POD, OTHER_POD, packet(POD_V4, "10.0.0.9", 17, 53)));
    assert!(passes(POD, OTHER_POD, packet(POD_V6, "fd00::9", 6, 80)));
    for (port, from, to) in [
        (POD, SUBJECT, "10.0.0.9"),
        (POD, STRANGER, "10.0.0.9"),
        (POD, SUBJECT_V6, "fd00::9"),
        (POD, "fd00::99", "fd00::9"),
        (POD, "fe80::99", "fd00::9"),
        (UNKNOWN, SUBJECT, "10.0.0.9"),
        (UNKNOWN, SUBJECT_V6, "fd00::9"),
    ] {
        assert!(!passes(port, OTHER_POD, packet(from, to, 17, 53)), "{port} {from}");
    }
    assert!(passes(UNKNOWN, OTHER_POD, packet(STRANGER, "10.0.0.9", 17, 53)));
    assert!(passes(OUTSIDE, OTHER_POD, packet(SUBJECT, "10.0.0.9", 17, 53)), "it leads to no pod");
}

#[test]
fn arp_and_neighbour_discovery_tell_of_the_ports_own_addresses_only() {
    for (port, sender, expected) in [
        (POD, POD_V4, true),
        (POD, "0.0.0.0", true),
        (POD, SUBJECT, false),
        (POD, "10.0.0.77", false),
        (UNKNOWN, SUBJECT, false),
        (UNKNOWN, "10.0.0.77", true),
        (OUTSIDE, SUBJECT, true),
    ] {
        assert_eq!(passes(port, OTHER_POD, arp(sender)), expected, "{port} {sender}");
    }
    let advertisement =
        |source, target| about(target, icmpv6(ND_NEIGHBOR_ADVERT, source, "ff02::1"));
    for (port, source, target, expected) in [
        (POD, POD_V6, POD_V6, true),
        (POD, POD_V6, SUBJECT_V6, false),
        (POD, SUBJECT_V6, POD_V6, false),
        (POD, "::", POD_V6, false),
        (UNKNOWN, "fd00::10", "fd00::10", true),
        (UNKNOWN, "fd00::10", SUBJECT_V6, false),
        (UNKNOWN, "fd00::10", "fd00::77", false),
    ] {
        let found = passes(port, OTHER_POD, advertisement(source, target));
        assert_eq!(found, expected, "{port} {source} {target}");
    }
    let solicitation =
        |source, target| about(target, icmpv6(ND_NEIGHBOR_SOLICIT, source, "ff02::1"));
    assert!(passes(POD, OTHER_POD, solicitation(POD_V6, SUBJECT_V6)));
    assert!(!passes(POD, OTHER_POD, solicitation(SUBJECT_V6, "fd00::9")));
    assert!(passes(POD, OTHER_POD, solicitation("::", POD_V6)), "is its own address free?");
    assert!(!passes(POD, OTHER_POD, solicitation("::", SUBJECT_V6)), "another's");
    assert!(passes(POD, OUTSIDE, icmpv6(133, "::", "ff02::2")), "where is a router?");
}

/// Attack 6.
#[test]
fn packets_of_the_overlay_do_not_get_to_a_node() {
    for (protocol, port, expected) in [
        (17, 4789, false),
        (17, 53, true),
        (4, 0, false),
        (41, 0, false),
        (47, 0, false),
        (6, 4789, true),
    ] {
        let sent = packet(POD_V4, NODE, protocol, port);
        assert_eq!(passes(POD, OUTSIDE, sent), expected, "{protocol} {port}");
    }
    assert!(passes(POD, OUTSIDE, packet(POD_V4, STRANGER, 17, 4789)), "to no node");
    for group in ["224.0.0.1", "239.1.1.1", "255.255.255.255"] {
        let sent = to_group(packet(POD_V4, group, 17, 4789));
        assert!(!passes(POD, OTHER_POD, sent) && !passes(UNKNOWN, OTHER_POD, sent), "{group}");
    }
    assert!(!passes(POD, OTHER_POD, to_group(packet(POD_V6, "ff02::1", 17, 4789))));
    let unknown = packet(STRANGER, NODE, 17, 4789);
    assert!(!passes(UNKNOWN, OUTSIDE, unknown), "who is not known sends none either");
    assert!(!passes(UNKNOWN, OTHER_POD, packet(NODE, "10.0.0.9", 17, 53)), "nor as a node");
    assert!(!passes(UNKNOWN, OTHER_POD, arp(NODE)));
    let mut facts = facts();
    facts.insert((SetName::TunnelSourcesIpv4, Element::Address(ip(POD_V4))));
    let allowed = Packet { iif: POD, ..packet(POD_V4, NODE, 17, 4789) };
    let found = eval(&mut OnBridge(facts), TableFamily::Bridge, &allowed);
    assert_eq!(found.verdict, Verdict::Allow, "{found}");
}

/// Attacks 3 and 17.
#[test]
fn a_pod_sends_untagged_frames_of_three_protocols() {
    let plain = packet(POD_V4, "10.0.0.9", 17, 53);
    for tag in VlanTag::ALL {
        let tagged = Packet { frame: Frame { tag: Some(tag), ..plain.frame }, ..plain };
        for oif in [OTHER_POD, SUBJECT_PORT, OUTSIDE] {
            assert!(!passes(POD, oif, tagged), "{tag:?}");
        }
        let from_outside = packet(STRANGER, SUBJECT, 17, 53);
        let from_outside =
            Packet { frame: Frame { tag: Some(tag), ..from_outside.frame }, ..from_outside };
        assert!(!passes(OUTSIDE, SUBJECT_PORT, from_outside));
        assert!(passes(OUTSIDE, OTHER_POD, tagged), "between others");
    }
    assert!(!passes(POD, OTHER_POD, of_protocol(None, plain)));
    assert!(!passes(OUTSIDE, SUBJECT_PORT, of_protocol(None, plain)));
    assert!(passes(OUTSIDE, OTHER_POD, of_protocol(None, plain)));
}

/// Attack 7, and what pods that no policy selects keep.
#[test]
fn subjects_send_and_get_nothing_that_is_for_many() {
    for (from, to) in [
        (POD_V4, "224.0.0.251"),
        (POD_V4, "239.1.2.3"),
        (POD_V4, "255.255.255.255"),
        (POD_V6, "ff02::fb"),
        (POD_V6, "ff05::1"),
    ] {
        for sent in [packet(from, to, 17, 5353), to_group(packet(from, to, 17, 5353))] {
            assert!(!passes(POD, SUBJECT_PORT, sent), "{to}");
            assert!(passes(POD, OTHER_POD, sent), "{to}");
        }
    }
    assert!(!passes(SUBJECT_PORT, POD, packet(SUBJECT, "224.0.0.251", 17, 5353)));
    assert!(!passes(SUBJECT_PORT, OUTSIDE, packet(SUBJECT_V6, "ff02::fb", 17, 5353)));
    // To one address in a frame for many, and the other way round: the broadcast address of a subnet is none of the port's.
    assert!(!passes(POD, SUBJECT_PORT, to_group(packet(POD_V4, SUBJECT, 17, 53))));
    assert!(!passes(POD, SUBJECT_PORT, packet(POD_V4, "10.0.255.255", 17, 53)));
    assert!(passes(POD, SUBJECT_PORT, to_group(arp(POD_V4))), "who has the address?");
}

/// Attack 16.
#[test]
fn a_subject_is_reached_by_its_own_addresses_only() {
    assert!(passes(POD, SUBJECT_PORT, packet(POD_V4, SUBJECT, 6, 80)), "which policy judges");
    assert!(passes(POD, SUBJECT_PORT, packet(POD_V6, SUBJECT_V6, 6, 80)));
    assert!(!passes(POD, SUBJECT_PORT, packet(POD_V4, "10.0.0.200", 6, 80)));
    assert!(!passes(POD, SUBJECT_PORT, packet(POD_V6, "fd00::200", 6, 80)));
    assert!(passes(POD, OTHER_POD, packet(POD_V4, "10.0.0.200", 6, 80)), "it is no subject");
}

#[test]
fn who_asks_for_an_address_gets_one_from_where_no_pod_is() {
    let dhcp = |from, to, source_port, port| {
        to_group(Packet { source_port, ..packet(from, to, 17, port) })
    };
    let question = dhcp("0.0.0.0", "255.255.255.255", 68, 67);
    assert!(passes(SUBJECT_PORT, OUTSIDE, question));
    assert!(!passes(SUBJECT_PORT, POD, question));
    let answer = dhcp("10.0.0.1", "255.255.255.255", 67, 68);
    assert!(passes(OUTSIDE, SUBJECT_PORT, answer));
    assert!(!passes(POD, SUBJECT_PORT, dhcp(POD_V4, "255.255.255.255", 67, 68)));
    let answer = dhcp("fe80::1", "fe80::2", 547, 546);
    assert!(passes(OUTSIDE, SUBJECT_PORT, answer));
}

/// Attacks 5 and 13, also as a unicast to a global address, and also where connection tracking calls them related.
#[test]
fn a_router_tells_of_itself_where_a_router_is() {
    for message in [ND_ROUTER_ADVERT, ND_REDIRECT] {
        for (from, to) in [("fe80::3", "ff02::1"), (POD_V6, "fd00::9"), ("fe80::3", SUBJECT_V6)] {
            for ct_state in [CtState::New, CtState::Related, CtState::Untracked] {
                let sent = Packet { ct_state, ..icmpv6(message, from, to) };
                assert!(!passes(POD, SUBJECT_PORT, sent));
                assert!(!passes(POD, OTHER_POD, sent));
                assert!(!passes(UNKNOWN, OTHER_POD, sent));
                assert!(!passes(OUTSIDE, SUBJECT_PORT, sent));
                assert!(passes(ROUTER, SUBJECT_PORT, sent));
                assert!(passes(OUTSIDE, OTHER_POD, sent), "it is no subject");
            }
        }
    }
}

/// Attack 2.
#[test]
fn link_local_addresses_reach_no_subject() {
    for (from, to) in [("fe80::3", "fe80::2"), ("fd00::1", "fe80::2"), ("febf::1", SUBJECT_V6)] {
        let sent = packet(from, to, 17, 53);
        assert!(!passes(OUTSIDE, SUBJECT_PORT, sent), "{from}");
        assert!(passes(OUTSIDE, POD, sent), "{from}");
    }
}

#[test]
fn neighbour_discovery_is_short_and_from_a_neighbour() {
    let sent = about(SUBJECT_V6, icmpv6(ND_NEIGHBOR_SOLICIT, POD_V6, "ff02::1:ff00:2"));
    assert!(passes(POD, SUBJECT_PORT, to_group(of_length(ND_LENGTH, sent))));
    assert!(!passes(POD, SUBJECT_PORT, to_group(of_length(ND_LENGTH + 1, sent))));
    assert!(
        !passes(POD, OTHER_POD, of_length(840, sent)),
        "nor between pods that no policy selects"
    );
    let far = Packet { iif: POD, oif: SUBJECT_PORT, hop_limit: 254, ..sent };
    let found = eval(&mut OnBridge(facts()), TableFamily::Bridge, &far);
    assert_eq!(found.verdict, Verdict::Deny, "{found}");
}
