//! What a pod may try and must not achieve, carried out: X is isolated for egress, B for ingress, A and C are ordinary
//! pods. Each attack succeeds first, without rules, so that its failure afterwards means something.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use palisade_compiler::model::{Connection, Family};
use palisade_lab::packet::{
    Arrival, DESTINATION_OPTIONS, HOP_BY_HOP, ICMP, ICMPV6, Packet, TCP, UDP, tcp_flags,
};
use palisade_lab::{Conversation, Lab, LabSpec, Layout, link_local};

use crate::lab::nft;
use crate::scene::Scene;

/// X may reach A on 80/TCP and 53/UDP; C may reach B on the same.
pub(crate) const CAST: &str = r#"
{"kind": "List", "apiVersion": "v1", "items": [
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "a", "labels": {"pod": "a"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00:1::1"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "b", "labels": {"pod": "b"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00:1::2"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "c", "labels": {"pod": "c"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.3"}, {"ip": "fd00:1::3"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "x", "labels": {"pod": "x"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.4"}, {"ip": "fd00:1::4"}]}},
  {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"namespace": "n", "name": "x"},
   "spec": {"podSelector": {"matchLabels": {"pod": "x"}}, "policyTypes": ["Egress"],
     "egress": [{"to": [{"podSelector": {"matchLabels": {"pod": "a"}}}],
                 "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}]}},
  {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"namespace": "n", "name": "b"},
   "spec": {"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Ingress"],
     "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}],
                  "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}]}}
]}"#;

pub(crate) const LAYOUTS_AND_FAMILIES: [(Layout, Family); 4] = [
    (Layout::Routed, Family::V4),
    (Layout::Routed, Family::V6),
    (Layout::Bridged, Family::V4),
    (Layout::Bridged, Family::V6),
];

/// The same without IPv6 addresses.
fn without_v6() -> String {
    let mut cast = CAST.to_owned();
    for n in 1..=4 {
        cast = cast.replace(&format!(r#", {{"ip": "fd00:1::{n}"}}"#), "");
    }
    cast
}

/// A TCP connection that stands.
pub(crate) fn connected(lab: &Lab, from: IpAddr, to: IpAddr, port: u16) -> (TcpStream, TcpStream) {
    let at = SocketAddr::new(to, port);
    let server = lab.machine_of(to).expect("a machine").namespace();
    let client = lab.machine_of(from).expect("a machine").namespace();
    let listener = server.run(|| TcpListener::bind(at)).expect("entered").expect("bound");
    let bound = Duration::from_secs(5);
    let stream = client.run(|| TcpStream::connect_timeout(&at, bound)).expect("entered");
    let (accepted, _) = listener.accept().expect("accepted");
    (stream.expect("connected"), accepted)
}

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

/// Attack 2, also where pods have IPv4 addresses only.
#[test]
fn link_local_neighbours_on_a_bridge_are_not_reached() {
    for cast in [CAST.to_owned(), without_v6()] {
        let scene = Scene::new(Layout::Bridged, &cast);
        let own = |name: &str| IpAddr::from(link_local(scene.number(name)));
        let unknown_port = |from: &str, to: &str| {
            let (from, to) = (own(from), own(to));
            let packets = [Packet::udp(from, to, 4000, 7777, b"hello"), {
                Packet::tcp(from, to, (4001, 7777), tcp_flags::SYN, (1, 0))
            }];
            packets.map(|p| p.bytes())
        };
        let pairs = [("n/a", "n/b"), ("n/x", "n/c")];
        for (from, to) in pairs {
            // Neighbours are found out meanwhile, so not the first packet but one of them arrives.
            let arrived = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                let arrivals = scene.try_arrivals(from, to, &unknown_port(from, to));
                arrivals.is_ok_and(|arrivals| arrivals.iter().any(|a| a.port == 7777))
            });
            assert!(arrived, "{from} -> {to}");
        }
        scene.enforce();
        for (from, to) in pairs {
            for _ in 0..3 {
                let arrivals = scene.arrivals(from, to, &unknown_port(from, to));
                assert!(arrivals.iter().all(|a| a.port != 7777), "{from} -> {to}: {arrivals:?}");
            }
        }
    }
}

/// Attack 5: to all nodes of the link, and to B's own address.
#[test]
fn a_rogue_router_advertisement_does_not_arrive() {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    let scene = Scene::new(Layout::Bridged, CAST);
    let from = IpAddr::from(link_local(scene.number("n/x")));
    let all_nodes = "ff02::1".parse().expect("an address");
    // Lifetimes, then a prefix option (RFC 4861, 4.6.2) with an address that no map knows.
    let mut rest = vec![64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    rest.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    rest.extend("fd00:bad::".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    let advertise = |to| {
        let packet = Packet::icmp(from, to, ROUTER_ADVERTISEMENT, 0, &rest).with_hops(255);
        let arrivals = scene.arrivals("n/x", "n/b", &[packet.bytes()]);
        arrivals
            .iter()
            .any(|a| a.protocol == ICMPV6 && a.body.first() == Some(&ROUTER_ADVERTISEMENT))
    };
    for to in [all_nodes, scene.address("n/b", Family::V6)] {
        assert!(advertise(to), "without rules, to {to}");
    }
    scene.enforce();
    for to in [all_nodes, scene.address("n/b", Family::V6)] {
        assert!(!advertise(to), "to {to}");
    }
}

/// Attack 13: a redirect that quotes a packet of a tracked connection is related for connection tracking.
#[test]
fn a_redirect_that_quotes_a_tracked_connection_does_not_arrive() {
    const REDIRECT: u8 = 137;
    const REDIRECTED_HEADER: u8 = 4;
    let scene = Scene::new(Layout::Bridged, CAST);
    let at = |name: &str| scene.address(name, Family::V6);
    let octets = |address: IpAddr| match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(_) => panic!("{address}"),
    };
    // B may send to C, and X claims to be a router that knows a better way: X.
    let sent = Packet::udp(at("n/b"), at("n/c"), 4000, 53, b"question");
    let quoted = sent.bytes();
    let mut rest = vec![0; 4];
    rest.extend(link_local(scene.number("n/x")).octets());
    rest.extend(octets(at("n/c")));
    let length = u8::try_from((8 + quoted.len()).div_ceil(8)).expect("short");
    rest.extend([REDIRECTED_HEADER, length, 0, 0, 0, 0, 0, 0]);
    rest.extend(&quoted);
    rest.resize(rest.len().next_multiple_of(8) + 4, 0);
    let from = IpAddr::from(link_local(scene.number("n/x")));
    let redirects = || {
        assert!(scene.passes("n/b", "n/c", &sent), "B may send to C");
        let packet = Packet::icmp(from, at("n/b"), REDIRECT, 0, &rest).with_hops(255);
        let arrivals = scene.arrivals("n/x", "n/b", &[packet.bytes()]);
        arrivals.iter().any(|a| a.protocol == ICMPV6 && a.body.first() == Some(&REDIRECT))
    };
    assert!(redirects(), "without rules");
    scene.enforce();
    assert!(!redirects());
}

/// Attacks 2 and 7 over IPv6, and their bound: what goes between the ports of pods that no policy selects is not touched.
#[test]
fn multicast_passes_between_pods_that_no_policy_selects() {
    let scene = Scene::new(Layout::Bridged, CAST);
    let all_nodes: IpAddr = "ff02::1".parse().expect("an address");
    let arrives = |from: &str, to: &str| {
        let packet = Packet::udp(scene.address(from, Family::V6), all_nodes, 4000, 7777, b"all");
        scene.arrivals(from, to, &[packet.bytes()]).iter().any(|a| a.port == 7777)
    };
    let pairs = [
        ("n/a", "n/c", true),
        ("n/c", "n/a", true),
        ("n/a", "n/b", false),
        ("n/a", "n/x", false),
        ("n/x", "n/c", false),
        ("n/b", "n/a", false),
    ];
    for (from, to, _) in pairs {
        assert!(arrives(from, to), "without rules, {from} -> {to}");
    }
    scene.enforce();
    for (from, to, expected) in pairs {
        assert_eq!(arrives(from, to), expected, "{from} -> {to}");
    }
}

/// Neighbour discovery is let through between neighbours. A router passes on what carries its type, with data of the sender's
/// choice.
#[test]
fn neighbour_discovery_carries_nothing_across_a_router() {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    let scene = Scene::new(Layout::Routed, CAST);
    let at = |name: &str| scene.address(name, Family::V6);
    let carries = |from: &str, to: &str, kind| {
        let packet = Packet::icmp(at(from), at(to), kind, 0, &[7; 100]).with_hops(255);
        let arrivals = scene.arrivals(from, to, &[packet.bytes()]);
        arrivals.iter().any(|a| a.protocol == ICMPV6 && a.body.first() == Some(&kind))
    };
    let each =
        [SOLICITATION, ADVERTISEMENT].map(|kind| [("n/x", "n/c", kind), ("n/a", "n/b", kind)]);
    let each = each.as_flattened();
    for &(from, to, kind) in each {
        assert!(carries(from, to, kind), "without rules, {from} -> {to} {kind}");
    }
    scene.enforce();
    for &(from, to, kind) in each {
        assert!(!carries(from, to, kind), "{from} -> {to} {kind}");
    }
}

/// Attack 9: another table expects a child of a connection that B opens, as the helpers of FTP and SIP do.
#[test]
fn a_child_that_a_helper_expects_is_judged() {
    for layout in Layout::ALL {
        let scene = Scene::new(layout, CAST);
        nft(
            scene.lab.node(),
            "table ip other {
               ct expectation child { protocol tcp; dport 9876; timeout 1m; size 8; l3proto ip; }
               chain c { type filter hook forward priority -10
                 ct state new tcp dport 21 ct expectation set \"child\"
                 ct state related tcp dport 9876 counter
               }
             }",
        );
        let at = |name: &str| scene.address(name, Family::V4);
        let expect = || {
            let (_a, _b) = connected(&scene.lab, at("n/b"), at("n/a"), 21);
            let child = Packet::tcp(at("n/a"), at("n/b"), (4000, 9876), tcp_flags::SYN, (7, 0));
            scene.passes("n/a", "n/b", &child)
        };
        scene.enforce();
        assert!(!expect(), "{layout:?}");
        let list =
            || std::process::Command::new("nft").args(["list", "table", "ip", "other"]).output();
        let listing = scene.lab.node().run(list).expect("entered").expect("nft is installed");
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        assert!(listing.contains("counter packets 1 "), "it was no child: {listing}");
    }
}

/// Attack 11, over IPv4 too.
#[test]
fn a_packet_from_an_address_to_itself_does_not_arrive() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        let b = scene.address("n/b", family);
        let forged = Packet::udp(b, b, 53, 53, b"it is me");
        for sender in ["n/a", "n/x"] {
            // On a bridge IPv4 takes the packet for the sender's own.
            if family == Family::V6 || layout == Layout::Routed {
                assert!(scene.passes(sender, "n/b", &forged), "{layout:?} {family:?} {sender}");
            }
        }
        scene.enforce();
        for sender in ["n/a", "n/x"] {
            assert!(!scene.passes(sender, "n/b", &forged), "{layout:?} {family:?} {sender}");
        }
    }
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

/// The first bytes of a packet, as an ICMP error quotes them: unused or MTU, then the packet.
fn quote(packet: &Packet, mtu: u16) -> Vec<u8> {
    let mut rest = vec![0, 0];
    rest.extend(mtu.to_be_bytes());
    rest.extend(packet.bytes());
    rest
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
            let packet = Packet::icmp(at(from), at(to), kind, code, &quote(of, 1300));
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

/// A redirect that quotes a packet of an allowed flow: connection tracking calls it related, as it does an error.
fn redirect(from: IpAddr, to: IpAddr, of: &Packet) -> Packet {
    let mut rest = Vec::new();
    match from {
        IpAddr::V4(from) => {
            rest.extend(from.octets());
            rest.extend(of.bytes());
            Packet::icmp(from.into(), to, 5, 1, &rest)
        }
        IpAddr::V6(from) => {
            // The route's new first hop and its destination, then the option of the packet redirected (RFC 4861, 4.5 and 4.6.3).
            rest.extend([0; 4]);
            rest.extend(from.octets());
            rest.extend(from.octets());
            let mut quoted = of.bytes();
            quoted.resize(quoted.len().next_multiple_of(8), 0);
            rest.extend([4, u8::try_from(quoted.len() / 8 + 1).unwrap(), 0, 0, 0, 0, 0, 0]);
            rest.extend(quoted);
            Packet::icmp(from.into(), to, 137, 0, &rest).with_hops(255)
        }
    }
}

/// Attack 5, by a flow that is allowed: a redirect would move the subject's route to the attacker.
#[test]
fn a_redirect_does_not_arrive_however_it_is_related() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = Scene::new(layout, CAST);
        let at = |name: &str| scene.address(name, family);
        let arrives = || {
            let asked = Packet::udp(at("n/c"), at("n/b"), 4000, 53, b"asked");
            assert!(scene.passes("n/c", "n/b", &asked), "{layout:?} {family:?}");
            let answer = Packet::udp(at("n/b"), at("n/c"), 53, 4000, b"answer");
            assert!(scene.passes("n/b", "n/c", &answer), "{layout:?} {family:?}");
            let packet = redirect(at("n/c"), at("n/b"), &answer);
            let arrivals = scene.arrivals("n/c", "n/b", &[packet.bytes()]);
            let kind = if family == Family::V4 { (ICMP, 5) } else { (ICMPV6, 137) };
            arrivals.iter().any(|a| (a.protocol, a.body.first().copied()) == (kind.0, Some(kind.1)))
        };
        assert!(arrives(), "{layout:?} {family:?}: without rules");
        scene.enforce();
        assert!(!arrives(), "{layout:?} {family:?}");
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
        let shot = palisade_lab::Transmission { from: x, to: a, packet: ask };
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

#[test]
fn neighbours_on_a_bridge_are_found_between_isolated_pods() {
    for family in Family::ALL {
        let scene = Scene::with(CAST, |pods| LabSpec {
            discover_neighbours: true,
            ..LabSpec::new(Layout::Bridged, pods)
        });
        scene.enforce();
        let at = |name: &str| scene.address(name, family);
        for (from, to, expected) in
            [("n/c", "n/b", true), ("n/x", "n/a", true), ("n/a", "n/b", false)]
        {
            // The first packets wait for the neighbour to be found.
            let answered = (0..50).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                scene.lab.connect_tcp(at(from), at(to), 80).expect("tried")
                    == Conversation::Answered
            });
            assert_eq!(answered, expected, "{family:?} {from} -> {to}");
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

/// An answer is waved through because conntrack knows its connection. Where another table turns tracking off it is judged
/// like any packet, by its own ends and ports.
#[test]
fn untracked_packets_are_judged_one_by_one() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        for tracked in [true, false] {
            let scene = Scene::new(layout, CAST);
            if !tracked {
                nft(
                    scene.lab.node(),
                    "table inet other { chain c { type filter hook prerouting priority raw; notrack\n}\n}",
                );
            }
            scene.enforce();
            let at = |name: &str| scene.address(name, family);
            let udp = |from, to, source, port| {
                let packet = Packet::udp(at(from), at(to), source, port, b"one");
                scene.passes(from, to, &packet)
            };
            let what = format!("{layout:?} {family:?} tracked: {tracked}");
            // Each packet is allowed, or each is denied.
            for _ in 0..2 {
                assert!(udp("n/c", "n/b", 4000, 53), "{what}");
                assert!(udp("n/x", "n/a", 4000, 53), "{what}");
                assert!(!udp("n/a", "n/b", 4000, 53), "{what}");
                assert!(!udp("n/x", "n/c", 4000, 53), "{what}");
            }
            // B asks, and X is asked: the answers come in at B and go out of X, where no rule allows them.
            assert!(udp("n/b", "n/a", 4001, 99), "{what}");
            assert_eq!(udp("n/a", "n/b", 99, 4001), tracked, "{what}");
            assert!(udp("n/a", "n/x", 4002, 99), "{what}");
            assert_eq!(udp("n/x", "n/a", 99, 4002), tracked, "{what}");
        }
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
