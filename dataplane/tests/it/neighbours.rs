//! Others commit to their own tables all the time: nobody is kept from reading or writing by it, whether the kernel protects
//! our tables or not, and a change of ours is noticed among theirs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, Program};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset as _, RulesetError, TableName};
use palisade_dataplane::transaction::{Element, Op};

use crate::netlink::program::{create_both, id, op, transaction};
use crate::netns::{in_netns, nft};

/// Commits to a table of its own, thousands of times a second, until it is dropped.
struct Neighbour {
    /// What it is told, and it.
    processes: [Child; 2],
}

impl Neighbour {
    fn start(name: &str) -> Self {
        nft(&["add", "table", "ip", name]);
        let commits = format!("add set ip {name} s {{ type ipv4_addr; }}; delete set ip {name} s");
        let mut told = Command::new("yes").arg(commits).stdout(Stdio::piped()).spawn().unwrap();
        let nft = Command::new("nft")
            .arg("-i")
            .stdin(told.stdout.take().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { processes: [told, nft] }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0001 + n).into()
}

fn pods(count: u32) -> Program {
    let mut program = Program::default();
    for n in 0..count {
        program.v4.class.insert(address(n), ClassId(ClassId::FIRST + n % 50));
    }
    program
}

fn assert_written_beside_neighbours(open: fn() -> Result<Kernel, RulesetError>, pods_there: u32) {
    in_netns(|| {
        let mut program = pods(pods_there);
        let start = || Dataplane::start(open().unwrap()).unwrap();
        start().install(&program).unwrap();
        let _neighbours = ["busy", "busier"].map(Neighbour::start);
        for round in 0..10 {
            let mut dataplane = start();
            program.v4.local_in.insert(address(round));
            dataplane.install(&program).unwrap();
            dataplane.settle().unwrap();
            assert_eq!(dataplane.counters().retries, 0, "round {round}");
            assert_eq!(dataplane.verify(&program).unwrap(), []);
        }
    });
}

#[test]
fn owned_tables_are_written_beside_busy_neighbours() {
    assert_written_beside_neighbours(Kernel::open, 20_000);
}

#[test]
fn plain_tables_are_written_beside_busy_neighbours() {
    assert_written_beside_neighbours(Kernel::open_without_owner, 10);
    assert_written_beside_neighbours(Kernel::open_without_owner, 20_000);
}

#[test]
fn a_change_of_a_plain_table_is_noticed_among_those_of_others() {
    in_netns(|| {
        let mut kernel = Kernel::open_without_owner().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let _neighbour = Neighbour::start("busy");
        let subject =
            |n| op(TableFamily::Ip, Op::Add(id(SetName::LocalIn), Element::Address(address(n))));
        for n in 0..20 {
            kernel.read(TableName::Main).unwrap();
            kernel.commit(TableName::Main, &transaction([subject(n)])).unwrap();
            nft(&[&format!("add element ip palisade local_out {{ {} }}", address(n))]);
            let result = kernel.commit(TableName::Main, &transaction([subject(100 + n)]));
            assert!(matches!(result, Err(RulesetError::Retry { .. })), "{result:?}");
        }
    });
}
