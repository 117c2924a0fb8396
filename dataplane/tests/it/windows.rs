//! Compiled clusters under churn, between the transactions of each change: whatever states of a window a packet's lookups meet,
//! its verdict is one that some program in force gives.

use std::collections::BTreeSet;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Family;
use palisade_compiler::program::{Delta, Program, Tables};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit};
use palisade_dataplane::dataplane::{Capacities, Dataplane, Options};
use palisade_dataplane::fake::{Event, Fake, Fault};
use palisade_dataplane::plan::{Planner, Step};
use palisade_dataplane::transaction::{Op, Transaction};

use crate::plan::limits;
use crate::replacement::{State, state, verdicts};
use crate::walk::{Packet, Window, permitted, verdict};

/// Random clusters, and changes to each.
const CLUSTERS: u64 = 600;
const CHANGES: usize = 5;

/// The window of one family: states that packets may meet, and the programs that were in force in it.
struct Watched {
    family: Family,
    states: Vec<Tables>,
    programs: Vec<Tables>,
}

impl Watched {
    fn new(family: Family) -> Self {
        Self { family, states: vec![Tables::default()], programs: vec![Tables::default()] }
    }

    /// Packets see the changes of all hashes at once, and those of interval sets a moment later: the kernel puts the new contents
    /// of each in the place of the old ones after it has turned the generation (`nf_tables_commit`; Linux 6.18).
    fn commit(&mut self, transaction: &Transaction) {
        for intervals in [false, true] {
            let mut tables = self.states.last().unwrap().clone();
            for op in transaction.ops.iter().filter(|op| op.family == self.family.into()) {
                match &op.op {
                    Op::Add(id, element) if id.set.is_interval() == intervals => {
                        tables.insert(id.set, *element);
                    }
                    Op::Remove(id, element) if id.set.is_interval() == intervals => {
                        tables.remove(id.set, *element);
                    }
                    Op::Add(..) | Op::Remove(..) => {}
                    other => panic!("not a change of elements: {other:?}"),
                }
            }
            if self.states.last() != Some(&tables) {
                self.states.push(tables);
            }
        }
    }

    fn grace(&mut self, packets: &[Packet], programs: &[&Program]) -> Result<(), String> {
        self.judge(packets)?;
        self.states.drain(..self.states.len() - 1);
        self.programs =
            programs.iter().map(|program| program.family(self.family).clone()).collect();
        Ok(())
    }

    fn judge(&self, packets: &[Packet]) -> Result<(), String> {
        let window = Window::new(&self.states);
        for packet in packets.iter().filter(|packet| Family::of(packet.from) == self.family) {
            let allowed = permitted(&self.programs, packet);
            let seen = window.verdicts(packet);
            if !seen.is_subset(&allowed) {
                return Err(format!("{packet:?} sees {seen:?}, not {allowed:?}"));
            }
        }
        Ok(())
    }
}

/// Follows a cluster through its changes; returns how many windows were judged.
fn follow(seed: u64) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    let locality = match seed / 2 % 2 {
        0 => Locality::Everywhere,
        _ => Locality::Node("n1".into()),
    };
    let mut compiler = Compiler::new(locality);
    let mut planner = Planner::new(Program::default()).with_limits(limits(seed));
    let mut watched = Family::ALL.map(Watched::new);
    let mut before = Program::default();
    let mut windows = 0;
    for change in 0..=CHANGES {
        let batch: Vec<Change> = if change == 0 {
            Cluster::random(seed).changes
        } else {
            (0..=rng.below(2)).flat_map(|_| random_edit(&mut rng, compiler.snapshot())).collect()
        };
        // Also of what goes: its removal is what may be met half done.
        let mut probed = probes(compiler.snapshot(), &mut rng);
        let delta = compiler.apply(batch);
        let after = compiler.program().clone();
        probed.extend(probes(compiler.snapshot(), &mut rng));
        let packets: Vec<Packet> = probed
            .into_iter()
            .map(|c| Packet { midstream: c.protocol == 6 && rng.chance(10), ..c.into() })
            .collect();
        for family in &mut watched {
            family.programs.push(after.family(family.family).clone());
        }
        let settles = rng.chance(30);
        let steps = planner.plan(&delta).ok_or("too wide to plan")?;
        let idle = if settles { planner.idle() } else { Vec::new() };
        let steps = steps.into_iter().map(|step| (step, false));
        for (step, is_idle) in steps.chain(idle.into_iter().map(|step| (step, true))) {
            for family in &mut watched {
                match &step {
                    Step::Commit(transaction) => family.commit(transaction),
                    Step::Grace if is_idle => family.grace(&packets, &[&after])?,
                    Step::Grace => family.grace(&packets, &[&before, &after])?,
                }
            }
            windows += usize::from(matches!(step, Step::Grace));
        }
        for family in &watched {
            family.judge(&packets)?;
        }
        windows += 1;
        if planner.program() != after {
            return Err("the steps do not lead to the program".to_owned());
        }
        before = after;
    }
    Ok(windows)
}

#[test]
fn no_packet_of_a_compiled_cluster_is_misjudged_while_it_changes() {
    let windows: usize = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mine = (0..CLUSTERS).filter(move |seed| seed % 2 == half);
                mine.map(|seed| follow(seed).unwrap_or_else(|m| panic!("seed {seed}: {m}")))
                    .sum::<usize>()
            })
        });
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("{CLUSTERS} clusters, {windows} windows");
}

/// Clusters that the whole engine follows.
const ENGINES: u64 = 72;

/// The window of one family as the engine leaves it: sets that grow and tables that are replaced included.
struct Enforced {
    family: Family,
    states: Vec<State>,
    /// `None`: nothing is enforced.
    programs: Vec<Option<Tables>>,
}

impl Enforced {
    fn judge(&self, packets: &[Packet]) -> Result<(), String> {
        for packet in packets.iter().filter(|packet| Family::of(packet.from) == self.family) {
            let of = |tables: &Option<Tables>| tables.as_ref().is_none_or(|t| verdict(t, packet));
            let allowed: BTreeSet<bool> = self.programs.iter().map(of).collect();
            let seen = verdicts(&self.states, packet);
            if !seen.is_subset(&allowed) {
                return Err(format!("{packet:?} sees {seen:?}, not {allowed:?}"));
            }
        }
        Ok(())
    }

    fn follow(
        &mut self,
        events: &[Event],
        packets: &[Packet],
        programs: &[Option<&Program>],
    ) -> Result<(), String> {
        for event in events {
            match event {
                Event::Commit(_, both) => {
                    let state = state(both, self.family);
                    // A set that is filled beside another is met by no packet.
                    if self.states.last() != Some(&state) {
                        self.states.push(state);
                    }
                }
                Event::Grace => {
                    self.judge(packets)?;
                    self.states.drain(..self.states.len() - 1);
                    let of = |p: &Option<&Program>| p.map(|p| p.family(self.family).clone());
                    self.programs = programs.iter().map(of).collect();
                }
            }
        }
        self.judge(packets)
    }
}

/// A kernel in which every few calls fail.
fn failing(rng: &mut Rng, one_in: usize) -> Fake {
    let mut fake = Fake::default();
    for call in (0..5000).filter(|_| one_in > 0) {
        if rng.below(one_in) == 0 {
            fake.fail(call, rng.pick(&Fault::ALL));
        }
    }
    fake
}

/// What fails is tried again until it is done, as the agent does.
fn enforce(dataplane: &mut Dataplane<Fake>, delta: &Delta, program: &Program) {
    let mut result = dataplane.update(delta);
    while result.is_err() {
        result = dataplane.install(program);
    }
}

/// An engine follows a cluster through its changes; returns how many sets grew and how many calls failed.
fn follow_with_engine(seed: u64) -> Result<(u64, u64), String> {
    let mut rng = Rng::new(seed);
    let capacities = [Capacities::Tight, Capacities::Spacious][usize::from(seed % 4 == 3)];
    let one_in = [0, 12, 5, 8][(seed % 4) as usize];
    let mut fake = failing(&mut rng, one_in);
    let mut dataplane = loop {
        match Dataplane::start_with(fake, Options { capacities, ..Options::default() }) {
            Ok(dataplane) => break dataplane,
            Err(_) => fake = failing(&mut rng, one_in),
        }
    };
    let mut compiler = Compiler::new(Locality::Everywhere);
    let nothing = state(dataplane.ruleset().actual(), Family::V4);
    let begun = |family| Enforced { family, states: vec![nothing.clone()], programs: vec![None] };
    let mut enforced = Family::ALL.map(begun);
    let mut before: Option<Program> = None;
    for change in 0..=CHANGES {
        let batch: Vec<Change> = if change == 0 {
            Cluster::random(seed).changes
        } else {
            (0..=rng.below(2)).flat_map(|_| random_edit(&mut rng, compiler.snapshot())).collect()
        };
        let mut probed = probes(compiler.snapshot(), &mut rng);
        let delta = compiler.apply(batch);
        let after = compiler.program().clone();
        probed.extend(probes(compiler.snapshot(), &mut rng));
        let few = (0..25).filter_map(|_| probed.get(rng.below(probed.len().max(1))).copied());
        let packets: Vec<Packet> = few.map(Packet::from).collect();
        let happened = dataplane.ruleset().history().len();
        enforce(&mut dataplane, &delta, &after);
        let enforced_until = dataplane.ruleset().history().len();
        if rng.chance(30) && dataplane.settle().is_err() {
            enforce(&mut dataplane, &Delta::default(), &after);
        }
        for family in &mut enforced {
            let of = |program: &Program| program.family(family.family).clone();
            family.programs.push(Some(of(&after)));
            let history = dataplane.ruleset().history();
            let changed = &history[happened..enforced_until];
            family.follow(changed, &packets, &[before.as_ref(), Some(&after)])?;
            family.follow(&history[enforced_until..], &packets, &[Some(&after)])?;
        }
        before = Some(after);
    }
    let program = compiler.program();
    let differences = loop {
        match dataplane.verify(program) {
            Ok(differences) => break differences,
            Err(_) => enforce(&mut dataplane, &Delta::default(), program),
        }
    };
    let differences: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "seed {seed}: {differences:#?}");
    let counters = dataplane.counters();
    Ok((counters.grown, counters.retries))
}

#[test]
fn no_packet_is_misjudged_while_sets_grow_and_commits_fail() {
    let (mut grown, mut failed) = (0, 0);
    for seed in 0..ENGINES {
        let (more, fails) =
            follow_with_engine(seed).unwrap_or_else(|message| panic!("seed {seed}: {message}"));
        grown += more;
        failed += fails;
    }
    println!("{grown} sets grew, {failed} calls failed");
    assert!(grown > 80 && failed > 60, "{grown} sets grew, {failed} calls failed: too few");
}
