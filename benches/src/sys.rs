//! All `unsafe` code of the crate: bpf(2), the address of a packet socket, what a child process does before it runs its
//! program, and a counting allocator.
//!
//! Each function is safe to call: it owns what it opens, and checks the sizes of what it passes to the kernel.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// Constants of linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_LPM_TRIE: u32 = 11;
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_PROG_TYPE_NETFILTER: u32 = 32;
const BPF_NETFILTER: u32 = 45;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;

/// The variants of `union bpf_attr`, up to the last field that is used. The kernel treats the fields after it as zero.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct NetfilterLink {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    pf: u32,
    hooknum: u32,
    priority: i32,
    netfilter_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// `struct xdp_md`
#[repr(C)]
#[derive(Default)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// # Safety
/// `attributes` must be the variant of `union bpf_attr` that the command takes, and every address in it must be valid for
/// the number of bytes that the command reads or writes there.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    let at = std::ptr::from_mut(attributes);
    // SAFETY: `attributes` is alive and has the given size. The caller promises that its addresses are valid.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, at, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr() as u64
}

fn length<T>(of: &[T]) -> io::Result<u32> {
    u32::try_from(of.len()).map_err(|_error| io::ErrorKind::InvalidInput.into())
}

/// # Safety
/// As [`bpf`]. In addition, the command must return a new file descriptor.
unsafe fn open<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// The keys are numbers below the number of entries.
    Array,
    /// Elements are allocated when they are added. The slab allocator puts them into large pages; preallocated elements
    /// would not be in large pages.
    Hash,
    /// A key is the length of a prefix in bits as a u32, followed by the bytes that begin with the prefix. A lookup finds
    /// the longest prefix.
    PrefixTrie,
}

/// A BPF map. All keys have the same size, and so have all values.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl Map {
    pub(crate) fn new(
        kind: MapKind,
        key_size: usize,
        value_size: usize,
        entries: u32,
    ) -> io::Result<Self> {
        let (map_type, map_flags) = match kind {
            MapKind::Array => (BPF_MAP_TYPE_ARRAY, 0),
            MapKind::Hash => (BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC),
            MapKind::PrefixTrie => (BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC),
        };
        let mut attributes = MapCreate {
            map_type,
            key_size: u32::try_from(key_size).unwrap_or(u32::MAX),
            value_size: u32::try_from(value_size).unwrap_or(u32::MAX),
            max_entries: entries,
            map_flags,
        };
        // SAFETY: the command takes this variant, which has no addresses.
        let fd = unsafe { open(BPF_MAP_CREATE, &mut attributes) }?;
        Ok(Self { fd, key_size, value_size })
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.element(BPF_MAP_UPDATE_ELEM, key, value.len(), value.as_ptr() as u64)
    }

    pub(crate) fn get(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        self.element(BPF_MAP_LOOKUP_ELEM, key, value.len(), value.as_mut_ptr() as u64)
    }

    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.element(BPF_MAP_DELETE_ELEM, key, self.value_size, 0)
    }

    fn element(
        &self,
        command: libc::c_int,
        key: &[u8],
        length: usize,
        value: u64,
    ) -> io::Result<()> {
        if key.len() != self.key_size || length != self.value_size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut attributes = MapElement {
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            pad: 0,
            key: address(key),
            value,
            flags: 0,
        };
        // SAFETY: the commands take this variant. Key and value have the sizes of the map (checked above) and are alive.
        // The value is writable if the command writes to it, and is not accessed if the element is removed.
        unsafe { bpf(command, &mut attributes) }.map(drop)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgramKind {
    Xdp,
    /// For a netfilter hook (Linux 6.4).
    Netfilter,
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
}

/// A program that stays attached as long as this value lives.
#[derive(Debug)]
pub(crate) struct Link {
    _fd: OwnedFd,
}

impl Program {
    /// Loads instructions (`struct bpf_insn`) under a licence that allows all helper functions. The verifier's messages are
    /// written to `log`, if it is not empty, and end with NUL.
    pub(crate) fn load(
        kind: ProgramKind,
        instructions: &[u64],
        log: &mut [u8],
    ) -> io::Result<Self> {
        let (prog_type, expected_attach_type) = match kind {
            ProgramKind::Xdp => (BPF_PROG_TYPE_XDP, 0),
            ProgramKind::Netfilter => (BPF_PROG_TYPE_NETFILTER, BPF_NETFILTER),
        };
        let mut attributes = ProgramLoad {
            prog_type,
            insn_cnt: length(instructions)?,
            insns: address(instructions),
            license: c"GPL".as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: length(log)?,
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            kern_version: 0,
            prog_flags: 0,
            prog_name: [0; 16],
            prog_ifindex: 0,
            expected_attach_type,
        };
        // SAFETY: the command takes this variant. Instructions and licence are alive, and the log has the given size.
        let fd = unsafe { open(BPF_PROG_LOAD, &mut attributes) }?;
        Ok(Self { fd })
    }

    /// Attaches a netfilter program to a hook of the calling thread's namespace.
    pub(crate) fn attach(&self, protocol: u32, hook: u32, priority: i32) -> io::Result<Link> {
        let mut attributes = NetfilterLink {
            prog_fd: self.fd.as_raw_fd().cast_unsigned(),
            target_fd: 0,
            attach_type: BPF_NETFILTER,
            flags: 0,
            pf: protocol,
            hooknum: hook,
            priority,
            netfilter_flags: 0,
        };
        // SAFETY: the command takes this variant, which has no addresses.
        let fd = unsafe { open(BPF_LINK_CREATE, &mut attributes) }?;
        Ok(Link { _fd: fd })
    }

    /// Runs the program, in batches, on `repeat` frames that begin with `frame`, as if they were received on the interface
    /// in the calling thread's namespace. Frames that it passes enter the network stack.
    pub(crate) fn run_live(
        &self,
        frame: &[u8],
        interface: u32,
        repeat: u32,
        batch: u32,
    ) -> io::Result<()> {
        let size = length(frame)?;
        let context =
            [XdpContext { data_end: size, ingress_ifindex: interface, ..XdpContext::default() }];
        let mut attributes = TestRun {
            prog_fd: self.fd.as_raw_fd().cast_unsigned(),
            data_size_in: size,
            data_in: address(frame),
            repeat,
            ctx_size_in: size_of::<XdpContext>() as u32,
            ctx_in: address(&context),
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: batch,
            ..TestRun::default()
        };
        // SAFETY: the command takes this variant. Frame and context are alive, have the given sizes, and are only read.
        unsafe { bpf(BPF_PROG_TEST_RUN, &mut attributes) }.map(drop)
    }
}

/// Binds a packet socket to an interface and to frames of one EtherType. With 0 it receives no frames.
pub(crate) fn bind_packet(socket: &OwnedFd, interface: u32, ethertype: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let at = (&raw const address).cast::<libc::sockaddr>();
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the address is alive and has the given size.
    let result = unsafe { libc::bind(socket.as_raw_fd(), at, size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel kill the program when the thread that starts it ends, for whatever reason.
pub(crate) fn end_with_this_thread(command: &mut Command) {
    let ask = || Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator with counters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// The number of allocations and of allocated bytes since the program began.
pub(crate) fn allocated() -> (u64, u64) {
    (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

// SAFETY: every call passes the same arguments to the system allocator, whose contract is the same. Counting does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}
