//! The expression that a rule's instructions begin with.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::model::{Direction, Family};
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::{
    self, ChainName, Expr, ICMP, ICMPV6, NetworkProtocol, Side, TCP, UDP, VlanTag, Way,
};

use super::super::instruction::{
    EQUAL, Instruction, base, ct_direction, ct_key, meta, reject, verdict,
};
use super::{
    ARP_SENDER_OFFSET, ETHERTYPE_OFFSET, GROUP, HOP_LIMIT_OFFSET, PROTOCOL_OFFSET, TOS_WORD, field,
    nfproto,
};
use crate::transaction::SetId;

/// The expression that these instructions may begin with, and the set that it names. The caller checks it.
pub(super) fn recognise(
    family: TableFamily,
    rest: &[Instruction],
) -> Option<(Expr, Option<SetId>)> {
    use Instruction as I;
    if let Some(expr) = statement(rest).or_else(|| of_frame(rest)) {
        return Some((expr, None));
    }
    let expr = match rest {
        [I::Meta { key: meta::NFPROTO, .. }, I::Compare { value, .. }, ..] => {
            let of = Family::ALL.into_iter().find(|&family| value == &[nfproto(family)]);
            Expr::FamilyIs(of?)
        }
        [I::Ct { key: ct_key::STATUS, .. }, ..] => Expr::CtStatusDnat,
        [I::Ct { .. }, I::Bitwise { mask, .. }, ..] => Expr::CtState(number(mask)?),
        [I::Meta { key: meta::L4PROTO, .. }, I::Compare { op, value, .. }, tail @ ..] => {
            if let [I::Payload { .. }, I::Lookup { .. }, ..] = tail {
                return looked_up(family, rest);
            }
            protocol_match(*op, value, tail)?
        }
        [
            I::Payload { base: base::NETWORK, offset: PROTOCOL_OFFSET, length: 1, .. },
            I::Compare { op, value, .. },
            tail @ ..,
        ] if family == TableFamily::Ip => protocol_match(*op, value, tail)?,
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
            let (of, side) = address_at(family, *offset)?;
            Expr::InSubnet(side, subnet_of(of, value, prefix(mask, length)?)?)
        }
        [I::Payload { offset: HOP_LIMIT_OFFSET, length: 1, .. }, I::Compare { value, .. }, ..] => {
            Expr::HopLimit(*value.first()?)
        }
        [I::Payload { offset, length, .. }, I::Compare { value, .. }, ..] => {
            let bits = u8::try_from(length.checked_mul(8)?).ok()?;
            let (of, side) = address_at(family, *offset)?;
            Expr::InSubnet(side, subnet_of(of, value, bits)?)
        }
        _ => return looked_up(family, rest),
    };
    Some((expr, None))
}

/// A statement, which ends a rule or changes something.
fn statement(rest: &[Instruction]) -> Option<Expr> {
    use Instruction as I;
    Some(match rest {
        [I::Load { value, .. }, I::SetMeta { .. }, ..] => Expr::SetPriority(number(value)?),
        [I::Payload { .. }, I::Bitwise { .. }, I::Lookup { .. }, ..] => Expr::RestorePriority,
        [I::Counter, ..] => Expr::Counter,
        [I::Limit { rate, .. }, ..] => Expr::Limit(*rate),
        [I::Log { prefix, .. }, ..] => {
            Expr::Log(Direction::ALL.into_iter().find(|&d| skeleton::log_prefix(d) == prefix)?)
        }
        [I::Reject { kind: reject::TCP_RESET, .. }, ..] => Expr::RejectByReset,
        [I::Reject { .. }, ..] => Expr::RejectByError,
        [I::Verdict { code, chain }, ..] => judged(*code, chain.as_deref())?,
        _ => return None,
    })
}

/// A match on what only the bridge table looks at.
fn of_frame(rest: &[Instruction]) -> Option<Expr> {
    use Instruction as I;
    Some(match rest {
        [I::Meta { key: meta::PROTOCOL, .. }, I::Compare { value, .. }, ..] => {
            let of = |protocol: &NetworkProtocol| value == &protocol.number().to_be_bytes();
            Expr::NetworkProtocolIs(NetworkProtocol::ALL.into_iter().find(of)?)
        }
        [
            I::Payload { base: base::LINK, offset: ETHERTYPE_OFFSET, .. },
            I::Compare { value, .. },
            ..,
        ] => {
            let is = |tag: &VlanTag| value == &tag.number().to_be_bytes();
            Expr::Tagged(VlanTag::ALL.into_iter().find(is)?)
        }
        [I::Payload { base: base::LINK, .. }, I::Bitwise { mask, .. }, ..] => {
            if *mask == GROUP {
                Expr::ToGroup
            } else {
                Expr::ToReservedGroup
            }
        }
        [I::Extension { is_presence: true, .. }, ..] => Expr::IsFragment,
        [I::Extension { .. }, I::Compare { value, .. }, ..] => Expr::FragmentOf(*value.first()?),
        [
            I::Payload { base: base::NETWORK, offset: ARP_SENDER_OFFSET, .. },
            I::Compare { .. },
            ..,
        ] => Expr::ArpProbe,
        [I::Meta { key: meta::LENGTH, .. }, I::Byteorder { .. }, I::Compare { value, .. }, ..] => {
            Expr::LengthAtMost(u32::from_be_bytes(value.as_slice().try_into().ok()?))
        }
        _ => return None,
    })
}

/// An expression that ends in the lookup of a named set.
fn looked_up(family: TableFamily, rest: &[Instruction]) -> Option<(Expr, Option<SetId>)> {
    use Instruction as I;
    let name = rest.iter().find_map(I::set)?;
    let id = SetId::parse(name)?;
    let set = id.set;
    let expr = match rest {
        [I::Meta { key, .. }, I::Lookup { inverted, .. }, ..] => {
            let side = interface_side(*key)?;
            if *inverted { Expr::InterfaceNotIn(side, set) } else { Expr::InterfaceIn(side, set) }
        }
        [I::Meta { .. }, I::Payload { base: base::TRANSPORT, .. }, I::Lookup { .. }, ..] => {
            Expr::TargetIn(set)
        }
        [I::Meta { .. }, I::Payload { offset: ARP_SENDER_OFFSET, .. }, I::Lookup { .. }, ..]
        | [I::Payload { offset: ARP_SENDER_OFFSET, .. }, I::Lookup { .. }, ..] => {
            Expr::ArpSenderIn(set)
        }
        [I::Meta { .. }, I::Payload { base: base::LINK, .. }, ..] => Expr::SenderMacNotIn(set),
        [I::Payload { base: base::LINK, .. }, ..] => Expr::SenderMacIn(set),
        [I::Meta { key, .. }, I::Payload { .. }, I::Lookup { inverted, .. }, ..] => {
            let side = interface_side(*key)?;
            if *inverted {
                Expr::InterfaceAddressNotIn(side, set)
            } else {
                Expr::InterfaceAddressIn(side, set)
            }
        }
        [I::Meta { key: meta::L4PROTO, .. }, I::Compare { .. }, ..] => Expr::UdpPortIn(set),
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
        [I::Payload { .. }, I::Ct { direction: Some(direction), .. }, ..] => {
            let way = match *direction {
                ct_direction::ORIGINAL => Way::Original,
                _ => Way::Reply,
            };
            Expr::ConnectionSourceIn(way, set)
        }
        [I::Payload { offset, .. }, I::Meta { .. }, ..] => {
            Expr::ProfileFrom(side_at(family, *offset)?, set)
        }
        _ => return None,
    };
    Some((expr, Some(id)))
}

/// A comparison of the protocol, alone or with what it is written for.
fn protocol_match(op: u32, protocol: &[u8], tail: &[Instruction]) -> Option<Expr> {
    let &[protocol] = protocol else { return None };
    if op != EQUAL {
        return Some(Expr::ProtocolIsNot(protocol));
    }
    let of_header = match tail {
        [Instruction::Payload { base: base::TRANSPORT, .. }, next, ..] => Some(next),
        _ => None,
    };
    Some(match (protocol, of_header) {
        (TCP, Some(Instruction::Bitwise { .. })) => Expr::TcpNotOpening,
        (ICMP, Some(Instruction::Compare { value, .. })) => Expr::IcmpType(*value.first()?),
        (ICMPV6, Some(Instruction::Compare { value, .. })) => Expr::Icmpv6Type(*value.first()?),
        (UDP, Some(Instruction::Compare { value, .. })) => {
            let &[s0, s1, d0, d1] = value.as_slice() else { return None };
            Expr::UdpPorts(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
        }
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

/// Which address is at the offset, and of which family; in the bridge table both are.
fn address_at(family: TableFamily, offset: u32) -> Option<(TableFamily, Side)> {
    let families: &[TableFamily] = match family {
        TableFamily::Ip => &[TableFamily::Ip],
        TableFamily::Ip6 | TableFamily::Inet => &[TableFamily::Ip6],
        TableFamily::Bridge => &[TableFamily::Ip, TableFamily::Ip6],
    };
    families.iter().find_map(|&of| side_at(of, offset).map(|side| (of, side)))
}

fn interface_side(key: u32) -> Option<Side> {
    match key {
        meta::IIF => Some(Side::Source),
        meta::OIF => Some(Side::Destination),
        _ => None,
    }
}

/// The length of the prefix that a mask of so many bytes covers.
fn prefix(mask: &[u8], length: usize) -> Option<u8> {
    (mask.len() == length).then_some(())?;
    u8::try_from(mask.iter().map(|b| b.leading_ones()).sum::<u32>()).ok()
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
