//! The `kafka` sink: one event a message, or one batch a message, through librdkafka.
//!
//! Promises: a parcel is answered when the brokers have reported on every message of it. Messages
//! of one key stay in order through retries: librdkafka numbers them (`enable.idempotence`) and
//! stops for good rather than leave one out (`enable.gapless.guarantee`). After any message that
//! failed, and when a delivery is dropped, what is queued is purged and the client is thrown away;
//! the next delivery makes a new one, which reads passwords, tokens and certificates again.
//!
//! Everything runs in the stream's own thread, in turns of a few milliseconds: librdkafka is
//! asked for its reports, never waited for. Its own threads do the sending.
//!
//! Without the feature `kafka` only the settings are here.

#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod delivery;
#[cfg(feature = "kafka")]
mod flight;
#[cfg(feature = "kafka")]
mod message;
pub(super) mod settings;
#[cfg(feature = "kafka")]
#[cfg(test)]
mod tests;
#[cfg(feature = "kafka")]
mod words;

#[cfg(feature = "kafka")]
pub use delivery::KafkaSink;
