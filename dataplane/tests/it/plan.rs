//! The planner against the requirement itself: every packet, every way its lookups may meet a window's states.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{
    AddressRange, ClassId, Delta, PortElement, PortRangeElement, ProfileId, Program, Tables,
};
use palisade_dataplane::plan::{Limits, Planner, Step};
use palisade_dataplane::transaction::{Op, Transaction};

use crate::walk::{Packet, Window, permitted};

/// xorshift64*: a seed names a case for good.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % end
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// 10.0.0.0 to 10.0.0.7: pods and other addresses alike.
pub(crate) fn ip(last: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last as u8))
}

const ADDRESSES: usize = 5;
const CLASSES: u32 = 4;
const PORTS: [u16; 2] = [80, 2000];

fn class(n: u32) -> ClassId {
    ClassId(ClassId::FIRST + n)
}

/// Profile 0 is everything; of 1 to 4, the even ones may have port ranges.
fn profile(n: usize) -> ProfileId {
    let space = if n.is_multiple_of(2) && n > 0 { ProfileId::RANGED } else { 0 };
    ProfileId((ProfileId::EVERYTHING.0 + n as u32) | space)
}

/// Contents of profiles 1-4 of a program; `meaning` rotates them, so that ids get other contents.
fn list(tables: &mut Tables, profile: ProfileId, meaning: usize) {
    let port = PortElement { profile, protocol: 6, port: 80 };
    let range = PortRangeElement { profile, protocol: 6, first: 1000, last: 3000 };
    let whole = PortRangeElement { profile, protocol: 6, first: 1, last: 3000 };
    let meaning = if profile.is_ranged() { meaning % 5 } else { [0, 4][meaning % 2] };
    match meaning {
        0 => _ = tables.ports.insert(port),
        1 => _ = tables.port_ranges.insert(range),
        2 => {
            tables.ports.insert(port);
            tables.port_ranges.insert(range);
        }
        3 => _ = tables.port_ranges.insert(whole),
        _ => _ = tables.ports.insert(PortElement { profile, protocol: 6, port: 2000 }),
    }
}

/// Atoms: blocks of 10.0.0.0/29 cut at random, some without a class.
fn atoms(random: &mut Random, tables: &mut Tables) {
    tables.cidr.clear();
    let mut first = 0;
    while first < 8 {
        let last = (first + random.below(5)).min(7);
        if !random.one_in(3) {
            let class = class(random.below(CLASSES as usize) as u32);
            tables.cidr.insert(AddressRange { first: ip(first), last: ip(last) }, class);
        }
        first = last + 1;
    }
}

fn peers(tables: &Tables) -> BTreeSet<ClassId> {
    let used = tables.class.values().chain(tables.cidr.values()).copied();
    used.chain([ClassId::UNKNOWN]).collect()
}

/// A program like the compiler's: rows for subjects only, of classes in use only, contents of profiles in use only.
fn tidy(tables: &mut Tables, meanings: [usize; 5]) {
    let peers = peers(tables);
    let (lo, li) = (tables.local_out.clone(), tables.local_in.clone());
    tables.allow_out.retain(|(s, c), _| lo.contains(s) && peers.contains(c));
    tables.allow_in.retain(|(s, c), _| li.contains(s) && peers.contains(c));
    tables.hairpin.retain(|a| lo.contains(a) || li.contains(a));
    tables.ports.clear();
    tables.port_ranges.clear();
    let named: BTreeSet<ProfileId> =
        tables.allow_in.values().chain(tables.allow_out.values()).copied().collect();
    let has_contents = |p: &ProfileId| !p.denies() && *p != ProfileId::EVERYTHING;
    for p in named.into_iter().filter(has_contents) {
        let n = ((p.0 & !ProfileId::RANGED) - ProfileId::EVERYTHING.0) as usize;
        list(tables, p, n + meanings[n]);
    }
}

pub(crate) struct Generator {
    pub(crate) random: Random,
    meanings: [usize; 5],
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), meanings: [0; 5] }
    }

    /// Most are missing, so that the base applies.
    fn row(&mut self) -> Option<ProfileId> {
        match self.random.below(9) {
            n @ 0..5 => Some(profile(n)),
            5 => Some(ProfileId::DENY),
            _ => None,
        }
    }

    /// Draws the base of a subject anew, and some of its rows with it.
    fn base(&mut self, tables: &mut Tables, subject: IpAddr) {
        let peers = peers(tables);
        for rows in [&mut tables.allow_in, &mut tables.allow_out] {
            for &class in &peers {
                if class == ClassId::UNKNOWN || self.random.one_in(4) {
                    match self.row() {
                        Some(profile) => _ = rows.insert((subject, class), profile),
                        None => _ = rows.remove(&(subject, class)),
                    }
                }
            }
        }
    }

    pub(crate) fn fresh(&mut self) -> Tables {
        let mut tables = Tables::default();
        atoms(&mut self.random, &mut tables);
        for n in 0..ADDRESSES {
            if !self.random.one_in(3) {
                tables.class.insert(ip(n), class(self.random.below(CLASSES as usize) as u32));
            }
            if self.random.one_in(2) {
                tables.local_out.insert(ip(n));
            }
            if self.random.one_in(2) {
                tables.local_in.insert(ip(n));
            }
            if self.random.one_in(2) {
                tables.hairpin.insert(ip(n));
            }
        }
        self.rows(&mut tables, 1);
        tidy(&mut tables, self.meanings);
        tables
    }

    /// Draws one in `n` of all rows anew.
    fn rows(&mut self, tables: &mut Tables, n: usize) {
        let peers: Vec<ClassId> = peers(tables).into_iter().collect();
        for direction in 0..2 {
            for s in 0..ADDRESSES {
                for &c in &peers {
                    if self.random.one_in(n) {
                        let row = self.row();
                        let rows = if direction == 0 {
                            &mut tables.allow_in
                        } else {
                            &mut tables.allow_out
                        };
                        match row {
                            Some(p) => _ = rows.insert((ip(s), c), p),
                            None => _ = rows.remove(&(ip(s), c)),
                        }
                    }
                }
            }
        }
    }

    /// A program a few edits away.
    pub(crate) fn next(&mut self, before: &Tables) -> Tables {
        if self.random.one_in(40) {
            return self.fresh();
        }
        let mut tables = before.clone();
        for _ in 0..=self.random.below(3) {
            let a = ip(self.random.below(ADDRESSES));
            match self.random.below(15) {
                0 | 1 => {
                    let n = 2 + self.random.below(12);
                    self.rows(&mut tables, n);
                }
                2 => {
                    let rows = if self.random.one_in(2) {
                        &mut tables.allow_in
                    } else {
                        &mut tables.allow_out
                    };
                    let n = self.random.below(rows.len().max(1));
                    if let Some(&key) = rows.keys().nth(n) {
                        rows.remove(&key);
                    }
                }
                3..=5 => {
                    let to = class(self.random.below(CLASSES as usize) as u32);
                    tables.class.insert(a, to);
                }
                6 => _ = tables.class.remove(&a),
                7 => atoms(&mut self.random, &mut tables),
                8 => toggle(&mut tables.local_in, a),
                9 => toggle(&mut tables.local_out, a),
                10 => toggle(&mut tables.hairpin, a),
                11..=13 => self.base(&mut tables, a),
                _ if self.random.one_in(3) => {
                    let n = self.random.below(5);
                    self.meanings[n] = self.random.below(5);
                }
                _ => {
                    toggle(&mut tables.local_in, a);
                    toggle(&mut tables.local_out, a);
                    tables.class.remove(&a);
                }
            }
        }
        self.rows(&mut tables, 25);
        tidy(&mut tables, self.meanings);
        tables
    }
}

fn toggle(set: &mut BTreeSet<IpAddr>, address: IpAddr) {
    if !set.remove(&address) {
        set.insert(address);
    }
}

pub(crate) fn packets() -> Vec<Packet> {
    let mut packets = Vec::new();
    for from in 0..7 {
        for to in 0..7 {
            for port in PORTS {
                let packet = Packet {
                    from: ip(from),
                    to: ip(to),
                    protocol: 6,
                    port,
                    dnat: false,
                    midstream: false,
                };
                packets.push(packet);
                if from == to {
                    packets.push(Packet { dnat: true, ..packet });
                }
                if port == 80 {
                    packets.push(Packet { midstream: true, ..packet });
                }
            }
        }
    }
    packets
}

/// A kernel that only checks: applies transactions and judges each window.
struct Watch {
    states: Vec<Tables>,
    programs: Vec<Tables>,
    packets: Vec<Packet>,
    log: Vec<String>,
    graces: usize,
    /// The most elements of sets that get some: as the planner says, and as they were.
    peaks: BTreeMap<SetName, usize>,
    met: BTreeMap<SetName, usize>,
}

impl Watch {
    fn new(kernel: &Tables) -> Self {
        Self {
            states: vec![kernel.clone()],
            programs: vec![kernel.clone()],
            packets: packets(),
            log: Vec::new(),
            graces: 0,
            peaks: BTreeMap::new(),
            met: BTreeMap::new(),
        }
    }

    /// Before the steps are carried out: what the planner says of them.
    fn expect_peaks(&mut self, planner: &Planner, steps: &[Step]) {
        let peaks = planner.peaks(steps);
        self.peaks = peaks.into_iter().map(|((_, set), peak)| (set, peak)).collect();
        self.met.clear();
        for set in SetName::ALL {
            let elements: BTreeSet<_> = self.last().elements(set).collect();
            assert_eq!(planner.elements_before(TableFamily::Ip, set, steps), elements);
        }
    }

    fn assert_peaks_were_met(&self) {
        assert_eq!(self.met, self.peaks);
    }

    fn last(&self) -> &Tables {
        self.states.last().unwrap()
    }

    fn commit(&mut self, transaction: &Transaction) {
        let mut tables = self.last().clone();
        let mut hashes = tables.clone();
        for op in &transaction.ops {
            assert_eq!(op.family, TableFamily::Ip);
            match &op.op {
                Op::Add(id, element) => {
                    let before = tables.count(id.set);
                    tables.insert(id.set, *element);
                    if !id.set.is_interval() {
                        hashes.insert(id.set, *element);
                    }
                    assert_eq!(tables.count(id.set), before + 1, "{element:?} was there");
                    let met = self.met.entry(id.set).or_insert(0);
                    *met = (*met).max(before + 1);
                }
                Op::Remove(id, element) => {
                    assert!(
                        tables.elements(id.set).any(|e| e == *element),
                        "{id} has no {element:?}"
                    );
                    tables.remove(id.set, *element);
                    if !id.set.is_interval() {
                        hashes.remove(id.set, *element);
                    }
                }
                other => panic!("not a change of elements: {other:?}"),
            }
        }
        assert!(!transaction.ops.is_empty(), "an empty transaction");
        self.log.push(format!("{:#?}", transaction.ops));
        // The new contents of interval sets are seen a moment after those of hashes: see `windows`.
        if hashes != tables && hashes != *self.last() {
            self.states.push(hashes);
        }
        self.states.push(tables);
    }

    /// Judges the window and begins the next, in which `programs` are in force.
    fn grace(&mut self, programs: &[&Tables]) -> Result<(), String> {
        self.graces += 1;
        self.judge()?;
        let last = self.last().clone();
        self.states = vec![last];
        self.log = vec!["grace".into()];
        self.programs = programs.iter().map(|&p| p.clone()).collect();
        Ok(())
    }

    fn judge(&self) -> Result<(), String> {
        let window = Window::new(&self.states);
        for packet in &self.packets {
            let allowed = permitted(&self.programs, packet);
            let seen = window.verdicts(packet);
            if !seen.is_subset(&allowed) {
                return Err(format!(
                    "{packet:?} sees {seen:?}, not {allowed:?}\nprograms {:#?}\nlog {}",
                    self.programs,
                    self.log.join("\n")
                ));
            }
        }
        Ok(())
    }
}

/// Runs a sequence of programs through the planner; `Err` says which packet saw what.
fn run(seed: u64) -> Result<usize, String> {
    let mut generator = Generator::new(seed);
    let mut program = generator.fresh();
    let limits = limits(seed);
    let kernel = Program { v4: program.clone(), v6: Tables::default() };
    let mut planner = Planner::new(kernel).with_limits(limits);
    let mut watch = Watch::new(&program);
    for _ in 0..2 + generator.random.below(5) {
        let mut next = generator.next(&program);
        let mut delta = delta(&program, &next);
        if generator.random.one_in(4) {
            let later = generator.next(&next);
            delta.then(self::delta(&next, &later));
            next = later;
        }
        watch.programs.push(next.clone());
        let steps = planner.plan(&delta).expect("small");
        watch.expect_peaks(&planner, &steps);
        assert!(planner.pending() <= limits.pending, "seed {seed}");
        for step in steps {
            match step {
                Step::Commit(transaction) => watch.commit(&transaction),
                Step::Grace => watch.grace(&[&program, &next])?,
            }
        }
        assert_eq!(planner.program().v4, next, "seed {seed}");
        assert_eq!(planner.kernel(Family::V4), watch.last(), "seed {seed}");
        watch.assert_peaks_were_met();
        program = next;
        if generator.random.one_in(3) {
            idle(&mut planner, &mut watch, &program)?;
            assert_eq!(watch.last(), &program, "seed {seed}");
        }
    }
    idle(&mut planner, &mut watch, &program)?;
    assert_eq!(watch.last(), &program, "seed {seed}");
    watch.judge()?;
    Ok(watch.graces)
}

/// Most cases have few elements in a transaction, so that it is seen where one may be cut; some keep little garbage.
pub(crate) fn limits(seed: u64) -> Limits {
    let default = Limits::default();
    let transaction = [1, 2, 5, default.transaction][(seed % 4) as usize];
    let pending = [default.pending, default.pending, 6, 0][(seed / 4 % 4) as usize];
    Limits { transaction, pending }
}

fn idle(planner: &mut Planner, watch: &mut Watch, program: &Tables) -> Result<(), String> {
    for step in planner.idle() {
        match step {
            Step::Commit(transaction) => watch.commit(&transaction),
            Step::Grace => watch.grace(&[program])?,
        }
    }
    Ok(())
}

fn delta(before: &Tables, after: &Tables) -> Delta {
    let program = |v4: &Tables| Program { v4: v4.clone(), v6: Tables::default() };
    Delta::between(&program(before), &program(after))
}

/// `PALISADE_PLAN_CASES` widens the search.
fn cases() -> u64 {
    std::env::var("PALISADE_PLAN_CASES").map_or(3000, |n| n.parse().expect("a number"))
}

#[test]
fn no_packet_gets_a_verdict_that_no_program_gives() {
    let regressions = include_str!("../regressions/plans.txt").lines();
    for line in regressions.filter(|line| !line.starts_with('#')) {
        let seed = line.parse().expect("a seed");
        run(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    let cases = cases();
    let graces: usize = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mine = (0..cases).filter(move |seed| seed % 2 == half);
                mine.map(|seed| run(seed).unwrap_or_else(|e| panic!("seed {seed}: {e}")))
                    .sum::<usize>()
            })
        });
        halves.into_iter().map(|half| half.join().expect("a case failed")).sum()
    });
    assert!(graces > 0);
}
