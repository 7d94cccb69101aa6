//! The journal: a durable sequence of blocks.

pub mod settings;
