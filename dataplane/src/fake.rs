//! An in-memory `Ruleset` for tests. It is as atomic and as strict as the kernel, and calls can be made to fail.

use std::collections::{BTreeMap, BTreeSet};

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{self, ChainName, Expr, Rule, SetName};
use palisade_compiler::program::{AddressRange, ClassId, PortRangeElement, ProfileId};

use crate::netlink::base_of_chain;
use crate::ruleset::{
    Actual, ActualChain, ActualRule, ActualSet, ActualTable, Features, Ruleset, RulesetError,
    TableName,
};
use crate::transaction::{Element, Generations, Op, SetId, TableOp, Transaction};

/// How a call will fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Retry,
    /// The caller does not learn the outcome. The transaction was committed.
    UnknownCommitted,
    /// The caller does not learn the outcome. The transaction was not committed.
    UnknownLost,
    /// The set of the transaction's first element is full.
    Full,
    NotPermitted,
    Owned,
    Unsupported,
    Refused,
    Io,
    /// The socket fails from this call on, until it is opened again.
    DeadSocket,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Retry,
        Self::UnknownCommitted,
        Self::UnknownLost,
        Self::Full,
        Self::NotPermitted,
        Self::Owned,
        Self::Unsupported,
        Self::Refused,
        Self::Io,
        Self::DeadSocket,
    ];
}

/// The tables under both names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Both {
    pub main: Actual,
    pub stand_in: Actual,
}

impl Both {
    fn of(&mut self, table: TableName) -> &mut Actual {
        match table {
            TableName::Main => &mut self.main,
            TableName::StandIn => &mut self.stand_in,
        }
    }
}

/// What happened to the fake. The history lists events in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A transaction was committed. The second value is the state after it.
    Commit(Transaction, Both),
    Grace,
}

/// The in-memory kernel. Every transaction is applied completely or not at all.
#[derive(Debug, Clone)]
pub struct Fake {
    actual: Both,
    features: Features,
    port: u32,
    /// Whether every call fails until `reopen`.
    is_dead: bool,
    calls: usize,
    faults: BTreeMap<usize, Fault>,
    history: Vec<Event>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new(Features { persistent_owner: true, bridge_tables: true })
    }
}

impl Fake {
    /// A kernel without any of our tables.
    pub fn new(features: Features) -> Self {
        Self {
            actual: Both::default(),
            features,
            port: 1,
            is_dead: false,
            calls: 0,
            faults: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// Simulates the end of the process and the start of another one: its tables have no owner, and planned failures are
    /// discarded.
    pub fn restart(&mut self) {
        self.faults.clear();
        self.calls = 0;
        self.replace_socket();
    }

    fn replace_socket(&mut self) {
        self.is_dead = false;
        self.port += 1;
        let Both { main, stand_in } = &mut self.actual;
        main.values_mut().chain(stand_in.values_mut()).for_each(|table| table.owner = None);
    }

    /// Makes a call fail. `call` counts from 0 since the creation or the last restart.
    pub fn fail(&mut self, call: usize, fault: Fault) {
        self.faults.insert(call, fault);
    }

    /// The number of calls of `Ruleset` since the creation or the last restart.
    pub fn calls(&self) -> usize {
        self.calls
    }

    pub fn actual(&self) -> &Both {
        &self.actual
    }

    /// Changes the tables as another process would.
    pub fn tamper(&mut self, change: impl FnOnce(&mut Both)) {
        change(&mut self.actual);
    }

    pub fn history(&self) -> &[Event] {
        &self.history
    }

    fn fault(&mut self) -> Option<Fault> {
        let fault = self.faults.remove(&self.calls);
        self.calls += 1;
        self.is_dead |= fault == Some(Fault::DeadSocket);
        if self.is_dead { Some(Fault::DeadSocket) } else { fault }
    }

    fn apply(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        let mut next = self.actual.clone();
        for op in &transaction.ops {
            let actual = next.of(table);
            Kernel { actual, features: self.features, port: self.port, at: op }.apply()?;
        }
        self.history.push(Event::Commit(transaction.clone(), next.clone()));
        self.actual = next;
        Ok(())
    }
}

impl Ruleset for Fake {
    fn features(&self) -> Features {
        self.features
    }

    fn port(&self) -> u32 {
        self.port
    }

    fn reopen(&mut self) -> Result<(), RulesetError> {
        if self.is_dead {
            self.replace_socket();
        }
        Ok(())
    }

    fn read(&mut self, table: TableName) -> Result<Actual, RulesetError> {
        match self.fault() {
            None => Ok(self.actual.of(table).clone()),
            Some(fault) => Err(error(fault, None)),
        }
    }

    fn commit(&mut self, table: TableName, transaction: &Transaction) -> Result<(), RulesetError> {
        match self.fault() {
            None => self.apply(table, transaction),
            Some(fault) => {
                if fault == Fault::UnknownCommitted {
                    self.apply(table, transaction)?;
                }
                Err(error(fault, transaction.ops.iter().find_map(element_of)))
            }
        }
    }

    fn grace(&mut self) -> Result<(), RulesetError> {
        match self.fault() {
            None => {
                self.history.push(Event::Grace);
                Ok(())
            }
            Some(fault) => Err(error(fault, None)),
        }
    }
}

fn element_of(op: &TableOp) -> Option<(TableFamily, SetId)> {
    match op.op {
        Op::Add(id, _) => Some((op.family, id)),
        Op::CreateTable
        | Op::DeleteTable
        | Op::CreateSet { .. }
        | Op::DeleteSet(_)
        | Op::CreateChain(_)
        | Op::DeleteChain(_)
        | Op::FlushChain(_)
        | Op::AddRule { .. }
        | Op::Remove(..) => None,
    }
}

fn error(fault: Fault, set: Option<(TableFamily, SetId)>) -> RulesetError {
    let what = || "injected by a test".to_owned();
    match fault {
        Fault::Retry => RulesetError::Retry { what: what() },
        Fault::UnknownCommitted | Fault::UnknownLost => RulesetError::Unknown { what: what() },
        Fault::Full => match set {
            Some((family, set)) => RulesetError::Full { family, set },
            None => RulesetError::Retry { what: what() },
        },
        Fault::NotPermitted => RulesetError::NotPermitted { what: what() },
        Fault::Owned => RulesetError::Owned { owner: "port 99".into() },
        Fault::Unsupported => RulesetError::Unsupported { what: what() },
        Fault::Refused => RulesetError::Refused { op: what(), errno: "EINVAL".into(), at: None },
        Fault::Io => RulesetError::Io(std::io::Error::other("injected by a test")),
        Fault::DeadSocket => RulesetError::Io(std::io::Error::from_raw_os_error(libc::EBADF)),
    }
}

/// Applies the operations of a transaction to the state that its earlier operations led to.
struct Kernel<'a> {
    actual: &'a mut Actual,
    features: Features,
    port: u32,
    at: &'a TableOp,
}

impl Kernel<'_> {
    fn refuse<T>(&self, errno: &str) -> Result<T, RulesetError> {
        Err(RulesetError::Refused {
            op: format!("{:?}", self.at.op),
            errno: errno.into(),
            at: Some(Box::new(self.at.clone())),
        })
    }

    fn table(&mut self) -> Result<&mut ActualTable, RulesetError> {
        let family = self.at.family;
        if !self.actual.contains_key(&family) {
            return self.refuse("ENOENT");
        }
        let owner = self.actual.get(&family).and_then(|table| table.owner);
        match owner.filter(|&owner| owner != self.port) {
            Some(owner) => Err(RulesetError::Owned { owner: format!("port {owner}") }),
            None => Ok(self.actual.entry(family).or_default()),
        }
    }

    fn apply(&mut self) -> Result<(), RulesetError> {
        let at = self.at;
        match &at.op {
            Op::CreateTable => self.create_table(),
            Op::DeleteTable => {
                self.table()?;
                self.actual.remove(&at.family);
                Ok(())
            }
            Op::CreateSet { id, size } => {
                let set = ActualSet { size: *size, as_declared: true, elements: BTreeSet::new() };
                match self.table()?.sets.insert(*id, set) {
                    Some(_) => self.refuse("EEXIST"),
                    None => Ok(()),
                }
            }
            Op::DeleteSet(id) => self.delete_set(*id),
            Op::CreateChain(chain) => {
                let base = base_of_chain(*chain).to_owned();
                let new = ActualChain { base, rules: Vec::new() };
                match self.table()?.chains.insert(chain.as_str().to_owned(), new) {
                    Some(_) => self.refuse("EEXIST"),
                    None => Ok(()),
                }
            }
            Op::DeleteChain(chain) => self.delete_chain(chain),
            Op::FlushChain(chain) => match self.table()?.chains.get_mut(chain) {
                Some(chain) => {
                    chain.rules.clear();
                    Ok(())
                }
                None => self.refuse("ENOENT"),
            },
            Op::AddRule { chain, rule, generations } => self.add_rule(*chain, rule, generations),
            Op::Add(id, element) => self.add(*id, *element),
            Op::Remove(id, element) => match self.table()?.sets.get_mut(id) {
                Some(set) if set.elements.contains(element) => {
                    set.elements.remove(element);
                    Ok(())
                }
                Some(_) | None => self.refuse("ENOENT"),
            },
        }
    }

    fn create_table(&mut self) -> Result<(), RulesetError> {
        let family = self.at.family;
        let owned = self.features.persistent_owner;
        match self.actual.get(&family) {
            None => {
                let table = ActualTable {
                    version: Some(skeleton::VERSION),
                    owner: owned.then_some(self.port),
                    persistent: owned,
                    ..ActualTable::default()
                };
                self.actual.insert(family, table);
                Ok(())
            }
            Some(table) if table.persistent != owned => self.refuse("EOPNOTSUPP"),
            Some(_) => {
                let port = self.port;
                self.table()?.owner = owned.then_some(port);
                Ok(())
            }
        }
    }

    fn delete_set(&mut self, id: SetId) -> Result<(), RulesetError> {
        let table = self.table()?;
        let named = table
            .chains
            .values()
            .flat_map(|chain| &chain.rules)
            .any(|rule| matches!(rule, ActualRule::Known { sets, .. } if sets.contains(&id)));
        if named {
            return self.refuse("EBUSY");
        }
        match self.table()?.sets.remove(&id) {
            Some(_) => Ok(()),
            None => self.refuse("ENOENT"),
        }
    }

    fn delete_chain(&mut self, name: &str) -> Result<(), RulesetError> {
        let table = self.table()?;
        let target =
            |expr: &Expr| matches!(expr, Expr::Goto(c) | Expr::Jump(c) if c.as_str() == name);
        let named =
            table.chains.values().flat_map(|chain| &chain.rules).any(
                |rule| matches!(rule, ActualRule::Known { rule, .. } if rule.iter().any(target)),
            );
        let filled = table.chains.get(name).is_some_and(|chain| !chain.rules.is_empty());
        if named || filled {
            return self.refuse("EBUSY");
        }
        match self.table()?.chains.remove(name) {
            Some(_) => Ok(()),
            None => self.refuse("ENOENT"),
        }
    }

    fn add_rule(
        &mut self,
        chain: ChainName,
        rule: &Rule,
        generations: &Generations,
    ) -> Result<(), RulesetError> {
        let table = self.table()?;
        let sets: Vec<SetId> = sets_of(rule).map(|set| generations.id(set)).collect();
        let targets = rule.iter().all(|expr| match expr {
            Expr::Goto(chain) | Expr::Jump(chain) => table.chains.contains_key(chain.as_str()),
            _ => true,
        });
        let known = targets && sets.iter().all(|id| table.sets.contains_key(id));
        match table.chains.get_mut(chain.as_str()).filter(|_| known) {
            Some(chain) => {
                chain.rules.push(ActualRule::Known { rule: rule.clone(), sets });
                Ok(())
            }
            None => self.refuse("ENOENT"),
        }
    }

    fn add(&mut self, id: SetId, element: Element) -> Result<(), RulesetError> {
        let family = self.at.family;
        let Some(set) = self.table()?.sets.get_mut(&id) else { return self.refuse("ENOENT") };
        if !suits(id.set, family, element) {
            return self.refuse("EINVAL");
        }
        // The kernel ignores an addition of an element that exists, unless a flag forbids it, and `netlink` sets that flag.
        if overlaps(&set.elements, element) {
            return self.refuse("EEXIST");
        }
        // The kernel does not count a catch-all element against the size of a set. The fake does, and so is stricter by one
        // element.
        let size = set.size.and_then(|size| usize::try_from(size).ok());
        if element != Element::CatchAll && size.is_some_and(|size| set.elements.len() >= size) {
            return Err(RulesetError::Full { family, set: id });
        }
        set.elements.insert(element);
        Ok(())
    }
}

/// The sets that a rule refers to, in order.
pub(crate) fn sets_of(rule: &Rule) -> impl Iterator<Item = SetName> {
    rule.iter().filter_map(|expr| match *expr {
        Expr::AddressIn(_, set)
        | Expr::PairIn(set)
        | Expr::InterfacesIn(set)
        | Expr::InterfaceIn(_, set)
        | Expr::ClassFrom(_, set)
        | Expr::ProfileFrom(_, set)
        | Expr::PortIn(set) => Some(set),
        _ => None,
    })
}

fn suits(set: SetName, family: TableFamily, element: Element) -> bool {
    let is_range = match element {
        Element::Range(AddressRange { first, last })
        | Element::Cidr(AddressRange { first, last }, _) => first <= last,
        Element::PortRange(PortRangeElement { first, last, .. }) => first <= last,
        _ => true,
    };
    let is_of_kind = element.kind().map_or(set.has_catch_all(), |kind| kind == set.kind());
    is_of_kind && is_range && element.is_of(set.family(family)) && set.tables().contains(&family)
}

/// Whether an element with the same key, or an interval that overlaps it, exists.
fn overlaps(elements: &BTreeSet<Element>, element: Element) -> bool {
    let between = |low, high| elements.range(low..=high).next().is_some();
    match element {
        Element::Class(a, _) => {
            between(Element::Class(a, ClassId(0)), Element::Class(a, ClassId(u32::MAX)))
        }
        Element::Row(a, c, _) => {
            between(Element::Row(a, c, ProfileId(0)), Element::Row(a, c, ProfileId(u32::MAX)))
        }
        Element::Range(AddressRange { first, last })
        | Element::Cidr(AddressRange { first, last }, _) => elements.iter().any(|other| {
            matches!(other, Element::Range(o) | Element::Cidr(o, _)
                if o.first <= last && first <= o.last)
        }),
        Element::PortRange(PortRangeElement { profile, protocol, first, last }) => {
            elements.iter().any(|other| {
                matches!(other, Element::PortRange(o) if o.profile == profile
                    && o.protocol == protocol && o.first <= last && first <= o.last)
            })
        }
        Element::Address(_)
        | Element::Hairpin(_)
        | Element::Bridge(_)
        | Element::Interface(_)
        | Element::Source(..)
        | Element::Target(..)
        | Element::Service(_)
        | Element::Mac(_)
        | Element::PortMac(..)
        | Element::Port(_)
        | Element::Tuple(_)
        | Element::CatchAll => elements.contains(&element),
    }
}
