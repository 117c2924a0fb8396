//! What the expressions that look a set up make of the packet, as instructions.

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::element::ElementKind;
use palisade_compiler::program::skeleton::{Expr, SetName, Side, Way};

use super::super::instruction::{
    HTON, Instruction, Register, base, ct_direction, ct_key, meta, register,
};
use super::{
    ARP_SENDER_OFFSET, FIRST, MAC_LENGTH, SECOND, address, after_address, field, interface,
    load_protocol, of_udp, payload,
};

/// Of an Ethernet header, in bytes.
const SENDER_OFFSET: u32 = 6;

/// Of a neighbour solicitation or advertisement, in bytes.
const TARGET_OFFSET: u32 = 8;
const TARGET_LENGTH: u32 = 16;

/// What a match by membership makes of the packet.
pub(super) fn looked_for(family: TableFamily, expr: Expr, set: SetName) -> Vec<Instruction> {
    let of_set = TableFamily::from(set.family(family));
    let meta = |key| Instruction::Meta { key, to: FIRST };
    match expr {
        Expr::AddressIn(side, _) | Expr::AddressNotIn(side, _) => {
            vec![address(of_set, side, FIRST)]
        }
        Expr::InterfaceIn(side, _) | Expr::InterfaceNotIn(side, _) => vec![meta(interface(side))],
        Expr::InterfaceAddressIn(side, _) | Expr::InterfaceAddressNotIn(side, _) => {
            vec![meta(interface(side)), address(of_set, side, SECOND)]
        }
        Expr::ArpSenderIn(_) if set.kind() == ElementKind::Source => {
            vec![meta(meta::IIF), payload(base::NETWORK, ARP_SENDER_OFFSET, 4, SECOND)]
        }
        Expr::ArpSenderIn(_) => vec![payload(base::NETWORK, ARP_SENDER_OFFSET, 4, FIRST)],
        Expr::SenderMacIn(_) => vec![sender(FIRST)],
        Expr::SenderMacNotIn(_) => vec![meta(meta::IIF), sender(SECOND)],
        Expr::TargetIn(_) => {
            vec![meta(meta::IIF), payload(base::TRANSPORT, TARGET_OFFSET, TARGET_LENGTH, SECOND)]
        }
        Expr::ConnectionSourceIn(way, _) => vec![
            address(family, Side::Source, FIRST),
            connection_source(family, way, after_address(family)),
        ],
        Expr::PairIn(_) => vec![
            address(family, Side::Source, FIRST),
            address(family, Side::Destination, after_address(family)),
        ],
        Expr::TupleIn(_) => tuple(of_set),
        Expr::InterfacesIn(_) => {
            vec![meta(meta::IIF), Instruction::Meta { key: meta::OIF, to: SECOND }]
        }
        Expr::UdpPortIn(_) => of_udp([payload(base::TRANSPORT, 2, 2, FIRST)]),
        _ => profile_and_port(family, set),
    }
}

/// The Ethernet address of who sent the frame.
fn sender(to: Register) -> Instruction {
    payload(base::LINK, SENDER_OFFSET, MAC_LENGTH, to)
}

fn connection_source(family: TableFamily, way: Way, to: Register) -> Instruction {
    let key = match family {
        TableFamily::Ip => ct_key::SOURCE_IPV4,
        TableFamily::Ip6 | TableFamily::Bridge | TableFamily::Inet => ct_key::SOURCE_IPV6,
    };
    let direction = match way {
        Way::Original => ct_direction::ORIGINAL,
        Way::Reply => ct_direction::REPLY,
    };
    Instruction::Ct { key, direction: Some(direction), to }
}

fn profile_and_port(family: TableFamily, set: SetName) -> Vec<Instruction> {
    let mut out = vec![Instruction::Meta { key: meta::PRIORITY, to: FIRST }];
    if set.is_interval() {
        // Ranges are compared byte by byte, so all fields are big endian there, the id too.
        let (from, to) = (FIRST, FIRST);
        out.push(Instruction::Byteorder { from, to, op: HTON, length: 4, size: 4 });
    }
    out.extend([load_protocol(family, register(4)), payload(base::TRANSPORT, 2, 2, register(8))]);
    out
}

/// Both ends of the packet; `of_addresses` is the table of the addresses' family.
fn tuple(of_addresses: TableFamily) -> Vec<Instruction> {
    let (_, length) = field(of_addresses, Side::Source);
    let (source, destination, ports) = (4, 4 + length, 4 + 2 * length);
    vec![
        Instruction::Meta { key: meta::L4PROTO, to: FIRST },
        address(of_addresses, Side::Source, register(source)),
        address(of_addresses, Side::Destination, register(destination)),
        payload(base::TRANSPORT, 0, 2, register(ports)),
        payload(base::TRANSPORT, 2, 2, register(ports + 4)),
    ]
}
