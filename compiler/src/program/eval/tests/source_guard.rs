//! The source guard: which sources pass by a guarded interface.

use std::collections::BTreeSet;

use super::*;

/// The interface of a pod with the addresses that `sources` has for it, and one of somebody else's.
const OWN: u32 = 3;
const OTHER: u32 = 4;

struct Guarding<'a> {
    tables: &'a Tables,
    facts: BTreeSet<(SetName, Element)>,
}

impl View for Guarding<'_> {
    fn tables(&mut self, _lookup: SetName) -> &Tables {
        self.tables
    }

    fn host_has(&mut self, lookup: SetName, element: Element) -> bool {
        self.facts.contains(&(lookup, element))
    }
}

/// What a packet from one address to another by an interface meets, where `OWN` is guarded by that set.
fn verdict(guarded: SetName, packet: Packet, facts: &[(SetName, Element)]) -> Verdict {
    let program = program();
    let family = Family::of(packet.connection.to);
    let facts = facts.iter().copied().chain([(guarded, Element::Interface(OWN))]).collect();
    eval(&mut Guarding { tables: &program[family], facts }, family, &packet).verdict
}

fn by(interface: u32, packet: Packet) -> Packet {
    Packet { iif: interface, ..packet }
}

#[test]
fn only_an_interfaces_own_sources_pass_by_it() {
    let source = [(SetName::SourcesIpv4, Element::Source(OWN, ip(FRIEND)))];
    let forged = packet(STRANGER, FRIEND, 17, 1);
    for ct_state in [CtState::New, CtState::Established, CtState::Related, CtState::Untracked] {
        let of_state = |packet: Packet| Packet { ct_state, ..packet };
        let own = of_state(packet(FRIEND, STRANGER, 17, 1));
        assert_eq!(verdict(SetName::PodInterfaces, by(OWN, own), &source), Verdict::Allow);
        let forged = of_state(forged);
        assert_eq!(verdict(SetName::PodInterfaces, by(OWN, forged), &source), Verdict::Deny);
        assert_eq!(verdict(SetName::PodInterfaces, by(OTHER, forged), &source), Verdict::Allow);
        let expected =
            if ct_state == CtState::Established { Verdict::Allow } else { Verdict::Deny };
        assert_eq!(verdict(SetName::FirstInterfaces, by(OWN, forged), &source), expected);
    }
}

#[test]
fn what_no_router_passes_on_is_not_looked_at() {
    let passes = |from: &str, to: &str| {
        let packet = by(OWN, packet(from, to, 17, 67));
        verdict(SetName::PodInterfaces, packet, &[]) == Verdict::Allow
    };
    assert!(passes("0.0.0.0", "255.255.255.255"));
    assert!(!passes("0.0.0.0", FRIEND));
    assert!(!passes("0.0.0.1", "255.255.255.255"));
    assert!(passes("fe80::1", "ff02::1"));
    assert!(passes("::", "ff02::1:ff00:1"));
    assert!(!passes("fec0::1", "ff02::1"));
    assert!(!passes("::1", "fd00::1"));
    assert!(!passes("fd00::9", "fd00::1"));
}

#[test]
fn a_hairpin_comes_by_the_pods_own_interface_where_that_is_known() {
    let hairpin =
        |interface| by(interface, Packet { dnat: true, ..packet(SUBJECT, SUBJECT, 17, 1) });
    let source = (SetName::SourcesIpv4, Element::Source(OWN, ip(SUBJECT)));
    let located = (SetName::LocatedIpv4, Element::Address(ip(SUBJECT)));
    let off = SetName::FirstInterfaces;
    assert_eq!(verdict(off, hairpin(OTHER), &[source]), Verdict::Allow, "it is not known");
    assert_eq!(verdict(off, hairpin(OTHER), &[source, located]), Verdict::Deny);
    assert_eq!(verdict(off, hairpin(OWN), &[source, located]), Verdict::Allow);
}
