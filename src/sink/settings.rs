//! What the sinks and their retry policy run on; built by `config`, never changed after.

use std::path::PathBuf;
use std::time::Duration;

pub use super::kafka::settings::{
    BUILT as KAFKA_IS_BUILT, EventMessage, KafkaCodec, KafkaSettings, KafkaTls, Message, Oversize,
    Password, PasswordMechanism, Sasl, Topic, check_property as check_kafka_property,
};
pub use crate::batch::{BodyForm, Compression};

/// Settings of one destination.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkSettings {
    /// HTTP/1.1 requests.
    Http(HttpSettings),
    /// Local files.
    File(FileSettings),
    /// Kafka.
    Kafka(KafkaSettings),
}

impl SinkSettings {
    /// In which form the sink wants its parcels.
    #[must_use]
    pub fn body_form(&self) -> BodyForm {
        match self {
            Self::Http(settings) => BodyForm::Whole(settings.compression),
            Self::File(settings) => BodyForm::Whole(settings.compression),
            Self::Kafka(settings) => settings.body_form(),
        }
    }

    /// The word for this kind of destination in the configuration, status and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// Settings of an HTTP destination.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// `http://` or `https://` URL the batches are posted to.
    pub url: http::Uri,
    /// Further request headers.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Encoding of the body.
    pub compression: Compression,
    /// `Content-Type`; `None`: that of the parcel, else `application/x-ndjson`.
    pub content_type: Option<http::HeaderValue>,
    /// Time to connect, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// Time from the request's first byte to the end of the reply. Default 60 s.
    pub request_timeout: Duration,
    /// TLS options, used when the URL is `https`.
    pub tls: TlsSettings,
}

/// TLS towards a destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// PEM file of the authorities to trust; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate chain; needs `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub client_key_file: Option<PathBuf>,
    /// Name to check the server's certificate against; the URL's host when absent.
    pub server_name: Option<String>,
}

/// Settings of a file destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The file written to; at most 900 bytes of path. With several journals the journal's
    /// number is put before the extension: `events.ndjson` becomes `events.0.ndjson`,
    /// `events.1.ndjson`, and the internal journal's `events.internal.ndjson`. A last `.gz`
    /// counts with the extension before it: `events.0.ndjson.gz`.
    pub path: PathBuf,
    /// Encoding of the file.
    pub compression: Compression,
    /// A file is closed and renamed (time of closing added) before it would pass this. Default 1 GiB.
    pub rotate_bytes: u64,
    /// A file is closed and renamed by the first delivery after this age. Default 24 h.
    pub rotate_age: Duration,
    /// Closed files kept; older ones are removed. 0 keeps all, the default.
    pub keep_files: u32,
}

/// When and how a failed batch is tried again: exponential with full jitter, no give-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// First delay's upper bound. Default 200 ms.
    pub delay_min: Duration,
    /// Bound the delays grow to. Default 60 s.
    pub delay_max: Duration,
}
