//! The validator at every level of this CPU: all must agree, and nothing may panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|line: &[u8]| weir::ingest::validate::fuzz_validate(line));
