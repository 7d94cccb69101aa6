//! What the sinks and their retry policy run on; built by `config`, never changed after.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use super::kafka::settings::{
    BUILT as KAFKA_IS_BUILT, EventMessage, KafkaCodec, KafkaSettings, KafkaTls, Message, Oversize,
    Password, PasswordMechanism, Sasl, Topic, check_property as check_kafka_property,
};
pub use crate::batch::{BodyForm, Compression};
pub use crate::sink::http::authorization;
pub use crate::sink::relay::{RelayFormat, RelaySettings};
pub use crate::sink::syslog::{
    Framing, HeaderSettings, SyslogSettings, TextSource, words as syslog_words,
};

/// Settings of one destination.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkSettings {
    /// HTTP/1.1 requests.
    Http(HttpSettings),
    /// Local files.
    File(FileSettings),
    /// Another Weir.
    Relay(RelaySettings),
    /// Syslog over TCP or TLS.
    Syslog(SyslogSettings),
    /// Objects in a bucket.
    S3(S3Settings),
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
            Self::Relay(settings) => BodyForm::Whole(settings.http.compression),
            Self::Syslog(_) => BodyForm::Records,
            Self::S3(settings) => BodyForm::Streamed(settings.compression()),
            Self::Kafka(settings) => settings.body_form(),
        }
    }

    /// Whether the destination can be asked by a probe: not a file, where it would stay.
    #[must_use]
    pub const fn takes_probes(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// The word for this kind of destination in the configuration, status and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Relay(_) => "relay",
            Self::Syslog(_) => "syslog",
            Self::S3(_) => "s3",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// Settings of an HTTP destination.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// `http://` or `https://` URLs the batches are posted to; at least one. The first is preferred,
    /// the next ones take over in their order while it fails.
    pub urls: Vec<http::Uri>,
    /// Further request headers.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// What the `Authorization` header is made of, when it is not among the headers.
    pub token: Option<TokenSettings>,
    /// Encoding of the body.
    pub compression: Compression,
    /// `Content-Type`; `None`: that of the parcel, else `application/x-ndjson`.
    pub content_type: Option<http::HeaderValue>,
    /// Longest body before compression that the destination takes; a longer one of several events is
    /// split unsent. `None`: it says so itself.
    pub body_bytes_max: Option<u64>,
    /// What replies say besides their status.
    pub replies: ReplyForm,
    /// Time to connect, proxy and TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// Time from the request's first byte to the end of the reply. Default 60 s.
    pub request_timeout: Duration,
    /// The way to the destination leads through this.
    pub proxy: Option<ProxySettings>,
    /// TLS options, used when the URL is `https`.
    pub tls: TlsSettings,
}

/// How an HTTP destination says what became of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyForm {
    /// By the status alone.
    #[default]
    Status,
    /// Splunk HTTP Event Collector.
    SplunkHec {
        /// Wait so long for the indexer's acknowledgement; `None`: do not ask for it.
        acknowledgement: Option<Duration>,
    },
    /// A result for each event, of Elasticsearch and OpenSearch bulk requests.
    ElasticBulk,
    /// LogDNA's `/logs/ingest`.
    Logdna,
    /// IBM Cloud Logs' `/logs/v1/singles`.
    CloudLogs,
}

/// A token and how it is presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Where it comes from.
    pub source: TokenSource,
    /// How it stands in the `Authorization` header.
    pub scheme: TokenScheme,
}

/// Where a token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The configuration.
    Text(String),
    /// A file, read again when the destination refuses what it held.
    File(PathBuf),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How a token stands in the `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScheme {
    /// `Bearer TOKEN`
    Bearer,
    /// `Splunk TOKEN`
    Splunk,
    /// `ApiKey TOKEN`
    ApiKey,
    /// `Basic`, the token as the user and no password.
    BasicUser,
}

/// A proxy: `CONNECT` for `https` destinations, absolute URLs for `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of `Proxy-Authorization`.
    pub authorization: Option<http::HeaderValue>,
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

/// Settings of a destination in a bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct S3Settings {
    /// `http://` or `https://` URL of the service, without the bucket.
    pub host: http::Uri,
    /// The bucket; it must exist.
    pub bucket: String,
    /// Region that requests are signed for. Default `us-east-1`.
    pub region: String,
    /// The bucket is named in the path (`host/bucket/key`), not in the host name
    /// (`bucket.host/key`). Default: true but for hosts of AWS.
    pub path_style: bool,
    /// Where the keys are that requests are signed with.
    pub keys: S3KeySource,
    /// What object keys begin with; at most 512 bytes.
    pub prefix: String,
    /// How object keys go on.
    pub key_layout: KeyLayout,
    /// `Content-Type` of the objects: `plain/text`, `text/plain` or `application/gzip`.
    pub content_type: &'static str,
    /// Checksum sent with each request.
    pub checksum: S3Checksum,
    /// The signature covers the body, at the cost of a SHA-256 over it. Default: with `http://`
    /// only, because TLS protects it otherwise.
    pub sign_body: bool,
    /// Longer bodies go up in parts of so many bytes. 5 MiB to 1 GiB, default 16 MiB.
    pub part_bytes: usize,
    /// Time to connect, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// Time for one request: an object, or a part of one. Default 60 s.
    pub request_timeout: Duration,
    /// PEM file of the authorities to trust; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

impl S3Settings {
    /// The content type of objects that are one gzip member each.
    pub const GZIP: &str = "application/gzip";

    /// How the objects are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        if self.content_type == Self::GZIP {
            Compression::Gzip
        } else {
            Compression::Identity
        }
    }
}

/// Where the keys of an S3 destination are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3KeySource {
    /// In the configuration.
    Given {
        /// Name of the key; not secret.
        access_key: String,
        /// The key.
        secret_key: Secret,
    },
    /// In `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
    /// In this file, which is read again when the keys are refused.
    File(PathBuf),
}

impl S3KeySource {
    /// True when other keys may stand there later.
    #[must_use]
    pub const fn may_change(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// How the keys of objects go on behind the prefix. Times are of the batch's first event, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLayout {
    /// `_<milliseconds since 1970>_<UUID of the batch>`.
    Flat,
    /// `/YYYY/MM/DD/hh/mm/<UUID of the batch>`.
    Dated,
}

/// The checksum that goes with a body, for the service to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Checksum {
    /// `x-amz-checksum-crc32c`.
    Crc32c,
    /// `Content-MD5`, for services that do not know the others.
    Md5,
    /// None.
    None,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being printed.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the request that needs it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Delays between tries: exponential with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// First delay's upper bound. Default 200 ms.
    pub delay_min: Duration,
    /// Bound the delays grow to. Default 60 s.
    pub delay_max: Duration,
}

/// When a failed batch is tried again, without a last try, and when a probe is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Delays between tries.
    pub backoff: Backoff,
    /// How long a batch fails in ways that may pass before a probe asks whether it is the batch.
    /// Default 10 min.
    pub probe_after: Duration,
    /// How often a parked stream asks its destination. Default 60 s.
    pub probe_every: Duration,
}
