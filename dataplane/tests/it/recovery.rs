//! The engine over the real kernel after commits that failed: it goes on, and nobody else could write to its tables meanwhile.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_compiler::program::{ClassId, Delta, Program};
use palisade_dataplane::dataplane::{Capacities, Dataplane, Options};
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Actual, Features, Ruleset, RulesetError, TableName};
use palisade_dataplane::transaction::{Element, Op, SetId, TableOp, Transaction};

use crate::netns::{Open, each_way, pipe};

fn address(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn program(subjects: impl IntoIterator<Item = u8>) -> Program {
    let mut program = Program::default();
    for n in subjects {
        program.v4.local_in.insert(address(n));
        program.v4.class.insert(address(n), ClassId(ClassId::FIRST + u32::from(n)));
    }
    program
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// The kernel itself refuses the next commit: it has one of its elements already.
    Refused,
    /// So many commits fail before the kernel sees them.
    Fail(usize),
    /// A read reports sets ten times as large as they are.
    SizesLie,
}

/// What happens between an engine and its kernel, as a test arranges and sees it.
#[derive(Default)]
struct Plot {
    next: Cell<Option<Wrong>>,
    /// Attempts of others to write to our tables, and how many of them were refused.
    attempts: Cell<usize>,
    refused: Cell<usize>,
}

/// A kernel with things going wrong on the way to it. Whenever it is read, somebody else tries to write.
struct Meddled {
    kernel: Kernel,
    plot: Rc<Plot>,
}

impl Meddled {
    fn write_as_another(&self) {
        let (attempts, refused) = (&self.plot.attempts, &self.plot.refused);
        attempts.set(attempts.get() + 1);
        // Adds and removes, so that a kernel without owned tables is left as it was.
        let batch = "add element ip palisade local_out { 10.9.9.9 }\n\
                     delete element ip palisade local_out { 10.9.9.9 }\n";
        if pipe("nft", &["-f", "-"], batch).is_err_and(|error| error.contains("not permitted")) {
            refused.set(refused.get() + 1);
        }
    }
}

impl Ruleset for Meddled {
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
        let mut actual = self.kernel.read(table)?;
        if table == TableName::Main && !actual.is_empty() && self.features().persistent_owner {
            self.write_as_another();
        }
        if self.plot.next.get() == Some(Wrong::SizesLie) {
            let sets = actual.values_mut().flat_map(|table| table.sets.values_mut());
            sets.for_each(|set| set.size = set.size.map(|size| size * 10));
        }
        Ok(actual)
    }

    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        match self.plot.next.get() {
            Some(Wrong::Refused) => {
                self.plot.next.set(None);
                let added = transaction.ops.iter().find(|op| matches!(op.op, Op::Add(..)));
                let ops = added.cloned().into_iter().collect();
                self.kernel.commit(table, &Transaction { ops })?;
            }
            Some(Wrong::Fail(left)) => {
                self.plot.next.set(left.checked_sub(2).map(|left| Wrong::Fail(left + 1)));
                return Err(RulesetError::Io(io::Error::other("a failure")));
            }
            Some(Wrong::SizesLie) | None => {}
        }
        self.kernel.commit(table, transaction)
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        self.kernel.grace()
    }
}

fn start(open: Open, capacities: Capacities) -> (Dataplane<Meddled>, Rc<Plot>) {
    let plot = Rc::<Plot>::default();
    let meddled = Meddled { kernel: open().unwrap(), plot: Rc::clone(&plot) };
    (Dataplane::start_with(meddled, Options { capacities, ..Options::default() }).unwrap(), plot)
}

/// The owners of our tables as another process sees them.
fn owners() -> BTreeSet<Option<u32>> {
    let actual = Kernel::open_without_owner().unwrap().read(TableName::Main).unwrap();
    assert_eq!(actual.len(), 2);
    actual.values().map(|table| table.owner).collect()
}

#[test]
fn tables_stay_owned_and_closed_to_others_over_every_failure() {
    each_way(|open| {
        let (mut dataplane, plot) = start(open, Capacities::Spacious);
        let mut before = program(1..=3);
        dataplane.install(&before).unwrap();
        let is_owned = dataplane.ruleset().features().persistent_owner;
        let owner = BTreeSet::from([is_owned.then(|| dataplane.ruleset().port())]);
        assert_eq!(owners(), owner);
        for (n, wrong, is_reported) in
            [(4, Wrong::Refused, false), (5, Wrong::Fail(1), false), (6, Wrong::Fail(2), true)]
        {
            let after = program(1..=n);
            plot.next.set(Some(wrong));
            let retries = dataplane.counters().retries;
            let result = dataplane.update(&Delta::between(&before, &after));
            assert_eq!(result.is_err(), is_reported, "{n}: {result:?}");
            assert!(dataplane.counters().retries > retries, "{n}: nothing failed");
            assert_eq!(owners(), owner);
            if is_reported {
                let refused = dataplane.update(&Delta::between(&before, &after)).unwrap_err();
                assert!(matches!(refused, RulesetError::Unknown { .. }), "{refused}");
                dataplane.install(&after).unwrap();
            }
            assert_eq!(dataplane.verify(&after).unwrap(), []);
            assert_eq!(owners(), owner);
            before = after;
        }
        assert_eq!(dataplane.counters().reopened, 0);
        assert_eq!(plot.refused.get(), plot.attempts.get(), "somebody wrote to our tables");
        assert_eq!(plot.attempts.get() > 3, is_owned);
        // An engine that is started anew on the same sockets finds itself, not another owner.
        let mut again = Dataplane::start(dataplane.into_ruleset()).unwrap();
        again.install(&before).unwrap();
        assert_eq!(again.counters().transactions, 0);
        assert_eq!(owners(), owner);
    });
}

#[test]
fn damage_that_is_found_is_mended_by_the_same_engine() {
    each_way(|open| {
        let (mut dataplane, _) = start(open, Capacities::Spacious);
        let program = program(1..=3);
        dataplane.install(&program).unwrap();
        let is_owned = dataplane.ruleset().features().persistent_owner;
        let owner = owners();
        let damage = TableOp {
            family: TableFamily::Ip,
            op: Op::Remove(
                SetId { set: SetName::LocalIn, generation: 0 },
                Element::Address(address(2)),
            ),
        };
        // Our own socket is the only one that can do damage to owned tables.
        let mut meddled = dataplane.into_ruleset();
        meddled.kernel.commit(TableName::Main, &Transaction { ops: vec![damage] }).unwrap();
        let mut dataplane = Dataplane::start(meddled).unwrap();
        let told: Vec<String> =
            dataplane.verify(&program).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["table ip palisade, set local_in: element 10.0.0.2 is missing"]);
        dataplane.install(&program).unwrap();
        assert_eq!(dataplane.verify(&program).unwrap(), []);
        assert_eq!(owners(), owner);
        assert_eq!(owner.contains(&None), !is_owned);
    });
}

#[test]
fn a_set_that_is_full_against_all_that_is_known_is_built_larger() {
    each_way(|open| {
        let (mut dataplane, plot) = start(open, Capacities::Tight);
        let before = program(1..=9);
        dataplane.install(&before).unwrap();
        plot.next.set(Some(Wrong::SizesLie));
        let mut dataplane = Dataplane::start_with(
            dataplane.into_ruleset(),
            Options { capacities: Capacities::Tight, ..Options::default() },
        )
        .unwrap();
        dataplane.install(&before).unwrap();
        assert_eq!(dataplane.counters().grown, 0);
        let after = program(1..=13);
        plot.next.set(None);
        dataplane.update(&Delta::between(&before, &after)).unwrap();
        assert!(dataplane.counters().grown > 0, "{:?}", dataplane.counters());
        assert_eq!(dataplane.verify(&after).unwrap(), []);
    });
}
