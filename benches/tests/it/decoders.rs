//! The inputs that fuzzing kept, through every decoder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use palisade_benches::decoders;

/// The largest input that is kept, in bytes.
const MAX_INPUT: usize = 16 << 10;
/// All of one decoder together.
const MAX_INPUTS: usize = 512 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_decoder_has_a_target_and_inputs_and_there_are_no_others() {
    let known: BTreeSet<String> =
        decoders::all().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), known);
    assert_eq!(names(&fuzz().join("corpus")), known);
    for name in known {
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("{name:?}")), "{target}");
    }
}

#[test]
fn inputs_that_were_kept_break_no_promise_also_when_they_are_cut_short() {
    for (name, decoder) in decoders::all() {
        let mut bytes = 0;
        for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            assert!(input.len() <= MAX_INPUT, "{}", path.display());
            bytes += input.len();
            // The name of the input comes before the panic, if there is one.
            eprintln!("{}", path.display());
            decoder(&input);
            decoder(&input[..input.len() / 2]);
        }
        assert!((1..=MAX_INPUTS).contains(&bytes), "{name}: {bytes} bytes");
    }
}
