//! `palisade-bench`: see `palisade-bench --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    palisade_benches::harness::cli::main().into()
}
