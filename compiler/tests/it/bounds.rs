//! Full tables: what finds no room is denied, never allowed, is of a namespace that wants more than its share, and is
//! written when there is room again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_compiler::compile::{Bounds, Compiler, Locality, RowUsage, Warning};
use palisade_compiler::model::{Direction, Family, Verdict};
use palisade_compiler::program::eval::{Packet, run};
use palisade_compiler::program::{ClassId, ProfileId, Program, Tables};
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{Cluster, Rng, pod, policy, probes, rule};

use crate::churn::{contents, history};
use crate::parallel::for_each_seed;
use crate::properties::{agree, asked, locality};

const HISTORIES: u64 = 1_500;

/// So small that most clusters meet one of them.
fn bounds(rng: &mut Rng) -> Bounds {
    if rng.chance(25) {
        // Large enough for long lists of ports.
        let (ports, port_ranges) = (rng.below(1500), rng.below(6));
        return Bounds { ports, port_ranges, ..Bounds::default() };
    }
    Bounds {
        matrix: rng.below(30),
        rows: rng.below(12),
        ports: rng.below(8),
        port_ranges: rng.below(3),
    }
}

fn lacks(compiler: &Compiler) -> bool {
    compiler.warnings().iter().any(|warning| matches!(warning, Warning::TablesFull { .. }))
}

#[test]
fn what_finds_no_room_is_denied_and_written_when_there_is_room_again() {
    for_each_seed(include_str!("../regressions/bounds.txt"), HISTORIES, |seed| {
        let mut rng = Rng::new(seed);
        let bounds = bounds(&mut rng);
        let locality = locality(seed);
        let mut compiler = Compiler::bounded(locality.clone(), bounds);
        let mut mirror = Program::default();
        for batch in history(seed) {
            compiler.apply(batch).apply_to(&mut mirror);
            check(&compiler, &locality, &mirror, bounds, &mut rng)?;
            if rng.chance(30) {
                compiler.tidy().apply_to(&mut mirror);
                check(&compiler, &locality, &mirror, bounds, &mut rng)?;
            }
        }
        make_room(compiler, &locality, bounds)
    });
}

/// Everything that is bounded keeps its bound; every subject is one; nobody is allowed what the policies forbid; and who goes
/// without does not depend on the history.
fn check(
    compiler: &Compiler,
    locality: &Locality,
    mirror: &Program,
    bounds: Bounds,
    rng: &mut Rng,
) -> Result<(), String> {
    let program = compiler.program();
    if program != mirror {
        return Err("the deltas do not add up to the program".to_owned());
    }
    let mut scratch = Compiler::bounded(locality.clone(), bounds);
    scratch.apply(contents(compiler.snapshot()));
    let (here, there) = (program.canonical(), scratch.program().canonical());
    if here != there {
        return Err(format!(
            "{bounds:?}: this history gives {here:#?}\nfrom scratch it is {there:#?}"
        ));
    }
    let mut whole = Compiler::new(locality.clone());
    whole.apply(contents(compiler.snapshot()));
    for family in Family::ALL {
        let (here, there) = (program.family(family), whole.program().family(family));
        let is_within = here.allow_in.len().max(here.allow_out.len()) <= bounds.rows
            && here.ports.len() <= bounds.ports
            && here.port_ranges.len() <= bounds.port_ranges;
        if !is_within {
            return Err(format!("over {bounds:?}: {here:#?}"));
        }
        if (&here.local_in, &here.local_out) != (&there.local_in, &there.local_out) {
            return Err("a subject is not isolated".to_owned());
        }
    }
    let probes = probes(compiler.snapshot(), rng);
    if !lacks(compiler) {
        return agree(compiler.snapshot(), locality, program, &probes);
    }
    for connection in &probes {
        let asked = asked(compiler.snapshot(), locality, connection);
        let packet =
            Packet { dnat: connection.from == connection.to, ..Packet::first(*connection) };
        let family = Family::of(connection.to);
        let seen = run(&mut program.family(family), family, &packet, &mut ()).0;
        if seen == Verdict::Allow && asked == Verdict::Deny {
            return Err(format!("{connection:?} is allowed where the tables are full"));
        }
    }
    Ok(())
}

/// Takes policies away until the rest fits; then nobody goes without, at once.
fn make_room(mut compiler: Compiler, locality: &Locality, bounds: Bounds) -> Result<(), String> {
    loop {
        let mut scratch = Compiler::bounded(locality.clone(), bounds);
        scratch.apply(contents(compiler.snapshot()));
        if !lacks(&scratch) {
            break;
        }
        let Some(policy) = compiler.snapshot().policies().next().map(|policy| policy.key.clone())
        else {
            break;
        };
        compiler.apply([Change::DeletePolicy(policy)]);
    }
    let mut whole = Compiler::new(locality.clone());
    whole.apply(contents(compiler.snapshot()));
    if lacks(&compiler) {
        return Err(format!("somebody still goes without: {:?}", compiler.warnings()));
    }
    if compiler.program().canonical() != whole.program().canonical() {
        return Err("with room for all the program is not the whole one".to_owned());
    }
    Ok(())
}

/// The rows of a direction that each namespace's subjects have, by family.
fn rows_by_namespace(
    snapshot: &Snapshot,
    tables: &Tables,
    direction: Direction,
) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for &(subject, _) in rows_of(tables, direction).keys() {
        let owner = snapshot.owner(subject).expect("a subject is a pod's address");
        *rows.entry(owner.namespace.to_string()).or_insert(0) += 1;
    }
    rows
}

fn rows_of(tables: &Tables, direction: Direction) -> &BTreeMap<(IpAddr, ClassId), ProfileId> {
    match direction {
        Direction::Ingress => &tables.allow_in,
        Direction::Egress => &tables.allow_out,
    }
}

/// Max-min fairness: who wants no more than an equal part of the bound has all of it, whatever others want.
#[test]
fn a_namespace_that_wants_no_more_than_its_share_has_all_of_it() {
    let mut short = AtomicUsize::new(0);
    for_each_seed("", 5_000, |seed| {
        let mut rng = Rng::new(seed);
        let changes = Cluster::random(seed).changes;
        let mut whole = Compiler::new(locality(seed));
        whole.apply(changes.iter().cloned());
        let bounds = Bounds { rows: 1 + rng.below(8), ..Bounds::default() };
        let mut bounded = Compiler::bounded(locality(seed), bounds);
        bounded.apply(changes);
        for family in Family::ALL {
            for direction in Direction::ALL {
                let of = |compiler: &Compiler| {
                    let tables = compiler.program().family(family);
                    rows_by_namespace(compiler.snapshot(), tables, direction)
                };
                let (wanted, had) = (of(&whole), of(&bounded));
                let share = bounds.rows / wanted.len().max(1);
                short.fetch_add(
                    usize::from(wanted.values().sum::<usize>() > bounds.rows),
                    Ordering::Relaxed,
                );
                for (namespace, &rows) in wanted.iter().filter(|(_, rows)| **rows <= share) {
                    let has = had.get(namespace).copied().unwrap_or_default();
                    if has != rows {
                        return Err(format!(
                            "{family:?} {direction}: {namespace} has {has} of {rows} rows, with a share of \
                             {share}: {wanted:?}, {had:?}"
                        ));
                    }
                }
            }
        }
        Ok(())
    });
    assert!(*short.get_mut() > 500, "hardly a cluster meets its bound: {short:?}");
}

/// As many pods of `shop` as one node has at most, which allow everyone port 80.
const SHOP: u32 = 250;

fn shop(port: u16) -> Vec<Change> {
    let pods = (0..SHOP).map(|at| {
        let address = Ipv4Addr::from(0x0a00_0001 + at).to_string();
        Change::ApplyPod(pod(&format!("shop/l{at}")).labelled("app=l").ip(&address))
    });
    let open = policy("shop/web").isolate_ingress().allow_in(rule().tcp(port));
    pods.chain([Change::ApplyPolicy(open)]).collect()
}

/// One pod of `evil`, with so many rules of one address each, and more pods that have them too.
fn evil(pods: u32, rules: u32) -> Vec<Change> {
    let pods = (0..pods).map(|at| {
        let address = Ipv4Addr::from(0x0a01_0001 + at).to_string();
        Change::ApplyPod(pod(&format!("evil/e{at}")).ip(&address))
    });
    let block =
        |at: u32| rule().block(&format!("{}/32", Ipv4Addr::from(0x1400_0000 + at * 2)), &[]);
    let blocks =
        (0..rules).fold(policy("evil/evil").isolate_ingress(), |p, at| p.allow_in(block(at)));
    pods.chain([Change::ApplyPolicy(blocks)]).collect()
}

fn shop_rows(compiler: &Compiler) -> usize {
    let tables = &compiler.program().v4;
    let rows = rows_by_namespace(compiler.snapshot(), tables, Direction::Ingress);
    rows.get("shop").copied().unwrap_or_default()
}

/// What one namespace's policies tell apart costs the others nothing: a subject that allows something to everyone has one row.
#[test]
fn rules_of_one_namespace_make_no_rows_for_others() {
    for rules in [0, 1, 4_000, 17_000] {
        let mut compiler = Compiler::new(Locality::Everywhere);
        compiler.apply(shop(80).into_iter().chain(evil(1, rules)));
        assert_eq!(shop_rows(&compiler), SHOP as usize, "{rules} rules");
        let all = compiler.program().v4.allow_in.len();
        assert_eq!(all, (SHOP + rules) as usize, "{rules} rules");
    }
}

#[test]
fn a_change_of_what_everyone_is_allowed_changes_one_row_of_each_subject() {
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(shop(80).into_iter().chain(evil(1, 4_000)));
    let other = policy("shop/web").isolate_ingress().allow_in(rule().tcp(81));
    let delta = compiler.apply([Change::ApplyPolicy(other)]);
    assert_eq!(delta.v4.allow_in.len(), SHOP as usize);
    let ports = 2;
    assert_eq!(delta.v4.len(), SHOP as usize + ports, "{delta:?}");
}

/// A namespace that wants more than the table holds is denied some; those beside it are not, and it is the one that is named.
#[test]
fn who_fills_the_table_goes_without_and_nobody_else() {
    let bounds = Bounds { rows: 3_000, ..Bounds::default() };
    let mut compiler = Compiler::bounded(Locality::Everywhere, bounds);
    compiler.apply(shop(80).into_iter().chain(evil(3, 1_300)));
    assert_eq!(shop_rows(&compiler), SHOP as usize);
    // Two of the three pods' rows fit into what the shop leaves.
    assert_eq!(compiler.program().v4.allow_in.len(), (SHOP + 2 * 1_300) as usize);
    assert_eq!(compiler.program().v4.local_in.len(), SHOP as usize + 3, "all are isolated");
    let warnings = compiler.warnings();
    let [Warning::TablesFull { family: Family::V4, pods, .. }] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert_eq!(pods.as_slice(), [("evil".into(), 1)]);
    let usage = compiler.row_usage();
    let ingress = |u: &&RowUsage| (u.family, u.direction) == (Family::V4, Direction::Ingress);
    let usage = usage.iter().find(ingress).expect("it is listed");
    assert_eq!((usage.wanted, usage.bound), ((SHOP + 3 * 1_300) as usize, 3_000));
    assert_eq!(usage.largest, [("evil".into(), 3 * 1_300), ("shop".into(), SHOP as usize)]);
    let gone = Change::DeletePod { namespace: "evil".into(), name: "e0".into(), uid: None };
    compiler.apply([gone]);
    assert_eq!(compiler.program().v4.allow_in.len(), (SHOP + 2 * 1_300) as usize);
    assert_eq!(compiler.warnings(), []);
}

/// The same of ports: who has long lists goes without, and who has one port has it.
#[test]
fn who_fills_the_ports_goes_without_and_nobody_else() {
    let bounds = Bounds { ports: 100, ..Bounds::default() };
    let mut compiler = Compiler::bounded(Locality::Everywhere, bounds);
    let odd = (0..100).fold(rule().block("20.0.0.0/8", &[]), |rule, at| rule.tcp(1000 + 2 * at));
    let greedy = policy("evil/ports").isolate_ingress().allow_in(odd);
    compiler.apply([Change::ApplyPod(pod("evil/e").ip("10.1.0.1")), Change::ApplyPolicy(greedy)]);
    assert_eq!(compiler.program().v4.ports.len(), 100, "alone, it has room");
    compiler.apply(shop(80));
    assert_eq!(compiler.program().v4.ports.len(), 1);
    assert_eq!(shop_rows(&compiler), SHOP as usize);
    let warnings = compiler.warnings();
    let [Warning::TablesFull { pods, .. }] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert_eq!(pods.as_slice(), [("evil".into(), 1)]);
}
