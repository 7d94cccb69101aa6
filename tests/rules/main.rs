//! The proof of the rule engine: a slow, obvious evaluator that must agree with it on every event.
//!
//! `json`, `decimal` and `oracle` are the slow evaluator: a full tree, exact numbers, and what every node of
//! `weir::filter::tree` means. `generate` makes events and rules, `differential` compares; the fuzz target
//! `rules_oracle` runs the same comparison from bytes. `vectors` goes the whole way, from a rule's text to the answer.

mod decimal;
mod differential;
mod generate;
mod json;
mod oracle;
mod random;
mod vectors;
