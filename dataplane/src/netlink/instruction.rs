//! The instructions of nf_tables' rules (its "expressions"), as the kernel holds them: between the skeleton's
//! expressions and the bytes.

use super::wire::{Attribute, Attributes};

/// `enum nft_registers`: 1-4 are 16 bytes wide, 8-23 are the same space in steps of 4.
pub(super) type Register = u32;

pub(super) const VERDICT_REGISTER: Register = 0;

/// The register that starts `offset` bytes into the register space, by the name that the kernel gives it.
pub(super) fn register(offset: u32) -> Register {
    if offset.is_multiple_of(16) { 1 + offset / 16 } else { 8 + offset / 4 }
}

/// `NFT_META_*`
pub(super) mod meta {
    pub(crate) const LENGTH: u32 = 0;
    pub(crate) const PROTOCOL: u32 = 1;
    pub(crate) const PRIORITY: u32 = 2;
    pub(crate) const IIF: u32 = 4;
    pub(crate) const OIF: u32 = 5;
    pub(crate) const NFPROTO: u32 = 15;
    pub(crate) const L4PROTO: u32 = 16;
}

/// `NFT_CT_*`
pub(super) mod ct_key {
    pub(crate) const STATE: u32 = 0;
    pub(crate) const STATUS: u32 = 2;
    pub(crate) const BYTES: u32 = 15;
    pub(crate) const SOURCE_IPV4: u32 = 19;
    pub(crate) const SOURCE_IPV6: u32 = 21;
}

/// `enum ip_conntrack_dir`
pub(super) mod ct_direction {
    pub(crate) const ORIGINAL: u8 = 0;
    pub(crate) const REPLY: u8 = 1;
}

/// `enum nft_payload_bases`
pub(super) mod base {
    pub(crate) const LINK: u32 = 0;
    pub(crate) const NETWORK: u32 = 1;
    pub(crate) const TRANSPORT: u32 = 2;
}

/// `enum nft_cmp_ops`
pub(super) const EQUAL: u32 = 0;
pub(super) const NOT_EQUAL: u32 = 1;
pub(super) const AT_MOST: u32 = 3;

/// `NFT_LOOKUP_F_INV`
pub(super) const INVERTED: u32 = 1;

/// `NFT_EXTHDR_F_PRESENT`
pub(super) const PRESENT: u32 = 1;

/// `NFT_BYTEORDER_HTON`
pub(super) const HTON: u32 = 1;

/// `enum nft_verdicts` and netfilter's own.
pub(super) mod verdict {
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;
}

/// `enum nft_reject_types`
pub(super) mod reject {
    pub(crate) const ICMP_UNREACHABLE: u32 = 0;
    pub(crate) const TCP_RESET: u32 = 1;
}

/// One instruction. Values are bytes as they stand in the registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instruction {
    Meta {
        key: u32,
        to: Register,
    },
    SetMeta {
        key: u32,
        from: Register,
    },
    /// `direction` is of `enum ip_conntrack_dir`, for keys that have one.
    Ct {
        key: u32,
        direction: Option<u8>,
        to: Register,
    },
    Payload {
        base: u32,
        offset: u32,
        length: u32,
        to: Register,
    },
    /// Part of an IPv6 extension header, or whether there is one.
    Extension {
        header: u8,
        offset: u32,
        length: u32,
        is_presence: bool,
        to: Register,
    },
    /// `to = from & mask ^ xor`
    Bitwise {
        from: Register,
        to: Register,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Byteorder {
        from: Register,
        to: Register,
        op: u32,
        length: u32,
        size: u32,
    },
    Compare {
        from: Register,
        op: u32,
        value: Vec<u8>,
    },
    /// `id` names a set created in the same batch; the kernel never tells it. An inverted lookup matches what is not in the set.
    Lookup {
        set: String,
        id: Option<u32>,
        from: Register,
        to: Option<Register>,
        inverted: bool,
    },
    Load {
        to: Register,
        value: Vec<u8>,
    },
    Verdict {
        code: i32,
        chain: Option<String>,
    },
    Counter,
    /// Packets a period; `per` in seconds.
    Limit {
        rate: u64,
        per: u64,
        burst: u32,
    },
    Log {
        group: u16,
        prefix: String,
    },
    /// `kind` is of `enum nft_reject_types`, `code` an ICMP code, unless the answer is a TCP reset.
    Reject {
        kind: u32,
        code: u8,
    },
}

impl Instruction {
    /// How many bytes of the packet it loads, and where to.
    pub(super) fn loaded(&self) -> Option<(usize, Register)> {
        if let Self::Payload { length, to, .. } = self {
            Some((usize::try_from(*length).ok()?, *to))
        } else {
            None
        }
    }

    /// The set that a lookup names.
    pub(super) fn set(&self) -> Option<&str> {
        if let Self::Lookup { set, .. } = self { Some(set) } else { None }
    }
}

/// Reads the instructions of `NFTA_RULE_EXPRESSIONS`. If there is one that Palisade never uses, or with an option
/// that it never sets, the error names all of them, as far as they have names.
pub(super) fn decode(expressions: Attributes<'_>) -> Result<Vec<Instruction>, String> {
    let mut instructions = Vec::new();
    let mut names = Vec::new();
    let mut foreign = false;
    for expression in expressions {
        let name = expression.nested().get(1).and_then(Attribute::string).unwrap_or("?");
        let data = expression.nested().get(2).map(Attribute::nested).unwrap_or_default();
        names.push(name);
        match one(name, data) {
            Some(instruction) => instructions.push(instruction),
            None => foreign = true,
        }
    }
    if foreign { Err(names.join(" ")) } else { Ok(instructions) }
}

fn one(name: &str, data: Attributes<'_>) -> Option<Instruction> {
    let number = |kind| data.get(kind).and_then(Attribute::be_u32);
    let zero = |kind| data.get(kind).is_none_or(|a| a.value.iter().all(|&b| b == 0));
    let bytes = |kind| data.get(kind).and_then(Attribute::data).map(<[u8]>::to_vec);
    Some(match name {
        "meta" => match (number(1), number(3)) {
            (Some(to), None) => Instruction::Meta { key: number(2)?, to },
            (None, Some(from)) => Instruction::SetMeta { key: number(2)?, from },
            (Some(_), Some(_)) | (None, None) => return None,
        },
        // A value set is not ours.
        "ct" if data.get(4).is_none() => Instruction::Ct {
            key: number(2)?,
            direction: match data.get(3) {
                Some(direction) => Some(*direction.value.first()?),
                None => None,
            },
            to: number(1)?,
        },
        "payload" if data.get(5).is_none() => Instruction::Payload {
            base: number(2)?,
            offset: number(3)?,
            length: number(4)?,
            to: number(1)?,
        },
        // TCP options, or a value set, are not ours.
        "exthdr" if zero(6) && data.get(7).is_none() => extension(data)?,
        "bitwise" if zero(6) => {
            let (mask, xor) = (bytes(4)?, bytes(5)?);
            (number(3)? as usize == mask.len()).then_some(())?;
            Instruction::Bitwise { from: number(1)?, to: number(2)?, mask, xor }
        }
        "byteorder" => Instruction::Byteorder {
            from: number(1)?,
            to: number(2)?,
            op: number(3)?,
            length: number(4)?,
            size: number(5)?,
        },
        "cmp" => Instruction::Compare { from: number(1)?, op: number(2)?, value: bytes(3)? },
        "lookup" => Instruction::Lookup {
            set: data.get(1)?.string()?.to_owned(),
            id: None,
            from: number(2)?,
            to: number(3),
            inverted: match number(5) {
                None | Some(0) => false,
                Some(INVERTED) => true,
                Some(_) => return None,
            },
        },
        "immediate" => immediate(number(1)?, data.get(2)?.nested())?,
        "counter" => Instruction::Counter,
        // Bytes instead of packets, or a limit turned round, are not ours.
        "limit" if zero(4) && zero(5) => Instruction::Limit {
            rate: data.get(1)?.be_u64()?,
            per: data.get(2)?.be_u64()?,
            burst: number(3)?,
        },
        "log" if { data }.all(|a| matches!(a.kind, 1 | 2)) => Instruction::Log {
            group: data.get(1)?.be_u16()?,
            prefix: data.get(2)?.string()?.to_owned(),
        },
        "reject" => {
            let code = data.get(2).map_or(Some(0), |code| code.value.first().copied())?;
            Instruction::Reject { kind: number(1)?, code }
        }
        _ => return None,
    })
}

fn extension(data: Attributes<'_>) -> Option<Instruction> {
    let number = |kind| data.get(kind).and_then(Attribute::be_u32);
    Some(Instruction::Extension {
        header: *data.get(2)?.value.first()?,
        offset: number(3)?,
        length: number(4)?,
        is_presence: match number(5) {
            None | Some(0) => false,
            Some(PRESENT) => true,
            Some(_) => return None,
        },
        to: number(1)?,
    })
}

fn immediate(to: Register, data: Attributes<'_>) -> Option<Instruction> {
    if to != VERDICT_REGISTER {
        return Some(Instruction::Load { to, value: data.get(1)?.value.to_vec() });
    }
    let verdict = data.get(2)?.nested();
    let code = verdict.get(1)?.be_u32()?.cast_signed();
    let chain = verdict.get(2).and_then(Attribute::string).map(str::to_owned);
    Some(Instruction::Verdict { code, chain })
}

/// The kernel's names of the instructions, for a rule that as a whole is none of ours.
pub(super) fn names(instructions: &[Instruction]) -> String {
    let name = |instruction: &Instruction| match instruction {
        Instruction::Meta { .. } | Instruction::SetMeta { .. } => "meta".to_owned(),
        Instruction::Ct { .. } => "ct".to_owned(),
        Instruction::Payload { .. } => "payload".to_owned(),
        Instruction::Extension { .. } => "exthdr".to_owned(),
        Instruction::Bitwise { .. } => "bitwise".to_owned(),
        Instruction::Byteorder { .. } => "byteorder".to_owned(),
        Instruction::Compare { .. } => "cmp".to_owned(),
        Instruction::Lookup { set, inverted: true, .. } => format!("lookup != @{set}"),
        Instruction::Lookup { set, .. } => format!("lookup @{set}"),
        Instruction::Load { .. } => "immediate".to_owned(),
        Instruction::Verdict { code, chain } => match (*code, chain) {
            (verdict::ACCEPT, None) => "accept".to_owned(),
            (verdict::DROP, None) => "drop".to_owned(),
            (verdict::RETURN, None) => "return".to_owned(),
            (_, Some(chain)) => format!("goto {chain}"),
            (code, None) => format!("verdict {code}"),
        },
        Instruction::Counter => "counter".to_owned(),
        Instruction::Limit { rate, .. } => format!("limit {rate}"),
        Instruction::Log { prefix, .. } => format!("log {prefix:?}"),
        Instruction::Reject { kind, code } => format!("reject {kind} {code}"),
    };
    instructions.iter().map(name).collect::<Vec<_>>().join(" ")
}
