//! Raw lines: finding values in the bytes of an event without parsing it.
//!
//! Owns: masks of a line's structure (`index`), the table of key paths (`paths`), the lazy walk over both (`walk`), and
//! what texts, numbers and arrays are made of (`text`, `pair`, `number`, `array`). Leaves to others: what a rule asks.

pub(in crate::filter) mod array;
mod index;
pub(in crate::filter) mod number;
mod pair;
pub(in crate::filter) mod paths;
pub mod text;
pub(in crate::filter) mod walk;

pub use paths::{PathId, Paths};
pub use walk::Walker;
