//! Ways in: lines are cut, judged and gathered in the open block of a shard.
//!
//! Inputs speak to a shard through one door, [`gather::Gather`]: lines in a buffer, labels,
//! an optional waiter. What closes leaves by `take_closed`; nothing here knows of journals
//! or streams.

pub mod admission;
pub mod door;
pub mod exclusion;
pub mod fate;
pub mod framer;
pub mod gather;
pub mod http;
pub mod json_array;
pub mod reject;
pub mod settings;
pub mod tcp;
pub mod validate;
