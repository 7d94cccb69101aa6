//! The block decoder: arbitrary bytes are refused or opened, and what opens reads back the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::journal::format::fuzz_open_block(bytes));
