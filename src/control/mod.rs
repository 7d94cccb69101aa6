//! Control: what operators see and change of a running node.
//!
//! One thread of its own serves the admin listener. It reads what the data path publishes
//! and never waits for it, nor the data path for it: it may block or die, and events flow on.

pub mod admin;
pub mod health;
pub mod observed;
mod process;
mod prometheus;
mod snapshot;
mod status;
pub mod watchdog;

#[cfg(test)]
mod tests;
