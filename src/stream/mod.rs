//! Streams: what is cut from the journal for one destination.

pub mod encode;
pub mod gzip;
pub mod lane;
pub mod pace;
pub mod settings;
pub mod status;
pub mod template;

#[cfg(test)]
mod tests;
