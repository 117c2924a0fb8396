//! `palisade`: see `palisade --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    palisade_heap::use_one_heap();
    palisade::cli::main().into()
}
