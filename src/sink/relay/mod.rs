//! The `relay` sink: batches to another Weir, over the `http` sink.
//!
//! It adds where to (`POST {url}/logs/selfstream`), as whom (the token, and the node's id in `X-Weir-Node`), and
//! the time of each request in its query, as LogDNA's ingestion has it. All else is the `http` sink's: the
//! connection, the `Idempotency-Key`, what an answer means.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::http::HttpSink;
use super::settings::HttpSettings;
use super::{OpenError, Outcome, Sink, WallClock};
use crate::batch::Parcel;

/// Settings of a relay to another Weir.
#[derive(Debug, Clone, PartialEq)]
pub struct RelaySettings {
    /// What the far end is.
    pub format: RelayFormat,
    /// How to get there: one URL, whose path is the one before [`PATH`].
    pub http: HttpSettings,
    /// Name under which this node's events appear there; its id when absent. Characters of a host's name.
    pub hostname: Option<String>,
}

/// What the far end of a relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayFormat {
    /// A Weir, which takes events as they are.
    Weir,
    /// An endpoint like LogDNA's, which takes `{"lines":[…]}`.
    Logdna,
}

/// What is posted to, behind the path of the URL.
pub const PATH: &str = "/logs/selfstream";

/// The header with the node's id.
const NODE: HeaderName = HeaderName::from_static("x-weir-node");

/// Delivers to another Weir.
#[derive(Debug)]
pub struct RelaySink {
    http: HttpSink,
    clock: Now,
    /// Path and query of every request, up to the time.
    path: String,
}

/// A clock that can be left out of debug output.
struct Now(WallClock);

impl std::fmt::Debug for Now {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Now")
    }
}

impl RelaySink {
    /// Checks the settings and reads the certificates. Does not connect. `node` is this node's id as text.
    ///
    /// # Errors
    /// When the URL or the TLS options cannot work.
    pub fn open(settings: &RelaySettings, node: &str, clock: WallClock) -> Result<Self, OpenError> {
        let mut http = settings.http.clone();
        let id = HeaderValue::from_str(node)
            .map_err(|_| OpenError::Url("the node's id cannot be sent in a header"))?;
        http.headers.push((NODE, id));
        let hostname = settings.hostname.as_deref().unwrap_or(node);
        let url = http.urls.first().ok_or(OpenError::Url("must be given"))?;
        let before = url.path().trim_end_matches('/');
        Ok(Self {
            path: format!("{before}{PATH}?hostname={hostname}&now="),
            http: HttpSink::open(&http, Arc::clone(&clock))?,
            clock: Now(clock),
        })
    }

    /// Path and query of a request now.
    fn path_now(&self) -> PathAndQuery {
        let millis = (self.clock.0)().0.div_euclid(1000);
        let path = PathAndQuery::try_from(format!("{}{millis}", self.path));
        path.expect("the path of a URL, the name of a host and a number make a path")
    }
}

impl Sink for RelaySink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let path = self.path_now();
        self.http.set_path(&path);
        self.http.deliver(parcel).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Timestamp;
    use crate::sink::settings::{Compression, ReplyForm, TlsSettings};
    use std::time::Duration;

    #[test]
    fn the_path_names_host_and_time_behind_the_path_of_the_url() {
        let path = |url: &str, hostname: Option<&str>| {
            let settings = RelaySettings {
                format: RelayFormat::Weir,
                http: HttpSettings {
                    urls: vec![url.parse().unwrap()],
                    headers: Vec::new(),
                    token: None,
                    body_bytes_max: None,
                    replies: ReplyForm::Status,
                    proxy: None,
                    compression: Compression::Gzip,
                    content_type: None,
                    connect_timeout: Duration::from_secs(1),
                    request_timeout: Duration::from_secs(1),
                    tls: TlsSettings::default(),
                },
                hostname: hostname.map(str::to_owned),
            };
            let clock: WallClock = Arc::new(|| Timestamp(1_731_000_000_123_999));
            let sink = RelaySink::open(&settings, "node-id", clock).unwrap();
            sink.path_now().to_string()
        };
        assert_eq!(
            path("http://h:1", None),
            "/logs/selfstream?hostname=node-id&now=1731000000123"
        );
        assert_eq!(
            path("https://h/weir/", Some("site-a")),
            "/weir/logs/selfstream?hostname=site-a&now=1731000000123"
        );
    }
}
