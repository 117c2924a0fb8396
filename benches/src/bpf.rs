//! BPF programs that are assembled here, so that building and running the benches needs no compiler and no library for BPF.

pub(crate) mod assembler;
pub(crate) mod btf;

use std::io;

use crate::sys::{Program, ProgramKind};

/// A program that the kernel refused to load.
#[derive(Debug)]
pub(crate) struct LoadFailure {
    pub(crate) source: io::Error,
    /// The last lines of the verifier's log, if there are any.
    pub(crate) log: String,
}

/// The number of lines of the verifier's log that are kept. The reason for the refusal is at the end.
const LOG_LINES: usize = 4;

/// Loads a program. If it is refused, loads it again with the verifier's log.
pub(crate) fn load(kind: ProgramKind, code: &[u64]) -> Result<Program, LoadFailure> {
    Program::load(kind, code, &mut []).or_else(|source| {
        let mut log = vec![0; 1 << 20];
        Program::load(kind, code, &mut log)
            .map_err(|_same| LoadFailure { source, log: last_lines(log) })
    })
}

fn last_lines(log: Vec<u8>) -> String {
    let text: Vec<u8> = log.into_iter().take_while(|&byte| byte != 0).collect();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
    last.copied().collect::<Vec<_>>().join("; ")
}
