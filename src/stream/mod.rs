//! Streams: what is cut from the journal for one destination.

pub mod content;
pub mod encode;
pub mod gzip;
pub mod lane;
pub mod lines;
pub mod own;
pub mod pace;
pub mod probe;
pub mod refusal;
pub mod remaining;
pub mod select;
pub mod settings;
pub mod status;
pub mod template;

#[cfg(test)]
mod tests;
