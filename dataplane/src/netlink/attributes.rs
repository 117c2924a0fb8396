//! An instruction as libnftnl names it.

use nftnl_sys as nft;

use super::instruction::{INVERTED, Instruction, PRESENT, VERDICT_REGISTER};

/// An attribute of a libnftnl expression.
pub(super) enum Value<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// libnftnl's name for the instruction, and its attributes.
pub(super) fn attributes(instruction: &Instruction) -> (&'static str, Vec<(u32, Value<'_>)>) {
    use Instruction as I;
    use Value::{Bytes, Text, U8, U16, U32, U64};
    match instruction {
        I::Meta { .. } => ("meta", numbers(instruction)),
        I::SetMeta { .. } => ("meta", numbers(instruction)),
        I::Ct { direction, .. } => {
            let mut values = numbers(instruction);
            values.extend(direction.map(|way| (nft::NFTNL_EXPR_CT_DIR, U8(way))));
            ("ct", values)
        }
        I::Payload { .. } => ("payload", numbers(instruction)),
        I::Extension { header, is_presence, .. } => {
            let mut values = numbers(instruction);
            values.push((nft::NFTNL_EXPR_EXTHDR_TYPE, U8(*header)));
            values.extend(is_presence.then_some((nft::NFTNL_EXPR_EXTHDR_FLAGS, U32(PRESENT))));
            ("exthdr", values)
        }
        I::Byteorder { .. } => ("byteorder", numbers(instruction)),
        I::Bitwise { mask, xor, .. } => {
            let mut values = numbers(instruction);
            values.push((nft::NFTNL_EXPR_BITWISE_MASK, Bytes(mask)));
            values.push((nft::NFTNL_EXPR_BITWISE_XOR, Bytes(xor)));
            ("bitwise", values)
        }
        I::Compare { value, .. } => {
            let mut values = numbers(instruction);
            values.push((nft::NFTNL_EXPR_CMP_DATA, Bytes(value)));
            ("cmp", values)
        }
        I::Lookup { set, id, to, inverted, .. } => {
            let mut values = numbers(instruction);
            values.push((nft::NFTNL_EXPR_LOOKUP_SET, Text(set)));
            values.extend(to.map(|to| (nft::NFTNL_EXPR_LOOKUP_DREG, U32(to))));
            values.extend(id.map(|id| (nft::NFTNL_EXPR_LOOKUP_SET_ID, U32(id))));
            values.extend(inverted.then_some((nft::NFTNL_EXPR_LOOKUP_FLAGS, U32(INVERTED))));
            ("lookup", values)
        }
        I::Load { value, .. } => {
            let mut values = numbers(instruction);
            values.push((nft::NFTNL_EXPR_IMM_DATA, Bytes(value)));
            ("immediate", values)
        }
        I::Verdict { chain, .. } => {
            let mut values = numbers(instruction);
            values.extend(chain.as_ref().map(|name| (nft::NFTNL_EXPR_IMM_CHAIN, Text(name))));
            ("immediate", values)
        }
        I::Counter => ("counter", Vec::new()),
        I::Limit { rate, per, burst } => {
            let (rate, per) = (U64(*rate), U64(*per));
            let values = vec![
                (nft::NFTNL_EXPR_LIMIT_RATE, rate),
                (nft::NFTNL_EXPR_LIMIT_UNIT, per),
                (nft::NFTNL_EXPR_LIMIT_BURST, U32(*burst)),
                (nft::NFTNL_EXPR_LIMIT_TYPE, U32(0)),
            ];
            ("limit", values)
        }
        I::Log { group, prefix } => {
            let group = (nft::NFTNL_EXPR_LOG_GROUP, U16(*group));
            ("log", vec![group, (nft::NFTNL_EXPR_LOG_PREFIX, Text(prefix))])
        }
        I::Reject { kind, code } => {
            let kind = (nft::NFTNL_EXPR_REJECT_TYPE, U32(*kind));
            ("reject", vec![kind, (nft::NFTNL_EXPR_REJECT_CODE, U8(*code))])
        }
    }
}

/// The attributes that are 32-bit numbers.
fn numbers(instruction: &Instruction) -> Vec<(u32, Value<'_>)> {
    use Instruction as I;
    let values = match instruction {
        I::Meta { key, to } => {
            vec![(nft::NFTNL_EXPR_META_KEY, *key), (nft::NFTNL_EXPR_META_DREG, *to)]
        }
        I::SetMeta { key, from } => {
            vec![(nft::NFTNL_EXPR_META_KEY, *key), (nft::NFTNL_EXPR_META_SREG, *from)]
        }
        I::Ct { key, to, .. } => {
            vec![(nft::NFTNL_EXPR_CT_KEY, *key), (nft::NFTNL_EXPR_CT_DREG, *to)]
        }
        I::Payload { base, offset, length, to } => vec![
            (nft::NFTNL_EXPR_PAYLOAD_BASE, *base),
            (nft::NFTNL_EXPR_PAYLOAD_OFFSET, *offset),
            (nft::NFTNL_EXPR_PAYLOAD_LEN, *length),
            (nft::NFTNL_EXPR_PAYLOAD_DREG, *to),
        ],
        I::Extension { offset, length, to, .. } => vec![
            (nft::NFTNL_EXPR_EXTHDR_OFFSET, *offset),
            (nft::NFTNL_EXPR_EXTHDR_LEN, *length),
            (nft::NFTNL_EXPR_EXTHDR_DREG, *to),
        ],
        I::Bitwise { from, to, mask, .. } => vec![
            (nft::NFTNL_EXPR_BITWISE_SREG, *from),
            (nft::NFTNL_EXPR_BITWISE_DREG, *to),
            (nft::NFTNL_EXPR_BITWISE_LEN, mask.len() as u32),
        ],
        I::Byteorder { from, to, op, length, size } => vec![
            (nft::NFTNL_EXPR_BYTEORDER_SREG, *from),
            (nft::NFTNL_EXPR_BYTEORDER_DREG, *to),
            (nft::NFTNL_EXPR_BYTEORDER_OP, *op),
            (nft::NFTNL_EXPR_BYTEORDER_LEN, *length),
            (nft::NFTNL_EXPR_BYTEORDER_SIZE, *size),
        ],
        I::Compare { from, op, .. } => {
            vec![(nft::NFTNL_EXPR_CMP_SREG, *from), (nft::NFTNL_EXPR_CMP_OP, *op)]
        }
        I::Lookup { from, .. } => vec![(nft::NFTNL_EXPR_LOOKUP_SREG, *from)],
        I::Load { to, .. } => vec![(nft::NFTNL_EXPR_IMM_DREG, *to)],
        I::Verdict { code, .. } => vec![
            (nft::NFTNL_EXPR_IMM_DREG, VERDICT_REGISTER),
            (nft::NFTNL_EXPR_IMM_VERDICT, code.cast_unsigned()),
        ],
        I::Counter | I::Limit { .. } | I::Log { .. } | I::Reject { .. } => Vec::new(),
    };
    values.into_iter().map(|(kind, value)| (kind, Value::U32(value))).collect()
}
