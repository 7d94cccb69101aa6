//! Rules: what an event has to be like to be dropped or delivered.
//!
//! Two languages, one meaning: [`query`] and [`dpxl`] parse text into the typed [`tree`]; `compile` turns the trees of
//! many rules into one program over one table of fields, and `eval` runs it on the raw bytes of a [`line`](mod@line).
//! Everything here is pure.

mod compile;
mod describe;
pub mod dpxl;
pub mod error;
mod eval;
pub mod exclusions;
mod functions;
pub mod line;
mod literal;
pub mod path;
pub mod query;
pub mod selection;
#[cfg(test)]
mod tests;
pub mod time;
pub mod tree;
mod value;

pub use compile::{Polarity, Program, Rule};
pub use eval::{Evaluation, Evaluator, Event};
pub use line::text;
pub use line::{PathId, Paths, Walker};
