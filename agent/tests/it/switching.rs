//! While rules are changed, taken over after a restart and replaced as a whole, no packet gets a verdict that the
//! policies did not give it before or after.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Connection, Family};
use palisade_compiler::program::skeleton::VERSION;
use palisade_compiler::program::{Delta, Program};
use palisade_compiler::snapshot::Change;
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_lab::packet::{TCP, UDP};
use palisade_lab::{Flood, Lab, LabSpec, Layout, MARKERS, Namespace};

use crate::cast::CAST;
use crate::lab::{address, nft};
use crate::scene::{changes, host_facts, hosts};

/// What comes and goes meanwhile. It is about the pods of the flood, and changes no verdict of it.
const COMING_AND_GOING: &str = r#"
{"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"namespace": "n", "name": "more"},
 "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
   "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "a"}}}], "ports": [{"port": 8080}, {"port": 9000, "endPort": 9999}]},
               {"from": [{"ipBlock": {"cidr": "10.1.0.3/32"}}, {"ipBlock": {"cidr": "fd00:1::3/128"}}],
                "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]},
               {"from": [{"podSelector": {"matchLabels": {"pod": "x"}}}],
                "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}],
   "egress": [{"to": [{"podSelector": {"matchLabels": {"pod": "b"}}}, {"podSelector": {"matchLabels": {"pod": "a"}}}],
               "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}]}}"#;

/// How long each layout is flooded, and how many rounds of changes there are at least.
const ROUNDS: usize = 7;
const FLOODED: Duration = Duration::from_secs(3);

/// Allowed with and without what comes and goes, then denied with and without it.
fn flooded(family: Family) -> ([Connection; 3], [Connection; 3]) {
    let of = |n: u8| match family {
        Family::V4 => address(&format!("10.1.0.{n}")),
        Family::V6 => address(&format!("fd00:1::{n}")),
    };
    let (a, b, c, x) = (of(1), of(2), of(3), of(4));
    let udp = |from, to, port| Connection { from, to, protocol: UDP, port };
    let tcp = |from, to, port| Connection { from, to, protocol: TCP, port };
    let allowed = [udp(c, b, 53), udp(x, a, 53), tcp(c, b, 80)];
    (allowed, [udp(a, b, 53), udp(x, c, 53), tcp(a, b, 80)])
}

/// More subjects than the set was made for, so that it is built anew, and back again.
fn overfill(dataplane: &mut Dataplane<Kernel>, program: &Program) {
    let mut more = program.clone();
    more.v4.local_in.extend((0..9000).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0ac8_0000 + n))));
    let grown = dataplane.counters().grown;
    dataplane.update(&Delta::between(program, &more)).expect("more subjects");
    dataplane.settle().expect("settled");
    assert!(dataplane.counters().grown > grown, "the set took them all");
    dataplane.update(&Delta::between(&more, program)).expect("fewer subjects");
    dataplane.settle().expect("settled");
}

/// Makes the tables those of another version of the skeleton, with the same rules and elements.
fn age(node: &Namespace) {
    let listing = nft(node, "list ruleset");
    let current = format!("palisade skeleton {VERSION}");
    let has_bridge_table = listing.contains("table bridge palisade");
    assert_eq!(listing.matches(&current).count(), 2 + usize::from(has_bridge_table), "{listing}");
    let old = listing.replace(&current, "palisade skeleton 0");
    let bridge = if has_bridge_table { "delete table bridge palisade\n" } else { "" };
    nft(node, &format!("delete table ip palisade\ndelete table ip6 palisade\n{bridge}{old}"));
}

/// Adds what does not belong into the tables: what can be mended in place, and what only new tables mend.
fn meddle(node: &Namespace, round: usize) {
    nft(
        node,
        if round.is_multiple_of(2) {
            "add set ip palisade odd { type ipv4_addr; }"
        } else {
            "add rule ip palisade forward accept\nadd chain ip6 palisade strange"
        },
    );
}

#[test]
fn no_packet_is_misjudged_while_rules_change_restart_and_are_replaced() {
    for layout in Layout::ALL {
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(changes(CAST));
        let lab = LabSpec::new(layout, hosts(compiler.snapshot()));
        let lab = Arc::new(Lab::new(&lab).expect("a lab"));
        let open = || Kernel::open_without_owner();
        let start = || {
            let kernel = lab.node().run(open).expect("entered").expect("nf_tables");
            Dataplane::start(kernel).expect("started")
        };
        let mut dataplane = start();
        dataplane.set_host(host_facts(&lab, &compiler));
        dataplane.install(compiler.program()).expect("installed");

        drop(dataplane);
        age(lab.node());

        let (four, six) = (flooded(Family::V4), flooded(Family::V6));
        let allowed: Vec<_> = four.0.into_iter().chain(six.0).collect();
        let denied: Vec<_> = four.1.into_iter().chain(six.1).collect();
        let all: Vec<_> = allowed.iter().chain(&denied).copied().collect();
        let flood = Flood::start(&lab, &all).expect("flood");
        let begun = Instant::now();
        let (mut rounds, mut replaced) = (0, 0);
        let mut dataplane = start();
        assert_eq!(dataplane.found(), Program::default(), "another version is nothing to adopt");
        dataplane.set_host(host_facts(&lab, &compiler));
        dataplane.install(compiler.program()).expect("installed");
        assert_eq!(dataplane.counters().replaced, 1);
        while begun.elapsed() < FLOODED || rounds < ROUNDS {
            rounds += 1;
            let more = changes(COMING_AND_GOING);
            let key = more.iter().find_map(|change| match change {
                Change::ApplyPolicy(policy) => Some(policy.key.clone()),
                _ => None,
            });
            let gone = vec![Change::DeletePolicy(key.expect("a policy"))];
            for change in [more, gone] {
                dataplane.update(&compiler.apply(change)).expect("updated");
                dataplane.settle().expect("settled");
            }
            if rounds == 1 {
                overfill(&mut dataplane, compiler.program());
            }
            if rounds % 3 == 0 {
                // The agent starts anew and finds what does not belong there.
                meddle(lab.node(), rounds);
                replaced += dataplane.counters().replaced;
                dataplane = start();
                compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
                compiler.apply(changes(CAST));
                let program = compiler.program();
                dataplane.set_host(host_facts(&lab, &compiler));
                dataplane.install(program).expect("installed");
                assert!(dataplane.verify(program).expect("read").is_empty());
            }
        }
        replaced += dataplane.counters().replaced;
        let counts = flood.stop().expect("no error");
        println!("{layout:?}: {rounds} rounds, {replaced} replaced, {counts:?}");
        assert!(replaced >= 2, "{rounds} rounds, {replaced} replaced");
        for (n, (connection, count)) in all.iter().zip(counts).enumerate() {
            assert!(count.sent > 100, "{layout:?} {connection:?} {count:?}");
            let wrong = if n < allowed.len() { count.missing() } else { count.arrived };
            assert_eq!(wrong, 0, "{layout:?} {connection:?} {count:?}");
        }
    }
}

/// Kills of the agent while packets flow and its manifests change.
const KILLS: u64 = 12;

/// The real agent, killed (SIGKILL) at any moment of a change and started again: nobody notices, and the end is right.
#[test]
fn no_packet_is_misjudged_while_the_agent_is_killed_and_started_again() {
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(changes(CAST));
    let lab = LabSpec::new(Layout::Routed, hosts(compiler.snapshot()));
    let lab = Arc::new(Lab::new(&lab).expect("a lab"));
    let kernel = lab.node().run(Kernel::open).expect("entered").expect("nf_tables");
    let mut dataplane = Dataplane::start(kernel).expect("started");
    dataplane.set_host(host_facts(&lab, &compiler));
    dataplane.install(compiler.program()).expect("installed");
    drop(dataplane);

    let name = format!("palisade-kills-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let manifests = directory.join("manifests");
    std::fs::create_dir_all(&manifests).expect("a directory");
    std::fs::write(manifests.join("cast.yaml"), CAST).expect("written");
    let (allowed, denied) = flooded(Family::V4);
    let all: Vec<_> = allowed.iter().chain(&denied).copied().collect();
    let flood = Flood::start(&lab, &all).expect("flood");
    let more = manifests.join("more.yaml");
    for kill in 0..KILLS {
        let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_palisade"));
        agent
            .args(["run", "--allow-source", MARKERS, "-f"])
            .arg(&manifests)
            .arg("--socket")
            .arg(directory.join("socket"));
        agent.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let mut agent = lab.node().run(move || agent.spawn()).expect("entered").expect("an agent");
        std::thread::sleep(Duration::from_millis(60 + kill * 7));
        if kill % 2 == 0 {
            std::fs::write(&more, COMING_AND_GOING).expect("written");
        } else {
            std::fs::remove_file(&more).expect("removed");
        }
        std::thread::sleep(Duration::from_millis(kill * 9));
        agent.kill().expect("killed");
        agent.wait().expect("ended");
    }
    let counts = flood.stop().expect("no error");
    for (n, (connection, count)) in all.iter().zip(counts).enumerate() {
        assert!(count.sent > 100, "{connection:?} {count:?}");
        let wrong = if n < allowed.len() { count.missing() } else { count.arrived };
        assert_eq!(wrong, 0, "{connection:?} {count:?}");
    }
    let kernel = lab.node().run(Kernel::open).expect("entered").expect("nf_tables");
    let mut dataplane = Dataplane::start(kernel).expect("the agents are gone");
    let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
    compiler.apply(changes(CAST));
    let program = compiler.program();
    dataplane.set_host(host_facts(&lab, &compiler));
    dataplane.install(program).expect("installed");
    assert!(dataplane.verify(program).expect("read").is_empty());
    std::fs::remove_dir_all(&directory).expect("removed");
}

/// What b takes on top of its policy: a and the host outside on port 8085, each time by other blocks, ports and ranges of them.
const WAYS: [(&str, &str, &str); 6] = [
    (
        r#"{"podSelector": {"matchLabels": {"pod": "a"}}}"#,
        "203.0.113.0/24",
        r#""port": 8080, "endPort": 8090"#,
    ),
    (
        r#"{"podSelector": {"matchLabels": {"pod": "a"}}}"#,
        "203.0.113.0/25",
        r#""port": 8085, "endPort": 8091"#,
    ),
    (r#"{"ipBlock": {"cidr": "10.1.0.1/32"}}"#, "203.0.113.0/28", r#""port": 8085"#),
    (
        r#"{"ipBlock": {"cidr": "10.1.0.0/30"}}"#,
        "203.0.113.5/32",
        r#""port": 8000, "endPort": 8085"#,
    ),
    (r#"{"podSelector": {}}"#, "0.0.0.0/1", r#""port": 8085"#),
    (r#"{"ipBlock": {"cidr": "10.1.0.0/31"}}"#, "128.0.0.0/1", r#""port": 1, "endPort": 65535"#),
];

fn way((pods, block, ports): (&str, &str, &str)) -> Vec<Change> {
    changes(&format!(
        r#"{{"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {{"namespace": "n", "name": "way"}},
        "spec": {{"podSelector": {{"matchLabels": {{"pod": "b"}}}}, "policyTypes": ["Ingress"],
        "ingress": [{{"from": [{pods}, {{"ipBlock": {{"cidr": "{block}"}}}}], "ports": [{{{ports}}}]}},
                    {{"from": [{{"ipBlock": {{"cidr": "203.0.113.5/32"}}}}, {{"ipBlock": {{"cidr": "10.1.0.1/32"}}}}], "ports": [{{"port": 8085, "endPort": 8086}}]}}]}}}}"#
    ))
}

/// Sets of intervals change for packets later than other sets in the same transaction: what leads to them must not come with them.
#[test]
fn no_packet_is_misjudged_while_blocks_and_ranges_of_ports_change() {
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(changes(CAST));
    compiler.apply(way(WAYS[0]));
    let outside = address("203.0.113.5");
    let lab = LabSpec {
        outside: vec![outside],
        ..LabSpec::new(Layout::Routed, hosts(compiler.snapshot()))
    };
    let lab = Arc::new(Lab::new(&lab).expect("a lab"));
    let kernel = lab.node().run(Kernel::open).expect("entered").expect("nf_tables");
    let mut dataplane = Dataplane::start(kernel).expect("started");
    dataplane.set_host(host_facts(&lab, &compiler));
    dataplane.install(compiler.program()).expect("installed");
    let to_b = |from| Connection { from, to: address("10.1.0.2"), protocol: TCP, port: 8085 };
    let all = [to_b(address("10.1.0.1")), to_b(outside)];
    let flood = Flood::start(&lab, &all).expect("flood");
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < FLOODED || rounds < ROUNDS {
        for from in WAYS {
            for to in WAYS {
                for next in [from, to] {
                    dataplane.update(&compiler.apply(way(next))).expect("updated");
                }
            }
        }
        rounds += 1;
    }
    let counts = flood.stop().expect("no error");
    println!("{rounds} rounds, {counts:?}");
    for (connection, count) in all.iter().zip(counts) {
        assert!(count.sent > 100, "{connection:?} {count:?}");
        assert_eq!(count.missing(), 0, "{connection:?} {count:?}");
    }
}
