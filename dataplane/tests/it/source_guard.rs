//! The source guard: what it takes from routes, and in which order what it holds comes and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::{Delta, Program, TableFamily};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{Rng, pod, policy, rule};
use palisade_dataplane::attachments::{Attachments, Sources};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::plan::{Planner, Step};
use palisade_dataplane::transaction::{Element, Op};
use palisade_lab::Namespace;

use crate::netns::{in_netns, run};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Runs `ip` once for each line.
fn commands(text: &str) {
    for command in text.lines() {
        run("ip", &command.split_whitespace().collect::<Vec<_>>());
    }
}

/// A pod whose interface ends in this namespace, by that name.
fn end(name: &str) -> Namespace {
    let pod = Namespace::new().unwrap();
    commands(&format!(
        "link add {name} type veth peer name eth0 netns {}\nlink set {name} up",
        pod.path()
    ));
    pod
}

fn index(name: &str) -> u32 {
    if_nametoindex(name).unwrap()
}

fn pairs(expected: &[(&str, &str)]) -> BTreeSet<(u32, IpAddr)> {
    expected.iter().map(|(name, address)| (index(name), ip(address))).collect()
}

fn interfaces(names: &[&str]) -> BTreeSet<u32> {
    names.iter().map(|name| index(name)).collect()
}

/// What is known after all events, if local pods have these addresses.
fn known(attachments: &mut Attachments, pods: &[&str]) -> Sources {
    attachments.update([], []).unwrap();
    let pods: Vec<IpAddr> = pods.iter().map(|pod| ip(pod)).collect();
    let allowed: IpNet = "198.18.0.0/15".parse().unwrap();
    attachments.sources(|address| pods.contains(&address), &[allowed])
}

#[test]
fn sources_follow_routes_and_manifests() {
    in_netns(|| {
        commands("link set lo up");
        let mut attachments = Attachments::open().unwrap();
        let _a = end("va");
        let _b = end("vb");
        assert_eq!(known(&mut attachments, &["10.0.0.1"]), Sources::default(), "nothing is routed");

        // Whoever it is: it may send from what is routed to it.
        commands("route add 10.0.0.1 dev va\nroute add 10.0.0.9 dev va\nroute add fd00::1 dev va");
        let found = known(&mut attachments, &[]);
        assert_eq!(
            found.pairs,
            pairs(&[("va", "10.0.0.1"), ("va", "10.0.0.9"), ("va", "fd00::1")])
        );
        assert_eq!(
            (&found.interfaces, &found.unidentified),
            (&interfaces(&["va"]), &interfaces(&["va"]))
        );
        assert_eq!(found.located, BTreeSet::new());

        // Its manifest decides once it is known.
        let found = known(&mut attachments, &["10.0.0.1", "fd00::1"]);
        assert_eq!(found.pairs, pairs(&[("va", "10.0.0.1"), ("va", "fd00::1")]));
        assert_eq!(found.unnamed, pairs(&[("va", "10.0.0.9")]));
        assert_eq!(found.located, [ip("10.0.0.1"), ip("fd00::1")].into());
        assert_eq!(found.unidentified, BTreeSet::new());

        // A virtual address that the operator allows; the route moves to another pod.
        commands("route add 198.18.0.7 dev va\nroute del 10.0.0.9 dev va");
        let found = known(&mut attachments, &["10.0.0.1"]);
        assert!(found.pairs.contains(&(index("va"), ip("198.18.0.7"))), "{found:?}");
        commands("route replace 10.0.0.1 dev vb\nroute replace fd00::1 dev vb");
        let found = known(&mut attachments, &["10.0.0.1", "fd00::1"]);
        assert!(found.pairs.is_superset(&pairs(&[("vb", "10.0.0.1")])), "{found:?}");
        assert!(!found.pairs.contains(&(index("va"), ip("10.0.0.1"))), "{found:?}");

        // The same is found by whoever looks now.
        let mut anew = Attachments::open().unwrap();
        assert_eq!(known(&mut anew, &["10.0.0.1", "fd00::1"]), found);
    });
}

#[test]
fn an_interface_that_leads_elsewhere_too_is_not_guarded() {
    in_netns(|| {
        commands("link set lo up");
        let mut attachments = Attachments::open().unwrap();
        let _uplink = end("uplink");
        commands(
            "addr add 192.0.2.1/24 dev uplink\nroute add 10.0.0.1 dev uplink\nroute add default via 192.0.2.9",
        );
        let found = known(&mut attachments, &["10.0.0.1"]);
        assert_eq!((&found.interfaces, &found.pairs), (&BTreeSet::new(), &BTreeSet::new()));
        assert_eq!(found.inexact, interfaces(&["uplink"]));
        assert_eq!(known(&mut attachments, &[]), Sources::default(), "no pod is concerned");
        // The last address takes all IPv4 routes along, and the kernel tells of none of them.
        commands("addr del 192.0.2.1/24 dev uplink");
        assert_eq!(known(&mut attachments, &["10.0.0.1"]), Sources::default());
        commands("route add 10.0.0.1 dev uplink");
        let found = known(&mut attachments, &["10.0.0.1"]);
        assert_eq!(found.interfaces, interfaces(&["uplink"]));
    });
}

/// The kernel does not tell of routes that go with their interface.
#[test]
fn what_was_routed_goes_with_the_interface() {
    in_netns(|| {
        commands("link set lo up");
        let mut attachments = Attachments::open().unwrap();
        for gone in ["link del va", "link set va down"] {
            let _pod = end("va");
            commands("route add 10.0.0.1 dev va\nroute add fd00::1 dev va");
            assert_eq!(known(&mut attachments, &["10.0.0.1", "fd00::1"]).pairs.len(), 2, "{gone}");
            commands(gone);
            let found = known(&mut attachments, &["10.0.0.1", "fd00::1"]);
            assert_eq!(found, Sources::default(), "{gone}");
            if gone == "link set va down" {
                commands("link set va up");
                assert_eq!(known(&mut attachments, &["10.0.0.1"]), Sources::default(), "{gone}");
            }
        }
    });
}

/// A port of a bridge, and what has no pod at its other end.
#[test]
fn only_routed_pods_are_guarded() {
    in_netns(|| {
        commands(
            "link set lo up\nlink add br0 type bridge\nlink add x type veth peer name y\nlink set x up\nlink set y up",
        );
        let mut attachments = Attachments::open().unwrap();
        let _port = end("port");
        commands("link set port master br0\nroute add 10.0.0.1 dev port\nroute add 10.0.0.3 dev x");
        let found = known(&mut attachments, &["10.0.0.1", "10.0.0.3"]);
        assert_eq!(found, Sources::default());
    });
}

/// Random facts of few interfaces and addresses.
fn facts(rng: &mut Rng) -> HostFacts {
    let mut facts = HostFacts::default();
    for interface in 1..4 {
        match rng.below(3) {
            0 => _ = facts.pod_interfaces.insert(interface),
            1 => _ = facts.first_interfaces.insert(interface),
            _ => {}
        }
        for n in 1..4 {
            let address = IpAddr::from([10, 0, 0, n]);
            if rng.chance(40) {
                facts.sources_ipv4.insert((interface, address));
                if rng.chance(70) {
                    facts.located_ipv4.insert(address);
                }
            }
        }
    }
    facts
}

/// The facts of the IPv4 table before and after each transaction.
fn states(before: &HostFacts, steps: &[Step]) -> Vec<HostFacts> {
    let mut states = vec![before.clone()];
    for step in steps {
        let Step::Commit(transaction) = step else { panic!("nothing waits: {steps:?}") };
        let mut facts = states.last().unwrap().clone();
        for op in transaction.ops.iter().filter(|op| op.family == TableFamily::Ip) {
            match op.op {
                Op::Add(id, element) => facts.insert(id.set, element),
                Op::Remove(id, element) => facts.remove(id.set, element),
                ref other => panic!("{other:?}"),
            }
        }
        states.push(facts);
    }
    states
}

/// A packet looks up its interface and then its source, between which a transaction may be committed.
#[test]
fn no_source_is_closed_that_stays_open_and_none_open_that_stays_closed() {
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let (before, after) = (facts(&mut rng), facts(&mut rng));
        let kernel = TableFamily::OF_PROGRAM.map(|table| (table, before.within(table)));
        let mut planner =
            Planner::of_new_tables(Program::default()).holding(BTreeMap::from(kernel));
        planner.set_host(&after);
        let steps = planner.plan(&Delta::default()).unwrap();
        let states = states(&before.within(TableFamily::Ip), &steps);
        assert_eq!(states.last(), Some(&after.within(TableFamily::Ip)), "seed {seed}");
        for pair in states.iter().zip(states.iter().take(1).chain(&states)) {
            let (now, earlier) = pair;
            for interface in 1..4 {
                for n in 1..4 {
                    let key = (interface, IpAddr::from([10, 0, 0, n]));
                    let passes = |first: &HostFacts, then: &HostFacts| {
                        !first.guards(interface) || then.sources_ipv4.contains(&key)
                    };
                    let is_own = |facts: &HostFacts| {
                        facts.sources_ipv4.contains(&key) || !facts.located_ipv4.contains(&key.1)
                    };
                    let is_between = |seen, was, will| seen == was || seen == will;
                    let (was, will) = (passes(&before, &before), passes(&after, &after));
                    for first in [earlier, now] {
                        let seen = passes(first, now);
                        assert!(is_between(seen, was, will), "seed {seed}: {key:?} {steps:?}");
                    }
                    let (was, will) = (is_own(&before), is_own(&after));
                    assert!(is_between(is_own(now), was, will), "seed {seed}: {key:?} {steps:?}");
                }
            }
        }
    }
}

/// The place of an operation: which step, and which of its operations.
fn place(steps: &[Step], is_it: impl Fn(&Op) -> bool) -> usize {
    let holds = |step: &Step| match step {
        Step::Commit(transaction) => transaction.ops.iter().any(|op| is_it(&op.op)),
        Step::Grace => false,
    };
    steps.iter().position(holds).unwrap_or_else(|| panic!("{steps:?}"))
}

/// An address is judged before it may speak, and may not speak any more before it is not judged.
#[test]
fn a_source_comes_with_what_isolates_its_address_and_goes_before_it() {
    let mut compiler = Compiler::new(Locality::Node("here".into()));
    let db =
        |n: u8| pod(&format!("x/db-{n}")).labelled("app=db").ip(&format!("10.0.0.{n}")).on("here");
    let isolating = policy("x/db").select("app=db").allow_in(rule().tcp(80));
    compiler.apply([Change::ApplyPod(db(1)), Change::ApplyPolicy(isolating)]);
    let mut planner = Planner::of_new_tables(compiler.program().clone());
    let guarded = |pairs: &[(u32, u8)]| {
        let pair = |&(interface, n): &(u32, u8)| (interface, IpAddr::from([10, 0, 0, n]));
        HostFacts {
            pod_interfaces: pairs.iter().map(|pair| pair.0).collect(),
            sources_ipv4: pairs.iter().map(pair).collect(),
            ..HostFacts::default()
        }
    };
    planner.set_host(&guarded(&[(7, 1)]));
    planner.plan(&Delta::default()).unwrap();

    // A second address on an interface that is guarded.
    let address = Element::Address(ip("10.0.0.2"));
    let source = Element::Source(7, ip("10.0.0.2"));
    let delta = compiler.apply([Change::ApplyPod(db(2))]);
    planner.set_host(&guarded(&[(7, 1), (7, 2)]));
    let steps = planner.plan(&delta).unwrap();
    let isolated =
        |op: &Op| matches!(op, Op::Add(id, e) if id.set == SetName::LocalIn && *e == address);
    let speaks = place(&steps, |op| matches!(op, Op::Add(_, e) if *e == source));
    assert!(place(&steps, isolated) <= speaks, "{steps:?}");
    assert!(!steps.contains(&Step::Grace), "a birth waits for nothing: {steps:?}");

    let gone = Change::DeletePod { namespace: "x".into(), name: "db-2".into(), uid: None };
    let delta = compiler.apply([gone]);
    planner.set_host(&guarded(&[(7, 1)]));
    let steps = planner.plan(&delta).unwrap();
    let free =
        |op: &Op| matches!(op, Op::Remove(id, e) if id.set == SetName::LocalIn && *e == address);
    let silent = place(&steps, |op| matches!(op, Op::Remove(_, e) if *e == source));
    assert!(silent <= place(&steps, free), "{steps:?}");
}

#[test]
fn the_kernel_holds_it_and_a_restart_changes_nothing() {
    in_netns(|| {
        let mut host = HostFacts::default();
        host.pod_interfaces.extend([3, 4]);
        host.sources_ipv4.insert((3, ip("10.0.0.1")));
        host.sources_ipv6.insert((4, ip("fd00::1")));
        host.located_ipv4.insert(ip("10.0.0.1"));
        let program = Program::default();
        let mut dataplane = Dataplane::start(Kernel::open().unwrap()).unwrap();
        dataplane.set_host(host.clone());
        dataplane.install(&program).unwrap();
        assert_eq!(dataplane.verify(&program).unwrap(), []);
        drop(dataplane);

        let mut next = Dataplane::start(Kernel::open().unwrap()).unwrap();
        assert_eq!(*next.host(), host);
        next.install(&program).unwrap();
        assert_eq!(next.counters().transactions, 0);
        host.pod_interfaces.remove(&4);
        next.set_host(host);
        let differences = next.verify(&program).unwrap();
        assert_eq!(differences.len(), 2, "in each family's table: {differences:?}");
        next.install(&program).unwrap();
        assert_eq!(next.verify(&program).unwrap(), []);
    });
}
