//! What the kernel holds under one of our tables' names, read back.

use std::collections::{BTreeMap, BTreeSet};

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{ChainName, Hook, TOS_PRIORITIES};

use super::batch::{DORMANT, LIST_ELEMENTS, PERSIST, version};
use super::chain_message;
use super::declare::{self, Declaration, declaration};
use super::elements::{self, Collector};
use super::instruction;
use super::query::{Query, QueryError};
use super::rule;
use super::sys;
use super::wire::{Attribute, Attributes, msg, put_str};
use crate::ruleset::{Actual, ActualChain, ActualRule, ActualSet, ActualTable, TableName};
use crate::transaction::{Element, SetId};

/// Where a chain is hooked, as `ActualChain::base` has it; empty for a regular chain.
pub const fn base_of_chain(chain: ChainName) -> &'static str {
    match chain.hook() {
        Some(Hook::Prerouting) => "type filter hook prerouting priority raw; policy accept",
        Some(Hook::Input) => "type filter hook input priority filter; policy accept",
        Some(Hook::Forward) => "type filter hook forward priority filter; policy accept",
        None => "",
    }
}

/// How often a set is dumped, at most, until two dumps in a row agree, where one is not enough.
const DUMPS: usize = 6;

/// A table to read.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: TableName,
    family: TableFamily,
}

impl Place {
    fn proto(self) -> u8 {
        sys::proto(self.family) as u8
    }

    /// Whether a message of a family, with a table's name in its attribute of that kind, is about this table.
    fn is_of(self, family: u8, attributes: Attributes<'_>, kind: u16) -> bool {
        let name = || attributes.get(kind).and_then(Attribute::string);
        family == self.proto() && name() == Some(self.name.as_str())
    }

    fn request(self) -> Vec<u8> {
        let mut request = Vec::new();
        put_str(&mut request, 1, self.name.as_str());
        request
    }

    fn request_set(self, set: &str) -> Vec<u8> {
        let mut request = self.request();
        put_str(&mut request, 2, set);
        request
    }
}

/// What was there if nobody changed the tables meanwhile: others' commits interrupt every long dump, and that of a set is right
/// nevertheless unless they were about the set.
///
/// A dump of a hash that is being resized repeats some elements in place of others, and nothing marks it. Only a
/// hash with a declared size is never resized; others are read until two dumps agree.
pub(super) fn tables(query: &mut Query, name: TableName) -> Result<Actual, QueryError> {
    let mut actual = Actual::new();
    for family in TableFamily::ALL {
        let place = Place { name, family };
        if let Some(mut table) = table(query, place)? {
            chains(query, place, &mut table)?;
            sets_and_rules(query, place, &mut table)?;
            actual.insert(family, table);
        }
    }
    Ok(actual)
}

/// The owner of our table in one family: `None` for no table, `Some(None)` for one without an owner.
pub(super) fn owner(
    query: &mut Query,
    name: TableName,
    family: TableFamily,
) -> Result<Option<Option<u32>>, QueryError> {
    Ok(table(query, Place { name, family })?.map(|table| table.owner))
}

/// The table without what is in it.
fn table(query: &mut Query, place: Place) -> Result<Option<ActualTable>, QueryError> {
    let found = query.dump(msg::GETTABLE, place.proto(), &[], |family, table| {
        place.is_of(family, table, 1).then(|| table_of(table))
    })?;
    Ok(found.into_iter().next())
}

/// `nft_table_attributes`
pub(super) fn table_of(table: Attributes<'_>) -> ActualTable {
    let flags = table.get(2).and_then(Attribute::be_u32).unwrap_or(0);
    ActualTable {
        version: table.get(6).and_then(|userdata| version(userdata.value)),
        owner: table.get(7).and_then(Attribute::be_u32),
        persistent: flags & PERSIST != 0,
        dormant: flags & DORMANT != 0,
        ..ActualTable::default()
    }
}

/// `nft_chain_attributes`
fn chains(query: &mut Query, place: Place, table: &mut ActualTable) -> Result<(), QueryError> {
    let found = query.dump(msg::GETCHAIN, place.proto(), &[], |family, chain| {
        let name = chain.get(3).and_then(Attribute::string);
        let name = name.filter(|_| place.is_of(family, chain, 1))?;
        Some((
            name.to_owned(),
            ActualChain { base: base_of(place.family, chain), rules: Vec::new() },
        ))
    })?;
    table.chains.extend(found);
    Ok(())
}

/// As nft writes it; empty for a regular chain.
pub(super) fn base_of(family: TableFamily, chain: Attributes<'_>) -> String {
    let Some(hook) = chain.get(4).map(Attribute::nested) else { return String::new() };
    let number = |attributes: Attributes<'_>, kind| {
        attributes.get(kind).and_then(Attribute::be_u32).unwrap_or(0)
    };
    let kind = chain.get(7).and_then(Attribute::string).unwrap_or("?");
    let hook_name = match number(hook, 1) {
        0 => "prerouting",
        1 => "input",
        2 => "forward",
        3 => "output",
        4 => "postrouting",
        _ => "?",
    };
    let is_at = |priority, hook, name| {
        let named = match hook {
            Hook::Prerouting => "prerouting",
            Hook::Forward => "forward",
            Hook::Input => "input",
        };
        name == named && priority == chain_message::base_priority(family, hook)
    };
    let priority = match number(hook, 2).cast_signed() {
        priority if is_at(priority, Hook::Forward, hook_name) => "filter".to_owned(),
        priority if is_at(priority, Hook::Input, hook_name) => "filter".to_owned(),
        priority if is_at(priority, Hook::Prerouting, hook_name) => "raw".to_owned(),
        other => other.to_string(),
    };
    let policy = if number(chain, 5) == 0 { "drop" } else { "accept" };
    // `NFT_CHAIN_BASE` alone.
    let flags = if number(chain, 10) > 1 { "; flags offload" } else { "" };
    format!("type {kind} hook {hook_name} priority {priority}; policy {policy}{flags}")
}

/// A set as the kernel tells of it.
pub(super) struct Declared {
    name: String,
    size: Option<u32>,
    flags: u32,
    declaration: Declaration,
}

fn sets_and_rules(
    query: &mut Query,
    place: Place,
    table: &mut ActualTable,
) -> Result<(), QueryError> {
    let sets = query.dump(msg::GETSET, place.proto(), &place.request(), |family, set| {
        if place.is_of(family, set, 1) { declared(set) } else { None }
    })?;
    let mut restores = BTreeSet::new();
    for set in sets {
        if set.flags & declare::ANONYMOUS != 0 {
            if is_restore_map(query, place, &set)? {
                restores.insert(set.name);
            }
        } else if let Some(id) = SetId::parse(&set.name) {
            table.sets.insert(id, contents(query, place, id, &set)?);
        } else {
            table.foreign.insert(set.name);
        }
    }
    rules(query, place, &restores, table)?;
    for kind in [msg::GETOBJ, msg::GETFLOWTABLE] {
        let found = query.dump(kind, place.proto(), &place.request(), |family, object| {
            let name = object.get(2).and_then(Attribute::string);
            name.filter(|_| place.is_of(family, object, 1)).map(str::to_owned)
        })?;
        table.foreign.extend(found);
    }
    Ok(())
}

/// `nft_set_attributes`
pub(super) fn declared(set: Attributes<'_>) -> Option<Declared> {
    let number = |kind| set.get(kind).and_then(Attribute::be_u32);
    let flags = number(3).unwrap_or(0);
    let size = set.get(9).and_then(|desc| desc.nested().get(1)).and_then(Attribute::be_u32);
    let data = number(6).zip(number(7));
    Some(Declared {
        name: set.get(2)?.string()?.to_owned(),
        size,
        flags,
        declaration: Declaration {
            flags,
            key_type: number(4)?,
            key_length: number(5)?,
            data,
            fields: &[],
            userdata: Vec::new(),
        },
    })
}

/// The fields of a concatenation follow from its type, the userdata is for printing only.
fn same(actual: &Declaration, wanted: Declaration) -> bool {
    *actual == Declaration { fields: &[], userdata: Vec::new(), ..wanted }
}

fn contents(
    query: &mut Query,
    place: Place,
    id: SetId,
    set: &Declared,
) -> Result<ActualSet, QueryError> {
    let mut last = dump_set(query, place, id)?;
    if set.size.is_none() {
        let mut agreed = false;
        for _ in 1..DUMPS {
            let again = dump_set(query, place, id)?;
            agreed = again.elements == last.elements;
            last = again;
            if agreed {
                break;
            }
        }
        if !agreed {
            return Err(QueryError::Interrupted);
        }
    }
    let as_declared = last.known && same(&set.declaration, declaration(place.family, id.set));
    Ok(ActualSet { size: set.size, as_declared, elements: last.elements.into_iter().collect() })
}

struct Dump {
    /// In order.
    elements: Vec<Element>,
    /// Whether all are of a form that we write.
    known: bool,
}

fn dump_set(query: &mut Query, place: Place, id: SetId) -> Result<Dump, QueryError> {
    let mut collector = Collector::new(place.family, id.set);
    let request = place.request_set(&id.to_string());
    query.dump_loosely(msg::GETSETELEM, place.proto(), &request, |_, message| {
        if let Some(list) = message.get(LIST_ELEMENTS) {
            elements::in_list(list).for_each(|element| collector.add(element));
        }
    })?;
    let (elements, known) = collector.finish();
    Ok(Dump { elements, known })
}

/// Whether an anonymous set is the map of `RestorePriority`.
fn is_restore_map(query: &mut Query, place: Place, set: &Declared) -> Result<bool, QueryError> {
    let wanted = declare::restore_map();
    let key = (wanted.key_length, wanted.data);
    let map = declare::MAP | declare::ANONYMOUS;
    if (set.declaration.key_length, set.declaration.data) != key || set.flags & map != map {
        return Ok(false);
    }
    let request = place.request_set(&set.name);
    let lists = query.dump(msg::GETSETELEM, place.proto(), &request, |_, message| {
        let element = |element| match elements::raw(element) {
            Some((key, value)) => (key.to_vec(), value.to_vec()),
            None => (Vec::new(), Vec::new()),
        };
        message
            .get(LIST_ELEMENTS)
            .map(|list| elements::in_list(list).map(element).collect::<Vec<_>>())
    })?;
    let found: BTreeMap<_, _> = lists.into_iter().flatten().collect();
    let wanted = TOS_PRIORITIES
        .into_iter()
        .map(|(tos, priority)| (vec![tos], priority.to_ne_bytes().to_vec()))
        .collect();
    Ok(found == wanted)
}

/// `nft_rule_attributes`
fn rules(
    query: &mut Query,
    place: Place,
    restores: &BTreeSet<String>,
    table: &mut ActualTable,
) -> Result<(), QueryError> {
    let found = query.dump(msg::GETRULE, place.proto(), &place.request(), |family, message| {
        let chain = message.get(2).and_then(Attribute::string);
        let chain = chain.filter(|_| place.is_of(family, message, 1))?;
        Some((chain.to_owned(), rule_of(place.family, restores, message)))
    })?;
    for (chain, rule) in found {
        if let Some(chain) = table.chains.get_mut(&chain) {
            chain.rules.push(rule);
        }
    }
    Ok(())
}

pub(super) fn rule_of(
    family: TableFamily,
    restores: &BTreeSet<String>,
    message: Attributes<'_>,
) -> ActualRule {
    let expressions = message.get(4).map(Attribute::nested).unwrap_or_default();
    // A rule of iptables-nft says so; its expressions have no meaning of their own.
    if message.get(5).is_some() {
        return ActualRule::Foreign("xtables".to_owned());
    }
    match instruction::decode(expressions) {
        Err(names) => ActualRule::Foreign(names),
        Ok(instructions) => {
            let described = instruction::names(&instructions);
            match rule::decode(family, instructions, |name| restores.contains(name)) {
                Some((rule, sets)) => ActualRule::Known { rule, sets },
                None => ActualRule::Foreign(described),
            }
        }
    }
}
