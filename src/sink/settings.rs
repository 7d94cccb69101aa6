//! What the sinks and their retry policy run on; built by `config`, never changed after.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::batch::{BodyForm, Compression};

/// Settings of one destination.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkSettings {
    /// HTTP/1.1 requests.
    Http(HttpSettings),
    /// Local files.
    File(FileSettings),
    /// Objects in a bucket.
    S3(S3Settings),
}

impl SinkSettings {
    /// In which form the sink wants its parcels.
    #[must_use]
    pub fn body_form(&self) -> BodyForm {
        match self {
            Self::Http(settings) => BodyForm::Whole(settings.compression),
            Self::File(settings) => BodyForm::Whole(settings.compression),
            Self::S3(settings) => BodyForm::Whole(settings.compression()),
        }
    }

    /// The word for this kind of destination in the configuration, status and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::S3(_) => "s3",
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

/// When and how a failed batch is tried again: exponential with full jitter, no give-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// First delay's upper bound. Default 200 ms.
    pub delay_min: Duration,
    /// Bound the delays grow to. Default 60 s.
    pub delay_max: Duration,
}
