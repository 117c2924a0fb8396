//! A process killed (SIGKILL) before and after every transaction of a change: what it leaves judges as the old program or the new
//! one, and its successor leads to the right end.

use std::env;
use std::net::Ipv4Addr;
use std::process::Command;

use nix::sys::signal::{Signal, raise};
use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Connection, Family};
use palisade_compiler::program::{ClassId, ProfileId, Program};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{Cluster, Rng, probes, random_edit};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::fake::Both;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Actual, Features, Ruleset, RulesetError, TableName};
use palisade_dataplane::transaction::Transaction;

use crate::netns::{in_netns, load};
use crate::replacement::judge_by;
use crate::walk::{Packet, verdict};

/// Histories, each killed at every place.
const HISTORIES: u64 = 6;
const BATCHES: usize = 3;

/// Tells the child which history, and after how many commits it dies: before (even) or after (odd) the next one.
const ROLE: &str = "PALISADE_TEST_DIE";

/// The role that loads 100,000 pods instead.
const LOAD: &str = "load";
/// The role that replaces tables of another version.
const REPLACE: &str = "replace";
const PODS: u32 = 100_000;

fn large() -> Program {
    let mut program = Program::default();
    for n in 0..PODS {
        let address = Ipv4Addr::from_bits(0x0a00_0001 + n).into();
        program.v4.class.insert(address, ClassId(ClassId::FIRST + n % 500));
        if n < 100 {
            program.v4.local_in.insert(address);
            program.v4.hairpin.insert(address);
            program
                .v4
                .allow_in
                .insert((address, ClassId(ClassId::FIRST + n)), ProfileId::EVERYTHING);
        }
    }
    program
}

/// What packets meet in this namespace.
fn judged() -> impl Fn(&Packet) -> bool {
    let mut kernel = Kernel::open().unwrap();
    let mut read = |table| kernel.read(table).unwrap();
    judge_by(&Both { main: read(TableName::Main), stand_in: read(TableName::StandIn) })
}

fn by(program: &Program, packet: &Packet) -> bool {
    verdict(program.family(Family::of(packet.from)), packet)
}

/// A kernel that kills the process at a given commit.
struct Dying {
    kernel: Kernel,
    places_left: usize,
}

impl Dying {
    fn place(&mut self) {
        match self.places_left.checked_sub(1) {
            Some(left) => self.places_left = left,
            None => raise(Signal::SIGKILL).unwrap(),
        }
    }
}

impl Ruleset for Dying {
    fn features(&self) -> Features {
        self.kernel.features()
    }

    fn port(&self) -> u32 {
        self.kernel.port()
    }

    fn reopen(&mut self) -> Result<(), RulesetError> {
        self.kernel.reopen()
    }

    fn read(&mut self, table: TableName) -> Result<Actual, RulesetError> {
        self.kernel.read(table)
    }

    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        self.place();
        self.kernel.commit(table, transaction)?;
        self.place();
        Ok(())
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        self.kernel.grace()
    }
}

fn history(seed: u64) -> Vec<Vec<Change>> {
    let mut rng = Rng::new(seed);
    let mut batches = vec![Cluster::random(seed).changes];
    let mut snapshot = palisade_compiler::snapshot::Snapshot::new();
    batches[0].iter().cloned().for_each(|change| snapshot.apply(change));
    for _ in 0..BATCHES {
        let batch = (0..4).flat_map(|_| random_edit(&mut rng, &snapshot)).collect::<Vec<_>>();
        batch.iter().cloned().for_each(|change| snapshot.apply(change));
        batches.push(batch);
    }
    batches
}

/// Not a test of its own: what the parent runs in another process, which ends by the signal or by success.
#[test]
fn dying_child() {
    let Ok(role) = env::var(ROLE) else { return };
    let (seed, places) = role.split_once(' ').unwrap();
    let dying = Dying { kernel: Kernel::open().unwrap(), places_left: places.parse().unwrap() };
    let mut dataplane = Dataplane::start(dying).unwrap();
    if seed == LOAD {
        dataplane.install(&large()).unwrap();
        return;
    }
    let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
    if seed == REPLACE {
        compiler.apply(history(0).concat());
        dataplane.install(compiler.program()).unwrap();
        return;
    }
    let mut batches = history(seed.parse().unwrap()).into_iter();
    compiler.apply(batches.next().unwrap());
    dataplane.install(compiler.program()).unwrap();
    for batch in batches {
        dataplane.update(&compiler.apply(batch)).unwrap();
        dataplane.settle().unwrap();
    }
}

/// Whether the child lived to the end.
fn run_child(seed: &str, places: usize) -> bool {
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::dying_child", "--quiet"])
        .env(ROLE, format!("{seed} {places}"))
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.code().is_none_or(|code| code == 0), "the child failed: {status}");
    status.success()
}

/// The programs that a history goes through, and packets that they may tell apart.
fn course(seed: u64) -> (Vec<Program>, Vec<Packet>) {
    let mut rng = Rng::new(seed);
    let mut compiler = Compiler::new(Locality::Everywhere);
    let (mut programs, mut packets) = (Vec::new(), Vec::new());
    for batch in history(seed) {
        compiler.apply(batch);
        programs.push(compiler.program().clone());
        let found = probes(compiler.snapshot(), &mut rng);
        let few = (0..50).filter_map(|_| found.get(rng.below(found.len().max(1))).copied());
        packets.extend(few.map(Packet::from));
    }
    (programs, packets)
}

/// Whether some step of the course has, for each packet, its old or its new verdict. Before the first nothing is enforced.
fn is_between(programs: &[Program], packets: &[Packet], seen: impl Fn(&Packet) -> bool) -> bool {
    (0..programs.len()).any(|step| {
        packets.iter().all(|packet| {
            let before = step.checked_sub(1).is_none_or(|before| by(&programs[before], packet));
            [before, by(&programs[step], packet)].contains(&seen(packet))
        })
    })
}

#[test]
fn killed_before_or_after_any_transaction_the_next_start_ends_right() {
    let mut killed = 0;
    for seed in 0..HISTORIES {
        let (programs, packets) = course(seed);
        for places in 0.. {
            let finished = in_netns(|| {
                let finished = run_child(&seed.to_string(), places);
                assert!(is_between(&programs, &packets, judged()), "seed {seed}, place {places}");
                let mut dataplane = Dataplane::start(Kernel::open().unwrap()).unwrap();
                let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
                compiler.apply(history(seed).concat());
                dataplane.install(compiler.program()).unwrap();
                let differences = dataplane.verify(compiler.program()).unwrap();
                let told: Vec<_> = differences.iter().map(ToString::to_string).collect();
                assert!(told.is_empty(), "seed {seed}, place {places}: {told:#?}");
                finished
            });
            if finished {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed > 30, "only {killed} places to die at");
    println!("killed at {killed} places");
}

/// Tables of another version of the skeleton, that deny.
const OLD: &str = "\
    table ip palisade { comment \"palisade skeleton 0\"; set old { type ipv4_addr; }; \
      chain forward { type filter hook forward priority 0; ip saddr @old drop; };\n}\n\
    table ip6 palisade { chain forward { type filter hook forward priority 0; ip6 saddr ::1 drop; };\n}\n";

#[test]
fn killed_while_tables_are_replaced_the_next_start_ends_right() {
    let mut stood_in = 0;
    for places in 0.. {
        let finished = in_netns(|| {
            load(OLD);
            let finished = run_child(REPLACE, places);
            let mut kernel = Kernel::open().unwrap();
            stood_in += usize::from(!kernel.read(TableName::StandIn).unwrap().is_empty());
            let mut dataplane = Dataplane::start(kernel).unwrap();
            let mut compiler = Compiler::adopting(Locality::Everywhere, &dataplane.found());
            compiler.apply(history(0).concat());
            dataplane.install(compiler.program()).unwrap();
            assert_eq!(dataplane.verify(compiler.program()).unwrap(), [], "place {places}");
            finished
        });
        if finished {
            break;
        }
    }
    assert!(stood_in > 10, "the stand-in was left at only {stood_in} places");
}

#[test]
fn killed_inside_a_load_of_100_000_pods_nothing_is_enforced_or_all_and_the_next_start_ends_right() {
    let program = large();
    let peers = [0, 7, 150, 499, 50_007, PODS - 1, PODS + 1];
    let packet = |from: u32, to: u32| {
        let [from, to] = [from, to].map(|n| Ipv4Addr::from_bits(0x0a00_0001 + n).into());
        Packet::from(Connection { from, to, protocol: 6, port: 80 })
    };
    let packets: Vec<Packet> = [0, 7, 99, 100, PODS - 1]
        .into_iter()
        .flat_map(|to| peers.iter().map(move |&from| packet(from, to)))
        .collect();
    let wanted: Vec<bool> = packets.iter().map(|packet| by(&program, packet)).collect();
    assert!(wanted.contains(&true) && wanted.contains(&false));
    let (mut places, mut open) = (0, 0);
    while !in_netns(|| {
        let finished = run_child(LOAD, places);
        let seen: Vec<bool> = packets.iter().map(judged()).collect();
        let is_open = seen.iter().all(|&allowed| allowed);
        assert!(is_open || seen == wanted, "place {places}: {seen:?}");
        open += usize::from(is_open);
        let mut dataplane = Dataplane::start(Kernel::open().unwrap()).unwrap();
        dataplane.install(&program).unwrap();
        assert_eq!(dataplane.verify(&program).unwrap(), [], "place {places}");
        finished
    }) {
        places += 1;
    }
    assert!(places > 20 && open > 20, "only {places} places to die at, {open} of them open");
}
