//! Streams: what is cut from the journal for one destination.

pub mod gzip;
pub mod settings;
pub mod status;
