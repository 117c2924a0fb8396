//! The engine over the real kernel: what is installed is read back equal, damage is named and mended exactly, sets grow,
//! tables of another version are switched, and a restart commits nothing.

use std::net::Ipv4Addr;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::program::{AddressRange, ClassId, Program};
use palisade_compiler::testkit::{Cluster, Rng, random_edit};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset as _, RulesetError};

use crate::netns::{Open, WAYS, each_way, in_netns, load, nft, pipe};

/// Random clusters that are programmed, changed and read back.
const CLUSTERS: u64 = 60;
const BATCHES: usize = 4;

fn start(open: Open) -> Dataplane<Kernel> {
    Dataplane::start(open().unwrap()).unwrap()
}

fn assert_equal(dataplane: &mut Dataplane<Kernel>, program: &Program) {
    let differences = dataplane.verify(program).unwrap();
    let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{told:#?}");
}

fn compiled(seed: u64) -> Compiler {
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(Cluster::random(seed).changes);
    compiler
}

#[test]
fn random_programs_and_their_changes_are_read_back_equal() {
    for (seed, open) in (0..CLUSTERS).zip(WAYS.into_iter().cycle()) {
        in_netns(|| {
            let mut rng = Rng::new(seed);
            let mut compiler = compiled(seed);
            let mut dataplane = start(open);
            dataplane.install(compiler.program()).unwrap();
            assert_equal(&mut dataplane, compiler.program());
            for _ in 0..BATCHES {
                let changes: Vec<_> =
                    (0..3).flat_map(|_| random_edit(&mut rng, compiler.snapshot())).collect();
                dataplane.update(&compiler.apply(changes)).unwrap();
                if rng.chance(50) {
                    dataplane.settle().unwrap();
                }
            }
            assert_equal(&mut dataplane, compiler.program());
        });
    }
}

/// Who owns a table shows in its flags; old nft does not know the flag `persist` and prints an empty list.
fn without_flags(listing: &str) -> String {
    let is_flags = |line: &&str| line.starts_with("\tflags");
    let lines = listing.lines().filter(|line| !is_flags(line));
    lines.filter_map(|line| line.split(" # progname").next()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_restart_takes_over_and_commits_nothing() {
    each_way(|open| {
        let cluster = Cluster::random(7);
        let mut first = start(open);
        first.install(compiled(7).program()).unwrap();
        drop(first);
        let mut second = start(open);
        let mut compiler = Compiler::adopting(Locality::Everywhere, &second.found());
        compiler.apply(cluster.changes);
        let before = without_flags(&nft(&["list", "ruleset"]));
        second.install(compiler.program()).unwrap();
        assert_eq!(second.counters().transactions, 0);
        assert_equal(&mut second, compiler.program());
        assert_eq!(without_flags(&nft(&["list", "ruleset"])), before);
    });
}

#[test]
fn the_listing_of_what_is_programmed_loads_again_into_the_same() {
    for seed in 0..20 {
        in_netns(|| {
            let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
            dataplane.install(compiled(seed).program()).unwrap();
            let text = nft(&["list", "ruleset"]);
            nft(&["-j", "list", "ruleset"]);
            in_netns(|| {
                load(&text);
                assert_eq!(nft(&["list", "ruleset"]), text, "seed {seed}");
            });
        });
    }
}

/// The line that README's "Limits" say must be taken out: the flags of an owner, which others cannot set, or which old nft does not
/// know.
fn without_the_flags_line(listing: &str) -> String {
    let is_of_owner = |line: &str| {
        matches!(line.trim(), "flags" | "flags owner" | "flags persist" | "flags owner,persist")
    };
    let lines = listing.lines().map(|line| line.split(" # progname").next().unwrap_or(line));
    lines.filter(|line| !is_of_owner(line)).map(|line| format!("{line}\n")).collect()
}

/// What nft lists while the tables have an owner, and after it, loads into the same once that one line is gone.
#[test]
fn the_listing_of_owned_tables_loads_again_into_the_same() {
    for seed in 0..10 {
        in_netns(|| {
            let mut dataplane = start(Kernel::open);
            let compiler = compiled(seed);
            dataplane.install(compiler.program()).unwrap();
            let owned = nft(&["list", "ruleset"]);
            nft(&["-j", "list", "ruleset"]);
            let has_flags = dataplane.ruleset().features().persistent_owner;
            drop(dataplane);
            let orphaned = nft(&["list", "ruleset"]);
            for text in [owned, orphaned] {
                let without = without_the_flags_line(&text);
                let lines = text.lines().count() - without.lines().count();
                assert_eq!(lines, if has_flags { 2 } else { 0 }, "{text}");
                in_netns(|| {
                    load(&without);
                    // nft leaves a blank line after the flags.
                    let filled = |text: &str| {
                        text.lines()
                            .filter(|line| !line.is_empty())
                            .map(str::to_owned)
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(filled(&nft(&["list", "ruleset"])), filled(&without), "seed {seed}");
                    let mut loaded = start(Kernel::open_without_owner);
                    assert_equal(&mut loaded, compiler.program());
                });
            }
        });
    }
}

/// Owned tables: others' writes are refused by the kernel, so the damage is done while nobody owns them.
#[test]
fn damage_is_named_exactly_and_mended_exactly() {
    in_netns(|| {
        let mut program = Program::default();
        let address = |n: u8| Ipv4Addr::new(10, 0, 0, n).into();
        for n in 1..=3 {
            program.v4.local_in.insert(address(n));
            program.v4.hairpin.insert(address(n));
            program.v4.class.insert(address(n), ClassId(0x1_0000 + u32::from(n)));
        }
        let range = AddressRange { first: address(100), last: address(200) };
        program.v4.cidr.insert(range, ClassId(0x1_0009));
        let install = |program: &Program| {
            let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
            dataplane.install(program).unwrap();
            dataplane
        };
        install(&program);
        let intact = nft(&["list", "ruleset"]);
        let damage: [(&[&str], &str); 5] = [
            (
                &["delete element ip palisade class { 10.0.0.2 }"],
                "table ip palisade, map class: element 10.0.0.2 : 1:2 is missing",
            ),
            (
                &["delete element ip palisade local_in { 10.0.0.3 }"],
                "table ip palisade, set local_in: element 10.0.0.3 is missing",
            ),
            (
                &["add element ip palisade local_out { 10.0.0.1 }"],
                "table ip palisade, set local_out: element 10.0.0.1 should not be there",
            ),
            (
                &["delete element ip palisade class { * }"],
                "table ip palisade, map class: element * : 0:0 is missing",
            ),
            (
                &["delete element ip palisade cidr { 10.0.0.100-10.0.0.200 }"],
                "table ip palisade, map cidr: element 10.0.0.100-10.0.0.200 : 1:9 is missing",
            ),
        ];
        for (command, told) in damage {
            nft(command);
            let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
            let differences = dataplane.verify(&program).unwrap();
            let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
            assert_eq!(all, [told]);
            dataplane.install(&program).unwrap();
            assert_eq!(nft(&["list", "ruleset"]), intact, "after {command:?}");
        }
    });
}

#[test]
fn a_rule_that_is_gone_or_too_many_is_named_and_mended() {
    in_netns(|| {
        let compiler = compiled(3);
        let install = || {
            let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
            dataplane.install(compiler.program()).unwrap();
            dataplane
        };
        install();
        let intact = nft(&["list", "ruleset"]);
        let listing = nft(&["-a", "list", "chain", "ip", "palisade", "forward"]);
        let line = listing.lines().find(|line| line.contains("goto egress")).unwrap();
        let handle = line.rsplit(' ').next().unwrap();
        nft(&["delete", "rule", "ip", "palisade", "forward", "handle", handle]);
        nft(&["insert", "rule", "ip6", "palisade", "forward", "accept"]);
        let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
        let differences = dataplane.verify(compiler.program()).unwrap();
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(
            told[0],
            "table ip palisade, chain forward: rule `ip saddr @local_out goto egress` is missing"
        );
        assert!(
            told[1].starts_with("table ip6 palisade, chain forward: rule `accept`"),
            "{told:?}"
        );
        install();
        assert_eq!(nft(&["list", "ruleset"]), intact);
    });
}

#[test]
fn a_full_set_is_built_anew() {
    each_way(|open| {
        let mut program = Program::default();
        let subjects = |from: u32, to: u32| {
            (from..to)
                .map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into())
                .collect::<Vec<std::net::IpAddr>>()
        };
        program.v4.local_in.extend(subjects(0, 100));
        let mut dataplane = start(open);
        dataplane.install(&program).unwrap();
        let mut more = program.clone();
        more.v4.local_in.extend(subjects(100, 9000));
        dataplane.update(&palisade_compiler::program::Delta::between(&program, &more)).unwrap();
        assert_eq!(dataplane.counters().grown, 1);
        assert_equal(&mut dataplane, &more);
        let sets = nft(&["list", "sets", "ip"]);
        assert!(sets.contains("set local_in_1 {") && !sets.contains("set local_in {"), "{sets}");
        // Its successor goes on from there.
        drop(dataplane);
        let mut dataplane = start(open);
        dataplane.install(&more).unwrap();
        assert_eq!(dataplane.counters().transactions, 0);
        assert_equal(&mut dataplane, &more);
    });
}

#[test]
fn a_table_of_another_version_is_switched() {
    each_way(|open| {
        load(
            "table ip palisade { comment \"palisade skeleton 0\"; set old { type ipv4_addr; }; \
             chain forward { type filter hook forward priority 0; ip saddr @old drop; };\n}\n\
             table ip other { set kept { type ipv4_addr; }\n}\n",
        );
        let compiler = compiled(5);
        let mut dataplane = start(open);
        assert_eq!(dataplane.found(), Program::default());
        dataplane.install(compiler.program()).unwrap();
        assert_equal(&mut dataplane, compiler.program());
        let tables = nft(&["list", "tables"]);
        assert!(tables.contains("table ip other") && !tables.contains("stand_in"), "{tables}");
    });
}

#[test]
fn a_table_that_was_put_to_sleep_is_named_and_woken() {
    in_netns(|| {
        let compiler = compiled(5);
        let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
        dataplane.install(compiler.program()).unwrap();
        nft(&["add table ip palisade { flags dormant; }"]);
        let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
        let differences = dataplane.verify(compiler.program()).unwrap();
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["table ip palisade is dormant: it judges nothing"]);
        dataplane.install(compiler.program()).unwrap();
        assert_equal(&mut dataplane, compiler.program());
    });
}

#[test]
fn a_stand_in_that_was_left_is_named_and_taken_away() {
    in_netns(|| {
        let compiler = compiled(5);
        let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
        dataplane.install(compiler.program()).unwrap();
        load(
            "table ip palisade_stand_in { chain forward { type filter hook forward priority 0; drop; };\n}\n",
        );
        let mut dataplane = Dataplane::start(Kernel::open_without_owner().unwrap()).unwrap();
        let differences = dataplane.verify(compiler.program()).unwrap();
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let left =
            "table ip palisade_stand_in is there: a replacement is under way or was cut short";
        assert_eq!(told, [left]);
        dataplane.install(compiler.program()).unwrap();
        assert_equal(&mut dataplane, compiler.program());
    });
}

#[test]
fn removing_takes_our_tables_and_nothing_else() {
    each_way(|open| {
        load("table ip other { set kept { type ipv4_addr; elements = { 10.0.0.1 }; }\n}\n");
        let before = nft(&["list", "ruleset"]);
        let mut dataplane = start(open);
        dataplane.install(compiled(5).program()).unwrap();
        drop(dataplane);
        let mut dataplane = start(open);
        dataplane.remove().unwrap();
        assert_eq!(nft(&["list", "ruleset"]), before);
        // There is nothing left to remove, which is no error.
        dataplane.remove().unwrap();
    });
}

#[test]
fn a_second_writer_is_told_who_owns_the_tables_or_what_it_wrote_is_mended() {
    each_way(|open| {
        let compiler = compiled(1);
        let mut dataplane = start(open);
        dataplane.install(compiler.program()).unwrap();
        let second = Dataplane::start(open().unwrap());
        let flushed = pipe("nft", &["flush", "table", "ip", "palisade"], "");
        if dataplane.ruleset().features().persistent_owner {
            let error = second.unwrap_err();
            assert!(
                matches!(&error, RulesetError::Owned { owner } if owner.contains("process")),
                "{error}"
            );
            let refused = flushed.unwrap_err();
            assert!(refused.contains("not permitted"), "{refused}");
        } else {
            assert_eq!(second.unwrap().found(), *compiler.program());
            flushed.unwrap();
            assert!(!dataplane.verify(compiler.program()).unwrap().is_empty());
            // As the agent does: it reads again what it finds different.
            let mut dataplane = start(open);
            dataplane.install(compiler.program()).unwrap();
            assert_equal(&mut dataplane, compiler.program());
        }
    });
}
