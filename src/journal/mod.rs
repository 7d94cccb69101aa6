//! The journal: a durable sequence of blocks.

pub mod format;
pub mod settings;
pub mod writer;
