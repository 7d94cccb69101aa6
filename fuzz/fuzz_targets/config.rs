//! The configuration: any text gives a plan or mistakes, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| weir::config::fuzz_parse(text));
