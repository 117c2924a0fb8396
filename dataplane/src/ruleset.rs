//! A place that holds our tables: the kernel of a network namespace, or the fake.

use std::collections::{BTreeMap, BTreeSet};

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{Rule, TABLE};
use thiserror::Error;

use crate::transaction::{Element, Generations, SetId, TableOp, Transaction};

/// The name under which tables are kept, one in each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    Main,
    /// Enforces while the main tables are deleted and built anew. A packet passes both, so that it is allowed only if both
    /// allow it.
    StandIn,
}

impl TableName {
    pub const ALL: [Self; 2] = [Self::Main, Self::StandIn];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => TABLE,
            Self::StandIn => "palisade_stand_in",
        }
    }
}

/// What was found under one of our table's names in one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActualTable {
    /// From the table's comment; `None` where there is none that we can read.
    pub version: Option<u32>,
    /// The netlink port id of the live owner.
    pub owner: Option<u32>,
    /// Whether the table has the flags `owner` and `persist` (an orphaned one still has `persist`).
    pub persistent: bool,
    /// Whether the table has the flag `dormant`: its chains are hooked nowhere.
    pub dormant: bool,
    pub chains: BTreeMap<String, ActualChain>,
    pub sets: BTreeMap<SetId, ActualSet>,
    /// Sets and other objects in the table that this skeleton does not know, by name.
    pub foreign: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActualChain {
    /// Type, hook, priority and policy as nft writes them; empty for a regular chain.
    pub base: String,
    pub rules: Vec<ActualRule>,
}

/// A rule as read back: understood, with the generations its set names carry, or not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActualRule {
    Known {
        rule: Rule,
        sets: Vec<SetId>,
    },
    /// Its expressions, as far as they could be named.
    Foreign(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActualSet {
    pub size: Option<u32>,
    /// Whether key, data and flags are those of the skeleton.
    pub as_declared: bool,
    pub elements: BTreeSet<Element>,
}

/// The tables that were read; a family without a table of the name is absent.
pub type Actual = BTreeMap<TableFamily, ActualTable>;

/// What the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Table flags `owner` and `persist` together (Linux 6.9).
    pub persistent_owner: bool,
    /// Tables of the bridge family (`CONFIG_NF_TABLES_BRIDGE`).
    pub bridge_tables: bool,
}

/// Why a transaction or a read did not go through, by what the caller should do next. After any of these but
/// `Unknown` the kernel's contents are as they were.
#[derive(Debug, Error)]
pub enum RulesetError {
    /// Somebody else changed nftables meanwhile, or the dump was interrupted: read again and retry.
    #[error("nftables changed meanwhile ({what})")]
    Retry { what: String },
    /// The outcome is not known (an overrun socket): read back before doing anything else.
    #[error("the outcome of the transaction is not known ({what})")]
    Unknown { what: String },
    /// A set is at its declared size: build a larger one.
    #[error("set {family:?} {set} is full")]
    Full { family: TableFamily, set: SetId },
    /// CAP_NET_ADMIN is missing.
    #[error("not permitted: {what} (CAP_NET_ADMIN in this network namespace is needed)")]
    NotPermitted { what: String },
    /// The table belongs to another live process.
    #[error("table palisade is owned by {owner}")]
    Owned { owner: String },
    /// nf_tables, or a feature of it that Palisade needs, is not there.
    #[error("this kernel cannot do it: {what}")]
    Unsupported { what: String },
    /// The kernel refused one operation; a fault of ours, or of whoever changed the table.
    #[error("the kernel refused {op}: {errno}")]
    Refused { op: String, errno: String, at: Option<Box<TableOp>> },
    /// Reading or writing the socket failed.
    #[error("netlink: {0}")]
    Io(#[from] std::io::Error),
}

impl RulesetError {
    /// Whether a socket is not open any more, so that nothing helps but `Ruleset::reopen`. Whatever else fails, the socket
    /// stays: the tables belong to it, and without it anybody could write to them.
    pub fn is_dead_socket(&self) -> bool {
        let Self::Io(error) = self else { return false };
        matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK))
    }
}

/// A place that holds our tables.
pub trait Ruleset {
    fn features(&self) -> Features;

    /// The netlink port id that tables created here belong to.
    fn port(&self) -> u32;

    /// Opens sockets anew in the place of those that are dead; those that are not stay. If the one that owned tables was
    /// dead, `port` changes, and its tables have no owner until they are claimed (`Op::CreateTable`).
    fn reopen(&mut self) -> Result<(), RulesetError>;

    /// The tables of that name whole: all rules, all elements, of one generation of the ruleset. Families without such a
    /// table are absent.
    fn read(&mut self, table: TableName) -> Result<Actual, RulesetError>;

    /// Commits atomically to the tables of that name. On `Ok` every packet that enters from now on is judged by the new contents.
    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError>;

    /// Returns when no packet can still use what a commit before this call replaced (an RCU grace period).
    fn grace(&mut self) -> Result<(), RulesetError>;
}

impl ActualTable {
    /// The generations that the rules name; the highest where a set is named twice.
    pub fn generations(&self) -> Generations {
        let mut generations = Generations::default();
        for chain in self.chains.values() {
            for rule in &chain.rules {
                if let ActualRule::Known { sets, .. } = rule {
                    for &id in sets {
                        if id.generation > generations.id(id.set).generation {
                            generations.set(id);
                        }
                    }
                }
            }
        }
        generations
    }
}

impl<R: Ruleset + ?Sized> Ruleset for &mut R {
    fn features(&self) -> Features {
        (**self).features()
    }

    fn port(&self) -> u32 {
        (**self).port()
    }

    fn reopen(&mut self) -> Result<(), RulesetError> {
        (**self).reopen()
    }

    fn read(&mut self, table: TableName) -> Result<Actual, RulesetError> {
        (**self).read(table)
    }

    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        (**self).commit(table, transaction)
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        (**self).grace()
    }
}
