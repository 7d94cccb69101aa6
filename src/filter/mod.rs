//! Rules: what an event has to be like to be dropped or delivered.
//!
//! Two languages, one meaning: [`query`] and [`dpxl`] parse text into the typed [`tree`]; `compile` turns the trees of
//! many rules into one program over one table of fields, and `eval` runs it on the raw bytes of a line. Everything here is
//! pure.

mod array;
mod compile;
mod describe;
pub mod dpxl;
pub mod error;
mod eval;
pub mod exclusions;
mod functions;
mod index;
mod literal;
mod number;
mod paths;
pub mod query;
pub mod selection;
#[cfg(test)]
mod tests;
pub mod text;
pub mod time;
pub mod tree;
mod value;
mod walk;

pub use compile::{Polarity, Program, Rule};
pub use eval::{Evaluation, Evaluator, Event};
pub use paths::{PathId, Paths};
pub use walk::Walker;
