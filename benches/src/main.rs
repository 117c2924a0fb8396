//! `palisade-bench`: see `palisade-bench --help`.

fn main() {}
