//! The journal: a durable sequence of blocks.

pub mod cursor;
pub mod floor;
pub mod format;
pub mod inspect;
pub mod internal;
pub mod keeper;
pub mod letters;
pub mod reader;
pub mod recovery;
pub mod scan;
pub mod segments;
pub mod settings;
mod slots;
pub mod tail;
pub mod writer;

#[cfg(test)]
mod tests;
