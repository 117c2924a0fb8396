//! A small assembler with instructions by opcode, and jumps to labels.

/// A register. R0 has the return value of a call. R1 to R5 have its arguments, and are overwritten by it. R6 to R9 are
/// preserved, and R10 is the frame pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct R(pub(crate) u8);

/// The frame pointer. The stack is below it.
pub(crate) const STACK: R = R(10);

/// Opcodes of linux/bpf.h and linux/bpf_common.h. The names with `VALUE` take a number instead of a second register.
pub(crate) mod op {
    pub(crate) const LOAD_IMMEDIATE: u8 = 0x18;
    pub(crate) const LOAD_WORD: u8 = 0x61;
    pub(crate) const LOAD_HALF: u8 = 0x69;
    pub(crate) const LOAD_BYTE: u8 = 0x71;
    pub(crate) const LOAD_DOUBLE: u8 = 0x79;
    pub(crate) const STORE_WORD_VALUE: u8 = 0x62;
    pub(crate) const STORE_WORD: u8 = 0x63;
    pub(crate) const STORE_HALF_VALUE: u8 = 0x6a;
    pub(crate) const STORE_HALF: u8 = 0x6b;
    pub(crate) const STORE_DOUBLE: u8 = 0x7b;
    pub(crate) const ADD_VALUE: u8 = 0x07;
    pub(crate) const ADD: u8 = 0x0f;
    pub(crate) const AND_VALUE: u8 = 0x57;
    pub(crate) const SHIFT_LEFT_VALUE: u8 = 0x67;
    pub(crate) const SHIFT_RIGHT_VALUE: u8 = 0x77;
    pub(crate) const MOVE_VALUE: u8 = 0xb7;
    /// Moves the lower half; the upper half becomes zero.
    pub(crate) const MOVE_WORD: u8 = 0xbc;
    pub(crate) const MOVE: u8 = 0xbf;
    pub(crate) const CALL: u8 = 0x85;
    pub(crate) const EXIT: u8 = 0x95;
    pub(crate) const JUMP_EQUAL_VALUE: u8 = 0x15;
    pub(crate) const JUMP_NOT_EQUAL_VALUE: u8 = 0x55;
    /// Compares only the lower half.
    pub(crate) const JUMP_EQUAL_WORD_VALUE: u8 = 0x16;
    pub(crate) const JUMP_GREATER: u8 = 0x2d;
    pub(crate) const JUMP_LESS: u8 = 0xad;
    pub(crate) const JUMP_NOT_LESS: u8 = 0x3d;
    /// In the source register of `LOAD_IMMEDIATE`: the value is the file descriptor of a map.
    pub(crate) const PSEUDO_MAP: u8 = 1;
    /// In the source register of `CALL`: the value is the BTF id of a kernel function.
    pub(crate) const PSEUDO_KERNEL_FUNCTION: u8 = 2;
}

const MAP_LOOKUP_ELEM: i32 = 1;

/// A target of jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// Instructions. The distances of jumps are filled in at the end.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<u64>,
    labels: usize,
    places: Vec<(Label, usize)>,
    jumps: Vec<(Label, usize)>,
}

impl Assembler {
    /// Appends a `struct bpf_insn`.
    pub(crate) fn put(&mut self, op: u8, to: R, from: R, offset: i16, value: i32) {
        let [low, high] = offset.to_ne_bytes();
        let [a, b, c, d] = value.to_ne_bytes();
        let registers =
            if cfg!(target_endian = "little") { to.0 | from.0 << 4 } else { to.0 << 4 | from.0 };
        self.code.push(u64::from_ne_bytes([op, registers, low, high, a, b, c, d]));
    }

    /// Appends an instruction with a register and a number.
    pub(crate) fn value(&mut self, op: u8, to: R, value: i32) {
        self.put(op, to, R(0), 0, value);
    }

    pub(crate) fn set(&mut self, to: R, value: i32) {
        self.value(op::MOVE_VALUE, to, value);
    }

    pub(crate) fn copy(&mut self, to: R, from: R) {
        self.put(op::MOVE, to, from, 0, 0);
    }

    pub(crate) fn add(&mut self, to: R, value: i32) {
        self.value(op::ADD_VALUE, to, value);
    }

    /// Loads eight bytes.
    pub(crate) fn load(&mut self, to: R, base: R, offset: i16) {
        self.put(op::LOAD_DOUBLE, to, base, offset, 0);
    }

    pub(crate) fn store(&mut self, base: R, offset: i16, from: R) {
        self.put(op::STORE_DOUBLE, base, from, offset, 0);
    }

    pub(crate) fn call(&mut self, helper: i32) {
        self.value(op::CALL, R(0), helper);
    }

    /// Creates a label. `place` sets its position.
    pub(crate) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    pub(crate) fn place(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    pub(crate) fn jump(&mut self, op: u8, left: R, right: R, to: Label) {
        self.jumps.push((to, self.code.len()));
        self.put(op, left, right, 0, 0);
    }

    pub(crate) fn jump_value(&mut self, op: u8, left: R, value: i32, to: Label) {
        self.jumps.push((to, self.code.len()));
        self.value(op, left, value);
    }

    /// Looks up a map with the key at offset `key` of the stack. R0 becomes the address of the value, or zero if there is
    /// none.
    pub(crate) fn lookup(&mut self, map: i32, key: i16) {
        self.put(op::LOAD_IMMEDIATE, R(1), R(op::PSEUDO_MAP), 0, map);
        self.put(0, R(0), R(0), 0, 0);
        self.copy(R(2), STACK);
        self.add(R(2), i32::from(key));
        self.call(MAP_LOOKUP_ELEM);
    }

    pub(crate) fn exit(&mut self, value: i32) {
        self.set(R(0), value);
        self.value(op::EXIT, R(0), 0);
    }

    pub(crate) fn finish(mut self) -> Vec<u64> {
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
