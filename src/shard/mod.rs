//! The shard: one core, its connections and its journals.

pub mod core;
pub mod listen;
pub mod mailbox;
pub mod notices;
pub mod placement;
pub mod run;
pub mod settings;
