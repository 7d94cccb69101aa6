//! The input over real sockets, with a shard behind the door that settles every block.

mod bodies;
mod clients;
mod gates;
mod harness;
mod relay;
