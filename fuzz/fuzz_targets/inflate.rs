//! Reading a body: a run gives its declared length and can be spliced, anything else is refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weir::block::codec::fuzz_inflate(input));
