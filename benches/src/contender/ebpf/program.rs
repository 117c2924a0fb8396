//! The BPF program of one family, for the forward hook of netfilter.
//!
//! ```text
//! known to conntrack -> accept
//! source, destination -> (class, isolated) for each
//! source isolated for egress -> judge (source, class of destination, port)
//! destination isolated for ingress -> judge (destination, class of source, port)
//! ```
//!
//! The hook runs after conntrack, and the packet's `sk_buff` has the connection's state. A program that runs before
//! conntrack (TC, XDP) must track connections itself. The kernel's headers are read at the offsets that BTF gives, and no
//! helper functions are called except for lookups.

use std::sync::OnceLock;

use palisade_compiler::model::Family;
use palisade_compiler::program::{ClassId, ProfileId};

use super::maps::{EGRESS, INGRESS, Maps, PORT_KEY, address_size};
use crate::bpf::assembler::{Assembler, Label, R, STACK, op};
use crate::bpf::btf::Btf;
use crate::bpf::{self, LoadFailure};
use crate::contender::ContenderError;
use crate::sys::{Link, Map, Program, ProgramKind};

/// What the program needs to know about the kernel: offsets in `struct sk_buff`, and ids of structures and of a function.
#[derive(Debug, Clone, Copy)]
pub(super) struct KernelLayout {
    conntrack: i16,
    head: i16,
    tail: i16,
    network_header: i16,
    ipv4: i32,
    ipv6: i32,
    udp: i32,
    cast: i32,
}

impl KernelLayout {
    /// # Errors
    /// Why the program cannot be loaded here. This is found out by loading it.
    pub(super) fn find() -> Result<Self, String> {
        static FOUND: OnceLock<Result<KernelLayout, String>> = OnceLock::new();
        FOUND.get_or_init(Self::read).clone()
    }

    fn read() -> Result<Self, String> {
        let btf = Btf::of_kernel().map_err(|error| format!("the kernel's BTF: {error}"))?;
        let kernel = Self::of(&btf).ok_or("the kernel's BTF lacks what the program reads")?;
        let loaded = Family::ALL.into_iter().try_for_each(|family| {
            let maps = Maps::new(family, &[])?;
            load(family, &kernel, &maps).map(drop)
        });
        loaded.map_err(|error| format!("{error} ({NEEDS})"))?;
        Ok(kernel)
    }

    fn of(btf: &Btf) -> Option<Self> {
        let packet = btf.structure("sk_buff")?;
        let offset = |member| i16::try_from(btf.member(packet, member)?).ok();
        let id = |id: Option<u32>| i32::try_from(id?).ok();
        Some(Self {
            conntrack: offset("_nfct")?,
            head: offset("head")?,
            tail: offset("tail")?,
            network_header: offset("network_header")?,
            ipv4: id(btf.structure("iphdr"))?,
            ipv6: id(btf.structure("ipv6hdr"))?,
            udp: id(btf.structure("udphdr"))?,
            cast: id(btf.function("bpf_rdonly_cast"))?,
        })
    }
}

const NEEDS: &str = "it takes Linux 6.4 with BTF, and CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN in the initial user namespace";

/// Constants of linux/netfilter.h.
const HOOK_FORWARD: u32 = 2;
const PROTOCOL_V4: u32 = 2;
const PROTOCOL_V6: u32 = 10;
/// After the rule on established connections, which has priority 0.
const PRIORITY: i32 = 1;

/// Attaches the program to the forward hook of the calling thread's network namespace.
pub(super) fn attach(
    family: Family,
    kernel: &KernelLayout,
    maps: &Maps,
) -> Result<Link, ContenderError> {
    let protocol = match family {
        Family::V4 => PROTOCOL_V4,
        Family::V6 => PROTOCOL_V6,
    };
    let attached = load(family, kernel, maps)?.attach(protocol, HOOK_FORWARD, PRIORITY);
    attached.map_err(|source| {
        let what = "attach the program to the forward hook".to_owned();
        ContenderError::Bpf { what, source }
    })
}

fn load(family: Family, kernel: &KernelLayout, maps: &Maps) -> Result<Program, ContenderError> {
    let code = Code::new(family, kernel, maps).write();
    bpf::load(ProgramKind::Netfilter, &code).map_err(|LoadFailure { source, log }| {
        ContenderError::Bpf { what: format!("load the netfilter program ({log})"), source }
    })
}

const DROP: i32 = 0;
const ACCEPT: i32 = 1;

/// The offset of the packet in `struct bpf_nf_ctx`.
const CONTEXT_PACKET: i16 = 8;
/// `enum ip_conntrack_info` in the lower bits of `_nfct`. The upper bits are the address of the conntrack entry.
const INFO_MASK: i32 = 7;
const INFO_NEW: i32 = 2;
const INFO_UNTRACKED: i32 = 7;

/// These registers keep their values over calls: the packet, the values of its ends in `addresses`, and an address that is
/// being computed.
const PACKET: R = R(6);
const SOURCE_ENTRY: R = R(7);
const TARGET_ENTRY: R = R(8);
const HEADER: R = R(9);
/// The end of the readable part of the packet. It is used before the entries are looked up.
const READABLE: R = R(7);

/// The offsets of keys on the stack. For each end there are a prefix length, the address, and after it the class of the
/// other end, so that all keys that begin with the address are stored once.
const SOURCE: i16 = -24;
const TARGET: i16 = -48;
/// Prefix length, profile, protocol, port.
const PORT: i16 = -64;
const WORD: i16 = 4;
const PORT_PROTOCOL: i16 = PORT + 2 * WORD;
const PORT_NUMBER: i16 = PORT_PROTOCOL + 2;

/// One end of a packet that is judged: the offset of its key, and the register with its entry.
#[derive(Clone, Copy)]
struct End {
    key: i16,
    entry: R,
}

const SOURCE_END: End = End { key: SOURCE, entry: SOURCE_ENTRY };
const TARGET_END: End = End { key: TARGET, entry: TARGET_ENTRY };

struct Code<'a> {
    family: Family,
    kernel: &'a KernelLayout,
    maps: &'a Maps,
    a: Assembler,
    accept: Label,
    drop: Label,
}

impl<'a> Code<'a> {
    fn new(family: Family, kernel: &'a KernelLayout, maps: &'a Maps) -> Self {
        let mut a = Assembler::default();
        let (accept, drop) = (a.label(), a.label());
        Self { family, kernel, maps, a, accept, drop }
    }

    fn write(mut self) -> Vec<u64> {
        self.a.load(PACKET, R(1), CONTEXT_PACKET);
        self.accept_known();
        self.read_headers();
        self.find(SOURCE_END);
        self.find(TARGET_END);
        let Maps { allow_in, allow_out, .. } = self.maps;
        self.judge(SOURCE_END, TARGET_END, EGRESS, allow_out);
        self.judge(TARGET_END, SOURCE_END, INGRESS, allow_in);
        self.a.place(self.accept);
        self.a.exit(ACCEPT);
        self.a.place(self.drop);
        self.a.exit(DROP);
        self.a.finish()
    }

    /// Accepts packets of known connections. First packets, and packets that conntrack does not track, continue.
    fn accept_known(&mut self) {
        let a = &mut self.a;
        let unknown = a.label();
        a.load(R(1), PACKET, self.kernel.conntrack);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(1), 0, unknown);
        a.value(op::AND_VALUE, R(1), INFO_MASK);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(1), INFO_NEW, unknown);
        a.jump_value(op::JUMP_NOT_EQUAL_VALUE, R(1), INFO_UNTRACKED, self.accept);
        a.place(unknown);
    }

    /// Fills the keys. Conntrack has reassembled fragments. An extension header of IPv6 is treated as the protocol.
    fn read_headers(&mut self) {
        let kernel = self.kernel;
        let a = &mut self.a;
        a.load(HEADER, PACKET, kernel.head);
        a.put(op::LOAD_WORD, READABLE, PACKET, kernel.tail, 0);
        a.put(op::ADD, READABLE, HEADER, 0, 0);
        a.put(op::LOAD_HALF, R(1), PACKET, kernel.network_header, 0);
        a.put(op::ADD, HEADER, R(1), 0, 0);
        let (structure, protocol, source) = match self.family {
            Family::V4 => (kernel.ipv4, 9, 12),
            Family::V6 => (kernel.ipv6, 6, 8),
        };
        self.cast(structure);
        let a = &mut self.a;
        a.put(op::LOAD_BYTE, R(1), R(0), protocol, 0);
        a.put(op::STORE_HALF, STACK, R(1), PORT_PROTOCOL, 0);
        let size = address_size(self.family) as i16;
        for (key, at) in [(SOURCE, source), (TARGET, source + size)] {
            a.put(op::STORE_WORD_VALUE, STACK, R(0), key, i32::from(size) * 8);
            for offset in (0..size).step_by(4) {
                a.put(op::LOAD_WORD, R(1), R(0), at + offset, 0);
                a.put(op::STORE_WORD, STACK, R(1), key + WORD + offset, 0);
            }
        }
        match self.family {
            // The length of the header, in 32-bit words.
            Family::V4 => {
                a.put(op::LOAD_BYTE, R(1), R(0), 0, 0);
                a.value(op::AND_VALUE, R(1), 0xf);
                a.value(op::SHIFT_LEFT_VALUE, R(1), 2);
                a.put(op::ADD, HEADER, R(1), 0, 0);
            }
            Family::V6 => a.add(HEADER, 40),
        }
        self.read_port();
    }

    /// TCP, UDP and SCTP have the destination port at the same offset. Other protocols are in no element of `ports`.
    fn read_port(&mut self) {
        let udp = self.kernel.udp;
        let a = &mut self.a;
        let unreadable = a.label();
        a.put(op::STORE_WORD_VALUE, STACK, R(0), PORT, PORT_KEY as i32 * 8);
        a.put(op::STORE_HALF_VALUE, STACK, R(0), PORT_NUMBER, 0);
        a.copy(R(1), HEADER);
        a.add(R(1), 4);
        a.jump(op::JUMP_GREATER, R(1), READABLE, unreadable);
        self.cast(udp);
        let a = &mut self.a;
        a.put(op::LOAD_HALF, R(1), R(0), 2, 0);
        a.put(op::STORE_HALF, STACK, R(1), PORT_NUMBER, 0);
        a.place(unreadable);
    }

    /// Turns the address in `HEADER` into a pointer to a structure that may be read, in R0. The verifier turns the call
    /// into a move.
    fn cast(&mut self, structure: i32) {
        let a = &mut self.a;
        a.copy(R(1), HEADER);
        a.set(R(2), structure);
        a.put(op::CALL, R(0), R(op::PSEUDO_KERNEL_FUNCTION), 0, self.kernel.cast);
    }

    /// Looks up an end in `addresses`. The result is zero if there is no element.
    fn find(&mut self, end: End) {
        let a = &mut self.a;
        let none = a.label();
        a.set(end.entry, 0);
        a.lookup(self.maps.addresses.descriptor(), end.key + WORD);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(0), 0, none);
        a.load(end.entry, R(0), 0);
        a.place(none);
    }

    /// Drops the packet if `near` is isolated in this direction and nothing allows `far`.
    fn judge(&mut self, near: End, far: End, isolated: u32, rows: &Map) {
        let Maps { cidr, ports, port_ranges, .. } = self.maps;
        let (drop, size) = (self.drop, address_size(self.family) as i16);
        let a = &mut self.a;
        let (passed, classed) = (a.label(), a.label());
        a.copy(R(1), near.entry);
        a.value(op::SHIFT_RIGHT_VALUE, R(1), 32);
        a.value(op::AND_VALUE, R(1), isolated as i32);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(1), 0, passed);

        a.put(op::MOVE_WORD, R(1), far.entry, 0, 0);
        a.jump_value(op::JUMP_NOT_EQUAL_VALUE, R(1), 0, classed);
        a.lookup(cidr.descriptor(), far.key);
        a.set(R(1), 0);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(0), 0, classed);
        a.put(op::LOAD_WORD, R(1), R(0), 0, 0);
        a.place(classed);
        a.put(op::STORE_WORD, STACK, R(1), near.key + WORD + size, 0);

        let found = a.label();
        a.lookup(rows.descriptor(), near.key + WORD);
        a.jump_value(op::JUMP_NOT_EQUAL_VALUE, R(0), 0, found);
        // If there is no row for the class, the base of the subject applies.
        let base = ClassId::UNKNOWN.0.cast_signed();
        a.put(op::STORE_WORD_VALUE, STACK, R(0), near.key + WORD + size, base);
        a.lookup(rows.descriptor(), near.key + WORD);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(0), 0, drop);
        a.place(found);
        a.put(op::LOAD_WORD, R(1), R(0), 0, 0);
        let everything = ProfileId::EVERYTHING.0.cast_signed();
        a.jump_value(op::JUMP_EQUAL_WORD_VALUE, R(1), everything, passed);
        a.put(op::STORE_WORD, STACK, R(1), PORT + WORD, 0);
        a.lookup(ports.descriptor(), PORT + WORD);
        a.jump_value(op::JUMP_NOT_EQUAL_VALUE, R(0), 0, passed);
        a.put(op::LOAD_WORD, R(1), STACK, PORT + WORD, 0);
        a.value(op::AND_VALUE, R(1), ProfileId::RANGED.cast_signed());
        a.jump_value(op::JUMP_EQUAL_VALUE, R(1), 0, drop);
        a.lookup(port_ranges.descriptor(), PORT);
        a.jump_value(op::JUMP_EQUAL_VALUE, R(0), 0, drop);
        a.place(passed);
    }
}
