//! HTTP bodies in every encoding: one fate for each line, no more memory than the limits allow, all of it given back.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| weir::ingest::http::fuzz_body(body));
