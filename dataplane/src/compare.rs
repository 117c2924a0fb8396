//! What was read against what should be there: every difference, named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, DenyAction, Rule, SetName, VERSION, rules};
use palisade_compiler::program::{Program, Tables, render};

use crate::contents::Contents;
use crate::host::HostFacts;
use crate::netlink::base_of_chain;
use crate::ruleset::{Actual, ActualRule, ActualTable, TableName};
use crate::transaction::{Element, Generations, SetId};

/// One thing in the kernel that is not as the program has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub family: TableFamily,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The whole table is not there.
    NoTable,
    /// The table that stands in for it is there: it is being replaced, or a process died doing so.
    StandIn,
    /// The table is of another version of the skeleton, or carries none.
    Version(Option<u32>),
    /// The table's chains are hooked nowhere: it judges nothing.
    Dormant,
    /// The table has no owner although the kernel can give it one: anybody may write to it.
    Unowned,
    /// An object that is none of ours.
    Foreign(String),
    ChainMissing(ChainName),
    ChainExtra(String),
    /// A chain hooked elsewhere than it should be.
    ChainAltered {
        chain: ChainName,
        base: String,
    },
    RuleMissing {
        chain: ChainName,
        rule: String,
    },
    RuleExtra {
        chain: ChainName,
        rule: String,
    },
    SetMissing(SetName),
    /// A set with another type, or other flags.
    SetAltered(SetId),
    ElementMissing {
        set: SetId,
        element: Element,
    },
    ElementExtra {
        set: SetId,
        element: Element,
    },
}

impl What {
    /// Whether it can be mended in the table as it is.
    fn is_mendable(&self) -> bool {
        match self {
            Self::ElementMissing { element: Element::CatchAll, .. }
            | Self::ChainMissing(_)
            | Self::ChainExtra(_)
            | Self::RuleMissing { .. }
            | Self::RuleExtra { .. } => true,
            Self::NoTable
            | Self::StandIn
            | Self::Version(_)
            | Self::Unowned
            | Self::Dormant
            | Self::Foreign(_)
            | Self::ChainAltered { .. }
            | Self::SetMissing(_)
            | Self::SetAltered(_)
            | Self::ElementMissing { .. }
            | Self::ElementExtra { .. } => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.what {
            What::StandIn => TableName::StandIn,
            _ => TableName::Main,
        };
        write!(f, "table {} {}", self.family.as_str(), name.as_str())?;
        match &self.what {
            What::StandIn => write!(f, " is there: a replacement is under way or was cut short"),
            What::NoTable => write!(f, " is missing"),
            What::Version(Some(version)) => {
                write!(f, ": it is of version {version} of the skeleton, not {VERSION}")
            }
            What::Version(None) => write!(f, ": it carries no version of the skeleton"),
            What::Dormant => write!(f, " is dormant: it judges nothing"),
            What::Unowned => write!(f, ": it has no owner, so that anybody may write to it"),
            What::Foreign(name) => write!(f, ": {name} is not ours"),
            What::ChainMissing(chain) => write!(f, ": chain {} is missing", chain.as_str()),
            What::ChainExtra(chain) => write!(f, ": chain {chain} should not be there"),
            What::ChainAltered { chain, base } => {
                write!(f, ": chain {} is hooked as {base:?}", chain.as_str())
            }
            What::RuleMissing { chain, rule } => {
                write!(f, ", chain {}: rule `{rule}` is missing", chain.as_str())
            }
            What::RuleExtra { chain, rule } => {
                write!(f, ", chain {}: rule `{rule}` should not be there", chain.as_str())
            }
            What::SetMissing(set) => write!(f, ": {} {} is missing", kind(*set), set.as_str()),
            What::SetAltered(id) => {
                write!(f, ": {} {id} is declared otherwise", kind(id.set))
            }
            What::ElementMissing { set, element } => {
                write!(f, ", {} {set}: element {} is missing", kind(set.set), element)
            }
            What::ElementExtra { set, element } => {
                write!(f, ", {} {set}: element {} should not be there", kind(set.set), element)
            }
        }
    }
}

fn kind(set: SetName) -> &'static str {
    if set.is_map() { "map" } else { "set" }
}

/// What tables are to be besides their contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// The kernel can give tables an owner, so they should have one.
    pub owned: bool,
    pub deny_action: DenyAction,
}

/// How the structure of what was read departs from the skeleton; elements are another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    Sound,
    /// Chains, rules or catch-alls: they can be mended in the table as it is.
    Mendable,
    /// Only a new table mends it.
    Table,
}

/// Whether all tables are the skeleton's.
pub fn soundness(actual: &Actual, expected: Structure) -> Soundness {
    let differences: Vec<What> = present_or_needed(actual, &HostFacts::default())
        .flat_map(|family| structure(actual, family, expected))
        .collect();
    if differences.is_empty() {
        Soundness::Sound
    } else if differences.iter().all(What::is_mendable) {
        Soundness::Mendable
    } else {
        Soundness::Table
    }
}

/// Every difference of what was read and the program with the host's facts.
pub fn differences(
    actual: &Actual,
    program: &Program,
    host: &HostFacts,
    expected: Structure,
) -> Vec<Difference> {
    let mut all = Vec::new();
    for family in present_or_needed(actual, host) {
        let mut found = structure(actual, family, expected);
        if let Some(table) = actual.get(&family) {
            let host = host.within(family);
            let contents = Contents::of(family, program, &host);
            found.extend(element_differences(table, contents));
        }
        all.extend(found.into_iter().map(|what| Difference { family, what }));
    }
    all
}

/// The stand-ins that are there, each a difference.
pub fn stand_ins(actual: &Actual) -> impl Iterator<Item = Difference> {
    actual.keys().map(|&family| Difference { family, what: What::StandIn })
}

/// What a sound table holds of a program, elements that no program has included.
pub fn tables(actual: &ActualTable) -> Tables {
    let mut tables = Tables::default();
    elements(actual).for_each(|(set, element)| tables.insert(set, element));
    tables
}

/// What a sound table holds of the host's facts.
pub fn host_facts(actual: &ActualTable) -> HostFacts {
    let mut host = HostFacts::default();
    elements(actual).for_each(|(set, element)| host.insert(set, element));
    host
}

/// The elements of the sets that the rules name.
fn elements(actual: &ActualTable) -> impl Iterator<Item = (SetName, Element)> {
    let generations = actual.generations();
    SetName::ALL.into_iter().flat_map(move |set| {
        let found = actual.sets.get(&generations.id(set));
        found.into_iter().flat_map(|found| &found.elements).map(move |&element| (set, element))
    })
}

/// The tables that are there or must be: those of the program, and the bridge table where it would hold something. One that is
/// there and empty does no harm.
fn present_or_needed(actual: &Actual, host: &HostFacts) -> impl Iterator<Item = TableFamily> {
    TableFamily::ALL.into_iter().filter(|family| {
        TableFamily::OF_PROGRAM.contains(family)
            || actual.contains_key(family)
            || host.has_any_within(*family)
    })
}

fn structure(actual: &Actual, family: TableFamily, expected: Structure) -> Vec<What> {
    let Some(table) = actual.get(&family) else { return vec![What::NoTable] };
    let mut found = Vec::new();
    if table.version != Some(VERSION) {
        found.push(What::Version(table.version));
    }
    if table.dormant {
        found.push(What::Dormant);
    }
    if expected.owned && !table.persistent {
        found.push(What::Unowned);
    }
    found.extend(table.foreign.iter().cloned().map(What::Foreign));
    chain_differences(table, family, expected.deny_action, &mut found);
    let generations = table.generations();
    for set in family.sets() {
        let id = generations.id(set);
        match table.sets.get(&id) {
            None => found.push(What::SetMissing(set)),
            Some(actual) if !actual.as_declared => found.push(What::SetAltered(id)),
            Some(actual) => {
                let element = Element::CatchAll;
                if set.has_catch_all() && !actual.elements.contains(&element) {
                    found.push(What::ElementMissing { set: id, element });
                }
            }
        }
    }
    found
}

fn chain_differences(
    table: &ActualTable,
    family: TableFamily,
    deny_action: DenyAction,
    found: &mut Vec<What>,
) {
    let generations = table.generations();
    let mut extra: BTreeSet<&str> = table.chains.keys().map(String::as_str).collect();
    for chain in ChainName::of(family) {
        extra.remove(chain.as_str());
        let Some(actual) = table.chains.get(chain.as_str()) else {
            found.push(What::ChainMissing(chain));
            continue;
        };
        if actual.base != base_of_chain(chain) {
            found.push(What::ChainAltered { chain, base: actual.base.clone() });
        }
        let expected = rules(family, chain, deny_action);
        rule_differences(chain, (family, &expected), &actual.rules, &generations, found);
    }
    found.extend(extra.into_iter().map(|chain| What::ChainExtra(chain.to_owned())));
}

/// The rules that are missing and those that are too many, in order: what is left when a longest common sequence is taken out.
fn rule_differences(
    chain: ChainName,
    (family, expected): (TableFamily, &[Rule]),
    actual: &[ActualRule],
    generations: &Generations,
    found: &mut Vec<What>,
) {
    let same = |expected: &Rule, actual: &ActualRule| match actual {
        // A rule that names a set of another generation than its fellows looks up what nobody keeps.
        ActualRule::Known { rule, sets } => {
            rule == expected && sets.iter().all(|id| generations.id(id.set) == *id)
        }
        ActualRule::Foreign(_) => false,
    };
    let kept = common(expected, actual, same);
    let text = |rule: &Rule| render::rule(family, rule).to_string();
    for (i, rule) in expected.iter().enumerate() {
        if !kept.contains_key(&i) {
            found.push(What::RuleMissing { chain, rule: text(rule) });
        }
    }
    let kept: BTreeSet<usize> = kept.into_values().collect();
    for (i, rule) in actual.iter().enumerate() {
        if !kept.contains(&i) {
            let rule = match rule {
                ActualRule::Known { rule, .. } => text(rule),
                ActualRule::Foreign(text) => text.clone(),
            };
            found.push(What::RuleExtra { chain, rule });
        }
    }
}

/// The places of a longest common subsequence. Chains have some ten rules; a table that was filled with thousands is cut off.
fn common<A, B>(a: &[A], b: &[B], same: impl Fn(&A, &B) -> bool) -> BTreeMap<usize, usize> {
    const MOST: usize = 1000;
    let b = b.get(..MOST).unwrap_or(b);
    let mut lengths = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    let at = |lengths: &[Vec<usize>], i: usize, j: usize| {
        lengths.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0)
    };
    for (i, x) in a.iter().enumerate().rev() {
        for (j, y) in b.iter().enumerate().rev() {
            let length = if same(x, y) {
                at(&lengths, i + 1, j + 1) + 1
            } else {
                at(&lengths, i + 1, j).max(at(&lengths, i, j + 1))
            };
            if let Some(place) = lengths.get_mut(i).and_then(|row| row.get_mut(j)) {
                *place = length;
            }
        }
    }
    let mut pairs = BTreeMap::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if same(x, y) {
            pairs.insert(i, j);
            (i, j) = (i + 1, j + 1);
        } else if at(&lengths, i + 1, j) >= at(&lengths, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

fn element_differences(table: &ActualTable, contents: Contents<'_>) -> Vec<What> {
    let generations = table.generations();
    let mut found = Vec::new();
    for name in SetName::ALL {
        let set = generations.id(name);
        let Some(actual) = table.sets.get(&set) else { continue };
        let expected: BTreeSet<Element> = contents.elements(name).collect();
        let missing = expected.difference(&actual.elements);
        found.extend(missing.map(|&element| What::ElementMissing { set, element }));
        // A catch-all that is missing is a matter of structure.
        let is_expected =
            |element: &&Element| name.has_catch_all() && **element == Element::CatchAll;
        let extra = actual.elements.difference(&expected).filter(|element| !is_expected(element));
        found.extend(extra.map(|&element| What::ElementExtra { set, element }));
    }
    found
}
