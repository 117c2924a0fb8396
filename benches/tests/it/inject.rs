//! Rules treat injected packets as they treat received ones: all allowed packets arrive, and no denied ones.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use palisade_benches::inject::{
    BATCH, Flow, InjectError, MAX_FLOWS, MAX_PACKETS, Method, Router, Stage, Until, rotation,
};
use palisade_lab::packet::{ICMP, ICMPV6, SCTP, TCP, UDP};

const PACKETS: u32 = 4 * BATCH;
const ALLOWED: u16 = 80;
const DENIED: u16 = 81;

/// Rules that allow established connections, first packets to one port, and echo requests, with counters to read.
const RULES: &str = "
table inet test {
    counter established { }
    counter new { }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established counter name established accept
        meta l4proto . th dport { tcp . 80, udp . 80, sctp . 80 } ct state new counter name new accept
        icmp type echo-request accept
        icmpv6 type echo-request accept
    }
}";

/// Live frames must work wherever these tests run (Linux 5.18), and the packet socket on any kernel.
fn routers() -> [Router; 2] {
    let live = Router::new().expect("network namespaces: these tests run as root");
    assert_eq!((live.method(), live.fallback()), (Method::LiveFrames, None));
    let socket = Router::with_packet_socket().expect("a router");
    assert_eq!(socket.method(), Method::PacketSocket);
    [live, socket]
}

fn nft(router: &Router, arguments: &[&str], input: &str) -> String {
    let run = || {
        let mut child = Command::new("nft")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nft");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("its output");
        assert!(output.status.success(), "nft {arguments:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    router.run(run).expect("in the namespace")
}

fn load(router: &Router, rules: &str) {
    nft(router, &["-f", "-"], rules);
}

/// Reads and resets the packet count of a counter in the table `test`.
fn read_and_reset(router: &Router, counter: &str) -> u64 {
    let text = nft(router, &["reset", "counter", "inet", "test", counter], "");
    let packets = text.split_whitespace().skip_while(|&word| word != "packets").nth(1);
    packets.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

fn entries(router: &Router) -> u64 {
    let read = || std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    router
        .run(read)
        .expect("in the namespace")
        .expect("conntrack")
        .trim()
        .parse()
        .expect("a number")
}

fn flows(version: u8, protocol: u8, port: u16, count: u16) -> Vec<Flow> {
    let address = |n: u16| -> IpAddr {
        match version {
            4 => IpAddr::from([10, 0, (n >> 8) as u8, n as u8]),
            _ => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]),
        }
    };
    let flow = |n| Flow {
        from: address(2 * n + 1),
        to: address(2 * n + 2),
        protocol,
        source_port: 1024 + n,
        port,
    };
    (0..count).map(flow).collect()
}

#[test]
fn allowed_flows_arrive_whole_and_denied_ones_not_at_all() {
    for mut router in routers() {
        load(&router, RULES);
        for version in [4, 6] {
            for protocol in [TCP, UDP, SCTP] {
                for (port, arrive) in [(ALLOWED, true), (DENIED, false)] {
                    let flows = flows(version, protocol, port, 10);
                    let round = router.measure(&flows, Stage::New, PACKETS).expect("a round");
                    let case = format!("{} IPv{version} {protocol} {port}", router.method());
                    assert_eq!(round.packets, u64::from(PACKETS), "{case}");
                    assert_eq!(round.arrived, if arrive { round.packets } else { 0 }, "{case}");
                    assert_eq!(round.batches.len() as u32, PACKETS / BATCH, "{case}");
                    assert!(round.batches.iter().all(|&batch| batch > 0), "{case}");
                    assert_eq!(round.batches.iter().sum::<u64>(), round.nanoseconds, "{case}");
                    assert!(round.per_packet() > 0.0, "{case}");
                }
            }
        }
    }
}

#[test]
fn of_mixed_flows_as_many_arrive_as_are_allowed() {
    for mut router in routers() {
        load(&router, RULES);
        let mut flows = flows(4, TCP, ALLOWED, 24);
        for flow in flows.iter_mut().step_by(3) {
            flow.port = DENIED;
        }
        let packets = 24 * BATCH;
        let round = router.measure(&flows, Stage::New, packets).expect("a round");
        assert_eq!(round.arrived, u64::from(packets) / 3 * 2);
    }
}

#[test]
fn first_packets_meet_no_entry_and_established_ones_do() {
    for mut router in routers() {
        load(&router, RULES);
        for version in [4, 6] {
            for protocol in [TCP, UDP] {
                let flows = flows(version, protocol, ALLOWED, 10);
                let case = format!("{} IPv{version} {protocol}", router.method());
                read_and_reset(&router, "new");
                read_and_reset(&router, "established");

                let round = router.measure(&flows, Stage::New, PACKETS).expect("a round");
                assert_eq!(round.arrived, round.packets, "{case}");
                // One batch precedes those that are timed.
                let all = u64::from(PACKETS + BATCH);
                assert_eq!(
                    (read_and_reset(&router, "new"), read_and_reset(&router, "established")),
                    (all, 0),
                    "{case}"
                );
                assert_eq!(entries(&router), 0, "{case}");

                let round = router.measure(&flows, Stage::Established, PACKETS).expect("a round");
                assert_eq!(round.arrived, round.packets, "{case}");
                assert_eq!(entries(&router), 10, "{case}");
                // What precedes the timed packets: a batch that opens the connections (repeated packets are still
                // unanswered), one that answers, and one more.
                let opened = read_and_reset(&router, "new");
                assert_eq!(opened, u64::from(BATCH), "{case}");
                assert_eq!(
                    read_and_reset(&router, "established"),
                    u64::from(PACKETS + 2 * BATCH),
                    "{case}"
                );

                // The entries are deleted afterwards.
                router.measure(&flows, Stage::New, PACKETS).expect("a round");
                assert_eq!(read_and_reset(&router, "established"), 0, "{case}");
            }
            let echo = if version == 4 { ICMP } else { ICMPV6 };
            let flows = flows(version, echo, 0, 3);
            let round = router.measure(&flows, Stage::Established, PACKETS).expect("a round");
            assert_eq!(round.arrived, round.packets);
        }
    }
}

#[test]
fn a_connection_that_cannot_be_opened_is_not_called_established() {
    for mut router in routers() {
        load(&router, RULES);
        let denied = flows(4, TCP, DENIED, 10);
        let result = router.measure(&denied, Stage::Established, PACKETS);
        assert!(
            matches!(result, Err(InjectError::NotEstablished { arrived: 0, .. })),
            "{result:?}"
        );
    }
}

#[test]
fn without_rules_everything_arrives() {
    for mut router in routers() {
        for stage in [Stage::New, Stage::Established] {
            let round = router.measure(&flows(6, UDP, 9, 1), stage, PACKETS).expect("a round");
            assert_eq!(round.arrived, round.packets);
        }
    }
}

#[test]
fn each_flow_gets_its_share() {
    for mut router in routers() {
        load(
            &router,
            "table ip shares {
                set seen { type ipv4_addr; flags dynamic; counter; size 100; }
                chain forward {
                    type filter hook forward priority 0;
                    add @seen { ip saddr }
                }
            }",
        );
        // 50 flows and one batch of 64 before the timed packets: 14 flows send one more packet.
        router.measure(&flows(4, UDP, 9, 50), Stage::New, 50 * BATCH).expect("a round");
        let text = nft(&router, &["list", "set", "ip", "shares", "seen"], "");
        let words: Vec<_> = text.split_whitespace().collect();
        let counts: Vec<u64> = words
            .windows(2)
            .filter(|pair| pair[0] == "packets")
            .map(|pair| pair[1].parse().expect("a number"))
            .collect();
        let of = |count| counts.iter().filter(|&&c| c == u64::from(count)).count();
        assert_eq!((counts.len(), of(BATCH + 1), of(BATCH + 2)), (50, 36, 14), "{text}");
    }
}

#[test]
fn without_its_count_nothing_is_measured() {
    for mut router in routers() {
        nft(&router, &["flush", "ruleset"], "");
        let result = router.measure(&flows(4, TCP, ALLOWED, 1), Stage::New, PACKETS);
        assert!(matches!(result, Err(InjectError::SinkGone)), "{result:?}");
    }
}

#[test]
fn nonsense_is_refused() {
    let [mut router, _] = routers();
    let good = flows(4, TCP, ALLOWED, 1);
    let mut mixed = good.clone();
    mixed[0].to = "fd00::1".parse().expect("an address");
    let too_many = vec![good[0]; MAX_FLOWS + 1];
    assert!(matches!(router.measure(&[], Stage::New, 1), Err(InjectError::FlowCount(0))));
    assert!(matches!(router.measure(&too_many, Stage::New, 1), Err(InjectError::FlowCount(_))));
    assert!(matches!(router.measure(&good, Stage::New, 0), Err(InjectError::PacketCount(0))));
    let far_too_many = MAX_PACKETS + 1;
    let result = router.measure(&good, Stage::New, far_too_many);
    assert!(matches!(result, Err(InjectError::PacketCount(_))));
    assert!(matches!(router.measure(&mixed, Stage::New, 1), Err(InjectError::Flow { .. })));
    // It still works after the errors.
    let round = router.measure(&good, Stage::New, 1).expect("a round");
    assert_eq!((round.packets, round.arrived), (u64::from(BATCH), u64::from(BATCH)));
}

#[test]
fn each_round_begins_one_further() {
    let rounds: Vec<Vec<usize>> = (0..3).map(|round| rotation(3, round).collect()).collect();
    assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    assert_eq!(rotation(0, 5).count(), 0);
}

#[test]
fn a_probe_tells_each_flow_apart() {
    let [mut router, _] = routers();
    load(&router, RULES);
    let mut some = flows(4, TCP, ALLOWED, 20);
    some.extend(flows(6, UDP, ALLOWED, 20));
    for flow in some.iter_mut().step_by(3) {
        flow.port = DENIED;
    }
    let expected: Vec<bool> = some.iter().map(|flow| flow.port == ALLOWED).collect();
    assert_eq!(router.probe(&some).expect("a probe"), expected);
    assert_eq!(entries(&router), 0);
}

#[test]
fn a_watch_sees_a_verdict_turn_while_it_works() {
    let [mut router, _] = routers();
    load(
        &router,
        "table ip turn {
            set allowed { type ipv4_addr; }
            chain forward {
                type filter hook forward priority 0; policy drop;
                ip saddr @allowed accept
            }
        }",
    );
    let flow = flows(4, TCP, ALLOWED, 1)[0];
    for (verb, arrives) in [("add", true), ("delete", false)] {
        let element = format!("{{ {} }}", flow.from);
        let edit = || {
            let arguments = [verb, "element", "ip", "turn", "allowed", &element];
            let status = Command::new("nft").args(arguments).status().expect("nft");
            assert!(status.success());
        };
        let observed = router
            .observe(&flow, Until::Passed(Duration::from_millis(20)), edit)
            .expect("observed");
        let (began, ended) = (observed.began, observed.ended);
        let mut before =
            observed.observations.iter().filter(|s| s.sent + s.took < began).peekable();
        assert!(before.peek().is_some() && before.all(|s| s.arrived != arrives), "{verb}");
        let mut after = observed.observations.iter().filter(|s| s.sent > ended).peekable();
        assert!(after.peek().is_some() && after.all(|s| s.arrived == arrives));
        assert!(observed.enforced(arrives).is_some_and(|time| time > Duration::ZERO), "{verb}");
        assert_eq!(observed.enforced(!arrives), None);
    }
}
