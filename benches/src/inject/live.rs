//! Sends frames that BPF_PROG_TEST_RUN creates in the kernel (live frames), with an XDP program that fills and times them.

use std::io;

use super::frame::{Frame, MAX_FRAME};
use super::route::Ingress;
use super::{BATCH, InjectError, MAX_FLOWS, MAX_PACKETS};
use crate::bpf::assembler::{Assembler, Label, R, STACK, op};
use crate::bpf::{self, LoadFailure};
use crate::sys::{Map, MapKind, Program, ProgramKind};

const KTIME_GET_NS: i32 = 5;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

/// The loaded program and its maps.
#[derive(Debug)]
pub(super) struct LiveFrames {
    program: Program,
    /// One value, which contains the words of [`State`].
    state: Map,
    /// The headers to write into frames. Each has `MAX_FRAME` bytes.
    templates: Map,
    /// The times at which the program saw the first frame of each batch, in nanoseconds of CLOCK_MONOTONIC.
    times: Map,
}

/// What the program and user space exchange: the words of one map value.
#[derive(Debug, Clone, Copy)]
enum State {
    /// The number of frames that the program has seen.
    Seen,
    /// The number of the first frame to pass. Earlier frames are dropped; they fill the pool that frames are allocated
    /// from.
    First,
    /// The number of the first frame that is dropped again.
    End,
    /// The index of the template for the next frame, and the number of templates.
    Next,
    Templates,
}

const STATE_WORDS: usize = 5;
/// The key of the first value of an array.
const FIRST_KEY: [u8; 4] = [0; 4];

impl State {
    fn offset(self) -> i16 {
        self as i16 * 8
    }
}

impl LiveFrames {
    pub(super) fn new() -> Result<Self, InjectError> {
        let array = |size, entries| {
            let array = Map::new(MapKind::Array, size_of::<u32>(), size, entries);
            array.map_err(|error| InjectError::io("a BPF array", error))
        };
        let state = array(STATE_WORDS * 8, 1)?;
        let templates = array(MAX_FRAME, MAX_FLOWS as u32)?;
        // One more batch precedes those that are timed, and one more time marks their end.
        let times = array(8, MAX_PACKETS / BATCH + 2)?;
        let code = code(state.descriptor(), templates.descriptor(), times.descriptor());
        let program =
            bpf::load(ProgramKind::Xdp, &code).map_err(|LoadFailure { source, log }| {
                InjectError::io(format!("load the XDP program ({log})"), source)
            })?;
        Ok(Self { program, state, templates, times })
    }

    /// Sends frames in turn in the calling thread's namespace, `packets` in all (a multiple of [`BATCH`]). Returns the
    /// nanoseconds of each batch.
    ///
    /// The program sees all frames of a batch before any of them enters the network stack. So the time from the first frame
    /// of one batch to the first frame of a later one covers all batches in between, with all of their processing in the
    /// stack.
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
        self.state.set(&FIRST_KEY, &bytes).map_err(failed)?;
        let blank = vec![0; longest];
        // One more frame, which marks the end of the last batch.
        self.program
            .run_live(&blank, ingress.index(), end + 1, BATCH)
            .map_err(|error| InjectError::io("BPF_PROG_TEST_RUN with live frames", error))?;
        let mut bytes = [0; STATE_WORDS * 8];
        self.state.get(&FIRST_KEY, &mut bytes).map_err(failed)?;
        let seen = bytes.first_chunk().map_or(0, |chunk| u64::from_ne_bytes(*chunk));
        let came_in = seen.saturating_sub(u64::from(BATCH) + 1);
        if came_in != u64::from(packets) {
            return Err(InjectError::Lost { packets: packets.into(), came_in });
        }
        self.batches(packets / BATCH).map_err(failed)
    }

    /// The time of each batch that is timed.
    fn batches(&self, count: u32) -> io::Result<Vec<u64>> {
        let time = |batch: u32| {
            let mut bytes = [0; 8];
            self.times.get(&batch.to_ne_bytes(), &mut bytes)?;
            Ok(u64::from_ne_bytes(bytes))
        };
        let times: Vec<u64> = (1..count + 2).map(time).collect::<io::Result<_>>()?;
        let pairs = times.iter().zip(times.iter().skip(1));
        Ok(pairs.map(|(begin, end)| end.saturating_sub(*begin)).collect())
    }

    /// Writes the templates. Returns the length of the longest one, rounded up to whole words.
    fn fill(&self, frames: &[Frame]) -> Result<usize, InjectError> {
        let mut longest = 0;
        for (index, frame) in frames.iter().enumerate() {
            let mut template = frame.clone();
            longest = longest.max(template.len().next_multiple_of(8));
            template.resize(MAX_FRAME, 0);
            let set = self.templates.set(&(index as u32).to_ne_bytes(), &template);
            set.map_err(|error| InjectError::io("a BPF array", error))?;
        }
        Ok(longest)
    }
}

/// The code that runs for each frame: count it, take the time if it is the first of its batch, write the next template into
/// it, and pass it.
fn code(state: i32, templates: i32, times: i32) -> Vec<u64> {
    let (context, shared, number, next) = (R(6), R(7), R(8), R(9));
    let mut a = Assembler::default();
    let (same_batch, keep) = (a.label(), a.label());
    let (pass, drop) = (a.label(), a.label());
    a.copy(context, R(1));
    a.set(number, 0);
    array_value(&mut a, state, number, drop);
    a.copy(shared, R(0));
    a.load(number, shared, State::Seen.offset());
    a.copy(R(1), number);
    a.add(R(1), 1);
    a.store(shared, State::Seen.offset(), R(1));

    let time = next;
    a.copy(R(1), number);
    a.value(op::AND_VALUE, R(1), BATCH as i32 - 1);
    a.jump_value(op::JUMP_NOT_EQUAL_VALUE, R(1), 0, same_batch);
    a.call(KTIME_GET_NS);
    a.copy(time, R(0));
    a.copy(R(1), number);
    a.value(op::SHIFT_RIGHT_VALUE, R(1), BATCH.ilog2() as i32);
    array_value(&mut a, times, R(1), drop);
    a.store(R(0), 0, time);
    a.place(same_batch);

    a.load(R(1), shared, State::First.offset());
    a.jump(op::JUMP_LESS, number, R(1), drop);
    a.load(R(1), shared, State::End.offset());
    a.jump(op::JUMP_NOT_LESS, number, R(1), drop);

    a.load(next, shared, State::Next.offset());
    a.copy(R(1), next);
    a.add(R(1), 1);
    a.load(R(2), shared, State::Templates.offset());
    a.jump(op::JUMP_LESS, R(1), R(2), keep);
    a.set(R(1), 0);
    a.place(keep);
    a.store(shared, State::Next.offset(), R(1));
    array_value(&mut a, templates, next, drop);

    let (template, data, end) = (R(0), R(2), R(3));
    a.put(op::LOAD_WORD, data, context, 0, 0);
    a.put(op::LOAD_WORD, end, context, 4, 0);
    for offset in (0..MAX_FRAME as i16).step_by(8) {
        a.copy(R(1), data);
        a.add(R(1), i32::from(offset) + 8);
        a.jump(op::JUMP_GREATER, R(1), end, pass);
        a.load(R(4), template, offset);
        a.store(data, offset, R(4));
    }
    a.place(pass);
    a.exit(XDP_PASS);
    a.place(drop);
    a.exit(XDP_DROP);
    a.finish()
}

/// Puts the address of the array's value at `index` into R0. Jumps to `none` if there is none.
fn array_value(a: &mut Assembler, array: i32, index: R, none: Label) {
    const KEY: i16 = -4;
    a.put(op::STORE_WORD, STACK, index, KEY, 0);
    a.lookup(array, KEY);
    a.jump_value(op::JUMP_EQUAL_VALUE, R(0), 0, none);
}
