//! The shard: one core, its connections and its journals.

pub mod settings;
