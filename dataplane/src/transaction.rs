//! One atomic change of the kernel's tables, as data: bounded, ordered, printable, and without any handle.

use std::fmt;

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, Rule, SetName};

pub use palisade_compiler::program::Element;

/// Elements in one transaction when loading: a core is not stalled longer than some 3 ms.
pub const MAX_ELEMENTS_PER_TRANSACTION: usize = 10_000;

/// A set or map in the kernel. A fuller one is built beside its predecessor under the next generation; generation 0
/// has the plain name (`class`), the others a suffix (`class_1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId {
    pub set: SetName,
    pub generation: u32,
}

impl SetId {
    /// The inverse of `Display`; `None` for a name that is not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let of = |name: &str| SetName::ALL.into_iter().find(|set| set.as_str() == name);
        if let Some(set) = of(name) {
            return Some(Self { set, generation: 0 });
        }
        let (stem, suffix) = name.rsplit_once('_')?;
        let generation = suffix.parse().ok().filter(|&n: &u32| n > 0 && n.to_string() == suffix)?;
        Some(Self { set: of(stem)?, generation })
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            0 => f.write_str(self.set.as_str()),
            generation => write!(f, "{}_{generation}", self.set.as_str()),
        }
    }
}

/// The generation that the rules of a table name, for each set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations([u32; SetName::ALL.len()]);

impl Default for Generations {
    fn default() -> Self {
        Self([0; SetName::ALL.len()])
    }
}

impl Generations {
    pub fn id(&self, set: SetName) -> SetId {
        SetId { set, generation: self.0.get(set as usize).copied().unwrap_or(0) }
    }

    pub fn set(&mut self, id: SetId) {
        if let Some(generation) = self.0.get_mut(id.set as usize) {
            *generation = id.generation;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates the table, with its version in the comment, owned by this socket where the kernel can; or claims an
    /// orphaned one of ours.
    CreateTable,
    /// Deletes the table and all that is in it.
    DeleteTable,
    CreateSet {
        id: SetId,
        /// The most elements it can hold (`size`), catch-all included; `None` for interval sets, which have no bound.
        size: Option<u32>,
    },
    DeleteSet(SetId),
    CreateChain(ChainName),
    /// Deletes an empty chain by its name in the kernel (also one of another version of the skeleton).
    DeleteChain(String),
    /// Deletes all rules of the chain.
    FlushChain(String),
    /// Appends a rule; its set names mean these generations.
    AddRule {
        chain: ChainName,
        rule: Rule,
        generations: Generations,
    },
    Add(SetId, Element),
    Remove(SetId, Element),
}

/// Operations on one family's table, in order. The kernel takes all of a transaction or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOp {
    pub family: TableFamily,
    pub op: Op,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    pub ops: Vec<TableOp>,
}
