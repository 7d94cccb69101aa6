//! A segment file: a journal recovers with any bytes in it, twice, and reads to its end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::journal::recovery::fuzz_recover(bytes));
