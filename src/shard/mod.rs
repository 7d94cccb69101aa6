//! The shard: one core, its connections and its journals.

pub mod core;
pub mod settings;
