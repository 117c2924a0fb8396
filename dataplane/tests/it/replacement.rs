//! Tables that only new ones can mend are replaced unseen: whatever states of both names' tables a packet meets, its verdict is
//! the old or the new one; also if the process dies at any point and its successor has another program.

use std::collections::{BTreeMap, BTreeSet};

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::{Program, Tables};
use palisade_compiler::snapshot::Snapshot;
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit};
use palisade_dataplane::compare;
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::fake::{Both, Event, Fake};
use palisade_dataplane::ruleset::{Actual, Features};

use crate::walk::{Packet, Window, verdict};

const CLUSTERS: u64 = 8;

/// One table at one moment, as a packet meets it.
#[derive(Clone, PartialEq)]
pub(crate) struct Met {
    /// Whether packets are sent to it.
    hooked: bool,
    /// Whether its chain has rules.
    judges: bool,
    tables: Tables,
}

impl Met {
    fn of(actual: &Actual, family: Family) -> Self {
        let table = actual.get(&family.into());
        let entrance = table.and_then(|table| table.chains.get("forward"));
        Self {
            hooked: entrance.is_some(),
            judges: entrance.is_some_and(|chain| !chain.rules.is_empty()),
            tables: table.map(compare::tables).unwrap_or_default(),
        }
    }

    fn verdict(&self, packet: &Packet) -> bool {
        !(self.hooked && self.judges) || verdict(&self.tables, packet)
    }
}

/// Both names' tables of one family at one moment.
pub(crate) type State = [Met; 2];

pub(crate) fn state(both: &Both, family: Family) -> State {
    [&both.main, &both.stand_in].map(|actual| Met::of(actual, family))
}

/// The verdict of a packet that meets nothing but this.
pub(crate) fn judge_by(both: &Both) -> impl Fn(&Packet) -> bool + use<> {
    let states = Family::ALL.map(|family| (family, state(both, family)));
    move |packet| {
        let of = |(family, _): &&(Family, State)| *family == Family::of(packet.from);
        states.iter().find(of).is_none_or(|(_, state)| state.iter().all(|met| met.verdict(packet)))
    }
}

/// The verdicts of a packet that enters at any state of a window: the hooks are those of then, each table's rules those of
/// when it is reached, and the maps of any moment from there on.
pub(crate) fn verdicts(window: &[State], packet: &Packet) -> BTreeSet<bool> {
    let allows = BTreeSet::from([true]);
    let judged = [0, 1].map(|table| {
        let states: Vec<Tables> = window.iter().map(|state| state[table].tables.clone()).collect();
        let from = |at: usize| match window[at][table].judges {
            true => Window::new(&states[at..]).verdicts(packet),
            false => allows.clone(),
        };
        (0..window.len()).map(from).collect::<Vec<_>>()
    });
    let mut seen = BTreeSet::new();
    for entered in 0..window.len() {
        let of = |table: usize, at: usize| match window[entered][table].hooked {
            true => &judged[table][at],
            false => &allows,
        };
        for first in entered..window.len() {
            for second in first..window.len() {
                for (a, b) in [(of(0, first), of(1, second)), (of(1, first), of(0, second))] {
                    seen.extend(a.iter().flat_map(|&a| b.iter().map(move |&b| a && b)));
                }
            }
        }
    }
    seen
}

/// Judges every window of what happened, from what was there before it to the program after it.
fn judge(
    before: &Both,
    events: &[Event],
    after: &Program,
    packets: &[Packet],
) -> Result<usize, String> {
    let mut windows = 0;
    for family in Family::ALL {
        let packets: Vec<&Packet> =
            packets.iter().filter(|packet| Family::of(packet.from) == family).collect();
        let begun = state(before, family);
        let allowed: BTreeMap<usize, [bool; 2]> = packets
            .iter()
            .enumerate()
            .map(|(n, packet)| {
                let old = begun.iter().all(|met| met.verdict(packet));
                (n, [old, verdict(after.family(family), packet)])
            })
            .collect();
        let mut window = vec![begun];
        for event in events.iter().chain([&Event::Grace]) {
            match event {
                Event::Commit(_, both) => window.push(state(both, family)),
                Event::Grace => {
                    for (n, packet) in packets.iter().enumerate() {
                        let seen = verdicts(&window, packet);
                        if !seen.iter().all(|v| allowed[&n].contains(v)) {
                            return Err(format!("{packet:?} sees {seen:?}, not {:?}", allowed[&n]));
                        }
                    }
                    window.drain(..window.len() - 1);
                    windows += 1;
                }
            }
        }
        let last = window.last().unwrap();
        assert!(
            packets.iter().enumerate().all(|(n, packet)| {
                last.iter().all(|met| met.verdict(packet)) == allowed[&n][1]
            })
        );
    }
    Ok(windows)
}

/// Installs a program as a new process does, and returns what happened.
fn install(fake: &mut Fake, program: &Program) -> Vec<Event> {
    fake.restart();
    let happened = fake.history().len();
    let mut dataplane = Dataplane::start(&mut *fake).unwrap();
    dataplane.install(program).unwrap();
    assert_eq!(dataplane.verify(program).unwrap(), []);
    fake.history()[happened..].to_vec()
}

struct Case {
    packets: Vec<Packet>,
    /// Before, after, and what a successor wants.
    programs: [Program; 3],
}

fn case(seed: u64) -> Case {
    let mut rng = Rng::new(seed);
    let mut snapshot = Snapshot::new();
    let mut changes = Cluster::random(seed).changes;
    changes.iter().cloned().for_each(|change| snapshot.apply(change));
    let mut packets = Vec::new();
    let programs = [0, 1, 2].map(|_| {
        let found = probes(&snapshot, &mut rng);
        let few = (0..25).filter_map(|_| found.get(rng.below(found.len().max(1))).copied());
        packets.extend(few.map(Packet::from));
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(changes.clone());
        for _ in 0..4 {
            for change in random_edit(&mut rng, &snapshot) {
                snapshot.apply(change.clone());
                changes.push(change);
            }
        }
        compiler.program().clone()
    });
    Case { packets, programs }
}

/// What only new tables can mend, and what can be mended while nobody is judged.
fn damages() -> [fn(&mut Both); 3] {
    [
        |both| both.main.values_mut().for_each(|table| _ = table.foreign.insert("odd".into())),
        |both| both.main.values_mut().for_each(|table| table.version = Some(0)),
        |both| _ = both.main.remove(&TableFamily::Ip6),
    ]
}

#[test]
fn no_packet_is_misjudged_while_tables_are_replaced_or_if_the_process_dies_meanwhile() {
    let (mut windows, mut deaths) = (0, 0);
    for seed in 0..CLUSTERS {
        let Case { packets, programs: [old, new, third] } = case(seed);
        for damage in damages() {
            let mut fake =
                Fake::new(Features { persistent_owner: seed % 2 == 0, bridge_tables: true });
            install(&mut fake, &old);
            fake.tamper(damage);
            let before = fake.actual().clone();
            let events = install(&mut fake, &new);
            let judged = judge(&before, &events, &new, &packets);
            windows += judged.unwrap_or_else(|m| panic!("seed {seed}: {m}"));
            assert!(fake.actual().stand_in.is_empty());
            for (n, event) in events.iter().enumerate() {
                let Event::Commit(_, both) = event else { continue };
                for wanted in [&new, &third] {
                    let mut fake = fake.clone();
                    fake.tamper(|tables| *tables = both.clone());
                    let after = install(&mut fake, wanted);
                    let judged = judge(both, &after, wanted, &packets);
                    windows +=
                        judged.unwrap_or_else(|m| panic!("seed {seed}, died after event {n}: {m}"));
                    deaths += 1;
                }
            }
        }
    }
    println!("{windows} windows, {deaths} deaths");
    assert!(deaths > 300, "{deaths} deaths");
}

/// A load that was cut short has sets with some elements and no rules: it must not get them before the rest.
#[test]
fn no_packet_is_misjudged_after_a_load_was_cut_short() {
    for seed in 0..CLUSTERS {
        let Case { packets, programs: [_, new, third] } = case(seed);
        let mut fake = Fake::default();
        let nothing = fake.actual().clone();
        let events = install(&mut fake, &new);
        judge(&nothing, &events, &new, &packets).unwrap_or_else(|m| panic!("seed {seed}: {m}"));
        for event in &events {
            let Event::Commit(_, both) = event else { continue };
            let mut fake = Fake::default();
            fake.tamper(|tables| *tables = both.clone());
            let after = install(&mut fake, &third);
            judge(both, &after, &third, &packets).unwrap_or_else(|m| panic!("seed {seed}: {m}"));
        }
    }
}
