//! Sets that are too small for what a change needs are built larger, whatever the way of the change; and what waits for its
//! removal stays little, also where changes never pause.

use std::net::{IpAddr, Ipv4Addr};

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, Delta, ProfileId, Program};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{pod, policy, rule};
use palisade_dataplane::dataplane::{Capacities, Dataplane, Options};
use palisade_dataplane::fake::{Event, Fake, Fault};
use palisade_dataplane::plan::{Limits, MAX_PENDING, Planner};

/// 250 pods that are isolated, and classes of peers which they allow one port each. Where `swapped`, a pod of each of two
/// classes is in the other, and one port is another one: that goes by way of the meet, with rows that neither program has.
fn isolated_pods_and_classes(classes: usize, swapped: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for n in 0..250 {
        let address = format!("10.0.{}.{}", n / 200, n % 200 + 1);
        changes.push(pod(&format!("shop/l{n}")).ip(&address).labelled("app=l").into());
    }
    let (mut n, mut ingress) = (0, policy("shop/p").select("app=l"));
    ingress = ingress.allow_in(rule().pods("app").tcp(80));
    for class in 0..classes {
        for k in 0..if class < 2 { 3 } else { 1 } {
            let app = if swapped && class < 2 && k == 0 { 1 - class } else { class };
            let address = format!("10.1.{}.{}", n / 200, n % 200 + 1);
            let peer = pod(&format!("shop/r{n}")).ip(&address).labelled(&format!("app=a{app}"));
            changes.push(peer.into());
            n += 1;
        }
        let port = if swapped && class == 0 { 9000 } else { 1000 + u16::try_from(class).unwrap() };
        ingress = ingress.allow_in(rule().pods(&format!("app=a{class}")).tcp(port));
    }
    changes.push(ingress.into());
    changes
}

/// The elements of a set of the IPv4 table at the end of the largest moment, and the size that the set has then.
fn fullest(events: &[Event], set: SetName) -> (usize, Option<u32>) {
    let of = |event: &Event| {
        let Event::Commit(_, both) = event else { return None };
        let table = both.main.get(&TableFamily::Ip)?;
        let set = table.sets.get(&table.generations().id(set))?;
        Some((set.elements.len(), set.size))
    };
    events.iter().filter_map(of).max().unwrap()
}

#[test]
fn a_change_by_way_of_the_meet_is_enforced_though_it_passes_through_more_rows_than_fit() {
    let mut compiler = Compiler::new(Locality::Everywhere);
    let mut dataplane = Dataplane::start(Fake::default()).unwrap();
    compiler.apply(isolated_pods_and_classes(129, false));
    dataplane.install(compiler.program()).unwrap();
    let steps = [(260, false), (260, true)].map(|(classes, swapped)| {
        let delta = compiler.apply(isolated_pods_and_classes(classes, swapped));
        let grown = dataplane.counters().grown;
        dataplane.update(&delta).unwrap();
        assert_eq!(dataplane.counters().retries, 0, "{:?}", dataplane.counters());
        (compiler.program().v4.allow_in.len(), dataplane.counters().grown - grown)
    });
    assert_eq!(dataplane.verify(compiler.program()).unwrap(), []);
    // The first change fits; the second has as many rows, and needs more for a moment.
    assert_eq!(steps.map(|(_, grown)| grown), [0, 1]);
    let (elements, size) = fullest(dataplane.ruleset().history(), SetName::AllowIn);
    assert!(elements > 65_536 && size > Some(65_536), "{elements} of {size:?}");
    // So does a successor, from a table that is full to the brim.
    let mut fake = dataplane.into_ruleset();
    fake.restart();
    let mut dataplane = Dataplane::start(fake).unwrap();
    let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
    compiler.apply(isolated_pods_and_classes(260, false));
    dataplane.install(compiler.program()).unwrap();
    assert_eq!(dataplane.verify(compiler.program()).unwrap(), []);
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0001 + n).into()
}

fn subjects(count: u32) -> Program {
    let mut program = Program::default();
    program.v4.local_in.extend((0..count).map(address));
    program
}

#[test]
fn a_set_that_is_said_to_be_full_is_made_larger_each_time_up_to_a_bound() {
    let (before, after) = (subjects(10), subjects(11));
    let mut reference = Dataplane::start(Fake::default()).unwrap();
    reference.install(&before).unwrap();
    let commit = reference.ruleset().calls();
    for (faults, wanted) in
        [(0, 4096), (1, 8192), (2, 16_384), (3, 32_768), (4, 65_536), (5, 65_536)]
    {
        let mut fake = Fake::default();
        // Two reads come after each failure, and then the larger set with its elements.
        (0..faults).for_each(|n| fake.fail(commit + 3 * n, Fault::Full));
        let mut dataplane = Dataplane::start(fake).unwrap();
        dataplane.install(&before).unwrap();
        dataplane.update(&Delta::between(&before, &after)).unwrap();
        assert_eq!(dataplane.counters().retries, faults as u64);
        assert_eq!(dataplane.verify(&after).unwrap(), []);
        let table = &dataplane.ruleset().actual().main[&TableFamily::Ip];
        let set = &table.sets[&table.generations().id(SetName::LocalIn)];
        assert_eq!(set.size, Some(wanted), "after {faults} failures");
    }
}

/// A pod that changes its address without pause, with rows that each address has of its own.
#[test]
fn what_waits_for_its_removal_stays_bounded_under_steady_change() {
    const ROWS: u32 = 300;
    const CHANGES: u32 = 200;
    let at = |n: u32| {
        let mut program = subjects(0);
        program.v4.local_in.insert(address(n));
        program.v4.class.insert(address(n), ClassId(ClassId::FIRST));
        for class in 0..ROWS {
            let key = (address(n), ClassId(ClassId::FIRST + class));
            program.v4.allow_in.insert(key, ProfileId::EVERYTHING);
        }
        // Every class has somebody in it.
        for class in 1..ROWS {
            program.v4.class.insert(address(1_000_000 + class), ClassId(ClassId::FIRST + class));
        }
        program
    };
    assert!(CHANGES * ROWS > 5 * MAX_PENDING as u32);
    let mut dataplane = Dataplane::start(Fake::default()).unwrap();
    dataplane.install(&at(0)).unwrap();
    let (mut most, mut graces) = (0, 0);
    for n in 1..=CHANGES {
        let before = dataplane.counters().graces;
        dataplane.update(&Delta::between(&at(n - 1), &at(n))).unwrap();
        graces += dataplane.counters().graces - before;
        let table = &dataplane.ruleset().actual().main[&TableFamily::Ip];
        let rows = table.sets[&table.generations().id(SetName::AllowIn)].elements.len();
        most = most.max(rows);
    }
    assert!(most <= MAX_PENDING + 2 * ROWS as usize + 1, "{most} rows");
    assert_eq!(dataplane.counters().grown, 0);
    // Two of each change itself, as a subject goes and another comes, and one for each time that so much waits.
    let forced = u64::from(CHANGES * ROWS) / MAX_PENDING as u64;
    assert!(graces <= u64::from(2 * CHANGES) + forced + 1, "{graces} grace periods");
    assert_eq!(dataplane.verify(&at(CHANGES)).unwrap(), []);
}

/// The same with sets that are as small as they can be: room is found by removing, and only then by growing.
#[test]
fn room_is_made_by_removing_before_it_is_made_by_growing() {
    let mut dataplane = Dataplane::start_with(
        Fake::default(),
        Options { capacities: Capacities::Tight, ..Options::default() },
    )
    .unwrap();
    let at = |n: u32| {
        let mut program = subjects(0);
        program.v4.local_in.insert(address(n));
        program.v4.class.insert(address(n), ClassId(ClassId::FIRST));
        program.v4.allow_in.insert((address(n), ClassId(ClassId::FIRST)), ProfileId::EVERYTHING);
        program
    };
    dataplane.install(&at(0)).unwrap();
    for n in 1..50 {
        dataplane.update(&Delta::between(&at(n - 1), &at(n))).unwrap();
    }
    let (rows, size) = fullest(dataplane.ruleset().history(), SetName::AllowIn);
    // A subject that goes and one that comes take the way of the meet, with a row of each for every way of changing class.
    assert!(rows <= 6 && size <= Some(6), "{rows} elements in a set of {size:?}");
    assert_eq!(dataplane.verify(&at(49)).unwrap(), []);
}

#[test]
fn a_planner_removes_at_its_limit_what_waits() {
    let limits = Limits { pending: 0, ..Limits::default() };
    let mut with_rows = subjects(100);
    let row = ((address(0), ClassId::UNKNOWN), ProfileId::EVERYTHING);
    with_rows.v4.allow_in.extend([row]);
    let mut planner = Planner::new(with_rows.clone()).with_limits(limits);
    planner.plan(&Delta::between(&with_rows, &subjects(0))).unwrap();
    assert_eq!(planner.pending(), 0);
    assert_eq!(*planner.kernel(Family::V4), Program::default().v4);
}
