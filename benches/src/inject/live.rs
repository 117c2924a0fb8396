//! Frames made in the kernel by BPF_PROG_TEST_RUN with live frames, and the XDP program that fills and times them.

use std::io;

use super::frame::{Frame, MAX_FRAME};
use super::route::Ingress;
use super::{BATCH, InjectError, MAX_FLOWS, MAX_PACKETS};
use crate::sys::{Array, Program};

/// The loaded program with its maps.
#[derive(Debug)]
pub(super) struct LiveFrames {
    program: Program,
    /// One value: the words of [`State`].
    state: Array,
    /// The headers to write into frames, each `MAX_FRAME` bytes.
    templates: Array,
    /// When the program saw the first frame of each batch, in nanoseconds of CLOCK_MONOTONIC.
    times: Array,
}

/// What the program and user space tell each other, as the words of one map value.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Frames that the program has seen.
    Seen,
    /// The number of the first frame to pass; those before it are dropped, and warm the pool that frames come from.
    First,
    /// The number of the first frame that is dropped again.
    End,
    /// The template for the next frame, and how many templates there are.
    Next,
    Templates,
}

const STATE_WORDS: usize = 5;

impl State {
    fn offset(self) -> i16 {
        self as i16 * 8
    }
}

impl LiveFrames {
    pub(super) fn new() -> Result<Self, InjectError> {
        let array = |size, entries| {
            Array::new(size, entries).map_err(|error| InjectError::io("a BPF array", error))
        };
        let state = array(STATE_WORDS * 8, 1)?;
        let templates = array(MAX_FRAME, MAX_FLOWS as u32)?;
        // One batch before those that are timed, and the time of their end.
        let times = array(8, MAX_PACKETS / BATCH + 2)?;
        let code = code(state.descriptor(), templates.descriptor(), times.descriptor());
        let program = Program::load(&code, &mut []).map_err(|error| explain(&code, error))?;
        Ok(Self { program, state, templates, times })
    }

    /// Sends frames round robin, `packets` (a multiple of [`BATCH`]) in all, in the calling thread's namespace. Returns the
    /// nanoseconds of each batch.
    ///
    /// The program sees a batch of frames before any of them enters the stack. So the time from the first frame of one
    /// batch to the first of a later one is that of all batches between, with all they do in the stack.
    pub(super) fn send(
        &self,
        frames: &[Frame],
        ingress: Ingress,
        packets: u32,
    ) -> Result<Vec<u64>, InjectError> {
        let longest = self.fill(frames)?;
        let end = BATCH + packets;
        let mut words = [0; STATE_WORDS];
        let mut set = |state: State, value: u64| {
            if let Some(word) = words.get_mut(state as usize) {
                *word = value;
            }
        };
        set(State::First, u64::from(BATCH));
        set(State::End, u64::from(end));
        set(State::Templates, frames.len() as u64);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let failed = |error| InjectError::io("a BPF array", error);
        self.state.set(0, &bytes).map_err(failed)?;
        let blank = vec![0; longest];
        // One more frame, for its time.
        self.program
            .run_live(&blank, ingress.index(), end + 1, BATCH)
            .map_err(|error| InjectError::io("BPF_PROG_TEST_RUN with live frames", error))?;
        let mut bytes = [0; STATE_WORDS * 8];
        self.state.get(0, &mut bytes).map_err(failed)?;
        let seen = bytes.first_chunk().map_or(0, |chunk| u64::from_ne_bytes(*chunk));
        let came_in = seen.saturating_sub(u64::from(BATCH) + 1);
        if came_in != u64::from(packets) {
            return Err(InjectError::Lost { packets: packets.into(), came_in });
        }
        self.batches(packets / BATCH).map_err(failed)
    }

    /// How long each of the timed batches took.
    fn batches(&self, count: u32) -> io::Result<Vec<u64>> {
        let time = |batch| {
            let mut bytes = [0; 8];
            self.times.get(batch, &mut bytes)?;
            Ok(u64::from_ne_bytes(bytes))
        };
        let times: Vec<u64> = (1..count + 2).map(time).collect::<io::Result<_>>()?;
        let pairs = times.iter().zip(times.iter().skip(1));
        Ok(pairs.map(|(begin, end)| end.saturating_sub(*begin)).collect())
    }

    /// Writes the templates; returns the length of the longest, in whole words.
    fn fill(&self, frames: &[Frame]) -> Result<usize, InjectError> {
        let mut longest = 0;
        for (index, frame) in frames.iter().enumerate() {
            let mut template = frame.clone();
            longest = longest.max(template.len().next_multiple_of(8));
            template.resize(MAX_FRAME, 0);
            let set = self.templates.set(index as u32, &template);
            set.map_err(|error| InjectError::io("a BPF array", error))?;
        }
        Ok(longest)
    }
}

/// The verifier's last words.
fn explain(code: &[u64], error: io::Error) -> InjectError {
    let mut log = vec![0; 1 << 20];
    let what = "load the XDP program";
    match Program::load(code, &mut log) {
        Ok(_) => InjectError::io(what, error),
        Err(again) => {
            let text: Vec<u8> = log.into_iter().take_while(|&byte| byte != 0).collect();
            let text = String::from_utf8_lossy(&text);
            let last = text.lines().rev().take(4).collect::<Vec<_>>();
            let last: Vec<_> = last.into_iter().rev().collect();
            InjectError::io(format!("{what} ({})", last.join("; ")), again)
        }
    }
}

/// Registers: R0 is what calls return, R1-R5 are their arguments and lost by them, R6-R9 are kept, R10 is the frame
/// pointer.
#[derive(Clone, Copy)]
struct R(u8);

/// Opcodes of linux/bpf.h and linux/bpf_common.h.
mod op {
    pub(super) const LOAD_IMMEDIATE: u8 = 0x18;
    pub(super) const LOAD_WORD: u8 = 0x61;
    pub(super) const LOAD_DOUBLE: u8 = 0x79;
    pub(super) const STORE_WORD: u8 = 0x63;
    pub(super) const STORE_DOUBLE: u8 = 0x7b;
    pub(super) const ADD_VALUE: u8 = 0x07;
    pub(super) const AND_VALUE: u8 = 0x57;
    pub(super) const SHIFT_RIGHT_VALUE: u8 = 0x77;
    pub(super) const MOVE_VALUE: u8 = 0xb7;
    pub(super) const MOVE: u8 = 0xbf;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    pub(super) const JUMP_ZERO: u8 = 0x15;
    pub(super) const JUMP_NOT_ZERO: u8 = 0x55;
    pub(super) const JUMP_GREATER: u8 = 0x2d;
    pub(super) const JUMP_LESS: u8 = 0xad;
    pub(super) const JUMP_NOT_LESS: u8 = 0x3d;
    /// In the source register of `LOAD_IMMEDIATE`: the value is a map's descriptor.
    pub(super) const PSEUDO_MAP: u8 = 1;
}

const MAP_LOOKUP_ELEM: i32 = 1;
const KTIME_GET_NS: i32 = 5;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

/// A place to jump to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    SameBatch,
    Keep,
    Pass,
    Drop,
}

/// Instructions, with jumps whose distance is filled in at the end.
#[derive(Default)]
struct Assembler {
    code: Vec<u64>,
    places: Vec<(Label, usize)>,
    jumps: Vec<(Label, usize)>,
}

impl Assembler {
    /// `struct bpf_insn`
    fn put(&mut self, op: u8, to: R, from: R, offset: i16, value: i32) {
        let [low, high] = offset.to_ne_bytes();
        let [a, b, c, d] = value.to_ne_bytes();
        let registers =
            if cfg!(target_endian = "little") { to.0 | from.0 << 4 } else { to.0 << 4 | from.0 };
        self.code.push(u64::from_ne_bytes([op, registers, low, high, a, b, c, d]));
    }

    fn set(&mut self, to: R, value: i32) {
        self.put(op::MOVE_VALUE, to, R(0), 0, value);
    }

    fn copy(&mut self, to: R, from: R) {
        self.put(op::MOVE, to, from, 0, 0);
    }

    fn add(&mut self, to: R, value: i32) {
        self.put(op::ADD_VALUE, to, R(0), 0, value);
    }

    /// Eight bytes.
    fn load(&mut self, to: R, base: R, offset: i16) {
        self.put(op::LOAD_DOUBLE, to, base, offset, 0);
    }

    fn store(&mut self, base: R, offset: i16, from: R) {
        self.put(op::STORE_DOUBLE, base, from, offset, 0);
    }

    fn call(&mut self, helper: i32) {
        self.put(op::CALL, R(0), R(0), 0, helper);
    }

    fn jump(&mut self, op: u8, left: R, right: R, to: Label) {
        self.jumps.push((to, self.code.len()));
        self.put(op, left, right, 0, 0);
    }

    fn place(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    /// The address of the map's value under the u32 key in `key`, to R0; on to `Drop` if there is none.
    fn lookup(&mut self, map: i32, key: R) {
        const KEY: i16 = -4;
        self.put(op::STORE_WORD, R(10), key, KEY, 0);
        self.put(op::LOAD_IMMEDIATE, R(1), R(op::PSEUDO_MAP), 0, map);
        self.put(0, R(0), R(0), 0, 0);
        self.copy(R(2), R(10));
        self.add(R(2), i32::from(KEY));
        self.call(MAP_LOOKUP_ELEM);
        self.jump(op::JUMP_ZERO, R(0), R(0), Label::Drop);
    }

    fn exit(&mut self, value: i32) {
        self.set(R(0), value);
        self.put(op::EXIT, R(0), R(0), 0, 0);
    }

    fn finish(mut self) -> Vec<u64> {
        for (label, at) in self.jumps {
            let place =
                self.places.iter().find(|(name, _)| *name == label).map(|&(_, place)| place);
            let distance = place.and_then(|place| i16::try_from(place - at - 1).ok()).unwrap_or(0);
            if let Some(instruction) = self.code.get_mut(at) {
                let mut bytes = instruction.to_ne_bytes();
                let [low, high] = distance.to_ne_bytes();
                (bytes[2], bytes[3]) = (low, high);
                *instruction = u64::from_ne_bytes(bytes);
            }
        }
        self.code
    }
}

/// For each frame: counts it, takes the time if it is a batch's first, writes the next template into it and passes it.
fn code(state: i32, templates: i32, times: i32) -> Vec<u64> {
    let (context, shared, number, next) = (R(6), R(7), R(8), R(9));
    let mut a = Assembler::default();
    a.copy(context, R(1));
    a.set(number, 0);
    a.lookup(state, number);
    a.copy(shared, R(0));
    a.load(number, shared, State::Seen.offset());
    a.copy(R(1), number);
    a.add(R(1), 1);
    a.store(shared, State::Seen.offset(), R(1));

    let time = next;
    a.copy(R(1), number);
    a.put(op::AND_VALUE, R(1), R(0), 0, BATCH as i32 - 1);
    a.jump(op::JUMP_NOT_ZERO, R(1), R(0), Label::SameBatch);
    a.call(KTIME_GET_NS);
    a.copy(time, R(0));
    a.copy(R(1), number);
    a.put(op::SHIFT_RIGHT_VALUE, R(1), R(0), 0, BATCH.ilog2() as i32);
    a.lookup(times, R(1));
    a.store(R(0), 0, time);
    a.place(Label::SameBatch);

    a.load(R(1), shared, State::First.offset());
    a.jump(op::JUMP_LESS, number, R(1), Label::Drop);
    a.load(R(1), shared, State::End.offset());
    a.jump(op::JUMP_NOT_LESS, number, R(1), Label::Drop);

    a.load(next, shared, State::Next.offset());
    a.copy(R(1), next);
    a.add(R(1), 1);
    a.load(R(2), shared, State::Templates.offset());
    a.jump(op::JUMP_LESS, R(1), R(2), Label::Keep);
    a.set(R(1), 0);
    a.place(Label::Keep);
    a.store(shared, State::Next.offset(), R(1));
    a.lookup(templates, next);

    let (template, data, end) = (R(0), R(2), R(3));
    a.put(op::LOAD_WORD, data, context, 0, 0);
    a.put(op::LOAD_WORD, end, context, 4, 0);
    for offset in (0..MAX_FRAME as i16).step_by(8) {
        a.copy(R(1), data);
        a.add(R(1), i32::from(offset) + 8);
        a.jump(op::JUMP_GREATER, R(1), end, Label::Pass);
        a.load(R(4), template, offset);
        a.store(data, offset, R(4));
    }
    a.place(Label::Pass);
    a.exit(XDP_PASS);
    a.place(Label::Drop);
    a.exit(XDP_DROP);
    a.finish()
}
