//! Bytes make events and rules, on which the engine and the slow evaluator of `tests/rules` have to agree.
#![no_main]

#[path = "../../tests/rules/decimal.rs"]
mod decimal;
#[path = "../../tests/rules/differential.rs"]
mod differential;
#[path = "../../tests/rules/generate/mod.rs"]
mod generate;
#[path = "../../tests/rules/json.rs"]
mod json;
#[path = "../../tests/rules/oracle/mod.rs"]
mod oracle;
#[path = "../../tests/rules/random.rs"]
mod random;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut random = random::Random::of_bytes(bytes);
    if let Err(disagreement) = differential::case(&mut random, &mut differential::evaluators()) {
        panic!("{disagreement}");
    }
});
