#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| palisade_benches::decoders::decode("conntrack", input));
