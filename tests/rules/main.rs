//! The proof of the rule engine: a slow, obvious evaluator that must agree with it on every event.
mod decimal;
mod json;
mod oracle;
mod random;
