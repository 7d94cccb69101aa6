//! Counters and latencies: plain numbers that stages count up and `control` shows.

pub mod latency;
pub mod ledger;
