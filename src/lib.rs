//! Weir: an event relay appliance.
//!
//! The folders are the data path: `ingest` cuts and judges lines and gathers them in
//! blocks, `journal` makes blocks durable, `stream` cuts batches from them, `sink`
//! delivers. `shard` runs ingest and journal on one core. `config`, `control` and `node`
//! put the parts together. ARCHITECTURE.md has the picture and the invariants.

pub mod audit;
pub mod batch;
pub mod block;
pub mod budget;
pub mod cli;
pub mod config;
pub mod control;
pub mod event;
pub mod filter;
pub mod ingest;
pub mod journal;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod os;
pub mod position;
pub mod shard;
pub mod sink;
pub mod stream;
