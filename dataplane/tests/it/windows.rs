//! Compiled clusters under churn, between the transactions of each change: whatever states of a window a packet's lookups meet,
//! its verdict is one that some program in force gives.

use std::collections::BTreeSet;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Family;
use palisade_compiler::program::{Program, Tables};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit};
use palisade_dataplane::contents;
use palisade_dataplane::plan::{Planner, Step};
use palisade_dataplane::transaction::{Op, Transaction};

use crate::walk::{Packet, Window, verdict};

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

    fn commit(&mut self, transaction: &Transaction) {
        let mut tables = self.states.last().unwrap().clone();
        for op in transaction.ops.iter().filter(|op| op.family == self.family) {
            match &op.op {
                Op::Add(id, element) => contents::insert(&mut tables, id.set, *element),
                Op::Remove(id, element) => contents::remove(&mut tables, id.set, *element),
                other => panic!("not a change of elements: {other:?}"),
            }
        }
        self.states.push(tables);
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
            let allowed: BTreeSet<bool> =
                self.programs.iter().map(|program| verdict(program, packet)).collect();
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
    let mut planner = Planner::new(Program::default());
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
