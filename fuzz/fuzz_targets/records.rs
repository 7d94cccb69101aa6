//! Cursor records and floors: any bytes open, and what is written then reads back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| weir::journal::recovery::fuzz_records(bytes));
