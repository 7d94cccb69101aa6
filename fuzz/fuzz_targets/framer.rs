//! The framer: how the bytes arrive must not change which lines are accepted.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir::ingest::framer::fuzz_framer(input));
