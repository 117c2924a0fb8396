mod bridge;
mod source_guard;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::model::Direction;
use crate::program::AddressRange;
use crate::program::PortRangeElement;
use crate::program::skeleton::{
    ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT, ND_REDIRECT, ND_ROUTER_ADVERT,
};

const WEB: ClassId = ClassId(0x0001_0001);
const BLOCK: ClassId = ClassId(0x0001_0002);
const HTTP: ProfileId = ProfileId(ProfileId::FIRST_RANGED);

const SUBJECT: &str = "10.0.0.2";
const FRIEND: &str = "10.0.0.1";
const STRANGER: &str = "10.0.0.3";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `SUBJECT` is isolated both ways. `FRIEND` may reach it on TCP 80 and 8000-9000, the block 192.168.0.0/16 on
/// everything; it may reach `FRIEND` on everything.
fn program() -> Program {
    tables(SUBJECT, FRIEND, ("192.168.0.0", "192.168.255.255"))
}

fn tables(subject: &str, friend: &str, block: (&str, &str)) -> Program {
    let (subject, friend) = (ip(subject), ip(friend));
    let range = AddressRange { first: ip(block.0), last: ip(block.1) };
    let one = Tables {
        local_in: [subject].into(),
        local_out: [subject].into(),
        hairpin: [subject].into(),
        class: [(friend, WEB)].into(),
        cidr: [(range, BLOCK)].into(),
        allow_in: [((subject, WEB), HTTP), ((subject, BLOCK), ProfileId::EVERYTHING)].into(),
        allow_out: [((subject, WEB), ProfileId::EVERYTHING)].into(),
        ports: [PortElement { profile: HTTP, protocol: 6, port: 80 }].into(),
        port_ranges: [PortRangeElement { profile: HTTP, protocol: 6, first: 8000, last: 9000 }]
            .into(),
    };
    match Family::of(subject) {
        Family::V4 => Program { v4: one, v6: Tables::default() },
        Family::V6 => Program { v4: Tables::default(), v6: one },
    }
}

fn program_v6() -> Program {
    tables("fd00::2", "fd00::1", ("fd01::", "fd01::ffff"))
}

fn packet(from: &str, to: &str, protocol: u8, port: u16) -> Packet {
    Packet::first(Connection { from: ip(from), to: ip(to), protocol, port })
}

#[track_caller]
fn check(program: &Program, packet: Packet, expected: Verdict) {
    assert_found(&eval_program(program, &packet), packet, expected);
}

#[track_caller]
fn assert_found(found: &Evaluation, packet: Packet, expected: Verdict) {
    assert_eq!(found.verdict, expected, "{found}");
    let entered = packet.priority(Family::of(packet.connection.to));
    if expected == Verdict::Allow {
        assert_eq!(found.priority, entered, "the scratch register must be restored: {found}");
    }
}

#[track_caller]
fn allow(packet: Packet) {
    check(&program(), packet, Verdict::Allow);
}

#[track_caller]
fn deny(packet: Packet) {
    check(&program(), packet, Verdict::Deny);
}

#[test]
fn an_exact_port_a_range_and_everything_are_looked_up_in_turn() {
    allow(packet(FRIEND, SUBJECT, 6, 80));
    allow(packet(FRIEND, SUBJECT, 6, 8000));
    allow(packet(FRIEND, SUBJECT, 6, 9000));
    deny(packet(FRIEND, SUBJECT, 6, 7999));
    deny(packet(FRIEND, SUBJECT, 6, 9001));
    deny(packet(FRIEND, SUBJECT, 17, 80));
    deny(packet(FRIEND, SUBJECT, 17, 8500));
    allow(packet("192.168.255.255", SUBJECT, 47, 0));
    deny(packet("192.169.0.0", SUBJECT, 6, 80));
}

#[test]
fn who_is_no_subject_is_not_judged() {
    allow(packet(FRIEND, STRANGER, 17, 1));
    allow(packet(STRANGER, FRIEND, 17, 1));
}

#[test]
fn both_directions_are_judged() {
    let mut program = program();
    program.v4.local_in.insert(ip(FRIEND));
    check(&program, packet(SUBJECT, FRIEND, 6, 80), Verdict::Deny);
    program.v4.class.insert(ip(SUBJECT), WEB);
    program.v4.allow_in.insert((ip(FRIEND), WEB), HTTP);
    check(&program, packet(SUBJECT, FRIEND, 6, 80), Verdict::Allow);
    program.v4.allow_out.clear();
    check(&program, packet(SUBJECT, FRIEND, 6, 80), Verdict::Deny);
}

#[test]
fn class_unknown_is_a_class_of_its_own() {
    let mut program = program();
    check(&program, packet(STRANGER, SUBJECT, 6, 80), Verdict::Deny);
    program.v4.allow_in.insert((ip(SUBJECT), ClassId::UNKNOWN), HTTP);
    check(&program, packet(STRANGER, SUBJECT, 6, 80), Verdict::Allow);
}

#[test]
fn a_pod_in_a_block_is_looked_up_as_a_pod() {
    let mut program = program();
    program.v4.class.insert(ip("192.168.1.1"), WEB);
    check(&program, packet("192.168.1.1", SUBJECT, 17, 53), Verdict::Deny);
}

/// Attack 1: the server's next packet would open a reversed entry.
#[test]
fn a_mid_stream_segment_opens_no_connection_of_a_subject() {
    let ack = |from, to| Packet { tcp_flags: 0x10, ..packet(from, to, 6, 80) };
    // The subject answers a peer that may open connections, and the reverse.
    deny(ack(SUBJECT, FRIEND));
    deny(ack(FRIEND, SUBJECT));
    deny(Packet { tcp_flags: 0x12, ..packet(SUBJECT, FRIEND, 6, 80) });
    allow(ack(FRIEND, STRANGER));
    allow(Packet { tcp_flags: 0xc2, ..packet(FRIEND, SUBJECT, 6, 80) });
    // Each side of the rule alone.
    let mut only_in = program();
    only_in.v4.local_out.clear();
    check(&only_in, ack(SUBJECT, FRIEND), Verdict::Deny);
    check(&only_in, ack(FRIEND, SUBJECT), Verdict::Allow);
    let mut only_out = program();
    only_out.v4.local_in.clear();
    check(&only_out, ack(FRIEND, SUBJECT), Verdict::Deny);
    check(&only_out, ack(SUBJECT, FRIEND), Verdict::Allow);
}

#[test]
fn established_connections_pass_and_untracked_packets_are_judged() {
    let stranger = packet(STRANGER, SUBJECT, 6, 22);
    allow(Packet { ct_state: CtState::Established, tcp_flags: 0x10, ..stranger });
    for ct_state in [CtState::Untracked, CtState::Invalid, CtState::New] {
        deny(Packet { ct_state, ..stranger });
        allow(Packet { ct_state, ..packet(FRIEND, SUBJECT, 6, 80) });
    }
}

/// Attack 9: a child that another table's conntrack helper expects.
#[test]
fn related_passes_for_icmp_errors_only() {
    let related = |protocol| Packet {
        ct_state: CtState::Related,
        icmp_type: 3,
        ..packet(STRANGER, SUBJECT, protocol, 4000)
    };
    deny(related(6));
    deny(related(17));
    deny(related(ICMPV6));
    allow(related(ICMP));
    deny(packet(STRANGER, SUBJECT, ICMP, 0));
    let related_v6 = |protocol| Packet {
        ct_state: CtState::Related,
        icmp_type: 1,
        ..packet("fd00::3", "fd00::2", protocol, 0)
    };
    check(&program_v6(), related_v6(ICMPV6), Verdict::Allow);
    check(&program_v6(), related_v6(ICMP), Verdict::Deny);
}

/// The packet, of a connection between its own ends.
fn of_connection(packet: Packet) -> Packet {
    let Connection { from, to, .. } = packet.connection;
    Packet { connection_sources: Some([from, to]), ..packet }
}

/// Attack 10: an error about a connection that its sender is no end of. What comes to a subject may be about any, since routers send errors.
#[test]
fn a_subject_sends_errors_about_its_own_connections_only() {
    for (subject, other, third, protocol, program) in [
        (SUBJECT, STRANGER, FRIEND, ICMP, program()),
        ("fd00::2", "fd00::3", "fd00::1", ICMPV6, program_v6()),
    ] {
        let kind = if protocol == ICMP { 3 } else { 1 };
        let error = |from, to, sources: Option<[&str; 2]>| Packet {
            ct_state: CtState::Related,
            icmp_type: kind,
            connection_sources: sources.map(|ends| ends.map(ip)),
            ..packet(from, to, protocol, 0)
        };
        for ends in [[subject, other], [other, subject], [subject, third]] {
            check(&program, error(subject, other, Some(ends)), Verdict::Allow);
        }
        check(&program, error(subject, other, Some([other, third])), Verdict::Deny);
        check(&program, error(subject, other, None), Verdict::Deny);
        check(&program, error(third, subject, Some([subject, other])), Verdict::Allow);
    }
}

/// Connection tracking calls every error related whose quoted packet belongs to a tracked connection, and redirects as well.
/// Only errors about the connection pass; who is no subject is not judged.
#[test]
fn a_related_redirect_is_judged_like_any_packet() {
    for icmp_type in 0..=u8::MAX {
        let related = |packet: Packet| Packet { ct_state: CtState::Related, icmp_type, ..packet };
        let new = |packet: Packet| Packet { icmp_type, ..packet };
        let when = |passes: bool| if passes { Verdict::Allow } else { Verdict::Deny };
        for (from, to) in [(STRANGER, SUBJECT), (SUBJECT, STRANGER)] {
            let message = of_connection(packet(from, to, ICMP, 0));
            let error = when([3, 11, 12].contains(&icmp_type));
            check(&program(), related(message), error);
            check(&program(), Packet { tos: 0x10, ..related(message) }, error);
            check(&program(), new(message), Verdict::Deny);
        }
        for (from, to) in [("fd00::3", "fd00::2"), ("fd00::2", "fd00::3")] {
            let message = of_connection(packet(from, to, ICMPV6, 0));
            check(&program_v6(), related(message), when((1..=4).contains(&icmp_type)));
            check(&program_v6(), new(message), Verdict::Deny);
        }
        check(&program(), related(packet(STRANGER, FRIEND, ICMP, 0)), Verdict::Allow);
    }
}

/// A subject's row of class 0:0 applies to every class without a row of its own, and `DENY` is a row that allows nothing.
#[test]
fn without_a_row_the_base_applies() {
    let mut program = program();
    let (subject, unknown) = (ip(SUBJECT), ClassId::UNKNOWN);
    let base = ProfileId(ProfileId::FIRST);
    program.v4.allow_in.insert((subject, unknown), base);
    program.v4.ports.insert(PortElement { profile: base, protocol: 6, port: 443 });
    program.v4.class.insert(ip("10.0.0.4"), ClassId(0x0001_0003));
    for from in [STRANGER, "10.0.0.4"] {
        check(&program, packet(from, SUBJECT, 6, 443), Verdict::Allow);
        check(&program, packet(from, SUBJECT, 6, 444), Verdict::Deny);
    }
    // A row is all that applies.
    check(&program, packet(FRIEND, SUBJECT, 6, 443), Verdict::Deny);
    check(&program, packet(FRIEND, SUBJECT, 6, 80), Verdict::Allow);
    program.v4.allow_in.insert((subject, unknown), ProfileId::EVERYTHING);
    program.v4.allow_in.insert((subject, ClassId(0x0001_0003)), ProfileId::DENY);
    check(&program, packet(STRANGER, SUBJECT, 47, 0), Verdict::Allow);
    check(&program, packet("10.0.0.4", SUBJECT, 6, 443), Verdict::Deny);
    // Egress has a base of its own.
    check(&program, packet(SUBJECT, STRANGER, 6, 443), Verdict::Deny);
    program.v4.allow_out.insert((subject, unknown), ProfileId::EVERYTHING);
    check(&program, packet(SUBJECT, STRANGER, 6, 443), Verdict::Allow);
}

#[test]
fn the_tables_and_the_walk_find_the_same_profile() {
    let program = program();
    for (class, expected) in [
        (WEB, HTTP),
        (BLOCK, ProfileId::EVERYTHING),
        (ClassId::UNKNOWN, ProfileId::NOTHING),
        (ClassId(0x0001_0003), ProfileId::NOTHING),
    ] {
        let found = program.v4.profile_of(Direction::Ingress, ip(SUBJECT), class);
        assert_eq!(found, expected, "{class}");
    }
    let mut program = program;
    program.v4.allow_out.insert((ip(SUBJECT), ClassId::UNKNOWN), ProfileId::DENY);
    let out = |class| program.v4.profile_of(Direction::Egress, ip(SUBJECT), class);
    assert_eq!((out(WEB), out(BLOCK)), (ProfileId::EVERYTHING, ProfileId::DENY));
}

/// Port ranges are looked up only for profiles whose id has the bit.
#[test]
fn port_ranges_count_for_ranged_profiles_only() {
    let mut program = program();
    let plain = ProfileId(ProfileId::FIRST);
    program.v4.allow_in.insert((ip(SUBJECT), WEB), plain);
    let range = PortRangeElement { profile: plain, protocol: 6, first: 8000, last: 9000 };
    program.v4.port_ranges.insert(range);
    let mut path = Vec::new();
    let friend = packet(FRIEND, SUBJECT, 6, 8500);
    let verdict = run(&mut &program.v4, Family::V4, &friend, &mut path).0;
    assert_eq!(verdict, Verdict::Deny);
    assert!(!path.contains(&Step::Miss(SetName::PortRanges)), "{path:?}");
}

/// Attack 11: a forged packet from an address to itself.
#[test]
fn a_pod_reaches_itself_only_through_a_service() {
    let itself = packet(SUBJECT, SUBJECT, 17, 53);
    deny(itself);
    allow(Packet { dnat: true, ..itself });
    deny(Packet { dnat: true, ct_state: CtState::Untracked, ..itself });
    deny(Packet { dnat: true, ..packet(STRANGER, SUBJECT, 17, 53) });
    check(&program_v6(), packet("fd00::2", "fd00::2", 17, 53), Verdict::Deny);
    let hairpin = Packet { dnat: true, ..packet("fd00::2", "fd00::2", 17, 53) };
    check(&program_v6(), hairpin, Verdict::Allow);
}

fn icmpv6(icmp_type: u8, from: &str, to: &str) -> Packet {
    Packet { icmp_type, hop_limit: 255, ..packet(from, to, ICMPV6, 0) }
}

const BRIDGE: u32 = 7;
/// The port of that bridge that leads to a subject.
const PORT: u32 = 8;

fn bridged(packet: Packet) -> Packet {
    Packet { iif: BRIDGE, oif: BRIDGE, ..packet }
}

/// A host on which `BRIDGE` carries subjects.
struct OnHost<'a>(&'a Tables);

impl View for OnHost<'_> {
    fn tables(&mut self, _lookup: SetName) -> &Tables {
        self.0
    }

    fn host_has(&mut self, _lookup: SetName, element: Element) -> bool {
        matches!(element, Element::Bridge(BRIDGE) | Element::Interface(PORT))
    }
}

/// As `check`, where `BRIDGE` carries subjects.
#[track_caller]
fn check_on_host(program: &Program, packet: Packet, expected: Verdict) {
    let family = Family::of(packet.connection.to);
    let found = eval(&mut OnHost(&program[family]), family, &packet);
    assert_found(&found, packet, expected);
}

#[test]
fn neighbour_discovery_passes_and_an_echo_request_does_not() {
    let program = program_v6();
    for message in [ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT] {
        check(&program, icmpv6(message, "fd00::2", "fd00::3"), Verdict::Allow);
        check(&program, icmpv6(message, "fd00::3", "fd00::2"), Verdict::Allow);
        check(&program, bridged(icmpv6(message, "fd00::3", "fd00::2")), Verdict::Allow);
    }
    check(&program, icmpv6(128, "fd00::3", "fd00::2"), Verdict::Deny);
    check(&program, bridged(icmpv6(128, "fd00::3", "fd00::2")), Verdict::Deny);
}

/// A router lowers the hop limit: what claims to be of the link and is not, is judged like any packet.
#[test]
fn neighbour_discovery_from_beyond_a_router_does_not_pass() {
    let program = program_v6();
    for message in [ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT] {
        let near = icmpv6(message, "fd00::3", "fd00::2");
        let far = Packet { hop_limit: 254, ..near };
        check(&program, near, Verdict::Allow);
        check(&program, far, Verdict::Deny);
        check(&program, bridged(far), Verdict::Deny);
    }
}

/// Every TOS, routed and bridged: `check` asserts that the priority leaves as it came.
#[test]
fn the_priority_leaves_as_the_forward_path_set_it() {
    let program = program();
    for tos in 0..=u8::MAX {
        for (from, to) in [(FRIEND, SUBJECT), (SUBJECT, FRIEND), (FRIEND, STRANGER)] {
            let packet = Packet { tos, ..packet(from, to, 6, 80) };
            check(&program, packet, Verdict::Allow);
            check_on_host(&program, bridged(packet), Verdict::Allow);
        }
    }
}

struct WithoutCatchAlls<'a>(&'a Tables);

impl View for WithoutCatchAlls<'_> {
    fn tables(&mut self, _lookup: SetName) -> &Tables {
        self.0
    }

    fn catch_alls(&self) -> bool {
        false
    }
}

/// Somebody deleted the catch-all: a miss ends the rule and leaves the register as it was, with a priority of the TOS field.
/// Every verdict must be what it is with the catch-all.
#[test]
fn a_miss_changes_nothing_with_the_catch_all_gone() {
    let mut program = program();
    let (subject, held, denied) = (ip(SUBJECT), ClassId(0x0001_0003), ClassId(0x0001_0004));
    program.v4.class.extend([(ip("10.0.0.4"), held), (ip("10.0.0.5"), denied)]);
    let atom = AddressRange { first: ip(STRANGER), last: ip(STRANGER) };
    program.v4.cidr.insert(atom, denied);
    let peers = [STRANGER, FRIEND, "10.0.0.4", "10.0.0.5", "10.0.0.6", "192.168.0.1"];
    let mut verdicts = Vec::new();
    for base in [ProfileId::NOTHING, HTTP, ProfileId::EVERYTHING] {
        if base != ProfileId::NOTHING {
            for rows in [&mut program.v4.allow_in, &mut program.v4.allow_out] {
                rows.insert((subject, ClassId::UNKNOWN), base);
                rows.insert((subject, denied), ProfileId::DENY);
            }
        }
        for tos in [0, 0x08, 0x10, 0x18] {
            for peer in peers {
                for (from, to) in [(peer, SUBJECT), (SUBJECT, peer)] {
                    let packet = Packet { tos, ..packet(from, to, 6, 80) };
                    let whole = eval(&mut &program.v4, Family::V4, &packet);
                    let damaged = eval(&mut WithoutCatchAlls(&program.v4), Family::V4, &packet);
                    assert_eq!(damaged.verdict, whole.verdict, "{damaged}; {whole}");
                    verdicts.push(whole.verdict);
                }
            }
        }
    }
    assert!(verdicts.contains(&Verdict::Allow) && verdicts.contains(&Verdict::Deny));
}

/// A view that gives each set another generation.
struct Mixed<'a>(BTreeMap<SetName, &'a Tables>, &'a Tables, Vec<SetName>);

impl View for Mixed<'_> {
    fn tables(&mut self, lookup: SetName) -> &Tables {
        self.2.push(lookup);
        self.0.get(&lookup).unwrap_or(&self.1)
    }

    fn host_has(&mut self, lookup: SetName, _element: Element) -> bool {
        self.2.push(lookup);
        false
    }
}

#[test]
fn each_lookup_asks_the_view_in_order() {
    use SetName::{AllowIn, Class, FirstInterfaces, LocalIn, LocalOut, PodInterfaces, Ports};
    let (program, mut later) = (program(), program());
    later.v4.allow_in.clear();
    let mut view = Mixed([(AllowIn, &later.v4)].into(), &program.v4, Vec::new());
    let found = eval(&mut view, Family::V4, &packet(FRIEND, SUBJECT, 6, 80));
    assert_eq!(found.verdict, Verdict::Deny);
    assert_eq!(
        view.2,
        [PodInterfaces, FirstInterfaces, LocalOut, LocalIn, Class, AllowIn, AllowIn]
    );
    assert_eq!(
        found.to_string(),
        "not @first_interfaces, not @local_out, @local_in, to ingress, @class: class 1:1, not @allow_in, not @allow_in, \
         to deny_in, deny in deny_in"
    );
    let mut view = Mixed([(Ports, &later.v4)].into(), &program.v4, Vec::new());
    let found = eval(&mut view, Family::V4, &packet(FRIEND, SUBJECT, 6, 80));
    assert_eq!(found.verdict, Verdict::Allow);
    assert_eq!(view.2, [PodInterfaces, FirstInterfaces, LocalOut, LocalIn, Class, AllowIn, Ports]);
}
