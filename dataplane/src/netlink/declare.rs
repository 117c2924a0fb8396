//! How each set and map is declared, so that the kernel takes it and both old and new nft list it rightly.
//!
//! The kernel knows lengths only; the type numbers and the userdata are nft's, for printing. A map needs the byte
//! orders of key and data in its userdata, or class and profile ids come out byte-swapped; what nft 1.1.3 writes
//! there besides makes nft 1.0.6 crash.

use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::element::ElementKind;
use palisade_compiler::program::sets::SetName;

use super::instruction::meta;

/// `enum nft_set_flags`.
pub(super) const ANONYMOUS: u32 = 0x1;
pub(super) const CONSTANT: u32 = 0x2;
const INTERVAL: u32 = 0x4;
pub(super) const MAP: u32 = 0x8;
/// A concatenation whose fields are told apart, as interval sets of concatenations need.
const CONCAT: u32 = 0x80;

/// nft's data types (`enum datatypes` of its datatype.h).
const INTEGER: u32 = 4;
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const ETHER_ADDR: u32 = 9;
const INET_PROTO: u32 = 12;
const INET_SERVICE: u32 = 13;
const IFACE_INDEX: u32 = 20;
pub(super) const CLASSID: u32 = 23;

/// Bytes of a class or profile id.
pub(super) const ID: u32 = 4;

/// nft's userdata for sets: `NFTNL_UDATA_SET_KEYBYTEORDER`, `_DATABYTEORDER`, and nft's byte orders.
const UDATA_KEY_BYTE_ORDER: u8 = 0;
const UDATA_DATA_BYTE_ORDER: u8 = 1;
const HOST_ENDIAN: u32 = 1;
const BIG_ENDIAN: u32 = 2;

/// A set as the kernel is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declaration {
    pub(super) flags: u32,
    pub(super) key_type: u32,
    /// In bytes.
    pub(super) key_length: u32,
    /// Type and length in bytes of a map's values.
    pub(super) data: Option<(u32, u32)>,
    /// The lengths in bytes of a concatenation's fields; empty where the kernel need not know.
    pub(super) fields: &'static [u8],
    pub(super) userdata: Vec<u8>,
}

/// The declaration of one of the skeleton's sets.
pub(super) fn declaration(family: TableFamily, set: SetName) -> Declaration {
    let (address, length) = match set.family(family) {
        Family::V4 => (IPV4_ADDR, 4),
        Family::V6 => (IPV6_ADDR, 16),
    };
    use ElementKind as Kind;
    let (types, key_length): (&[u32], u32) = match set.kind() {
        Kind::Address | Kind::Range | Kind::Class | Kind::Cidr => (&[address], length),
        Kind::Hairpin => (&[address, address], 2 * length),
        Kind::Bridge => (&[IFACE_INDEX, IFACE_INDEX], 8),
        Kind::Interface => (&[IFACE_INDEX], 4),
        Kind::Source => (&[IFACE_INDEX, address], 4 + length),
        Kind::Target => (&[IFACE_INDEX, INTEGER], 4 + length),
        Kind::Mac => (&[ETHER_ADDR], 6),
        Kind::PortMac => (&[IFACE_INDEX, ETHER_ADDR], 12),
        Kind::Service => (&[INET_SERVICE], 2),
        Kind::Row => (&[address, CLASSID], length + ID),
        Kind::Tuple => {
            (&[INET_PROTO, address, address, INET_SERVICE, INET_SERVICE], 2 * length + 12)
        }
        Kind::Port | Kind::PortRange => (&[CLASSID, INET_PROTO, INET_SERVICE], 12),
    };
    let mut flags = 0;
    if set.is_map() {
        flags |= MAP;
    }
    if set.is_interval() {
        flags |= INTERVAL;
    }
    // nft prints the parts of a concatenation by their own orders.
    let key_order = if set.kind() == Kind::Interface { HOST_ENDIAN } else { BIG_ENDIAN };
    let ranges = set.kind() == Kind::PortRange;
    if ranges {
        flags |= CONCAT;
    }
    Declaration {
        flags,
        key_type: concat_type(types),
        key_length,
        data: set.is_map().then_some((CLASSID, ID)),
        fields: if ranges { &[4, 1, 2] } else { &[] },
        userdata: match set.kind() {
            Kind::Target => target_userdata(),
            _ => userdata(key_order, set.is_map()),
        },
    }
}

/// How nft 1.0.6 and later note that a set was declared by `typeof iif . @th,64,128`: an unknown byte order of the key, and
/// `NFTNL_UDATA_SET_KEY_TYPEOF`, in which each expression has its type (`enum expr_types`) and what is its own, in host byte order.
fn target_userdata() -> Vec<u8> {
    const TYPE_OF_KEY: u8 = 3;
    const META: u32 = 9;
    const PAYLOAD: u32 = 7;
    const CONCAT: u32 = 13;
    /// `PROTO_BASE_TRANSPORT_HDR`
    const BEHIND_TRANSPORT: u32 = 3;
    let attribute = |kind: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        [&[kind, length], value].concat()
    };
    let number = |kind, value: u32| attribute(kind, &value.to_ne_bytes());
    let expression = |kind, own: &[u8]| [number(0, kind), attribute(1, own)].concat();
    let interface = expression(META, &number(0, meta::IIF));
    // No protocol and no field of it; then the base, and offset and length in bits.
    let place =
        [number(0, 0), number(1, 0), number(2, BEHIND_TRANSPORT), number(3, 64), number(4, 128)];
    let target = expression(PAYLOAD, &place.concat());
    let fields = [attribute(0, &interface), attribute(1, &target)].concat();
    [number(UDATA_KEY_BYTE_ORDER, 0), attribute(TYPE_OF_KEY, &expression(CONCAT, &fields))].concat()
}

/// The anonymous map from TOS bits to priority that a rule refers to.
pub(super) fn restore_map() -> Declaration {
    Declaration {
        flags: ANONYMOUS | CONSTANT | MAP,
        key_type: INTEGER,
        key_length: 1,
        data: Some((CLASSID, ID)),
        fields: &[],
        userdata: userdata(BIG_ENDIAN, true),
    }
}

/// nft's number for a concatenation: six bits a field.
fn concat_type(types: &[u32]) -> u32 {
    types.iter().fold(0, |all, one| (all << 6) | one)
}

fn userdata(key_order: u32, map: bool) -> Vec<u8> {
    let mut out = vec![UDATA_KEY_BYTE_ORDER, 4];
    out.extend_from_slice(&key_order.to_ne_bytes());
    if map {
        out.extend_from_slice(&[UDATA_DATA_BYTE_ORDER, 4]);
        out.extend_from_slice(&HOST_ENDIAN.to_ne_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_numbers_are_nfts() {
        let key = |family, set| declaration(family, set).key_type;
        assert_eq!(key(TableFamily::Ip, SetName::AllowIn), 471);
        assert_eq!(key(TableFamily::Ip6, SetName::AllowIn), 535);
        assert_eq!(key(TableFamily::Ip, SetName::PortRanges), 94_989);
        assert_eq!(key(TableFamily::Ip, SetName::Hairpin), 455);
        assert_eq!(key(TableFamily::Ip6, SetName::Hairpin), 520);
        assert_eq!(key(TableFamily::Ip6, SetName::Bridges), 1300);
    }
}
