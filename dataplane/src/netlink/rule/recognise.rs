//! The expression that a rule's instructions begin with.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::model::{Direction, Family};
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{self, ChainName, Expr, ICMP, ICMPV6, Side, TCP};

use super::super::instruction::{EQUAL, Instruction, base, ct_key, meta, reject, verdict};
use super::{HOP_LIMIT_OFFSET, PROTOCOL_OFFSET, TOS_WORD, field, nfproto};
use crate::transaction::SetId;

/// The expression that these instructions may begin with, and the set that it names. The caller checks it.
pub(super) fn recognise(
    family: TableFamily,
    rest: &[Instruction],
) -> Option<(Expr, Option<SetId>)> {
    use Instruction as I;
    let expr = match rest {
        [I::Meta { key: meta::PROTOCOL, .. }, I::Compare { .. }, ..] => Expr::IsIpv6,
        [I::Meta { key: meta::NFPROTO, .. }, I::Compare { value, .. }, ..] => {
            let of = Family::ALL.into_iter().find(|&family| value == &[nfproto(family)]);
            Expr::FamilyIs(of?)
        }
        [I::Ct { key: ct_key::STATUS, .. }, ..] => Expr::CtStatusDnat,
        [I::Ct { .. }, I::Bitwise { mask, .. }, ..] => Expr::CtState(number(mask)?),
        [I::Meta { key: meta::L4PROTO, .. }, I::Compare { value, .. }, tail @ ..] => {
            protocol_match(value, tail)?
        }
        [
            I::Payload { base: base::NETWORK, offset: PROTOCOL_OFFSET, length: 1, .. },
            I::Compare { value, .. },
            tail @ ..,
        ] if family == TableFamily::Ip => protocol_match(value, tail)?,
        [I::Meta { key: meta::PRIORITY, .. }, I::Compare { value, .. }, ..] => {
            Expr::PriorityIs(number(value)?)
        }
        [
            I::Meta { key: meta::PRIORITY, .. },
            I::Bitwise { mask, .. },
            I::Compare { op, .. },
            ..,
        ] => {
            let bits = number(mask)?;
            if *op == EQUAL { Expr::PriorityLacks(bits) } else { Expr::PriorityHas(bits) }
        }
        [I::Load { value, .. }, I::SetMeta { .. }, ..] => Expr::SetPriority(number(value)?),
        [
            I::Payload { base: base::NETWORK, offset: TOS_WORD, .. },
            I::Bitwise { .. },
            I::Compare { op, .. },
            ..,
        ] => Expr::TosPriority { is_zero: *op == EQUAL },
        [
            I::Payload { offset, length, .. },
            I::Bitwise { mask, .. },
            I::Compare { value, .. },
            ..,
        ] => {
            let length = usize::try_from(*length).ok()?;
            Expr::InSubnet(side_at(family, *offset)?, subnet(value, prefix(mask, length)?)?)
        }
        [I::Payload { offset: HOP_LIMIT_OFFSET, length: 1, .. }, I::Compare { value, .. }, ..] => {
            Expr::HopLimit(*value.first()?)
        }
        [I::Payload { offset, length, .. }, I::Compare { value, .. }, ..] => {
            let bits = u8::try_from(length.checked_mul(8)?).ok()?;
            Expr::InSubnet(side_at(family, *offset)?, subnet_of(family, value, bits)?)
        }
        [I::Payload { .. }, I::Bitwise { .. }, I::Lookup { .. }, ..] => Expr::RestorePriority,
        [I::Counter, ..] => Expr::Counter,
        [I::Limit { rate, .. }, ..] => Expr::Limit(*rate),
        [I::Log { prefix, .. }, ..] => {
            Expr::Log(Direction::ALL.into_iter().find(|&d| skeleton::log_prefix(d) == prefix)?)
        }
        [I::Reject { kind: reject::TCP_RESET, .. }, ..] => Expr::RejectByReset,
        [I::Reject { .. }, ..] => Expr::RejectByError,
        [I::Verdict { code, chain }, ..] => judged(*code, chain.as_deref())?,
        _ => return looked_up(family, rest),
    };
    Some((expr, None))
}

/// An expression that ends in the lookup of a named set.
fn looked_up(family: TableFamily, rest: &[Instruction]) -> Option<(Expr, Option<SetId>)> {
    use Instruction as I;
    let name = rest.iter().find_map(I::set)?;
    let id = SetId::parse(name)?;
    let set = id.set;
    let expr = match rest {
        [I::Meta { key: meta::IIF, .. }, I::Lookup { .. }, ..] => {
            Expr::InterfaceIn(Side::Source, set)
        }
        [I::Meta { key: meta::OIF, .. }, I::Lookup { .. }, ..] => {
            Expr::InterfaceIn(Side::Destination, set)
        }
        [I::Meta { key: meta::IIF, .. }, I::Payload { .. }, ..] => Expr::SourceIn(set),
        [I::Meta { key: meta::IIF, .. }, ..] => Expr::InterfacesIn(set),
        [I::Meta { key: meta::PRIORITY, .. }, ..] => Expr::PortIn(set),
        [I::Meta { key: meta::L4PROTO, .. }, ..] => Expr::TupleIn(set),
        [I::Payload { offset, .. }, I::Lookup { to: None, inverted, .. }, ..] => {
            let side = side_at(TableFamily::from(set.family(family)), *offset)?;
            if *inverted { Expr::AddressNotIn(side, set) } else { Expr::AddressIn(side, set) }
        }
        [I::Payload { offset, .. }, I::Lookup { to: Some(_), .. }, ..] => {
            Expr::ClassFrom(side_at(family, *offset)?, set)
        }
        [I::Payload { .. }, I::Payload { .. }, ..] => Expr::PairIn(set),
        [I::Payload { offset, .. }, I::Meta { .. }, ..] => {
            Expr::ProfileFrom(side_at(family, *offset)?, set)
        }
        _ => return None,
    };
    Some((expr, Some(id)))
}

/// A comparison of the protocol, alone or with what it is written for.
fn protocol_match(protocol: &[u8], tail: &[Instruction]) -> Option<Expr> {
    let &[protocol] = protocol else { return None };
    let of_header = match tail {
        [Instruction::Payload { base: base::TRANSPORT, .. }, next, ..] => Some(next),
        _ => None,
    };
    Some(match (protocol, of_header) {
        (TCP, Some(Instruction::Bitwise { .. })) => Expr::TcpNotOpening,
        (ICMP, Some(Instruction::Compare { value, .. })) => Expr::IcmpType(*value.first()?),
        (ICMPV6, Some(Instruction::Compare { value, .. })) => Expr::Icmpv6Type(*value.first()?),
        _ => Expr::Protocol(protocol),
    })
}

fn judged(code: i32, chain: Option<&str>) -> Option<Expr> {
    let target = || ChainName::ALL.into_iter().find(|name| Some(name.as_str()) == chain);
    Some(match code {
        verdict::ACCEPT => Expr::Accept,
        verdict::DROP => Expr::Drop,
        verdict::RETURN => Expr::Return,
        verdict::GOTO => Expr::Goto(target()?),
        verdict::JUMP => Expr::Jump(target()?),
        _ => return None,
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn side_at(family: TableFamily, offset: u32) -> Option<Side> {
    [Side::Source, Side::Destination].into_iter().find(|&side| field(family, side).0 == offset)
}

/// The length of the prefix that a mask of so many bytes covers.
fn prefix(mask: &[u8], length: usize) -> Option<u8> {
    (mask.len() == length).then_some(())?;
    u8::try_from(mask.iter().map(|b| b.leading_ones()).sum::<u32>()).ok()
}

fn subnet(value: &[u8], bits: u8) -> Option<IpNet> {
    let family = if value.len() == 4 { TableFamily::Ip } else { TableFamily::Ip6 };
    subnet_of(family, value, bits)
}

/// The network of that length whose first bytes are these.
fn subnet_of(family: TableFamily, value: &[u8], bits: u8) -> Option<IpNet> {
    let mut bytes = value.to_vec();
    bytes.resize(field(family, Side::Source).1 as usize, 0);
    let address = match family {
        TableFamily::Ip => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        TableFamily::Ip6 | TableFamily::Bridge | TableFamily::Inet => {
            IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)
        }
    };
    IpNet::new(address, bits).ok()
}
