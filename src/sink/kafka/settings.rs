//! What the `kafka` sink runs on.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::batch::{BodyForm, Compression};
use crate::filter::tree::Path;

/// Settings of a Kafka destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` of brokers to begin with; never empty.
    pub brokers: Vec<String>,
    /// Where messages go.
    pub topic: Topic,
    /// What a message is.
    pub message: Message,
    /// Headers of every message, besides those of its identity.
    pub headers: Vec<(String, String)>,
    /// Send the identity of batch and event as headers. Default true.
    pub identity_headers: bool,
    /// Largest message: body, key and headers, in bytes before compression. Default 1,000,000,
    /// which brokers take with their own defaults.
    pub message_bytes_max: usize,
    /// A delivery in which no message is acknowledged for so long has failed. Default 60 s.
    pub delivery_timeout: Duration,
    /// TLS; `None`: connections are not encrypted.
    pub tls: Option<KafkaTls>,
    /// How we say who we are; `None`: not by SASL.
    pub sasl: Option<Sasl>,
    /// Further librdkafka properties, checked by [`check_property`].
    pub properties: Vec<(String, String)>,
}

impl KafkaSettings {
    /// In which form the sink wants its parcels.
    #[must_use]
    pub(in crate::sink) fn body_form(&self) -> BodyForm {
        match self.message {
            Message::Event(_) => BodyForm::Records,
            Message::Batch(compression) => BodyForm::Whole(compression),
        }
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// One topic for all.
    Fixed(String),
    /// The topic that a field of the event names, if it is one of these.
    Field {
        /// The field.
        path: Path,
        /// Topics that may be written to; never empty.
        topics: Vec<String>,
    },
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// One event.
    Event(EventMessage),
    /// One batch; its codec is ours, so that blocks are spliced and not compressed again.
    Batch(Compression),
}

/// How an event becomes a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMessage {
    /// Field that is the key; `None`: messages have none.
    pub key: Option<Path>,
    /// Headers with the values of fields; an event without the field has no such header.
    pub header_fields: Vec<(String, Path)>,
    /// Field with a cloud resource name, whose account and location become headers.
    pub crn: Option<Path>,
    /// What librdkafka compresses its batches of messages with.
    pub codec: KafkaCodec,
    /// What happens to an event above `message_bytes_max`.
    pub oversize: Oversize,
}

/// Codecs of librdkafka; its gzip is not among them, being ten times slower than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaCodec {
    /// None.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
}

impl KafkaCodec {
    /// Its name in configurations, ours and librdkafka's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

/// What happens to an event that is too large for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversize {
    /// It is rejected.
    Reject,
    /// It is cut between two characters, and marked by the header `truncated`.
    Truncate,
}

/// TLS towards brokers. The names in their certificates are always checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KafkaTls {
    /// PEM file of the authorities to trust; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate chain, and of its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How we say who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    /// With a name and a password.
    Password {
        /// Which exchange.
        mechanism: PasswordMechanism,
        /// The name.
        username: String,
        /// The password, or where it is.
        password: Password,
    },
    /// OAUTHBEARER, with the token in this file; read again while connections are open.
    TokenFile(PathBuf),
}

/// A SASL mechanism with name and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordMechanism {
    /// PLAIN, RFC 4616.
    Plain,
    /// SCRAM-SHA-256, RFC 7677.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl PasswordMechanism {
    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A password, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// As it stands in the configuration.
    Given(String),
    /// The first line of this file, read whenever a client is made.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Asks librdkafka whether it has a property of that name that takes that value.
///
/// # Errors
/// With its own words, which may hold the value.
#[cfg(feature = "kafka")]
pub fn check_property(name: &str, value: &str) -> Result<(), String> {
    super::client::check_property(name, value)
}

/// Knows no property: this build is without Kafka.
///
/// # Errors
/// Never.
#[cfg(not(feature = "kafka"))]
pub fn check_property(_name: &str, _value: &str) -> Result<(), String> {
    Ok(())
}

/// True when this build can deliver to Kafka.
pub const BUILT: bool = cfg!(feature = "kafka");
