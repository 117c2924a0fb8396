//! Reads the kernel's description of its own types (BTF): the offsets of members in structures, and the ids by which
//! programs refer to structures and functions.

use std::{fs, io};

/// Constants of linux/btf.h.
const MAGIC: u16 = 0xeb9f;
const TYPE: usize = 12;
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
}

#[derive(Debug)]
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// The offset of the names.
    names: usize,
    /// The offset of each type, by its id minus one. The first id is that of `void`, which has no description.
    types: Vec<usize>,
}

impl Btf {
    pub(crate) fn of_kernel() -> io::Result<Self> {
        Self::new(fs::read("/sys/kernel/btf/vmlinux")?)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    fn new(bytes: Vec<u8>) -> Option<Self> {
        let magic = u16::from_ne_bytes(*bytes.first_chunk()?);
        let mut btf = Self { bytes, names: 0, types: Vec::new() };
        let [header, types, size, names] =
            [4, 8, 12, 16].map(|at| btf.number(at).map(|number| number as usize));
        let (header, size) = (header?, size?);
        btf.names = header.checked_add(names?)?;
        let mut at = header.checked_add(types?)?;
        let end = at.checked_add(size)?;
        while at < end {
            btf.types.push(at);
            at += TYPE + btf.trailing_bytes(at)?;
        }
        (magic == MAGIC).then_some(btf)
    }

    fn number(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some(self.number(at + 4)? >> 24 & 31)
    }

    fn members(&self, at: usize) -> Option<usize> {
        Some((self.number(at + 4)? & 0xffff) as usize)
    }

    /// The number of bytes after the header of a type.
    fn trailing_bytes(&self, at: usize) -> Option<usize> {
        let count = self.members(at)?;
        Some(match self.kind(at)? {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * count,
            kind::ENUM | kind::FUNC_PROTO => 8 * count,
            _ => 0,
        })
    }

    fn is_named(&self, at: usize, name: &str) -> bool {
        let written = || {
            let begin = self.names + self.number(at)? as usize;
            self.bytes.get(begin..)?.strip_prefix(name.as_bytes())?.first().copied()
        };
        written() == Some(0)
    }

    fn find(&self, kind: u32, name: &str) -> Option<u32> {
        let is_it = |&at: &usize| self.kind(at) == Some(kind) && self.is_named(at, name);
        let index = self.types.iter().position(is_it)?;
        u32::try_from(index + 1).ok()
    }

    pub(crate) fn structure(&self, name: &str) -> Option<u32> {
        self.find(kind::STRUCT, name)
    }

    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        self.find(kind::FUNC, name)
    }

    /// The offset of a member of a structure in bytes. Members of unnamed parts of the structure are found too.
    pub(crate) fn member(&self, structure: u32, name: &str) -> Option<u32> {
        let at = *self.types.get((structure as usize).checked_sub(1)?)?;
        if ![kind::STRUCT, kind::UNION].contains(&self.kind(at)?) {
            return None;
        }
        (0..self.members(at)?).find_map(|n| {
            let member = at + TYPE + n * TYPE;
            // The bits above contain the width of a bit field.
            let offset = (self.number(member + 8)? & 0x00ff_ffff) / 8;
            if self.is_named(member, name) {
                return Some(offset);
            }
            if !self.is_named(member, "") {
                return None;
            }
            Some(offset + self.member(self.number(member + 4)?, name)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_packets_are_described_as_they_are_sent() {
        let btf = Btf::of_kernel().expect("a kernel with BTF");
        for (structure, member, offset) in [
            ("iphdr", "protocol", 9),
            // A member of an unnamed part.
            ("iphdr", "daddr", 16),
            ("ipv6hdr", "saddr", 8),
            ("udphdr", "dest", 2),
        ] {
            let id = btf.structure(structure).expect(structure);
            assert_eq!(btf.member(id, member), Some(offset), "{structure}.{member}");
        }
        assert_eq!(btf.member(btf.structure("udphdr").unwrap(), "none"), None);
        assert_eq!(btf.function("iphdr"), None);
    }

    #[test]
    fn what_is_cut_short_is_no_description() {
        let whole = fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        for length in [0, 1, 10, 24, 1000] {
            assert!(Btf::new(whole[..length].to_vec()).is_none());
        }
        assert!(Btf::new(vec![0; 100]).is_none());
    }
}
