//! The engine over the fake: every error at every call, kills and restarts, damage by others. Nothing is lost, and what the
//! engine believes is what the kernel has.

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::program::Program;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{Cluster, Rng, random_edit};
use palisade_dataplane::dataplane::{self, Capacities, Dataplane, Options};
use palisade_dataplane::fake::{Event, Fake, Fault};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::ruleset::{Features, Ruleset as _};

/// Histories that every error is injected into, at every call.
const HISTORIES: u64 = 8;
const BATCHES: usize = 3;
/// Those that are also tried with sets that are as small as they can be. That takes many more calls: each error is injected
/// at one of so many.
const TIGHT_HISTORIES: u64 = 1;
const TIGHT_STEP: usize = 7;

fn history(seed: u64) -> Vec<Vec<Change>> {
    let mut rng = Rng::new(seed);
    let mut snapshot = Snapshot::new();
    let mut batches = vec![Cluster::random(seed).changes];
    batches[0].iter().cloned().for_each(|change| snapshot.apply(change));
    for _ in 0..BATCHES {
        let batch: Vec<Change> = (0..3).flat_map(|_| random_edit(&mut rng, &snapshot)).collect();
        batch.iter().cloned().for_each(|change| snapshot.apply(change));
        batches.push(batch);
    }
    batches
}

fn compiled(seed: u64) -> Program {
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(history(seed).concat());
    compiler.program().clone()
}

/// A set that is none of ours, so that only new tables will do.
fn spoil(fake: &mut Fake) {
    fake.tamper(|tables| {
        tables.main.values_mut().for_each(|table| _ = table.foreign.insert("odd".to_owned()));
    });
}

/// Carries a history out; what fails is tried once more, as the agent does. Returns how many attempts failed.
fn carry_out(fake: &mut Fake, seed: u64, capacities: Capacities) -> usize {
    let mut failed = 0;
    let mut dataplane = loop {
        match Dataplane::start_with(&mut *fake, Options { capacities, ..Options::default() }) {
            Ok(dataplane) => break dataplane,
            Err(error) => {
                failed += 1;
                // The agent opens the kernel anew until it has started.
                if error.is_dead_socket() {
                    fake.reopen().expect("a new socket");
                }
            }
        }
    };
    let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
    for (i, batch) in history(seed).into_iter().enumerate() {
        let delta = compiler.apply(batch);
        let result =
            if i == 0 { dataplane.install(compiler.program()) } else { dataplane.update(&delta) };
        if result.and_then(|()| dataplane.settle()).is_err() {
            failed += 1;
            dataplane.install(compiler.program()).expect("the fault is over");
        }
    }
    let differences = loop {
        match dataplane.verify(compiler.program()) {
            Ok(differences) => break differences,
            Err(_) => {
                failed += 1;
                dataplane.install(compiler.program()).expect("the fault is over");
            }
        }
    };
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "seed {seed}: {told:#?}");
    failed
}

/// Tables that were created belong to the engine's own socket from then on, whatever fails: nobody else could write to them at
/// any time. Only a socket that is dead gives them up, until they are claimed by the one opened in its place.
fn assert_owned_throughout(fake: &Fake, fault: Fault) {
    let mut given_up = 0;
    for event in fake.history() {
        let Event::Commit(_, both) = event else { continue };
        for table in both.main.values().chain(both.stand_in.values()) {
            match table.owner {
                Some(port) => assert!(port == 1 || fault == Fault::DeadSocket),
                None => given_up += 1,
            }
        }
    }
    assert!(given_up == 0 || fault == Fault::DeadSocket, "{given_up} states without an owner");
    let owners = fake.actual().main.values().map(|table| table.owner);
    owners.for_each(|owner| assert_eq!(owner, Some(fake.port())));
}

#[test]
fn every_error_at_every_call_leads_to_the_right_end() {
    let (mut runs, mut failed) = (0, 0);
    let tight = (0..TIGHT_HISTORIES).map(|seed| (seed, Capacities::Tight));
    let histories = (0..HISTORIES).map(|seed| (seed, Capacities::Spacious)).chain(tight);
    for (seed, capacities) in histories {
        let mut reference = Fake::default();
        assert_eq!(carry_out(&mut reference, seed, capacities), 0);
        for call in 0..reference.calls() {
            for (n, fault) in Fault::ALL.into_iter().enumerate() {
                if capacities == Capacities::Tight && (call + n) % TIGHT_STEP != 0 {
                    continue;
                }
                let mut fake = Fake::default();
                fake.fail(call, fault);
                failed += carry_out(&mut fake, seed, capacities);
                assert_owned_throughout(&fake, fault);
                runs += 1;
            }
        }
    }
    assert!(runs > 500 && failed > 100, "{runs} runs, {failed} failures: too few to mean anything");
    println!("{runs} runs with an error each, {failed} of them told the caller");
}

/// An engine that has something to settle, and the program that it enforces.
fn unsettled(fake: &mut Fake, seed: u64) -> (Dataplane<&mut Fake>, Program) {
    let mut dataplane = Dataplane::start(fake).unwrap();
    let mut compiler = Compiler::new(Locality::Everywhere);
    for (i, batch) in history(seed).into_iter().enumerate() {
        let delta = compiler.apply(batch);
        match i {
            0 => dataplane.install(compiler.program()).unwrap(),
            _ => dataplane.update(&delta).unwrap(),
        }
    }
    (dataplane, compiler.program().clone())
}

#[test]
fn what_settles_leaves_nothing_whatever_failed_meanwhile() {
    let (mut runs, mut settled) = (0, 0);
    for seed in 0..3 * HISTORIES {
        let mut reference = Fake::default();
        let (mut dataplane, _) = unsettled(&mut reference, seed);
        let first = dataplane.ruleset().calls();
        dataplane.settle().unwrap();
        let calls = first..dataplane.ruleset().calls();
        for call in calls {
            for fault in Fault::ALL {
                let mut fake = Fake::default();
                fake.fail(call, fault);
                let (mut dataplane, program) = unsettled(&mut fake, seed);
                let result = dataplane.settle();
                let passes = matches!(
                    fault,
                    Fault::Retry
                        | Fault::UnknownCommitted
                        | Fault::UnknownLost
                        | Fault::Full
                        | Fault::Refused
                        | Fault::DeadSocket
                );
                assert_eq!(result.is_ok(), passes, "seed {seed}, call {call}, {fault:?}");
                drop(dataplane);
                if passes {
                    let differences = dataplane::verify(
                        &mut fake,
                        &program,
                        &HostFacts::default(),
                        DenyAction::Drop,
                    )
                    .unwrap();
                    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
                    assert!(told.is_empty(), "seed {seed}, call {call}, {fault:?}: {told:#?}");
                    settled += 1;
                }
                runs += 1;
            }
        }
    }
    assert!(settled > 50, "{settled} of {runs} runs settled: too few to mean anything");
}

#[test]
fn every_error_at_every_call_of_a_replacement_leads_to_the_right_end() {
    let mut runs = 0;
    let spoilt = || {
        let mut fake = Fake::default();
        carry_out(&mut fake, 0, Capacities::default());
        fake.restart();
        spoil(&mut fake);
        fake
    };
    let mut reference = spoilt();
    assert_eq!(carry_out(&mut reference, 1, Capacities::default()), 0);
    for call in 0..reference.calls() {
        for fault in Fault::ALL {
            let mut fake = spoilt();
            fake.fail(call, fault);
            carry_out(&mut fake, 1, Capacities::default());
            assert!(fake.actual().stand_in.is_empty());
            runs += 1;
        }
    }
    assert!(runs > 200, "{runs} runs: too few to mean anything");
}

#[test]
fn a_restart_at_any_point_commits_what_is_left_and_then_nothing() {
    for seed in 0..HISTORIES {
        let program = compiled(seed);
        let mut whole = Fake::default();
        carry_out(&mut whole, seed, Capacities::default());
        for commits in 0..whole.history().len() {
            let mut fake = Fake::default();
            if let Some(Event::Commit(_, actual)) =
                whole.history().iter().take(commits).rfind(|e| matches!(e, Event::Commit(..)))
            {
                let actual = actual.clone();
                fake.tamper(|tables| *tables = actual);
            }
            fake.restart();
            for first in [true, false] {
                let mut dataplane = Dataplane::start(&mut fake).unwrap();
                let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
                compiler.apply(history(seed).concat());
                assert_eq!(compiler.program().canonical(), program.canonical());
                dataplane.install(compiler.program()).unwrap();
                assert!(dataplane.verify(compiler.program()).unwrap().is_empty());
                assert!(first || dataplane.counters().transactions == 0, "seed {seed}, {commits}");
                drop(dataplane);
                fake.restart();
            }
        }
    }
}

#[test]
fn whatever_others_took_or_added_is_put_right() {
    for seed in 0..HISTORIES {
        let mut fake = Fake::new(Features { persistent_owner: false, bridge_tables: true });
        carry_out(&mut fake, seed, Capacities::default());
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(history(seed).concat());
        let sets: Vec<_> = fake
            .actual()
            .main
            .iter()
            .flat_map(|(&family, table)| table.sets.keys().map(move |&id| (family, id)))
            .collect();
        for (family, id) in sets {
            fake.tamper(|tables| {
                tables.main.get_mut(&family).unwrap().sets.get_mut(&id).unwrap().elements.clear()
            });
            let mut dataplane = Dataplane::start(&mut fake).unwrap();
            let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
            compiler.apply(history(seed).concat());
            dataplane.install(compiler.program()).unwrap();
            dataplane.settle().unwrap();
            assert!(dataplane.verify(compiler.program()).unwrap().is_empty(), "seed {seed}, {id}");
        }
        for chain in ["forward", "egress", "deny_in"] {
            fake.tamper(|tables| {
                tables
                    .main
                    .values_mut()
                    .for_each(|t| _ = t.chains.get_mut(chain).unwrap().rules.pop())
            });
            let mut dataplane = Dataplane::start(&mut fake).unwrap();
            let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
            compiler.apply(history(seed).concat());
            assert!(!dataplane.verify(compiler.program()).unwrap().is_empty());
            dataplane.install(compiler.program()).unwrap();
            assert!(dataplane.verify(compiler.program()).unwrap().is_empty());
        }
    }
}
