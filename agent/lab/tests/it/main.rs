//! The verdicts that a lab reports are those of the rules in its node's namespace, and of nothing else. These tests need root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use palisade_compiler::model::{Connection, Verdict};
use palisade_lab::packet::{Arrival, GRE, ICMP, ICMPV6, SCTP, TCP, UDP};
use palisade_lab::{Conversation, Flood, Host, Lab, LabSpec, Layout, Nflog};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn host(name: &str, addresses: &[&str]) -> Host {
    Host { name: name.into(), addresses: addresses.iter().map(|a| address(a)).collect() }
}

/// Eight pods with an address of each family, and some addresses outside.
fn spec(layout: Layout) -> LabSpec {
    let pod = |n| host(&format!("p{n}"), &[&format!("10.1.0.{n}"), &format!("fd00:1::{n}")]);
    let mut spec = LabSpec::new(layout, (1..=8).map(pod).collect());
    spec.outside = ["203.0.113.7", "192.168.3.255", "2001:db8::7"].map(address).into();
    spec.node = ["192.0.2.1", "2001:db8:1::1"].map(address).into();
    spec
}

/// Loads a ruleset into the node's namespace.
#[track_caller]
fn load(lab: &Lab, text: &str) {
    lab.node().nft(text).expect("loaded");
}

/// Every ordered pair of addresses of one family on different machines, with every protocol. GRE is sent in one direction
/// only: it has no ports, so both directions would be the same connection.
fn everything(lab: &Lab) -> Vec<Connection> {
    let of = |n: usize| lab.machines()[n].addresses.iter().copied();
    let count = lab.machines().len();
    let mut all = Vec::new();
    for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b) {
        for (from, to) in of(a).flat_map(|from| of(b).map(move |to| (from, to))) {
            if from.is_ipv4() == to.is_ipv4() {
                let icmp = if from.is_ipv4() { ICMP } else { ICMPV6 };
                let with_port = [(TCP, 80), (UDP, 53), (SCTP, 132)];
                for (protocol, port) in
                    with_port.into_iter().chain([(icmp, 0)]).chain((a > b).then_some((GRE, 0)))
                {
                    all.push(Connection { from, to, protocol, port });
                }
            }
        }
    }
    all
}

#[test]
fn without_rules_everything_arrives() {
    for layout in Layout::ALL {
        let begun = Instant::now();
        let lab = Lab::new(&spec(layout)).expect("a lab");
        let built = begun.elapsed();
        let all = everything(&lab);
        let begun = Instant::now();
        let seen = lab.probe(&all).expect("probes");
        println!("{layout:?}: built in {built:?}, {} probes in {:?}", all.len(), begun.elapsed());
        for (connection, seen) in all.iter().zip(seen) {
            assert_eq!(seen, Verdict::Allow, "{layout:?} {connection:?}");
        }
    }
}

#[test]
fn probes_that_a_rule_drops_are_denied_and_no_others() {
    for layout in Layout::ALL {
        let lab = Lab::new(&spec(layout)).expect("a lab");
        load(
            &lab,
            "table inet t { chain c { type filter hook forward priority 0
               ct state established accept
               ip daddr 10.1.0.2 tcp dport 80 drop
               ip saddr 203.0.113.7 meta l4proto { icmp, gre } drop
               ip6 daddr fd00:1::3 udp dport 53 drop
               ip6 saddr fd00:1::4 sctp dport 132 drop
               ip6 daddr 2001:db8::7 meta l4proto icmpv6 drop
}
}",
        );
        let dropped = |c: &Connection| {
            let (from, to) = (c.from.to_string(), c.to.to_string());
            to == "10.1.0.2" && c.protocol == TCP
                || from == "203.0.113.7" && matches!(c.protocol, ICMP | GRE)
                || to == "fd00:1::3" && c.protocol == UDP
                || from == "fd00:1::4" && c.protocol == SCTP
                || to == "2001:db8::7" && c.protocol == ICMPV6
        };
        let all = everything(&lab);
        // Twice, because no probe may belong to the connection of an earlier one.
        for _ in 0..2 {
            let seen = lab.probe(&all).expect("probes");
            for (connection, seen) in all.iter().zip(seen) {
                let expected = if dropped(connection) { Verdict::Deny } else { Verdict::Allow };
                assert_eq!(seen, expected, "{layout:?} {connection:?}");
            }
        }
    }
}

#[test]
fn real_connections_are_answered_or_dropped() {
    for layout in Layout::ALL {
        let lab = Lab::new(&spec(layout)).expect("a lab");
        load(
            &lab,
            "table inet t { chain c { type filter hook forward priority 0
               ct state established accept
               ip daddr 10.1.0.2 drop
               ip6 daddr fd00:1::2 drop
}
}",
        );
        let all: Vec<_> =
            everything(&lab).into_iter().filter(|c| matches!(c.protocol, TCP | UDP)).collect();
        let begun = Instant::now();
        let conversations = lab.converse(&all).expect("conversations");
        println!("{layout:?}: {} conversations in {:?}", all.len(), begun.elapsed());
        for (connection, conversation) in all.iter().zip(conversations) {
            let dropped = ["10.1.0.2", "fd00:1::2"].map(address).contains(&connection.to);
            let expected = if dropped { Conversation::Dropped } else { Conversation::Answered };
            assert_eq!(conversation, expected, "{layout:?} {connection:?}");
        }
    }
}

/// The kernel makes the local routes of IPv6 addresses in the background; a datagram that came before them got no answer.
#[test]
fn a_new_lab_answers_the_first_datagram_to_every_address() {
    for layout in [Layout::ALL; 8].concat() {
        let lab = Lab::new(&spec(layout)).expect("a lab");
        let udp = |c: &Connection| c.protocol == UDP && c.to.is_ipv6();
        let all: Vec<_> = everything(&lab).into_iter().filter(udp).collect();
        for (connection, outcome) in all.iter().zip(lab.converse(&all).expect("conversations")) {
            assert_eq!(outcome, Conversation::Answered, "{layout:?} {connection:?}");
        }
    }
}

#[test]
fn a_flood_sees_each_change_of_the_rules() {
    let lab = Arc::new(Lab::new(&spec(Layout::Routed)).expect("a lab"));
    load(
        &lab,
        "table ip t { set shut { type ipv4_addr; elements = { 10.1.0.3 } }
           chain c { type filter hook forward priority 0; ip daddr @shut drop
}
}",
    );
    let udp =
        |to| Connection { from: address("10.1.0.1"), to: address(to), protocol: UDP, port: 53 };
    let flood = Flood::start(&lab, &["10.1.0.2", "10.1.0.3", "10.1.0.4"].map(udp)).expect("flood");
    for _ in 0..5 {
        flood.await_round();
        load(&lab, "add element ip t shut { 10.1.0.4 }");
        flood.await_round();
        load(&lab, "delete element ip t shut { 10.1.0.4 }");
    }
    flood.await_round();
    let counts = flood.stop().expect("no error");
    println!("{counts:?}");
    let [open, shut, changing] = counts[..] else { panic!("three counts") };
    assert!(open.sent > 0, "{open:?}");
    assert_eq!((open.missing(), open.changes), (0, 0));
    assert_eq!((shut.arrived, shut.changes), (0, 0));
    assert!(changing.changes >= 10 && changing.arrived > 0 && changing.missing() > 0);
}

#[test]
fn the_hosts_own_namespace_is_not_touched() {
    let links = || {
        let output = Command::new("ip").args(["-br", "link"]).output().expect("ip is installed");
        String::from_utf8(output.stdout).expect("text")
    };
    let before = links();
    let lab = Lab::new(&spec(Layout::Bridged)).expect("a lab");
    assert_eq!(links(), before);
    drop(lab);
}

#[test]
fn addresses_that_no_interface_can_have_are_refused_by_name() {
    for wrong in ["127.0.0.2", "224.0.0.1", "::1", "fe80::9", "0.1.2.3", "198.18.0.9"] {
        let spec = LabSpec::new(Layout::Routed, vec![host("p", &[wrong])]);
        let error = Lab::new(&spec).expect_err("refused").to_string();
        assert!(error.contains(wrong), "{error}");
    }
    let twice =
        LabSpec::new(Layout::Routed, vec![host("a", &["10.0.0.1"]), host("b", &["10.0.0.1"])]);
    assert!(Lab::new(&twice).expect_err("refused").to_string().contains("twice"));
}

#[test]
fn packets_that_a_rule_logs_are_received_whole_with_the_rules_prefix() {
    let lab = Lab::new(&spec(Layout::Routed)).expect("a lab");
    load(
        &lab,
        "table inet t { chain c { type filter hook forward priority 0
           udp dport 53 log prefix \"no dns\" group 3 drop
}
}",
    );
    let log = Nflog::listen(lab.node(), 3).expect("a listener");
    let udp = |(from, to)| Connection { from, to, protocol: UDP, port: 53 };
    let pairs = [("10.1.0.1", "10.1.0.2"), ("fd00:1::1", "fd00:1::2")];
    let all = pairs.map(|(from, to)| (address(from), address(to))).map(udp);
    assert_eq!(lab.probe(&all).expect("probes"), [Verdict::Deny; 2]);
    let records = log.records().expect("records");
    for (record, connection) in records.iter().zip(&all) {
        let packet = Arrival::read(&record.packet).expect("an IP packet");
        assert_eq!(record.prefix, "no dns");
        let Connection { from, to, protocol, port } = *connection;
        assert_eq!(
            (packet.from, packet.to, packet.protocol, packet.port),
            (from, to, protocol, port)
        );
    }
    assert_eq!(records.len(), 2);
    assert_eq!(log.records().expect("no more"), []);
}
