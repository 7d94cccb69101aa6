//! Control: what operators see and change of a running node.
//!
//! One thread of its own serves the admin listener. It reads what the data path publishes
//! and never waits for it, nor the data path for it: it may block or die, and events flow on.
//! Commands are put to a stream through a channel, and its answer is waited for beside all else.

pub mod admin;
mod command_routes;
pub mod commands;
pub mod health;
pub mod observed;
mod process;
mod prometheus;
mod snapshot;
mod status;
pub mod watchdog;

#[cfg(test)]
mod tests;
