//! The skeleton's expressions as nf_tables instructions, and back.
//!
//! The instructions are those that `nft -f` makes of the same text, so that nft lists the text again. Reading back
//! recognises an expression by its first instructions and then holds the whole against the encoding of what it
//! recognised: nothing is understood that would not be written the same way.

mod lookups;
mod recognise;

use ipnet::IpNet;
use palisade_compiler::model::{Direction, Family};
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{
    self, ChainName, Expr, ICMP, ICMPV6, NetworkProtocol, Rule, SetName, Side, TCP, TCP_FLAGS_WORD,
    TCP_OPENING_MASK, TCP_SYN, TOS_MASK, UDP,
};

use super::instruction::{
    AT_MOST, EQUAL, HTON, Instruction, NOT_EQUAL, Register, base, ct_key, meta, register, reject,
    verdict,
};
use crate::transaction::{Generations, SetId};
use lookups::looked_for;
use recognise::recognise;

/// The name of an anonymous map in the rule that it is made for; the kernel puts a number in.
pub(super) const RESTORE_MAP: &str = "__map%d";

/// `IPS_DST_NAT` (linux/netfilter/nf_conntrack_common.h): what nft calls `ct status dnat`.
const STATUS_DNAT: u32 = 0x20;

/// nft's burst where the text gives none.
const LIMIT_BURST: u32 = 5;

/// Offsets in an IPv4 header, in bytes: of the field, and of the 4 bytes that it is the second of.
const TOS_OFFSET: u32 = 1;
const TOS_WORD: u32 = 0;
const PROTOCOL_OFFSET: u32 = 9;

/// Of an IPv6 header, in bytes.
const HOP_LIMIT_OFFSET: u32 = 7;

/// Of an Ethernet header, in bytes.
const RECEIVER_OFFSET: u32 = 0;
const MAC_LENGTH: u32 = 6;
const ETHERTYPE_OFFSET: u32 = 12;

/// The bit that is sent first of a group's address (IEEE 802, 8.2.2).
const GROUP: [u8; 6] = [1, 0, 0, 0, 0, 0];
/// `PACKET_MULTICAST` (linux/if_packet.h).
const PACKET_MULTICAST: u8 = 2;

/// Groups of which no bridge passes on what is sent to them (IEEE 802.1Q, table 8-1).
const RESERVED: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];
const RESERVED_MASK: [u8; 6] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xf0];

/// Of an ARP message for IPv4 over Ethernet, in bytes.
const ARP_SENDER_OFFSET: u32 = 14;

const FIRST: Register = 1;
/// The register of a concatenation's second field, behind an interface.
const SECOND: Register = 9;

/// The instructions of a rule; `restore_map` is the batch's id of the anonymous map for `RestorePriority`.
pub(super) fn encode(
    family: TableFamily,
    rule: &Rule,
    generations: &Generations,
    restore_map: Option<u32>,
) -> Vec<Instruction> {
    let names = Names { generations: *generations, restore_map };
    rule.iter().flat_map(|&expr| expression(family, expr, &names)).collect()
}

/// The inverse: the rule, and the sets that it names in order. `restores` tells whether a set of that name is the
/// anonymous map of `RestorePriority`.
pub(super) fn decode(
    family: TableFamily,
    instructions: Vec<Instruction>,
    restores: impl Fn(&str) -> bool,
) -> Option<(Rule, Vec<SetId>)> {
    let mut instructions: Vec<_> = instructions
        .into_iter()
        .filter(|i| !is_idle(i))
        .map(|i| name_restore_map(i, &restores))
        .collect();
    look_at_protocols(&mut instructions);
    cut_masks(&mut instructions);
    let (mut rule, mut sets) = (Rule::new(), Vec::new());
    let mut rest = instructions.as_slice();
    while !rest.is_empty() {
        let (expr, set) = recognise(family, rest)?;
        let mut names = Names { generations: Generations::default(), restore_map: None };
        if let Some(id) = set {
            names.generations.set(id);
            sets.push(id);
        }
        rest = rest.strip_prefix(expression(family, expr, &names).as_slice())?;
        rule.push(expr);
    }
    Some((rule, sets))
}

/// nft 1.0.6 puts one byte "into network order" in a concatenated interval lookup, which changes nothing.
fn is_idle(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Byteorder { from, to, length: 1, size: 2, .. } if from == to)
}

fn name_restore_map(mut instruction: Instruction, restores: &impl Fn(&str) -> bool) -> Instruction {
    if let Instruction::Lookup { set, .. } = &mut instruction
        && restores(set)
    {
        *set = RESTORE_MAP.to_owned();
    }
    instruction
}

/// nft lists `meta protocol ip6 icmpv6 type X` of a bridge table as `icmpv6 type X`, and makes of that, when it loads the listing,
/// a look at the frame's header, which says the same of an untagged frame.
fn look_at_protocols(instructions: &mut [Instruction]) {
    let is_network = |value: &[u8]| {
        NetworkProtocol::ALL.iter().any(|protocol| value == protocol.number().to_be_bytes())
    };
    for at in 1..instructions.len() {
        if let Some([load, Instruction::Compare { value, .. }]) = instructions.get_mut(at - 1..=at)
            && is_network(value)
            && let &mut Instruction::Payload {
                base: base::LINK,
                offset: ETHERTYPE_OFFSET,
                length: 2,
                to,
            } = load
        {
            *load = Instruction::Meta { key: meta::PROTOCOL, to };
        }
    }
}

/// nft 1.1.3 masks the whole 4 bytes of a register into which one byte was loaded; the kernel zeroes the others.
fn cut_masks(instructions: &mut [Instruction]) {
    let mut loaded = None;
    for instruction in instructions {
        if let (Some((length, register)), Instruction::Bitwise { from, mask, xor, .. }) =
            (loaded, &mut *instruction)
            && register == *from
            && mask.len() == usize::next_multiple_of(length, 4)
            && xor.iter().all(|&bit| bit == 0)
        {
            mask.truncate(length);
            xor.truncate(length);
        }
        loaded = instruction.loaded();
    }
}

struct Names {
    generations: Generations,
    restore_map: Option<u32>,
}

impl Names {
    fn lookup(&self, set: SetName, to: Option<Register>) -> Instruction {
        let set = self.generations.id(set).to_string();
        Instruction::Lookup { set, id: None, from: FIRST, to, inverted: false }
    }

    /// A match of what is in the set, or of what is not.
    fn membership(&self, set: SetName, is_wanted: bool) -> Instruction {
        let set = self.generations.id(set).to_string();
        Instruction::Lookup { set, id: None, from: FIRST, to: None, inverted: !is_wanted }
    }
}

/// One expression, every value starting in the first register.
fn expression(family: TableFamily, expr: Expr, names: &Names) -> Vec<Instruction> {
    if let Some((set, is_wanted)) = expr.membership() {
        let mut out = looked_for(family, expr, set);
        out.push(names.membership(set, is_wanted));
        return out;
    }
    match expr {
        Expr::ClassFrom(side, map) => {
            vec![address(family, side, FIRST), names.lookup(map, Some(FIRST)), set_priority()]
        }
        Expr::ProfileFrom(side, map) => vec![
            address(family, side, FIRST),
            Instruction::Meta { key: meta::PRIORITY, to: after_address(family) },
            names.lookup(map, Some(FIRST)),
            set_priority(),
        ],
        Expr::SetPriority(value) => vec![
            Instruction::Load { to: FIRST, value: value.to_ne_bytes().to_vec() },
            set_priority(),
        ],
        Expr::RestorePriority => restore_priority(names.restore_map),
        Expr::Counter => vec![Instruction::Counter],
        Expr::Limit(rate) => vec![Instruction::Limit { rate, per: 1, burst: LIMIT_BURST }],
        Expr::Log(direction) => vec![log(direction)],
        Expr::Accept => vec![judge(verdict::ACCEPT)],
        Expr::Drop => vec![judge(verdict::DROP)],
        Expr::Return => vec![judge(verdict::RETURN)],
        Expr::RejectByReset => vec![Instruction::Reject { kind: reject::TCP_RESET, code: 0 }],
        Expr::RejectByError => vec![reject_by_error(family)],
        Expr::Goto(chain) => vec![to_chain(verdict::GOTO, chain)],
        Expr::Jump(chain) => vec![to_chain(verdict::JUMP, chain)],
        _ => matched(family, expr),
    }
}

/// A match on the packet alone.
fn matched(family: TableFamily, expr: Expr) -> Vec<Instruction> {
    let meta = |key| Instruction::Meta { key, to: FIRST };
    match expr {
        Expr::CtState(bits) => ct_bits(ct_key::STATE, bits),
        Expr::CtStatusDnat => ct_bits(ct_key::STATUS, STATUS_DNAT),
        Expr::Protocol(number) => protocol(family, EQUAL, number),
        Expr::ProtocolIsNot(number) => protocol(family, NOT_EQUAL, number),
        Expr::UdpPorts(from, to) => {
            let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
            of_udp([payload(base::TRANSPORT, 0, 4, FIRST), compare(EQUAL, &ports)])
        }
        Expr::TcpNotOpening => tcp_not_opening(family),
        Expr::IcmpType(kind) => message_type(ICMP, kind),
        Expr::Icmpv6Type(kind) => message_type(ICMPV6, kind),
        Expr::HopLimit(number) => {
            vec![payload(base::NETWORK, HOP_LIMIT_OFFSET, 1, FIRST), compare(EQUAL, &[number])]
        }
        Expr::LengthAtMost(length) => at_most(length),
        Expr::TosPriority { is_zero } => {
            let op = if is_zero { EQUAL } else { NOT_EQUAL };
            let word = payload(base::NETWORK, TOS_WORD, 4, FIRST);
            vec![word, mask(&second(TOS_MASK)), compare(op, &[0; 4])]
        }
        Expr::InSubnet(side, net) => in_subnet(side, net),
        Expr::ArpProbe => {
            vec![payload(base::NETWORK, ARP_SENDER_OFFSET, 4, FIRST), compare(EQUAL, &[0; 4])]
        }
        Expr::NetworkProtocolIs(of) => {
            vec![meta(meta::PROTOCOL), compare(EQUAL, &of.number().to_be_bytes())]
        }
        Expr::Tagged(tag) => vec![
            payload(base::LINK, ETHERTYPE_OFFSET, 2, FIRST),
            compare(EQUAL, &tag.number().to_be_bytes()),
        ],
        Expr::ToGroup => {
            let receiver = payload(base::LINK, RECEIVER_OFFSET, MAC_LENGTH, FIRST);
            vec![receiver, mask(&GROUP), compare(EQUAL, &GROUP)]
        }
        Expr::ToReservedGroup => {
            let receiver = payload(base::LINK, RECEIVER_OFFSET, MAC_LENGTH, FIRST);
            vec![receiver, mask(&RESERVED_MASK), compare(EQUAL, &RESERVED)]
        }
        Expr::CameToGroup => vec![meta(meta::PACKET_TYPE), compare(EQUAL, &[PACKET_MULTICAST])],
        Expr::IsFragment => vec![fragment_header(true), compare(EQUAL, &[1])],
        Expr::FragmentOf(number) => vec![fragment_header(false), compare(EQUAL, &[number])],
        Expr::FamilyIs(of) => vec![meta(meta::NFPROTO), compare(EQUAL, &[nfproto(of)])],
        Expr::PriorityIs(value) => {
            vec![meta(meta::PRIORITY), compare(EQUAL, &value.to_ne_bytes())]
        }
        Expr::PriorityHas(bits) => priority_bits(bits, NOT_EQUAL),
        Expr::PriorityLacks(bits) => priority_bits(bits, EQUAL),
        _ => Vec::new(),
    }
}

fn of_udp(then: impl IntoIterator<Item = Instruction>) -> Vec<Instruction> {
    let is_udp = [Instruction::Meta { key: meta::L4PROTO, to: FIRST }, compare(EQUAL, &[UDP])];
    is_udp.into_iter().chain(then).collect()
}

/// Whether there is a fragment header, or what it says is behind it, in its first byte.
fn fragment_header(is_presence: bool) -> Instruction {
    const FRAGMENT: u8 = 44;
    Instruction::Extension { header: FRAGMENT, offset: 0, length: 1, is_presence, to: FIRST }
}

/// The kernel compares bytes, so the number is big endian there.
fn at_most(length: u32) -> Vec<Instruction> {
    let (from, to) = (FIRST, FIRST);
    vec![
        Instruction::Meta { key: meta::LENGTH, to: FIRST },
        Instruction::Byteorder { from, to, op: HTON, length: 4, size: 4 },
        compare(AT_MOST, &length.to_be_bytes()),
    ]
}

/// Whether the priority has none of these bits, or any.
fn priority_bits(bits: u32, than_none: u32) -> Vec<Instruction> {
    vec![
        Instruction::Meta { key: meta::PRIORITY, to: FIRST },
        mask(&bits.to_ne_bytes()),
        compare(than_none, &[0; 4]),
    ]
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6` (linux/netfilter.h).
const fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn interface(side: Side) -> u32 {
    match side {
        Side::Source => meta::IIF,
        Side::Destination => meta::OIF,
    }
}

fn compare(op: u32, value: &[u8]) -> Instruction {
    Instruction::Compare { from: FIRST, op, value: value.to_vec() }
}

fn mask(mask: &[u8]) -> Instruction {
    let xor = vec![0; mask.len()];
    Instruction::Bitwise { from: FIRST, to: FIRST, mask: mask.to_vec(), xor }
}

fn payload(base: u32, offset: u32, length: u32, to: Register) -> Instruction {
    Instruction::Payload { base, offset, length, to }
}

fn ct_bits(key: u32, bits: u32) -> Vec<Instruction> {
    let load = Instruction::Ct { key, direction: None, to: FIRST };
    vec![load, mask(&bits.to_ne_bytes()), compare(NOT_EQUAL, &[0; 4])]
}

/// Loads the packet's protocol.
fn load_protocol(family: TableFamily, to: Register) -> Instruction {
    match family {
        TableFamily::Ip => payload(base::NETWORK, PROTOCOL_OFFSET, 1, to),
        TableFamily::Ip6 | TableFamily::Bridge | TableFamily::Inet => {
            Instruction::Meta { key: meta::L4PROTO, to }
        }
    }
}

fn protocol(family: TableFamily, op: u32, number: u8) -> Vec<Instruction> {
    vec![load_protocol(family, FIRST), compare(op, &[number])]
}

/// Four bytes of which the second is this and the others are 0.
const fn second(byte: u8) -> [u8; 4] {
    [0, byte, 0, 0]
}

/// The type is the first byte of an ICMP or ICMPv6 header.
fn message_type(protocol: u8, kind: u8) -> Vec<Instruction> {
    let mut out =
        vec![Instruction::Meta { key: meta::L4PROTO, to: FIRST }, compare(EQUAL, &[protocol])];
    out.extend([payload(base::TRANSPORT, 0, 1, FIRST), compare(EQUAL, &[kind])]);
    out
}

fn tcp_not_opening(family: TableFamily) -> Vec<Instruction> {
    let mut out = protocol(family, EQUAL, TCP);
    out.extend([
        payload(base::TRANSPORT, TCP_FLAGS_WORD, 4, FIRST),
        mask(&second(TCP_OPENING_MASK)),
        compare(NOT_EQUAL, &second(TCP_SYN)),
    ]);
    out
}

/// Where an address stands in its header and how long it is.
fn field(family: TableFamily, side: Side) -> (u32, u32) {
    match (family, side) {
        (TableFamily::Ip, Side::Source) => (12, 4),
        (TableFamily::Ip, Side::Destination) => (16, 4),
        (_, Side::Source) => (8, 16),
        (_, Side::Destination) => (24, 16),
    }
}

fn address(family: TableFamily, side: Side, to: Register) -> Instruction {
    let (offset, length) = field(family, side);
    payload(base::NETWORK, offset, length, to)
}

/// The register of a concatenation's second field, behind an address.
fn after_address(family: TableFamily) -> Register {
    register(field(family, Side::Source).1)
}

/// As nft does it: a prefix of whole bytes loads only these.
fn in_subnet(side: Side, net: IpNet) -> Vec<Instruction> {
    let (family, value, netmask) = match net {
        IpNet::V4(net) => {
            (TableFamily::Ip, net.network().octets().to_vec(), net.netmask().octets().to_vec())
        }
        IpNet::V6(net) => {
            (TableFamily::Ip6, net.network().octets().to_vec(), net.netmask().octets().to_vec())
        }
    };
    let (offset, length) = field(family, side);
    let whole = u32::from(net.prefix_len()) / 8;
    if net.prefix_len().is_multiple_of(8) && whole > 0 {
        let value: Vec<u8> = value.into_iter().take(whole as usize).collect();
        return vec![payload(base::NETWORK, offset, whole, FIRST), compare(EQUAL, &value)];
    }
    vec![payload(base::NETWORK, offset, length, FIRST), mask(&netmask), compare(EQUAL, &value)]
}

fn set_priority() -> Instruction {
    Instruction::SetMeta { key: meta::PRIORITY, from: FIRST }
}

fn restore_priority(id: Option<u32>) -> Vec<Instruction> {
    vec![
        payload(base::NETWORK, TOS_OFFSET, 1, FIRST),
        mask(&[TOS_MASK]),
        Instruction::Lookup {
            set: RESTORE_MAP.to_owned(),
            id,
            from: FIRST,
            to: Some(FIRST),
            inverted: false,
        },
        set_priority(),
    ]
}

fn log(direction: Direction) -> Instruction {
    let prefix = skeleton::log_prefix(direction).to_owned();
    Instruction::Log { group: skeleton::LOG_GROUP, prefix }
}

fn judge(code: i32) -> Instruction {
    Instruction::Verdict { code, chain: None }
}

/// By `ICMP_PKT_FILTERED` (linux/icmp.h) or `ICMPV6_ADM_PROHIBITED` (linux/icmpv6.h).
fn reject_by_error(table: TableFamily) -> Instruction {
    let code = match table {
        TableFamily::Ip => 13,
        TableFamily::Ip6 | TableFamily::Bridge | TableFamily::Inet => 1,
    };
    Instruction::Reject { kind: reject::ICMP_UNREACHABLE, code }
}

fn to_chain(code: i32, chain: ChainName) -> Instruction {
    Instruction::Verdict { code, chain: Some(chain.as_str().to_owned()) }
}

#[cfg(test)]
mod tests;
