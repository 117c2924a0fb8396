//! A transaction as one batch of messages, and the way back from an error in it to the operation.

use nftnl::MsgType;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{
    ChainName, Expr, Rule, SetName, TOS_PRIORITIES, VERSION,
};

use super::chain_message::{put_chain, put_rule};
use super::declare::{declaration, restore_map};
use super::instruction::Instruction;
use super::wire::{self, Header, flag, msg};
use super::{elements, rule, sys, text};
use crate::ruleset::{RulesetError, TableName};
use crate::transaction::{Element, Generations, Op, SetId, TableOp, Transaction};

/// `NFT_TABLE_F_*`
pub(super) const OWNER: u32 = 0x2;
pub(super) const PERSIST: u32 = 0x4;
pub(super) const DORMANT: u32 = 0x1;

/// The table's comment, followed by the skeleton's version.
const COMMENT: &str = "palisade skeleton ";
/// `NFTNL_UDATA_TABLE_COMMENT`
const UDATA_COMMENT: u8 = 0;

/// `nft_set_elem_list_attributes`
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
pub(super) const LIST_ELEMENTS: u16 = 3;
const LIST_SET_ID: u16 = 4;

/// How a batch is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) table: TableName,
    /// The sequence number of its first message.
    pub(super) sequence: u32,
    /// The kernel refuses the batch if its ruleset is of another generation.
    pub(super) generation: Option<u32>,
    /// Create tables owned by the socket.
    pub(super) owner: bool,
    /// Ask for an acknowledgement of the last operation, where the kernel gives none for the end of a batch.
    pub(super) acknowledge_last: bool,
}

/// The bytes of a transaction.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) sequence: u32,
    /// Where each message starts, in order of sequence numbers.
    messages: Vec<usize>,
    /// Where each operation starts, ascending, and its index in the transaction.
    operations: Vec<(usize, usize)>,
}

impl Batch {
    pub(super) fn new(transaction: &Transaction, setting: Setting) -> Result<Self, RulesetError> {
        let mut writer = Writer {
            batch: Self {
                bytes: Vec::with_capacity(64 * transaction.ops.len() + 64),
                sequence: setting.sequence,
                messages: Vec::new(),
                operations: Vec::with_capacity(transaction.ops.len()),
            },
            table: setting.table,
            owner: setting.owner,
            sets: 0,
            elements: None,
        };
        let sequence = writer.start();
        wire::batch_begin(&mut writer.batch.bytes, sequence, setting.generation);
        for (index, op) in transaction.ops.iter().enumerate() {
            writer.operation(index, op)?;
        }
        writer.finish_elements();
        let mut batch = writer.batch;
        if setting.acknowledge_last && batch.messages.len() > 1 {
            batch.acknowledge_last();
        }
        let sequence = batch.end_sequence();
        batch.messages.push(batch.bytes.len());
        wire::batch_end(&mut batch.bytes, sequence);
        Ok(batch)
    }

    /// The same without its end, so that the kernel checks all of it and then discards it.
    pub(super) fn without_end(mut self) -> Self {
        if let Some(end) = self.messages.pop() {
            self.bytes.truncate(end);
        }
        self
    }

    /// The sequence number behind the last message's.
    pub(super) fn end_sequence(&self) -> u32 {
        self.sequence.wrapping_add(u32::try_from(self.messages.len()).unwrap_or(u32::MAX))
    }

    /// The place of a sequence number in the batch: 0 is its begin message. `None`: not of this batch.
    pub(super) fn position(&self, sequence: u32) -> Option<usize> {
        let position = usize::try_from(sequence.wrapping_sub(self.sequence)).ok()?;
        (position < self.messages.len()).then_some(position)
    }

    /// Whether the message at that place is the batch's end.
    pub(super) fn is_end(&self, position: usize) -> bool {
        position + 1 == self.messages.len()
    }

    /// The index of the operation that a message, or the byte at an offset into it, belongs to.
    pub(super) fn operation(&self, position: usize, offset: Option<u32>) -> Option<usize> {
        let start = *self.messages.get(position)?;
        let end = self.messages.get(position + 1).copied().unwrap_or(self.bytes.len());
        let at = start + offset.and_then(|o| usize::try_from(o).ok()).unwrap_or(0);
        let within = |&&(place, _): &&(usize, usize)| place >= start && place < end;
        let up_to = self.operations.partition_point(|&(place, _)| place <= at);
        let before = self.operations.get(..up_to)?.last().filter(within);
        let first = || {
            let from = self.operations.partition_point(|&(place, _)| place < start);
            self.operations.get(from).filter(within)
        };
        before.or_else(first).map(|&(_, index)| index)
    }

    fn acknowledge_last(&mut self) {
        let Some(&at) = self.messages.last() else { return };
        let flags = self.bytes.get(at + 6..at + 8).and_then(|b| b.try_into().ok());
        let flags = flags.map_or(0, u16::from_ne_bytes) | flag::ACK;
        wire::set_flags(&mut self.bytes, at, flags);
    }
}

/// A message of elements that takes more of them.
#[derive(Debug, Clone, Copy)]
struct OpenElements {
    kind: u16,
    family: TableFamily,
    set: SetId,
    message: usize,
    list: usize,
}

struct Writer {
    batch: Batch,
    table: TableName,
    owner: bool,
    /// Ids given to sets created in this batch.
    sets: u32,
    elements: Option<OpenElements>,
}

impl Writer {
    /// Notes that a message begins here, and gives its sequence number.
    fn start(&mut self) -> u32 {
        let sequence = self.batch.end_sequence();
        self.batch.messages.push(self.batch.bytes.len());
        sequence
    }

    fn header(&mut self, family: TableFamily, kind: u16, flags: u16) -> Header {
        Header { kind, flags, family: sys::proto(family) as u8, sequence: self.start() }
    }

    fn operation(&mut self, index: usize, op: &TableOp) -> Result<(), RulesetError> {
        if let Op::Add(id, element) = &op.op {
            return self.element(index, op, msg::NEWSETELEM, *id, element);
        }
        if let Op::Remove(id, element) = &op.op {
            return self.element(index, op, msg::DELSETELEM, *id, element);
        }
        self.finish_elements();
        self.batch.operations.push((self.batch.bytes.len(), index));
        self.object(op.family, &op.op);
        Ok(())
    }

    fn element(
        &mut self,
        index: usize,
        op: &TableOp,
        kind: u16,
        set: SetId,
        element: &Element,
    ) -> Result<(), RulesetError> {
        if !elements::fits(op.family, set.set, element) {
            return Err(RulesetError::Refused {
                op: text::operation(self.table, op),
                errno: "the element is none of this set".to_owned(),
                at: Some(Box::new(op.clone())),
            });
        }
        let open = self.elements.filter(|open| {
            (open.kind, open.family, open.set) == (kind, op.family, set)
                && self.batch.bytes.len() - open.list + elements::MAX_ELEMENT <= wire::MAX_NEST
        });
        if open.is_none() {
            self.finish_elements();
            self.start_elements(kind, op.family, set);
        }
        self.batch.operations.push((self.batch.bytes.len(), index));
        elements::put_element(&mut self.batch.bytes, element);
        Ok(())
    }

    fn start_elements(&mut self, kind: u16, family: TableFamily, set: SetId) {
        // EXCL: what is there already is a difference that nobody knew of.
        let flags = if kind == msg::NEWSETELEM { flag::CREATE | flag::EXCL } else { 0 };
        let header = self.header(family, kind, flags);
        let out = &mut self.batch.bytes;
        let message = wire::open(out, header);
        wire::put_str(out, LIST_TABLE, self.table.as_str());
        wire::put_str(out, LIST_SET, &set.to_string());
        let list = wire::open_nest(out, LIST_ELEMENTS);
        self.elements = Some(OpenElements { kind, family, set, message, list });
    }

    fn finish_elements(&mut self) {
        if let Some(open) = self.elements.take() {
            wire::close_nest(&mut self.batch.bytes, open.list);
            wire::close(&mut self.batch.bytes, open.message);
        }
    }

    fn object(&mut self, family: TableFamily, op: &Op) {
        let table = (self.table.as_str(), family);
        match op {
            Op::CreateTable => {
                let header = self.header(family, msg::NEWTABLE, flag::CREATE);
                let flags = if self.owner { OWNER | PERSIST } else { 0 };
                sys::put_table(
                    &mut self.batch.bytes,
                    header,
                    self.table.as_str(),
                    Some(flags),
                    &comment(),
                );
            }
            Op::DeleteTable => {
                let header = self.header(family, msg::DELTABLE, 0);
                sys::put_table(&mut self.batch.bytes, header, self.table.as_str(), None, &[]);
            }
            Op::CreateSet { id, size } => self.create_set(family, *id, *size),
            Op::DeleteSet(id) => {
                let header = self.header(family, msg::DELSET, 0);
                sys::put_set(
                    &mut self.batch.bytes,
                    header,
                    self.table.as_str(),
                    &id.to_string(),
                    None,
                );
            }
            Op::CreateChain(chain) => {
                let place = (self.start(), flag::CREATE | flag::EXCL);
                let (name, hook) = (chain.as_str(), chain.hook());
                put_chain(&mut self.batch.bytes, table, name, hook, MsgType::Add, place);
            }
            Op::DeleteChain(name) => {
                let place = (self.start(), 0);
                put_chain(&mut self.batch.bytes, table, name, None, MsgType::Del, place);
            }
            Op::FlushChain(name) => {
                let place = (self.start(), 0);
                put_rule(&mut self.batch.bytes, table, name, &[], MsgType::Del, place);
            }
            Op::AddRule { chain, rule, generations } => {
                self.add_rule(family, *chain, rule, generations);
            }
            // Elements are packed many to a message.
            Op::Add(..) | Op::Remove(..) => {}
        }
    }

    fn create_set(&mut self, family: TableFamily, id: SetId, size: Option<u32>) {
        let declaration = declaration(family, id.set);
        self.sets += 1;
        let new = sys::NewSet { declaration: &declaration, id: self.sets, size };
        let header = self.header(family, msg::NEWSET, flag::CREATE | flag::EXCL);
        sys::put_set(
            &mut self.batch.bytes,
            header,
            self.table.as_str(),
            &id.to_string(),
            Some(new),
        );
    }

    fn add_rule(
        &mut self,
        family: TableFamily,
        chain: ChainName,
        rule: &Rule,
        generations: &Generations,
    ) {
        let restore = rule.contains(&Expr::RestorePriority).then(|| self.create_restore(family));
        let instructions = rule::encode(family, rule, generations, restore);
        let place = (self.start(), flag::CREATE | flag::APPEND);
        let (out, table) = (&mut self.batch.bytes, (self.table.as_str(), family));
        put_rule(out, table, chain.as_str(), &instructions, MsgType::Add, place);
    }

    /// The anonymous map that a rule with `RestorePriority` refers to by the id returned.
    fn create_restore(&mut self, family: TableFamily) -> u32 {
        let declaration = restore_map();
        self.sets += 1;
        let id = self.sets;
        let size = u32::try_from(TOS_PRIORITIES.len()).ok();
        let new = sys::NewSet { declaration: &declaration, id, size };
        let header = self.header(family, msg::NEWSET, flag::CREATE);
        sys::put_set(
            &mut self.batch.bytes,
            header,
            self.table.as_str(),
            rule::RESTORE_MAP,
            Some(new),
        );

        let header = self.header(family, msg::NEWSETELEM, flag::CREATE);
        let out = &mut self.batch.bytes;
        let message = wire::open(out, header);
        wire::put_str(out, LIST_TABLE, self.table.as_str());
        wire::put_str(out, LIST_SET, rule::RESTORE_MAP);
        wire::put(out, LIST_SET_ID, &id.to_be_bytes());
        let list = wire::open_nest(out, LIST_ELEMENTS);
        for (tos, priority) in TOS_PRIORITIES {
            elements::put_restore(out, tos, priority);
        }
        wire::close_nest(out, list);
        wire::close(out, message);
        id
    }
}

/// The comment as nft writes it: type, length, text with its NUL.
fn comment() -> Vec<u8> {
    let mut text = format!("{COMMENT}{VERSION}").into_bytes();
    text.push(0);
    let mut out = vec![UDATA_COMMENT, u8::try_from(text.len()).unwrap_or(u8::MAX)];
    out.extend(text);
    out
}

/// The skeleton's version in a table's userdata.
pub(super) fn version(userdata: &[u8]) -> Option<u32> {
    let mut rest = userdata;
    while let [kind, length, tail @ ..] = rest {
        let (value, next) = tail.split_at_checked(usize::from(*length))?;
        if *kind == UDATA_COMMENT {
            let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
            return text.strip_prefix(COMMENT)?.parse().ok();
        }
        rest = next;
    }
    None
}

/// A batch that the kernel checks and then discards, since it has no end: the way to ask what the kernel can do. It
/// creates a table with these flags and, if asked to, a map with a catch-all element in it.
pub(super) fn rehearsal(
    sequence: u32,
    (table_family, table): (TableFamily, &str),
    flags: u32,
    catch_all: bool,
) -> Vec<u8> {
    let family = sys::proto(table_family) as u8;
    let header = |kind, flags| Header { kind, flags, family, sequence: sequence.wrapping_add(1) };
    let mut out = Vec::new();
    wire::batch_begin(&mut out, sequence, None);
    sys::put_table(&mut out, header(msg::NEWTABLE, flag::CREATE), table, Some(flags), &[]);
    if catch_all {
        let declaration = declaration(table_family, SetName::Class);
        let new = sys::NewSet { declaration: &declaration, id: 1, size: Some(1) };
        let name = SetName::Class.as_str();
        sys::put_set(&mut out, header(msg::NEWSET, flag::CREATE), table, name, Some(new));
        let message = wire::open(&mut out, header(msg::NEWSETELEM, flag::CREATE));
        wire::put_str(&mut out, LIST_TABLE, table);
        wire::put_str(&mut out, LIST_SET, name);
        let list = wire::open_nest(&mut out, LIST_ELEMENTS);
        elements::put_element(&mut out, &Element::CatchAll);
        wire::close_nest(&mut out, list);
        wire::close(&mut out, message);
    }
    out
}

/// A batch that the kernel checks and then discards, with a rule that loads what this is about a connection.
pub(super) fn rule_about_connections(table: &str, key: u32) -> Vec<u8> {
    const CHAIN: &str = "chain";
    let (family, mut out) = (TableFamily::Ip, Vec::new());
    wire::batch_begin(&mut out, 0, None);
    let header = Header {
        kind: msg::NEWTABLE,
        flags: flag::CREATE,
        family: sys::proto(family) as u8,
        sequence: 1,
    };
    sys::put_table(&mut out, header, table, Some(0), &[]);
    put_chain(&mut out, (table, family), CHAIN, None, MsgType::Add, (2, flag::CREATE));
    let load = [Instruction::Ct { key, direction: None, to: 1 }];
    put_rule(&mut out, (table, family), CHAIN, &load, MsgType::Add, (3, flag::CREATE));
    out
}
