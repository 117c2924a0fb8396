//! All `unsafe` of the crate: libnftnl objects turned into message bytes, netlink socket options, membarrier.
//!
//! Each function here is safe to call: it owns what it allocates, and copies what it hands out.

use std::ffi::{CString, c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

pub(super) use mnl::Bus;
use nftnl::expr::Expression;
use nftnl::{MsgType, NlMsg, ProtoFamily, nft_nlmsg_maxsize};
use nftnl_sys as nft;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{MsgFlags, getsockopt, recv, setsockopt, sockopt};
use palisade_compiler::program::TableFamily;

use super::attributes::{Value, attributes};
use super::declare::Declaration;
use super::instruction::Instruction;
use super::wire::{self, Header};

pub(super) fn proto(family: TableFamily) -> ProtoFamily {
    match family {
        TableFamily::Ip => ProtoFamily::Ipv4,
        TableFamily::Ip6 => ProtoFamily::Ipv6,
        TableFamily::Bridge => ProtoFamily::Bridge,
        TableFamily::Inet => ProtoFamily::Inet,
    }
}

/// A netlink socket.
pub(super) struct Socket(mnl::Socket, #[cfg(test)] pub(super) super::failing::Failing);

// SAFETY: `mnl_socket` is a file descriptor and the address it is bound to, with no tie to the thread that opened it.
unsafe impl Send for Socket {}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.port()).finish()
    }
}

impl Socket {
    /// Opens it to one part of the kernel, in the network namespace of the calling thread, with errors that tell where, and do not echo the
    /// request.
    pub(super) fn open(bus: Bus) -> io::Result<Self> {
        let socket = Self(
            mnl::Socket::new(bus)?,
            #[cfg(test)]
            super::failing::Failing::default(),
        );
        // A child process that kept it open would go on owning our tables.
        fcntl(socket.descriptor(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        socket.netlink_option(libc::NETLINK_EXT_ACK, 1)?;
        socket.netlink_option(libc::NETLINK_CAP_ACK, 1)?;
        Ok(socket)
    }

    /// The port id that the kernel knows this socket by.
    pub(super) fn port(&self) -> u32 {
        self.0.portid()
    }

    /// Whether the descriptor still is that of a socket.
    pub(super) fn is_open(&self) -> bool {
        getsockopt(&self.descriptor(), sockopt::SockType).is_ok()
    }

    /// Gives up a socket whose descriptor is another file's by now, which closing would close.
    pub(super) fn abandon(self) {
        std::mem::forget(self.0);
    }

    /// Has the descriptor be none of a socket, as if somebody had closed it and opened something else.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        let other = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: both descriptors are open; the one that is replaced is closed by nobody else.
        assert!(unsafe { libc::dup2(other.as_raw_fd(), self.0.as_raw_fd()) } >= 0);
    }

    fn netlink_option(&self, option: libc::c_int, value: u32) -> io::Result<()> {
        self.option(libc::SOL_NETLINK, option, &value)
    }

    /// `setsockopt(2)`; `T` is what the option takes, and nothing in it outlives the call.
    fn option<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the descriptor is open as long as `self`, and the value is of the length given.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast::<c_void>(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Hears the events of a group.
    pub(super) fn join(&self, group: u32) -> io::Result<()> {
        self.netlink_option(libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Has the kernel check requests for dumps, and heed what they ask to leave out (Linux 4.20).
    pub(super) fn check_strictly(&self) -> io::Result<()> {
        self.netlink_option(libc::NETLINK_GET_STRICT_CHK, 1)
    }

    /// Has the kernel drop what tells of that port's own doing, before it takes up room.
    pub(super) fn ignore(&self, port: u32) -> io::Result<()> {
        const PORT_OFFSET: u32 = 12;
        let step = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
        // A filter loads words as big endian; netlink has its header in host order.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, PORT_OFFSET, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, port, 0, 1),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
            step(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        self.option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self`, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }

    /// Lets one message of so many bytes be sent, beyond the system's limit where that is permitted.
    pub(super) fn grow_send_buffer(&self, bytes: usize) -> io::Result<()> {
        match setsockopt(&self.descriptor(), sockopt::SndBufForce, &bytes) {
            Err(nix::Error::EPERM) => Ok(setsockopt(&self.descriptor(), sockopt::SndBuf, &bytes)?),
            other => Ok(other?),
        }
    }

    pub(super) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        match setsockopt(&self.descriptor(), sockopt::RcvBufForce, &bytes) {
            Err(nix::Error::EPERM) => Ok(setsockopt(&self.descriptor(), sockopt::RcvBuf, &bytes)?),
            other => Ok(other?),
        }
    }

    /// Sends all of it in one system call: nf_tables takes a batch only whole.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        loop {
            match self.0.send(message) {
                Ok(sent) if sent == message.len() => return Ok(()),
                Ok(_) => return Err(io::Error::other("the kernel took part of a netlink message")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives one datagram and says how long it is; with `wait` false, fails with `WouldBlock` where there is none.
    pub(super) fn receive(&self, buffer: &mut [u8], wait: bool) -> io::Result<usize> {
        let mut flags = MsgFlags::MSG_TRUNC;
        if !wait {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        loop {
            match self.recv(buffer, flags) {
                Ok(length) if length <= buffer.len() => return Ok(length),
                Ok(length) => {
                    return Err(io::Error::other(format!("a netlink message of {length} bytes")));
                }
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// `recv(2)`, which the crate's tests have fail.
    fn recv(&self, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<usize> {
        #[cfg(test)]
        if let Some(errno) = self.1.next() {
            return Err(errno);
        }
        recv(self.0.as_raw_fd(), buffer, flags)
    }
}

/// `membarrier(2)`.
pub(super) fn membarrier(command: libc::c_int) -> io::Result<libc::c_long> {
    // SAFETY: membarrier takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Where `tcx` programs see the packets of an interface: `BPF_TCX_*` (linux/bpf.h).
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum TcxHook {
    Ingress = 46,
    Egress = 47,
}

/// How many `tcx` programs an interface has: `BPF_PROG_QUERY` of bpf(2), with room for no ids.
pub(super) fn tcx_programs(interface: u32, hook: TcxHook) -> io::Result<u32> {
    const BPF_PROG_QUERY: libc::c_int = 16;
    /// The part of `union bpf_attr` for queries.
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target_ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        program_ids: u64,
        count: u32,
        padding: u32,
        program_attach_flags: u64,
        link_ids: u64,
        link_attach_flags: u64,
        revision: u64,
    }
    let mut query =
        Query { target_ifindex: interface, attach_type: hook as u32, ..Query::default() };
    // SAFETY: the kernel reads and writes no more than the size given, and follows no pointer, since all are null.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(query.count) }
}

/// Appends a message that libnftnl writes, under our own header.
fn append(out: &mut Vec<u8>, header: Header, build: impl FnOnce(*mut libc::nlmsghdr)) {
    // u32 for the alignment that libmnl relies on.
    let mut buffer = vec![0u32; nft_nlmsg_maxsize() as usize / 4 + 1];
    let at = buffer.as_mut_ptr().cast::<c_char>();
    let flags = header.flags | wire::flag::REQUEST;
    // SAFETY: the buffer has room for the largest message that libnftnl builds (`nft_nlmsg_maxsize`).
    let built = unsafe {
        nft::nftnl_nlmsg_build_hdr(
            at,
            header.kind,
            u16::from(header.family),
            flags,
            header.sequence,
        )
    };
    build(built);
    copy_message(out, &buffer);
}

/// Copies the message at the start of the buffer.
fn copy_message(out: &mut Vec<u8>, buffer: &[u32]) {
    let bytes = buffer.iter().flat_map(|word| word.to_ne_bytes());
    let length = buffer.first().map_or(0, |&length| length as usize);
    out.extend(bytes.take(length.next_multiple_of(4)));
}

/// Appends a message that the `nftnl` crate writes, with our flags.
pub(super) fn append_object(
    out: &mut Vec<u8>,
    object: &impl NlMsg,
    kind: MsgType,
    sequence: u32,
    flags: u16,
) {
    let mut buffer = vec![0u32; nft_nlmsg_maxsize() as usize / 4 + 1];
    // SAFETY: the buffer has room for the largest message, as `write` requires.
    unsafe { object.write(buffer.as_mut_ptr().cast::<c_void>(), sequence, kind) };
    let at = out.len();
    copy_message(out, &buffer);
    wire::set_flags(out, at, flags);
}

/// A name of ours has no NUL inside; one that had would be cut there.
pub(super) fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().take_while(|&b| b != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// libnftnl allocates a few dozen bytes; without memory for these, nothing goes on (as in `std`).
fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).unwrap_or_else(|| std::process::abort())
}

/// Appends a message about a table.
pub(super) fn put_table(
    out: &mut Vec<u8>,
    header: Header,
    name: &str,
    flags: Option<u32>,
    userdata: &[u8],
) {
    let name = c_string(name);
    // SAFETY: the table is ours from allocation to `free`; the setters copy name and userdata.
    append(out, header, |message| unsafe {
        let table = allocated(nft::nftnl_table_alloc()).as_ptr();
        nft::nftnl_table_set_str(table, nft::NFTNL_TABLE_NAME as u16, name.as_ptr());
        if let Some(flags) = flags {
            nft::nftnl_table_set_u32(table, nft::NFTNL_TABLE_FLAGS as u16, flags);
        }
        if !userdata.is_empty() {
            nft::nftnl_table_set_data(
                table,
                nft::NFTNL_TABLE_USERDATA as u16,
                userdata.as_ptr().cast::<c_void>(),
                userdata.len() as u32,
            );
        }
        nft::nftnl_table_nlmsg_build_payload(message, table);
        nft::nftnl_table_free(table);
    });
}

/// A set to be created: its id within the batch, and its size where it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewSet<'a> {
    pub(super) declaration: &'a Declaration,
    pub(super) id: u32,
    pub(super) size: Option<u32>,
}

/// Appends a message about a set; without `new` it has the name only.
pub(super) fn put_set(
    out: &mut Vec<u8>,
    header: Header,
    table: &str,
    name: &str,
    new: Option<NewSet<'_>>,
) {
    let (table, name) = (c_string(table), c_string(name));
    // SAFETY: the set is ours from allocation to `free`; the setters copy what they are given.
    append(out, header, |message| unsafe {
        let set = allocated(nft::nftnl_set_alloc()).as_ptr();
        nft::nftnl_set_set_str(set, nft::NFTNL_SET_TABLE as u16, table.as_ptr());
        nft::nftnl_set_set_str(set, nft::NFTNL_SET_NAME as u16, name.as_ptr());
        if let Some(new) = new {
            let number = |kind: u32, value| nft::nftnl_set_set_u32(set, kind as u16, value);
            let bytes = |kind: u32, value: &[u8]| {
                let data = value.as_ptr().cast::<c_void>();
                nft::nftnl_set_set_data(set, kind as u16, data, value.len() as u32)
            };
            let declaration = new.declaration;
            number(nft::NFTNL_SET_FLAGS, declaration.flags);
            number(nft::NFTNL_SET_KEY_TYPE, declaration.key_type);
            number(nft::NFTNL_SET_KEY_LEN, declaration.key_length);
            number(nft::NFTNL_SET_ID, new.id);
            if let Some((kind, length)) = declaration.data {
                number(nft::NFTNL_SET_DATA_TYPE, kind);
                number(nft::NFTNL_SET_DATA_LEN, length);
            }
            if let Some(size) = new.size {
                number(nft::NFTNL_SET_DESC_SIZE, size);
            }
            if !declaration.fields.is_empty() {
                bytes(nft::NFTNL_SET_DESC_CONCAT, declaration.fields);
            }
            bytes(nft::NFTNL_SET_USERDATA, &declaration.userdata);
        }
        nft::nftnl_set_nlmsg_build_payload(message, set);
        nft::nftnl_set_free(set);
    });
}

impl Expression for Instruction {
    fn to_expr(&self, _rule: &nftnl::Rule<'_>) -> NonNull<nft::nftnl_expr> {
        let (name, values) = attributes(self);
        let name = c_string(name);
        // SAFETY: the name ends in NUL; libnftnl returns null for a name it does not know, which is checked.
        let expression = allocated(unsafe { nft::nftnl_expr_alloc(name.as_ptr()) });
        for (kind, value) in values {
            set_attribute(expression, kind as u16, &value);
        }
        expression
    }
}

fn set_attribute(expression: NonNull<nft::nftnl_expr>, kind: u16, value: &Value<'_>) {
    let expression = expression.as_ptr();
    // SAFETY: the expression is alive, and libnftnl copies what it is given.
    unsafe {
        match *value {
            Value::U8(value) => nft::nftnl_expr_set_u8(expression, kind, value),
            Value::U16(value) => nft::nftnl_expr_set_u16(expression, kind, value),
            Value::U32(value) => nft::nftnl_expr_set_u32(expression, kind, value),
            Value::U64(value) => nft::nftnl_expr_set_u64(expression, kind, value),
            Value::Text(text) => {
                nft::nftnl_expr_set_str(expression, kind, c_string(text).as_ptr());
            }
            Value::Bytes(bytes) => {
                let data = bytes.as_ptr().cast::<c_void>();
                nft::nftnl_expr_set(expression, kind, data, bytes.len() as u32);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use palisade_compiler::program::{
        AddressRange, ClassId, PortElement, PortRangeElement, ProfileId,
    };

    use super::super::elements::put_element;
    use super::super::wire::{Attribute, Attributes, NF_HEADER};
    use super::*;
    use crate::transaction::Element;

    /// An element as libnftnl takes it: flags, key, end of the key, value, userdata.
    type Parts<'a> = (u32, &'a [u8], &'a [u8], &'a [u8], &'a [u8]);

    /// The elements' bytes as libnftnl writes them, without their nests' headers (whose type it counts up).
    fn by_libnftnl(elements: &[Parts<'_>]) -> Vec<Vec<u8>> {
        let header = Header { kind: wire::msg::NEWSETELEM, flags: 0, family: 2, sequence: 1 };
        let mut out = Vec::new();
        // SAFETY: the set owns the elements that are added to it, until it is freed; the setters copy.
        append(&mut out, header, |message| unsafe {
            let set = allocated(nft::nftnl_set_alloc()).as_ptr();
            nft::nftnl_set_set_str(set, nft::NFTNL_SET_TABLE as u16, c"t".as_ptr());
            nft::nftnl_set_set_str(set, nft::NFTNL_SET_NAME as u16, c"s".as_ptr());
            for &(flags, key, key_end, data, userdata) in elements {
                let element = allocated(nft::nftnl_set_elem_alloc()).as_ptr();
                if flags != 0 {
                    nft::nftnl_set_elem_set_u32(element, nft::NFTNL_SET_ELEM_FLAGS as u16, flags);
                }
                for (kind, bytes) in [
                    (nft::NFTNL_SET_ELEM_KEY, key),
                    (nft::NFTNL_SET_ELEM_KEY_END, key_end),
                    (nft::NFTNL_SET_ELEM_DATA, data),
                    (nft::NFTNL_SET_ELEM_USERDATA, userdata),
                ] {
                    if !bytes.is_empty() {
                        let (data, length) = (bytes.as_ptr().cast(), bytes.len() as u32);
                        nft::nftnl_set_elem_set(element, kind as u16, data, length);
                    }
                }
                nft::nftnl_set_elem_add(set, element);
            }
            nft::nftnl_set_elems_nlmsg_build_payload(message, set);
            nft::nftnl_set_free(set);
        });
        let attributes = Attributes(&out[wire::HEADER + NF_HEADER..]);
        inside(attributes.get(super::super::batch::LIST_ELEMENTS).unwrap().nested())
    }

    fn inside(list: Attributes<'_>) -> Vec<Vec<u8>> {
        list.map(|Attribute { value, .. }| value.to_vec()).collect()
    }

    #[track_caller]
    fn assert_golden(element: Element, parts: &[Parts<'_>]) {
        let mut ours = Vec::new();
        put_element(&mut ours, &element);
        assert_eq!(inside(Attributes(&ours)), by_libnftnl(parts), "{element:?}");
    }

    #[test]
    fn elements_are_written_as_libnftnl_writes_them() {
        let (v4, v6) = ([10, 1, 2, 3], [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        let (class, profile) = (ClassId(0x0001_0203), ProfileId(0x8000_0004));
        let (class_bytes, profile_bytes) = (class.0.to_ne_bytes(), profile.0.to_ne_bytes());
        let none: &[u8] = &[];
        assert_golden(Element::Address(v4.into()), &[(0, &v4, none, none, none)]);
        assert_golden(Element::Hairpin(v6.into()), &[(0, &[v6, v6].concat(), none, none, none)]);
        let index = 7u32.to_ne_bytes();
        assert_golden(Element::Bridge(7), &[(0, &[index, index].concat(), none, none, none)]);
        assert_golden(Element::Class(v6.into(), class), &[(0, &v6, none, &class_bytes, none)]);
        let row = [&v6[..], &class_bytes].concat();
        assert_golden(
            Element::Row(v6.into(), class, profile),
            &[(0, &row, none, &profile_bytes, none)],
        );
        let port = [&profile_bytes[..], &[6, 0, 0, 0, 0x1f, 0x90, 0, 0]].concat();
        assert_golden(
            Element::Port(PortElement { profile, protocol: 6, port: 8080 }),
            &[(0, &port, none, none, none)],
        );
        let big = profile.0.to_be_bytes();
        let end = |port: &[u8]| [&big[..], &[17, 0, 0, 0], port, &[0, 0]].concat();
        assert_golden(
            Element::PortRange(PortRangeElement { profile, protocol: 17, first: 1, last: 256 }),
            &[(0, &end(&[0, 1]), &end(&[1, 0]), none, none)],
        );
        assert_golden(Element::CatchAll, &[(2, none, none, &[0; 4], none)]);
        let range = |first: [u8; 4], last: [u8; 4]| {
            Element::Cidr(AddressRange { first: first.into(), last: last.into() }, class)
        };
        assert_golden(
            range([10, 0, 0, 0], [10, 0, 255, 255]),
            &[(0, &[10, 0, 0, 0], none, &class_bytes, none), (1, &[10, 1, 0, 0], none, none, none)],
        );
        let open = [&[1, 4][..], &1u32.to_ne_bytes()].concat();
        assert_golden(
            range([255, 0, 0, 0], [255; 4]),
            &[(0, &[255, 0, 0, 0], none, &class_bytes, &open)],
        );
    }
}
