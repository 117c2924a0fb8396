//! Tracked connections as they are read and deleted: those of real packets in a lab.

use std::net::IpAddr;

use palisade_compiler::model::{Connection, Family};
use palisade_dataplane::netlink::conntrack::{
    Conntrack, Direction, Entry, Progress, Selection, Upper,
};
use palisade_dataplane::netlink::local_addresses;
use palisade_lab::packet::{ICMP, ICMPV6, Packet, SCTP, TCP, UDP, tcp_flags};
use palisade_lab::{Host, Lab, LabSpec, Layout, Transmission};

const PODS: [(&str, [&str; 2]); 3] = [
    ("a", ["10.1.0.1", "fd00:1::1"]),
    ("b", ["10.1.0.2", "fd00:1::2"]),
    ("c", ["10.1.0.3", "fd00:1::3"]),
];

fn lab() -> Lab {
    let pods = PODS.map(|(name, addresses)| Host {
        name: name.into(),
        addresses: addresses.map(|text| text.parse().unwrap()).into(),
    });
    let lab = Lab::new(&LabSpec::new(Layout::Routed, pods.into())).expect("a lab");
    // Without a rule that asks for it, nothing is tracked; and a reset would end an entry at once.
    nft(
        &lab,
        "table inet t {
           chain early { type filter hook prerouting priority raw; tcp flags & rst == rst drop; }
           chain late { type filter hook forward priority 0; ct state invalid counter; }
         }",
    );
    lab
}

#[track_caller]
fn nft(lab: &Lab, text: &str) {
    lab.node().nft(text).unwrap_or_else(|error| panic!("{error}"));
}

fn of(pod: usize, family: Family) -> IpAddr {
    PODS[pod].1[usize::from(family == Family::V6)].parse().unwrap()
}

fn send(lab: &Lab, from: usize, to: usize, packet: &Packet) {
    lab.exchange(&[Transmission { from, to, packet: packet.bytes() }]).expect("exchanged");
}

/// The first packet of a connection between pods, over every protocol that is told apart.
fn connect(lab: &Lab, from: usize, to: usize) {
    for family in Family::ALL {
        let icmp = if family == Family::V4 { ICMP } else { ICMPV6 };
        for protocol in [TCP, UDP, SCTP, icmp, 99] {
            let port = if matches!(protocol, TCP | UDP | SCTP) { 80 } else { 0 };
            let (from_at, to_at) = (of(from, family), of(to, family));
            let connection = Connection { from: from_at, to: to_at, protocol, port };
            send(lab, from, to, &Packet::first(&connection, 4000, 7));
        }
    }
}

fn list(lab: &Lab, selection: Selection) -> Vec<Entry> {
    let list = || {
        let mut conntrack = Conntrack::open().unwrap();
        read(&mut conntrack, selection)
    };
    lab.node().run(list).unwrap()
}

fn read(conntrack: &mut Conntrack, selection: Selection) -> Vec<Entry> {
    conntrack.begin(selection).unwrap();
    let mut entries = Vec::new();
    while conntrack.read(|entry| entries.push(entry)).unwrap() == Progress::More {}
    // The lab's markers, and what the kernel sends by itself.
    entries.retain(|entry| PODS.iter().any(|(_, own)| own.contains(&&*entry.opener().to_string())));
    entries.sort_by_key(|entry| entry.id);
    entries
}

#[test]
fn connections_of_every_protocol_are_read_whole_and_by_their_ends() {
    let lab = lab();
    connect(&lab, 0, 1);
    connect(&lab, 2, 0);
    let all = list(&lab, Selection::All);
    assert_eq!(all.len(), 20, "{all:#?}");
    for family in Family::ALL {
        let (a, b) = (of(0, family), of(1, family));
        let tcp = all.iter().find(|e| (e.opener(), e.original.protocol) == (a, TCP)).unwrap();
        assert_eq!((tcp.answerer(), tcp.original.destination), (b, b));
        assert_eq!(tcp.original.upper, Upper::Ports { source: 4000, destination: 80 });
        assert_eq!(tcp.live().connection, Connection { from: a, to: b, protocol: TCP, port: 80 });
        assert!(!tcp.is_midstream() && !tcp.live().dnat);
        for protocol in [ICMP, ICMPV6] {
            let echo = all.iter().find(|e| (e.opener(), e.original.protocol) == (a, protocol));
            let is_there = (family == Family::V4) == (protocol == ICMP);
            assert_eq!(echo.is_some(), is_there);
            let id = |entry: &Entry| match entry.original.upper {
                Upper::Icmp { id, .. } => id,
                other => panic!("{other:?}"),
            };
            assert!(echo.is_none_or(|echo| id(echo) == 4000), "{echo:?}");
        }
        let of_family: Vec<Entry> =
            all.iter().filter(|entry| Family::of(entry.opener()) == family).copied().collect();
        assert_eq!(list(&lab, Selection::Family(family)), of_family);
        for address in [a, b, of(2, family)] {
            let IpAddr::V4(address) = address else { continue };
            for direction in Direction::ALL {
                let source = |entry: &Entry| match direction {
                    Direction::Original => entry.opener(),
                    Direction::Reply => entry.answerer(),
                };
                let expected: Vec<Entry> =
                    all.iter().filter(|entry| source(entry) == address).copied().collect();
                let selected = list(&lab, Selection::Source(address, direction));
                assert_eq!(selected, expected, "{address} {direction:?}");
            }
        }
    }
}

#[test]
fn an_entry_is_deleted_alone_and_once() {
    let lab = lab();
    connect(&lab, 0, 1);
    let before = list(&lab, Selection::All);
    for entry in &before {
        let delete = |entries: &[Entry]| {
            lab.node().run(|| Conntrack::open().unwrap().delete(entries).unwrap()).unwrap()
        };
        let other = Entry { id: !entry.id, ..*entry };
        assert_eq!(delete(&[other]), 0, "another connection with the same tuple");
        assert_eq!(delete(&[*entry]), 1, "{entry:?}");
        let rest: Vec<Entry> = before.iter().filter(|e| e.id > entry.id).copied().collect();
        assert_eq!(list(&lab, Selection::All), rest);
        assert_eq!(delete(&[*entry]), 0, "it was there no more");
    }
    assert_eq!(list(&lab, Selection::All), []);
}

#[test]
fn many_are_deleted_at_once_and_a_dump_can_be_left_unread() {
    let lab = lab();
    let packet = |port| Packet::udp(of(0, Family::V4), of(1, Family::V4), port, 53, b"one");
    let transmissions: Vec<_> = (1000..6000)
        .map(|port| Transmission { from: 0, to: 1, packet: packet(port).bytes() })
        .collect();
    lab.exchange(&transmissions).expect("exchanged");
    let work = || {
        let mut conntrack = Conntrack::open().unwrap();
        conntrack.begin(Selection::All).unwrap();
        assert_eq!(conntrack.read(|_| {}).unwrap(), Progress::More);
        let entries = read(&mut conntrack, Selection::All);
        assert_eq!(entries.len(), 5000);
        let (first, second) = entries.split_at(2500);
        assert_eq!(conntrack.delete(first).unwrap(), 2500);
        assert_eq!(conntrack.delete(&entries).unwrap(), 2500);
        assert_eq!(read(&mut conntrack, Selection::All), []);
        assert_eq!(second.len(), 2500);
    };
    lab.node().run(work).unwrap();
}

/// A zone keeps equal tuples apart.
#[test]
fn an_entry_of_a_zone_is_deleted_there() {
    let lab = lab();
    nft(
        &lab,
        "table inet zones { chain c { type filter hook prerouting priority raw
           udp dport 53 ct zone set 9
           udp dport 54 ct original zone set 8
         }\n}",
    );
    for port in [53, 54] {
        send(&lab, 0, 1, &Packet::udp(of(0, Family::V4), of(1, Family::V4), 4000, port, b"one"));
    }
    let mut entries = list(&lab, Selection::All);
    entries.sort_by_key(|entry| entry.reply.source_port());
    let zones: Vec<_> = entries.iter().map(|e| (e.zone, e.original.zone)).collect();
    assert_eq!(zones, [(Some(9), None), (None, Some(8))]);
    let delete = || Conntrack::open().unwrap().delete(&entries).unwrap();
    assert_eq!(lab.node().run(delete).unwrap(), 2);
    assert_eq!(list(&lab, Selection::All), []);
}

#[test]
fn a_connection_that_is_first_seen_in_its_middle_says_so() {
    let lab = lab();
    for (port, flags) in [(80, tcp_flags::SYN), (81, tcp_flags::ACK)] {
        let (from, to) = (of(0, Family::V4), of(1, Family::V4));
        send(&lab, 0, 1, &Packet::tcp(from, to, (4000, port), flags, (1, 1)));
    }
    let midstream: Vec<_> = list(&lab, Selection::All)
        .iter()
        .map(|entry| (entry.live().connection.port, entry.live().midstream))
        .collect();
    assert_eq!(midstream.len(), 2);
    assert!(
        midstream.contains(&(80, None)) && midstream.contains(&(81, Some(4000))),
        "{midstream:?}"
    );
}

#[test]
fn the_hosts_addresses_are_those_of_all_its_interfaces() {
    let node: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap()).into();
    let spec = LabSpec { node: node.clone(), ..LabSpec::new(Layout::Routed, Vec::new()) };
    let lab = Lab::new(&spec).expect("a lab");
    let own = lab.node().run(|| local_addresses().unwrap()).unwrap();
    assert!(node.iter().all(|address| own.contains(address)), "{own:?}");
    assert!(own.contains(&"127.0.0.1".parse().unwrap()), "{own:?}");
}
