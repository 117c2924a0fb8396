//! A table belongs to one socket, where the kernel has that; an orphan is claimed; whoever is refused learns by whom. Else whoever
//! wrote to a table is noticed by whoever writes next.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use palisade_compiler::program::ClassId;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_dataplane::netlink::{Kernel, owner_process};
use palisade_dataplane::ruleset::{Actual, Ruleset as _, RulesetError, TableName};
use palisade_dataplane::transaction::{Element, Op, TableOp};

use super::program::{assert_holds, create_both, id, op, transaction};
use crate::netns::{each_way, in_netns, nft, pipe};

fn add() -> TableOp {
    let class = Element::Class([10, 0, 0, 1].into(), ClassId(ClassId::FIRST));
    op(TableFamily::Ip, Op::Add(id(SetName::Class), class))
}

/// Reads until the tables have no owner. For a moment other tests' child processes hold all descriptors, between
/// fork and exec.
fn read_orphans(kernel: &mut Kernel) -> Actual {
    for _ in 0..500 {
        let actual = kernel.read(TableName::Main).unwrap();
        if actual.values().all(|table| table.owner.is_none()) {
            return actual;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the tables still have an owner")
}

#[test]
fn a_second_socket_is_refused_and_told_by_whom_or_the_first_notices() {
    each_way(|open| {
        let mut first = open().unwrap();
        first.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let owned = first.features().persistent_owner;
        let mut second = open().unwrap();
        let owner = second.read(TableName::Main).unwrap()[&TableFamily::Ip].owner;
        assert_eq!(owner, owned.then_some(first.port()));
        if !owned {
            first.read(TableName::Main).unwrap();
            second.commit(TableName::Main, &transaction([add()])).unwrap();
            let late = first.commit(TableName::Main, &transaction([add()]));
            assert!(matches!(late, Err(RulesetError::Retry { .. })), "{late:?}");
            return;
        }
        for refused in
            [add(), op(TableFamily::Ip, Op::CreateTable), op(TableFamily::Ip6, Op::DeleteTable)]
        {
            match second.commit(TableName::Main, &transaction([refused])) {
                Err(RulesetError::Owned { owner }) => {
                    let pid = std::process::id();
                    assert!(owner.starts_with(&format!("process {pid} (")), "{owner}");
                }
                other => panic!("{other:?}"),
            }
        }
        let error = pipe("nft", &["flush", "table", "ip", "palisade"], "").unwrap_err();
        assert!(error.contains("Operation not permitted"), "{error}");
        nft(&["flush", "ruleset"]);
        assert_holds(&first.read(TableName::Main).unwrap(), &BTreeMap::new());
    });
}

#[test]
fn an_owner_in_another_process_is_named() {
    in_netns(|| {
        let mut nft = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nft is needed");
        let mut stdin = nft.stdin.take().unwrap();
        stdin.write_all(b"add table ip palisade { flags owner; }\nlist tables\n").unwrap();
        // The listing shows that the table is there.
        let mut lines = BufReader::new(nft.stdout.take().unwrap()).lines();
        let listed = lines.any(|line| line.unwrap().contains("table ip palisade"));
        let mut kernel = Kernel::open().unwrap();
        let owner = kernel.read(TableName::Main).unwrap()[&TableFamily::Ip].owner;
        let process = owner.and_then(owner_process);
        let result =
            kernel.commit(TableName::Main, &transaction([op(TableFamily::Ip, Op::DeleteTable)]));
        let pid = nft.id();
        drop(stdin);
        nft.wait().unwrap();

        assert!(listed);
        assert_eq!(process, Some((pid, "nft".to_owned())));
        match result {
            Err(RulesetError::Owned { owner }) => assert_eq!(owner, format!("process {pid} (nft)")),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_orphan_stays_and_is_claimed() {
    each_way(|open| {
        let mut first = open().unwrap();
        first.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let owned = first.features().persistent_owner;
        drop(first);
        let mut second = open().unwrap();
        let orphan = read_orphans(&mut second);
        assert_holds(&orphan, &BTreeMap::new());
        assert_eq!(
            (orphan[&TableFamily::Ip].owner, orphan[&TableFamily::Ip].persistent),
            (None, owned)
        );
        second
            .commit(TableName::Main, &transaction(TableFamily::ALL.map(|f| op(f, Op::CreateTable))))
            .unwrap();
        let claimed = second.read(TableName::Main).unwrap();
        assert_holds(&claimed, &BTreeMap::new());
        for table in claimed.values() {
            assert_eq!(table.owner, owned.then_some(second.port()));
        }
        let third = open().unwrap().commit(TableName::Main, &transaction([add()]));
        let result = second.commit(TableName::Main, &transaction([add()]));
        if owned {
            assert!(matches!(third, Err(RulesetError::Owned { .. })), "{third:?}");
            result.unwrap();
        } else {
            third.unwrap();
            assert!(matches!(result, Err(RulesetError::Retry { .. })), "{result:?}");
        }
    });
}

#[test]
fn a_child_process_does_not_inherit_the_tables() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let mut child = Command::new("sleep").arg("20").spawn().expect("sleep is needed");
        drop(kernel);
        let orphans = std::panic::catch_unwind(|| read_orphans(&mut Kernel::open().unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(orphans.unwrap().len(), TableFamily::ALL.len());
    });
}

#[test]
fn without_an_owner_others_can_write() {
    in_netns(|| {
        let mut kernel = Kernel::open_without_owner().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let table = &kernel.read(TableName::Main).unwrap()[&TableFamily::Ip];
        assert_eq!((table.owner, table.persistent), (None, false));
        nft(&["delete", "table", "ip", "palisade"]);
        assert_eq!(kernel.read(TableName::Main).unwrap().len(), TableFamily::ALL.len() - 1);
    });
}
