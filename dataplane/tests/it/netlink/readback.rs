//! Programming, then reading: equal, and different exactly where somebody's hand was.

use std::collections::BTreeMap;

use palisade_compiler::program::ClassId;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, DenyAction, SetName};
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{ActualRule, Ruleset as _, TableName};
use palisade_dataplane::transaction::{Element, Generations, Op, SetId};

use super::program::{
    Random, assert_holds, contents, create, create_both, id, op, size_of, transaction,
};
use crate::netns::{WAYS, each_way, in_netns, load, nft};

#[test]
fn an_empty_namespace_has_no_tables() {
    in_netns(|| {
        load(
            "table ip other { set class { type ipv4_addr; }; }\ntable arp palisade { chain x { }; }",
        );
        assert!(Kernel::open().unwrap().read(TableName::Main).unwrap().is_empty());
    });
}

#[test]
fn random_programs_are_read_back_equal() {
    for (seed, open) in (1..=20).zip(WAYS.into_iter().cycle()) {
        in_netns(|| {
            let mut random = Random(seed * 0x9e37_79b9);
            let wanted: BTreeMap<_, _> =
                TableFamily::ALL.map(|family| (family, contents(&mut random, family))).into();
            let mut kernel = open().unwrap();
            kernel.commit(TableName::Main, &create_both(&wanted)).unwrap();
            let actual = kernel.read(TableName::Main).unwrap();
            assert_holds(&actual, &wanted);
            for table in actual.values() {
                assert_eq!(table.version, Some(palisade_compiler::program::skeleton::VERSION));
                assert_eq!(table.persistent, kernel.features().persistent_owner);
                for (id, set) in &table.sets {
                    assert_eq!(set.size, size_of(id.set), "{id}");
                }
            }
        });
    }
}

#[test]
fn one_program_becomes_another_and_then_nothing() {
    each_way(|open| {
        let mut random = Random(77);
        let mut kernel = open().unwrap();
        let all = |random: &mut Random| -> BTreeMap<_, _> {
            TableFamily::ALL.map(|family| (family, contents(random, family))).into()
        };
        let mut before = all(&mut random);
        kernel.commit(TableName::Main, &create_both(&before)).unwrap();
        for _ in 0..5 {
            let after = all(&mut random);
            let mut ops = Vec::new();
            for family in TableFamily::ALL {
                for set in family.sets() {
                    let (old, new) = (&before[&family][&set], &after[&family][&set]);
                    ops.extend(old.difference(new).map(|&e| op(family, Op::Remove(id(set), e))));
                    ops.extend(new.difference(old).map(|&e| op(family, Op::Add(id(set), e))));
                }
            }
            kernel.commit(TableName::Main, &transaction(ops)).unwrap();
            assert_holds(&kernel.read(TableName::Main).unwrap(), &after);
            before = after;
        }
        kernel
            .commit(TableName::Main, &transaction(TableFamily::ALL.map(|f| op(f, Op::DeleteTable))))
            .unwrap();
        assert!(kernel.read(TableName::Main).unwrap().is_empty());
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn a_fuller_set_takes_over_under_the_next_generation() {
    each_way(|open| {
        let mut kernel = open().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let mut generations = Generations::default();
        let next = SetId { set: SetName::Class, generation: 1 };
        generations.set(next);
        let family = TableFamily::Ip;
        let class = Element::Class([10, 0, 0, 1].into(), ClassId(ClassId::FIRST));
        let mut ops = vec![
            op(family, Op::CreateSet { id: next, size: Some(8192) }),
            op(family, Op::Add(next, Element::CatchAll)),
            op(family, Op::Add(next, class)),
        ];
        for chain in [ChainName::Egress, ChainName::Ingress] {
            ops.push(op(family, Op::FlushChain(chain.as_str().to_owned())));
            for rule in palisade_compiler::program::skeleton::rules(family, chain, DenyAction::Drop)
            {
                ops.push(op(family, Op::AddRule { chain, rule, generations }));
            }
        }
        ops.push(op(family, Op::DeleteSet(id(SetName::Class))));
        kernel.commit(TableName::Main, &transaction(ops)).unwrap();
        let actual = kernel.read(TableName::Main).unwrap();
        assert_eq!(actual[&family].generations(), generations);
        let wanted = BTreeMap::from([(family, BTreeMap::from([(SetName::Class, [class].into())]))]);
        assert_holds(&actual, &wanted);
        assert!(nft(&["list", "ruleset"]).contains("map class_1 {"));
    });
}

#[test]
fn what_was_done_by_hand_is_the_difference() {
    in_netns(|| {
        let mut kernel = Kernel::open_without_owner().unwrap();
        let mut random = Random(5);
        let mut wanted: BTreeMap<_, _> =
            TableFamily::ALL.map(|family| (family, contents(&mut random, family))).into();
        let class = Element::Class([10, 9, 9, 9].into(), ClassId(0x0001_0002));
        wanted.get_mut(&TableFamily::Ip).unwrap().entry(SetName::Class).or_default().insert(class);
        kernel.commit(TableName::Main, &create_both(&wanted)).unwrap();
        assert_holds(&kernel.read(TableName::Main).unwrap(), &wanted);

        nft(&["delete", "element", "ip", "palisade", "class", "{ 10.9.9.9 }"]);
        wanted.get_mut(&TableFamily::Ip).unwrap().get_mut(&SetName::Class).unwrap().remove(&class);
        assert_holds(&kernel.read(TableName::Main).unwrap(), &wanted);

        nft(&["add", "element", "ip6", "palisade", "local_in", "{ fd99::1 }"]);
        let added = Element::Address("fd99::1".parse().unwrap());
        let v6 = wanted.get_mut(&TableFamily::Ip6).unwrap();
        v6.entry(SetName::LocalIn).or_default().insert(added);
        let before = kernel.read(TableName::Main).unwrap();
        assert_holds(&before, &wanted);

        // Rules: one gone, one foreign.
        let chain = ["ip", "palisade", "pass_out"];
        let listing = nft(&[&["-a", "list", "chain"], &chain[..]].concat());
        let handle = listing.lines().find(|l| l.contains("goto ingress")).unwrap();
        let handle = handle.rsplit(' ').next().unwrap();
        nft(&[&["delete", "rule"], &chain[..], &["handle", handle]].concat());
        nft(&[&["add", "rule"], &chain[..], &["ip", "ttl", "7", "accept"]].concat());
        let after = kernel.read(TableName::Main).unwrap();
        let rules = |actual: &palisade_dataplane::ruleset::Actual| {
            actual[&TableFamily::Ip].chains["pass_out"].rules.clone()
        };
        let (old, new) = (rules(&before), rules(&after));
        assert_eq!((old.len(), new.len()), (3, 3));
        assert_eq!(new[..2], old[1..]);
        assert_eq!(new[2], ActualRule::Foreign("payload cmp accept".to_owned()));

        nft(&["add", "set", "ip", "palisade", "mine", "{ type ipv4_addr; }"]);
        nft(&["add", "counter", "ip", "palisade", "count"]);
        nft(&["add", "chain", "ip", "palisade", "extra", "{ type filter hook input priority 7; }"]);
        let actual = kernel.read(TableName::Main).unwrap();
        let table = &actual[&TableFamily::Ip];
        assert_eq!(table.foreign, ["mine".to_owned(), "count".to_owned()].into());
        assert_eq!(table.chains["extra"].base, "type filter hook input priority 7; policy accept");
    });
}

#[test]
fn a_set_of_another_shape_is_not_as_declared() {
    in_netns(|| {
        load(
            "table ip palisade {
                set local_in { type ipv4_addr; flags timeout; }
                set ports { type inet_service; }
                set local_out { type ipv4_addr; counter; elements = { 10.0.0.1 } }
            }",
        );
        let actual = Kernel::open().unwrap().read(TableName::Main).unwrap();
        let table = &actual[&TableFamily::Ip];
        for set in [SetName::LocalIn, SetName::Ports, SetName::LocalOut] {
            assert!(!table.sets[&id(set)].as_declared, "{set:?}");
        }
    });
}

#[test]
fn a_mixed_transaction_keeps_its_order() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        kernel
            .commit(
                TableName::Main,
                &transaction(create(TableFamily::Ip, Generations::default(), &BTreeMap::new())),
            )
            .unwrap();
        let class = |n| Element::Class([10, 0, 0, 1].into(), ClassId(ClassId::FIRST + n));
        let set = id(SetName::Class);
        let mut ops = vec![op(TableFamily::Ip, Op::Add(set, class(0)))];
        for n in 0..100 {
            ops.push(op(TableFamily::Ip, Op::Remove(set, class(n))));
            ops.push(op(TableFamily::Ip, Op::Add(set, class(n + 1))));
        }
        kernel.commit(TableName::Main, &transaction(ops)).unwrap();
        let actual = kernel.read(TableName::Main).unwrap();
        let elements = &actual[&TableFamily::Ip].sets[&set].elements;
        assert_eq!(*elements, [class(100), Element::CatchAll].into());
    });
}
