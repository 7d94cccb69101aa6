//! Rules: what an event has to be like to be dropped or delivered.
//!
//! Two languages, one meaning: [`query`] and [`dpxl`] parse text into the typed [`tree`]; `compile` turns the trees of
//! many rules into one program over one table of fields, and `eval` runs it on the raw bytes of a line. Everything here is
//! pure.

pub mod dpxl;
pub mod error;
pub mod time;
pub mod tree;
