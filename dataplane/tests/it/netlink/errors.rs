//! Each error that can be had from a real kernel, and what it names.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use palisade_compiler::program::ClassId;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, Expr, SetName};
use palisade_dataplane::netlink::{GraceMethod, Kernel, grace_by, grace_method};
use palisade_dataplane::ruleset::{Ruleset as _, RulesetError, TableName};
use palisade_dataplane::transaction::{Element, Generations, Op, TableOp};

use super::program::{create_both, id, op, transaction};
use crate::netns::{each_way, in_netns, load, nft};

fn class(low: u8) -> Element {
    Element::Class([10, 0, 0, low].into(), ClassId(ClassId::FIRST))
}

fn add(low: u8) -> TableOp {
    op(TableFamily::Ip, Op::Add(id(SetName::Class), class(low)))
}

fn remove(low: u8) -> TableOp {
    op(TableFamily::Ip, Op::Remove(id(SetName::Class), class(low)))
}

/// A namespace with the empty skeleton in it, in each way.
fn with_skeleton(test: impl Fn(&mut Kernel) + Sync) {
    each_way(|open| {
        let mut kernel = open().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        kernel.read(TableName::Main).unwrap();
        test(&mut kernel);
    });
}

#[track_caller]
fn assert_refused(result: Result<(), RulesetError>, wanted: &TableOp, text: &str, errno: &str) {
    match result {
        Err(RulesetError::Refused { op, errno: found, at }) => {
            assert_eq!(at.as_deref(), Some(wanted), "{op}");
            assert_eq!(op, text);
            assert!(found.starts_with(errno), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_element_that_is_there_is_named() {
    with_skeleton(|kernel| {
        kernel.commit(TableName::Main, &transaction([add(3)])).unwrap();
        let result = kernel.commit(TableName::Main, &transaction([add(1), add(2), add(3), add(4)]));
        let text = "add element ip palisade class { 10.0.0.3 : 1:1 }";
        assert_refused(result, &add(3), text, "EEXIST");
        // Nothing of it was done.
        let elements = &kernel.read(TableName::Main).unwrap()[&TableFamily::Ip].sets
            [&id(SetName::Class)]
            .elements;
        assert_eq!(*elements, [class(3), Element::CatchAll].into());
    });
}

#[test]
fn an_element_that_is_missing_is_named() {
    with_skeleton(|kernel| {
        kernel.commit(TableName::Main, &transaction([add(1), add(2)])).unwrap();
        let result =
            kernel.commit(TableName::Main, &transaction([remove(1), remove(7), remove(2)]));
        let text = "delete element ip palisade class { 10.0.0.7 : 1:1 }";
        assert_refused(result, &remove(7), text, "ENOENT");
    });
}

#[test]
fn the_first_of_several_errors_counts() {
    with_skeleton(|kernel| {
        let missing = SetName::Ports;
        let ops = [
            op(TableFamily::Ip6, Op::DeleteSet(id(SetName::Hairpin))),
            op(TableFamily::Ip, Op::DeleteChain("nowhere".to_owned())),
            op(TableFamily::Ip, Op::Remove(id(missing), Element::Port(port()))),
        ];
        // `self` is in use, so the first fails already.
        let result = kernel.commit(TableName::Main, &transaction(ops.clone()));
        assert_refused(result, &ops[0], "delete set ip6 palisade self", "EBUSY");
    });
}

fn port() -> palisade_compiler::program::PortElement {
    palisade_compiler::program::PortElement {
        profile: palisade_compiler::program::ProfileId::EVERYTHING,
        protocol: 6,
        port: 1,
    }
}

#[test]
fn a_missing_set_chain_or_table_is_named() {
    with_skeleton(|kernel| {
        let gone = palisade_dataplane::transaction::SetId { set: SetName::Class, generation: 9 };
        let wanted = op(TableFamily::Ip, Op::Add(gone, class(1)));
        let text = "add element ip palisade class_9 { 10.0.0.1 : 1:1 }";
        assert_refused(
            kernel.commit(TableName::Main, &transaction([wanted.clone()])),
            &wanted,
            text,
            "ENOENT",
        );

        let wanted = op(TableFamily::Ip, Op::FlushChain("nowhere".to_owned()));
        let text = "flush chain ip palisade nowhere";
        assert_refused(
            kernel.commit(TableName::Main, &transaction([wanted.clone()])),
            &wanted,
            text,
            "ENOENT",
        );
    });
    in_netns(|| {
        let wanted = op(TableFamily::Ip6, Op::CreateChain(ChainName::Pass));
        let result =
            Kernel::open().unwrap().commit(TableName::Main, &transaction([wanted.clone()]));
        assert_refused(result, &wanted, "add chain ip6 palisade pass", "ENOENT");
    });
}

#[test]
fn a_rule_to_a_missing_chain_is_named() {
    in_netns(|| {
        let rule = op(
            TableFamily::Ip,
            Op::AddRule {
                chain: ChainName::Pass,
                rule: vec![Expr::Goto(ChainName::Control)],
                generations: Generations::default(),
            },
        );
        let ops = [
            op(TableFamily::Ip, Op::CreateTable),
            op(TableFamily::Ip, Op::CreateChain(ChainName::Pass)),
            rule.clone(),
        ];
        let result = Kernel::open().unwrap().commit(TableName::Main, &transaction(ops));
        assert_refused(result, &rule, "add rule ip palisade pass [Goto(Control)]", "ENOENT");
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn a_full_set_is_told_from_other_errors() {
    each_way(|open| {
        let mut kernel = open().unwrap();
        let small = op(TableFamily::Ip, Op::CreateSet { id: id(SetName::Class), size: Some(4) });
        kernel
            .commit(TableName::Main, &transaction([op(TableFamily::Ip, Op::CreateTable), small]))
            .unwrap();
        kernel.commit(TableName::Main, &transaction((1..=4).map(add))).unwrap();
        match kernel.commit(TableName::Main, &transaction([add(5)])) {
            Err(RulesetError::Full { family: TableFamily::Ip, set }) => {
                assert_eq!(set, id(SetName::Class));
            }
            other => panic!("{other:?}"),
        }
        // Replacing needs no room.
        kernel.commit(TableName::Main, &transaction([remove(1), add(5)])).unwrap();
    });
}

#[test]
fn an_element_of_another_set_is_not_even_sent() {
    with_skeleton(|kernel| {
        let stray = op(TableFamily::Ip6, Op::Add(id(SetName::Class), class(1)));
        let text = "add element ip6 palisade class { 10.0.0.1 : 1:1 }";
        assert_refused(
            kernel.commit(TableName::Main, &transaction([stray.clone()])),
            &stray,
            text,
            "the element",
        );
    });
}

#[test]
fn a_plain_table_is_retried_after_a_change_of_it_and_of_nothing_else() {
    in_netns(|| {
        let mut kernel = Kernel::open_without_owner().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        kernel.read(TableName::Main).unwrap();
        kernel.commit(TableName::Main, &transaction([add(1)])).unwrap();
        for change in ["add table ip other", "add table inet palisade", "delete table ip other"] {
            nft(&[change]);
            kernel.commit(TableName::Main, &transaction([add(2)])).unwrap();
            kernel.commit(TableName::Main, &transaction([remove(2)])).unwrap();
        }
        nft(&["add element ip palisade class { 10.0.0.9 : 1:1 }"]);
        nft(&["add table ip other"]);
        match kernel.commit(TableName::Main, &transaction([add(3)])) {
            Err(RulesetError::Retry { .. }) => {}
            other => panic!("{other:?}"),
        }
        kernel.read(TableName::Main).unwrap();
        kernel.commit(TableName::Main, &transaction([add(3)])).unwrap();
    });
}

/// Who reads one name's tables after the other's has not thereby seen what became of these.
#[test]
fn a_change_of_a_plain_table_is_not_lost_over_reading_another() {
    in_netns(|| {
        let mut kernel = Kernel::open_without_owner().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        kernel.read(TableName::Main).unwrap();
        nft(&["add element ip palisade class { 10.0.0.9 : 1:1 }"]);
        kernel.read(TableName::StandIn).unwrap();
        match kernel.commit(TableName::Main, &transaction([add(3)])) {
            Err(RulesetError::Retry { .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn changes_elsewhere_do_not_disturb_and_a_flush_only_what_is_not_owned() {
    with_skeleton(|kernel| {
        for low in 1..=5 {
            nft(&["add", "table", "ip", &format!("other{low}")]);
            kernel.commit(TableName::Main, &transaction([add(low)])).unwrap();
        }
        nft(&["flush", "ruleset"]);
        let result = kernel.commit(TableName::Main, &transaction((1..=5).map(remove)));
        let left = kernel.read(TableName::Main).unwrap().len();
        if kernel.features().persistent_owner {
            result.unwrap();
            assert_eq!(left, TableFamily::ALL.len());
        } else {
            assert!(matches!(result, Err(RulesetError::Retry { .. })), "{result:?}");
            assert_eq!(left, 0);
        }
    });
}

#[test]
fn a_plain_table_is_not_claimed() {
    each_way(|open| {
        load("table ip palisade { }\n");
        let wanted = op(TableFamily::Ip, Op::CreateTable);
        let mut kernel = open().unwrap();
        let result = kernel.commit(TableName::Main, &transaction([wanted.clone()]));
        let owned = kernel.features().persistent_owner;
        if owned {
            assert_refused(result, &wanted, "add table ip palisade", "EOPNOTSUPP");
        } else {
            result.unwrap();
        }
        // It is replaced in one transaction.
        kernel
            .commit(TableName::Main, &transaction([op(TableFamily::Ip, Op::DeleteTable), wanted]))
            .unwrap();
        let table = &kernel.read(TableName::Main).unwrap()[&TableFamily::Ip];
        assert_eq!(table.owner, owned.then_some(kernel.port()));
        assert_eq!(table.version, Some(palisade_compiler::program::skeleton::VERSION));
    });
}

/// Set in the copy of this test that runs as nobody.
const UNPRIVILEGED: &str = "PALISADE_TEST_UNPRIVILEGED";

#[test]
fn without_the_capability_nothing_opens() {
    if std::env::var_os(UNPRIVILEGED).is_some() {
        match Kernel::open() {
            Err(error @ RulesetError::NotPermitted { .. }) => {
                assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        return;
    }
    in_netns(|| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "netlink::errors::without_the_capability_nothing_opens"])
            .env(UNPRIVILEGED, "1")
            .uid(65_534)
            .gid(65_534)
            .output()
            .expect("the test runs itself as nobody");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    });
}

#[test]
fn every_way_to_wait_for_packets_waits() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        kernel.grace().unwrap();
        let wait = |method| {
            let start = std::time::Instant::now();
            for _ in 0..10 {
                grace_by(method).unwrap();
            }
            start.elapsed() / 10
        };
        let chosen = grace_method().unwrap();
        let packet_socket = wait(GraceMethod::PacketSocket);
        eprintln!("chosen {chosen:?} {:?}, packet socket {packet_socket:?}", wait(chosen));
        // A grace period takes as long as the scheduler's tick at least now and then; a call that does not wait takes
        // a microsecond.
        assert!(packet_socket > std::time::Duration::from_micros(100), "{packet_socket:?}");
    });
}
