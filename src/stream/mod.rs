//! Streams: what is cut from the journal for one destination.

pub mod settings;
