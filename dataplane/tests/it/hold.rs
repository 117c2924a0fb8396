//! The hold of unknown addresses: in which order it and the program change, and when its table is there.

use std::net::IpAddr;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::{AddressRange, Delta, Element, Program, TableFamily};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{pod, policy, rule};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::fake::Fake;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::plan::{Planner, Step};
use palisade_dataplane::transaction::{Op, TableOp};

use crate::netns::{in_netns, nft};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn holding(known: &[&str]) -> HostFacts {
    let mut facts = HostFacts::default();
    facts.held_ipv4.insert(AddressRange { first: ip("10.0.0.0"), last: ip("10.0.0.255") });
    facts.held_ipv6.insert(AddressRange { first: ip("fd00::"), last: ip("fd00::ffff") });
    facts.known_ipv4.extend(known.iter().map(|address| ip(address)));
    facts
}

/// A node with an isolated pod and one that may reach it.
fn node() -> Compiler {
    let mut compiler = Compiler::new(Locality::Node("here".into()));
    compiler.apply([
        Change::ApplyPod(pod("x/db").labelled("app=db").ip("10.0.0.1").on("here")),
        Change::ApplyPod(pod("x/web").labelled("app=web").ip("10.0.0.2").on("here")),
        Change::ApplyPolicy(
            policy("x/db").select("app=db").allow_in(rule().pods("app=web").tcp(80)),
        ),
    ]);
    compiler
}

/// Where an element of the set stands among the operations of all transactions.
fn place(steps: &[Step], is: impl Fn(&Op) -> bool) -> (usize, usize) {
    let transactions = steps.iter().filter_map(|step| match step {
        Step::Commit(transaction) => Some(transaction),
        Step::Grace => None,
    });
    transactions
        .enumerate()
        .find_map(|(n, transaction)| {
            transaction.ops.iter().position(|op| is(&op.op)).map(|at| (n, at))
        })
        .expect("it is among the steps")
}

#[test]
fn a_pod_is_released_by_the_transaction_that_programs_it_and_no_sooner() {
    let mut compiler = node();
    let mut planner = Planner::of_new_tables(compiler.program().clone());
    planner.note_new_table(TableFamily::Inet, holding(&["10.0.0.1", "10.0.0.2"]));
    let born = pod("x/db-2").labelled("app=db").ip("10.0.0.3").on("here");
    let delta = compiler.apply([Change::ApplyPod(born)]);
    planner.set_host(&holding(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    let steps = planner.plan(&delta).unwrap();
    let address = Element::Address(ip("10.0.0.3"));
    let isolated = place(
        &steps,
        |op| matches!(op, Op::Add(id, e) if id.set == SetName::LocalIn && *e == address),
    );
    let released = place(
        &steps,
        |op| matches!(op, Op::Add(id, e) if id.set == SetName::KnownIpv4 && *e == address),
    );
    assert!(isolated < released, "{isolated:?} {released:?}");
    assert_eq!(isolated.0, released.0, "one transaction");
    assert!(!steps.contains(&Step::Grace), "a hold delays nobody");

    // The address is held again before anything else forgets the pod.
    let gone = Change::DeletePod { namespace: "x".into(), name: "db-2".into(), uid: None };
    let delta = compiler.apply([gone]);
    planner.set_host(&holding(&["10.0.0.1", "10.0.0.2"]));
    let steps = planner.plan(&delta).unwrap();
    let held = place(
        &steps,
        |op| matches!(op, Op::Remove(id, e) if id.set == SetName::KnownIpv4 && *e == address),
    );
    assert_eq!(held, (0, 0));
}

/// What everybody is allowed may not grow for packets that passed the hold before it was there.
#[test]
fn what_unknown_addresses_are_allowed_waits_for_a_grace_period_after_the_hold_began() {
    let mut compiler = node();
    let mut planner = Planner::of_new_tables(compiler.program().clone());
    planner.note_new_table(TableFamily::Inet, holding(&["10.0.0.1", "10.0.0.2"]));
    planner.set_host(&holding(&["10.0.0.1", "10.0.0.2"]));
    let everybody = policy("x/open").select("app=db").allow_in(rule().tcp(81));
    let delta = compiler.apply([Change::ApplyPolicy(everybody)]);
    let steps = planner.plan(&delta).unwrap();
    let grace = steps.iter().position(|step| *step == Step::Grace).expect("a grace period");
    let widens = |op: &TableOp| matches!(op.op, Op::Add(id, _) if id.set == SetName::AllowIn);
    let row = steps.iter().position(
        |step| matches!(step, Step::Commit(transaction) if transaction.ops.iter().any(widens)),
    );
    assert!(Some(grace) < row, "{steps:?}");
}

/// A hold that ends with a change of several transactions holds none of the addresses that are known: not between these, nor
/// within one, where packets may miss what goes from a hash set sooner than what goes from an interval set.
#[test]
fn known_addresses_are_forgotten_after_the_hold_ended() {
    let mut compiler = node();
    let mut planner = Planner::of_new_tables(compiler.program().clone());
    planner.note_new_table(TableFamily::Inet, holding(&["10.0.0.1", "10.0.0.2"]));
    let everybody = policy("x/open").select("app=db").allow_in(rule().tcp(81));
    let delta = compiler.apply([Change::ApplyPolicy(everybody)]);
    planner.set_host(&HostFacts::default());
    let steps = planner.plan(&delta).unwrap();
    assert!(steps.contains(&Step::Grace), "{steps:?}");
    let goes =
        |set: SetName| place(&steps, |op| matches!(op, Op::Remove(id, _) if id.set == set)).0;
    let (held, known) = (goes(SetName::HeldIpv4), goes(SetName::KnownIpv4));
    assert!(held < known, "{held} {known}: {steps:?}");
}

#[test]
fn the_table_is_there_only_while_addresses_are_held() {
    in_netns(|| {
        let compiler = node();
        let mut dataplane = Dataplane::start(Kernel::open().unwrap()).unwrap();
        dataplane.install(compiler.program()).unwrap();
        let tables = || nft(&["list", "tables"]);
        assert!(!tables().contains("inet"), "{}", tables());
        for known in [&["10.0.0.1"][..], &["10.0.0.1", "10.0.0.2"]] {
            dataplane.set_host(holding(known));
            dataplane.update(&Delta::default()).unwrap();
            assert_eq!(dataplane.verify(compiler.program()).unwrap(), []);
            let listed = nft(&["list", "table", "inet", "palisade"]);
            assert!(known.iter().all(|address| listed.contains(address)), "{listed}");
            assert!(listed.contains("10.0.0.0/24"), "{listed}");
        }
        dataplane.set_host(HostFacts::default());
        dataplane.update(&Delta::default()).unwrap();
        assert!(!tables().contains("inet"), "{}", tables());
        assert_eq!(dataplane.verify(compiler.program()).unwrap(), []);

        // A process that dies while it holds leaves the hold; the next ends it, or keeps it.
        dataplane.set_host(holding(&["10.0.0.1"]));
        dataplane.update(&Delta::default()).unwrap();
        drop(dataplane);
        let mut next = Dataplane::start(Kernel::open().unwrap()).unwrap();
        assert_eq!(*next.host(), holding(&["10.0.0.1"]));
        next.install(compiler.program()).unwrap();
        assert_eq!(*next.host(), holding(&["10.0.0.1"]));
        next.set_host(HostFacts::default());
        next.install(compiler.program()).unwrap();
        assert!(!tables().contains("inet"), "{}", tables());
        next.remove().unwrap();
        assert_eq!(tables(), "");
    });
}

/// An engine whose calls fail keeps its word about the hold.
#[test]
fn the_hold_comes_and_goes_in_a_kernel_that_fails() {
    for call in 0..60 {
        let mut fake = Fake::default();
        fake.fail(call, palisade_dataplane::fake::Fault::ALL[call % 4]);
        let program: Program = node().program().clone();
        let Ok(mut dataplane) = Dataplane::start(fake) else { continue };
        let mut enforce = |host: HostFacts| {
            dataplane.set_host(host.clone());
            while dataplane.install(&program).is_err() {}
            let differences = loop {
                match dataplane.verify(&program) {
                    Ok(differences) => break differences,
                    Err(_) => while dataplane.install(&program).is_err() {},
                }
            };
            assert_eq!(differences, [], "call {call}");
            let actual = dataplane.ruleset().actual();
            let holds = actual.main.contains_key(&TableFamily::Inet);
            assert_eq!(holds, host != HostFacts::default(), "call {call}");
        };
        enforce(holding(&["10.0.0.1"]));
        enforce(HostFacts::default());
        enforce(holding(&["10.0.0.2"]));
    }
}
