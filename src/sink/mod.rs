//! Delivery to one destination: the code that sends a parcel and says what became of it.
//!
//! A sink is given one parcel at a time per journal and answers with an [`Outcome`]. When
//! to try again is [`retry`]'s arithmetic and the stream's decision, parking and the cursor
//! are the stream's too; so a sink holds no state but its connection or its file's length.
//! A new kind of destination is one file here, one variant of [`SinkSettings`] and one of
//! [`AnySink`].

pub mod file;
pub mod http;
pub mod kafka;
pub mod relay;
pub mod retry;
#[cfg(feature = "s3")]
pub mod s3;
pub mod settings;
pub mod syslog;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Parcel;
use crate::os::disk::Disk;
use crate::position::{JournalId, Timestamp};

pub use file::FileSink;
pub use http::HttpSink;
#[cfg(feature = "kafka")]
pub use kafka::KafkaSink;
pub use relay::RelaySink;
#[cfg(feature = "s3")]
pub use s3::S3Sink;
pub use settings::SinkSettings;
pub use syslog::SyslogSink;

/// What became of a parcel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has all of it.
    Delivered,
    /// Nothing was sent. Make a cursor record with [`Sink::state`] durable, call
    /// [`Sink::recorded`], then deliver the same parcel again. Not a failure: it is not
    /// counted, and there is no delay before the next call.
    RecordFirst,
    /// The destination has some of it, and said what became of each record. Records are numbered
    /// from 0 in the order of the parcel; those that are not named are delivered.
    Partial {
        /// Records to be sent again, in order.
        retry: Vec<u32>,
        /// Records the destination refuses for good, in order, and why.
        reject: Vec<(u32, Failure)>,
        /// Why there is something to be sent again; of no account when `retry` is empty.
        why: Failure,
        /// Earliest time to try again, as in [`Outcome::Retry`].
        after: Option<Duration>,
    },
    /// Try again: the destination or the way to it has a passing trouble.
    Retry {
        /// What happened, for the log, the metrics and audit events.
        why: Failure,
        /// Earliest time to try again, as the destination said (`Retry-After`, at most 1 h).
        after: Option<Duration>,
    },
    /// The batch is too large for the destination; send it in halves.
    Split {
        /// What the destination said.
        why: Failure,
    },
    /// The destination refuses this batch, or us; a retry alone will not help.
    Refused {
        /// What the destination said.
        why: Failure,
    },
}

/// Why a delivery failed: a word for counters and audit events, and text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason word, one of [`FAILURE_REASONS`].
    pub reason: &'static str,
    /// What a person needs to find the cause: status, first bytes of the reply, OS error.
    /// Holds no header value and no URL query of ours.
    pub detail: String,
}

/// Every reason word a sink may answer with; `docs/operating.md` explains each.
pub const FAILURE_REASONS: &[&str] = &[
    "dns_failure",
    "connect_refused",
    "connect_timed_out",
    "connect_failed",
    "tls_failure",
    "connection_closed",
    "timed_out",
    "protocol_error",
    "journal_error",
    "proxy_refused",
    "token_unreadable",
    "body_too_large",
    "http_3xx",
    "http_4xx",
    "http_5xx",
    "hec_token",
    "hec_data",
    "hec_index",
    "hec_busy",
    "hec_ack",
    "elastic_mapping",
    "rejected_in_reply",
    "s3_access_denied",
    "s3_no_such_bucket",
    "file_write_failed",
    "authentication_failure",
    "sasl_authentication_failed",
    "unsupported_sasl_mechanism",
    "topic_authorization_failed",
    "cluster_authorization_failed",
    "unknown_topic",
    "unknown_topic_or_partition",
    "unknown_partition",
    "invalid_topic",
    "invalid_record",
    "policy_violation",
    "unsupported_feature",
    "ssl_error",
    "kafka_configuration",
    "message_size_too_large",
    "message_batch_too_large",
    "broker_transport_failure",
    "all_brokers_down",
    "broker_handle_destroyed",
    "host_resolution_failure",
    "message_timed_out",
    "request_timed_out",
    "leader_not_available",
    "not_leader_for_partition",
    "not_enough_replicas",
    "kafka_storage_error",
    "coordinator_load_in_progress",
    "throttling_quota_exceeded",
    "out_of_order_sequence_number",
    "unknown_producer_id",
    "invalid_producer_epoch",
    "kafka_error",
];

/// A destination's delivering end. One value serves one journal of one stream, so at most
/// one parcel is in flight through it and the order of a journal holds.
#[expect(
    async_fn_in_trait,
    reason = "used through the closed enum of sinks, never as dyn"
)]
pub trait Sink {
    /// Sends the parcel and waits for the destination's answer. May be cancelled by dropping
    /// the future, which closes the connection; the parcel then counts as not delivered.
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome;

    /// State to keep in the cursor record with the batch just delivered, at most
    /// 1 KiB; empty for sinks that have none. It is given back to the sink's opener.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Says that a cursor record with the present [`Sink::state`] is durable. To be called
    /// after [`Outcome::RecordFirst`] only, with no delivery between record and call.
    fn recorded(&mut self) {}
}

/// The time of day, as handed to sinks; a closure so that tests and the simulation own it.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a sink needs to know besides its settings.
pub struct OpenContext<'a> {
    /// The node's id, as text.
    pub node: &'a str,
    /// The journal it serves.
    pub journal: JournalId,
    /// Number of journals of the node, the internal one not counted. At least 1.
    pub journals: usize,
    /// Name of the stream, for the log.
    pub stream: Arc<str>,
    /// Where file sinks write.
    pub disk: Arc<dyn Disk>,
    /// Time of day.
    pub clock: WallClock,
    /// What [`Sink::state`] said in the last durable cursor record, if there is one.
    pub state: Option<&'a [u8]>,
}

/// Why a sink could not be opened. Troubles that may pass are not here: they show as
/// [`Outcome::Retry`] when something is delivered.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be posted to.
    #[error("destination URL: {0}")]
    Url(&'static str),
    /// A request header that the sink sets itself.
    #[error("header \"{0}\" is set by the sink itself; remove it from the stream's headers")]
    Header(::http::HeaderName),
    /// A PEM file that could not be read or holds nothing of use.
    #[error("read {what} from {}: {why}", path.display())]
    Pem {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS options that do not go together.
    #[error("TLS options: {0}")]
    Tls(String),
    /// Keys that are not where they never will be.
    #[error("keys: {0}")]
    Keys(String),
    /// The program was built without this kind of destination.
    #[error("this program was built without destinations of the kind \"{0}\"")]
    NotBuilt(&'static str),
    /// A file path the sink cannot work with.
    #[error("file path {}: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The state in the cursor record is not one this version wrote.
    #[error("state of the file sink in the cursor record: {0}")]
    State(&'static str),
}

/// The sinks there are.
#[derive(Debug)]
pub enum AnySink {
    /// HTTP/1.1 requests.
    Http(Box<HttpSink>),
    /// Local files.
    File(Box<FileSink>),
    /// Another Weir.
    Relay(Box<RelaySink>),
    /// Syslog over TCP or TLS.
    Syslog(Box<SyslogSink>),
    /// Objects in a bucket.
    #[cfg(feature = "s3")]
    S3(Box<S3Sink>),
    /// Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaSink>),
}

impl AnySink {
    /// Opens the sink that the settings ask for. Does not connect. May block: certificates
    /// are read, and a file is cut to its recorded length.
    ///
    /// # Errors
    /// When the settings or the recorded state cannot work at any later time either.
    pub fn open(settings: &SinkSettings, context: OpenContext<'_>) -> Result<Self, OpenError> {
        match settings {
            SinkSettings::Http(http) => HttpSink::open(http, context.clock)
                .map(Box::new)
                .map(Self::Http),
            SinkSettings::File(file) => FileSink::open(file, context).map(Box::new).map(Self::File),
            SinkSettings::Relay(relay) => RelaySink::open(relay, context.node, context.clock)
                .map(Box::new)
                .map(Self::Relay),
            SinkSettings::Syslog(syslog) => {
                SyslogSink::open(syslog).map(Box::new).map(Self::Syslog)
            }
            #[cfg(feature = "s3")]
            SinkSettings::S3(s3) => S3Sink::open(s3).map(Box::new).map(Self::S3),
            #[cfg(not(feature = "s3"))]
            SinkSettings::S3(_) => Err(OpenError::NotBuilt("s3")),
            #[cfg(feature = "kafka")]
            SinkSettings::Kafka(kafka) => {
                let sink = KafkaSink::open(kafka, context.stream, context.clock);
                Ok(Self::Kafka(Box::new(sink)))
            }
            #[cfg(not(feature = "kafka"))]
            SinkSettings::Kafka(_) => Err(OpenError::NotBuilt("kafka")),
        }
    }
}

impl Sink for AnySink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        match self {
            Self::Http(sink) => sink.deliver(parcel).await,
            Self::File(sink) => sink.deliver(parcel).await,
            Self::Relay(sink) => sink.deliver(parcel).await,
            Self::Syslog(sink) => sink.deliver(parcel).await,
            #[cfg(feature = "s3")]
            Self::S3(sink) => sink.deliver(parcel).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => sink.deliver(parcel).await,
        }
    }

    fn state(&self) -> Vec<u8> {
        match self {
            Self::Http(sink) => sink.state(),
            Self::File(sink) => sink.state(),
            Self::Relay(sink) => sink.state(),
            Self::Syslog(sink) => sink.state(),
            #[cfg(feature = "s3")]
            Self::S3(sink) => sink.state(),
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => sink.state(),
        }
    }

    fn recorded(&mut self) {
        match self {
            Self::Http(sink) => sink.recorded(),
            Self::File(sink) => sink.recorded(),
            Self::Relay(sink) => sink.recorded(),
            Self::Syslog(sink) => sink.recorded(),
            #[cfg(feature = "s3")]
            Self::S3(sink) => sink.recorded(),
            #[cfg(feature = "kafka")]
            Self::Kafka(sink) => sink.recorded(),
        }
    }
}
