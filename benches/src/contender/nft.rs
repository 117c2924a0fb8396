//! A ruleset in the syntax of nft, and the script that turns one into another in one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use palisade_compiler::model::Family;

use super::tool::run;
use super::{ContenderError, Loaded};

/// The name of the table of every contender that nft loads.
const TABLE: &str = "contender";
/// The number of elements in one command. nft is slower with long lines than with many lines.
const CHUNK: usize = 1000;

/// A set or a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// `set` or `map`.
    pub(super) kind: &'static str,
    /// For example `type ipv4_addr; flags interval;`
    pub(super) declaration: String,
    pub(super) elements: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) sets: BTreeMap<String, Set>,
    /// The rules of each chain.
    pub(super) chains: BTreeMap<String, Vec<String>>,
}

/// The chain of each table that is attached to the forward hook.
pub(super) const BASE: &str = "forward";

/// A ruleset: one table for each family that is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) tables: BTreeMap<Family, Table>,
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

pub(super) fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

impl Ruleset {
    /// Only the counts are set.
    pub(super) fn size(&self) -> Loaded {
        let mut size = Loaded::default();
        for table in self.tables.values() {
            size.chains += table.chains.len();
            size.rules += table.chains.values().map(Vec::len).sum::<usize>();
            size.sets += table.sets.len();
            size.elements += table.sets.values().map(|set| set.elements.len()).sum::<usize>();
        }
        size
    }

    /// Changes the kernel's ruleset from `self` to `to`, in one transaction.
    ///
    /// # Errors
    /// The errors of running nft.
    pub(super) fn commit(&self, to: &Self) -> Result<(), ContenderError> {
        let script = self.script(to);
        if script.is_empty() { Ok(()) } else { run("nft", &["-f", "-"], &script) }
    }

    fn script(&self, to: &Self) -> String {
        let none = Table::default();
        let mut script = String::new();
        for family in Family::ALL {
            let (old, new) = (self.tables.get(&family), to.tables.get(&family));
            let name = format!("{} {TABLE}", family_name(family));
            if old.is_none() && new.is_some() {
                line(&mut script, format_args!("add table {name}"));
            }
            let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
            Edits { name: &name, old, new, script: &mut script }.write();
        }
        script
    }
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(script, "{text}");
}

/// Writes the difference between two tables of the same name. An object is created before the objects that refer to it, and
/// deleted after them.
struct Edits<'a> {
    name: &'a str,
    old: &'a Table,
    new: &'a Table,
    script: &'a mut String,
}

impl Edits<'_> {
    fn write(mut self) {
        for (set, new) in &self.new.sets {
            if !self.old.sets.contains_key(set) {
                let (kind, name) = (new.kind, self.name);
                line(
                    self.script,
                    format_args!("add {kind} {name} {set} {{ {} }}", new.declaration),
                );
            }
        }
        for chain in self.new.chains.keys().filter(|chain| !self.old.chains.contains_key(*chain)) {
            let hook = match chain.as_str() {
                BASE => " { type filter hook forward priority 0; policy accept; }",
                _ => "",
            };
            line(self.script, format_args!("add chain {} {chain}{hook}", self.name));
        }
        self.rules();
        self.elements();
        let gone = |chain: &&String| !self.new.chains.contains_key(*chain);
        for chain in self.old.chains.keys().filter(gone) {
            line(self.script, format_args!("delete chain {} {chain}", self.name));
        }
        for (set, old) in &self.old.sets {
            if !self.new.sets.contains_key(set) {
                line(self.script, format_args!("delete {} {} {set}", old.kind, self.name));
            }
        }
    }

    fn rules(&mut self) {
        let none = Vec::new();
        for (chain, old) in &self.old.chains {
            if !old.is_empty() && self.new.chains.get(chain).unwrap_or(&none) != old {
                line(self.script, format_args!("flush chain {} {chain}", self.name));
            }
        }
        for (chain, rules) in &self.new.chains {
            if self.old.chains.get(chain).unwrap_or(&none) != rules {
                for rule in rules {
                    line(self.script, format_args!("add rule {} {chain} {rule}", self.name));
                }
            }
        }
    }

    /// Elements are removed first, so that a key can be added again with other data.
    fn elements(&mut self) {
        let none = BTreeSet::new();
        for (set, old) in &self.old.sets {
            let new = self.new.sets.get(set).map_or(&none, |new| &new.elements);
            self.chunks("delete", set, &old.elements, new);
        }
        for (set, new) in &self.new.sets {
            let old = self.old.sets.get(set).map_or(&none, |old| &old.elements);
            self.chunks("add", set, &new.elements, old);
        }
    }

    /// One command for each chunk of those elements of one set that the other set does not have.
    fn chunks(
        &mut self,
        verb: &str,
        set: &str,
        elements: &BTreeSet<String>,
        others: &BTreeSet<String>,
    ) {
        let elements: Vec<&str> = elements.difference(others).map(String::as_str).collect();
        for chunk in elements.chunks(CHUNK) {
            let list = chunk.join(", ");
            line(self.script, format_args!("{verb} element {} {set} {{ {list} }}", self.name));
        }
    }
}
