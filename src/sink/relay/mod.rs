//! The `relay` sink: batches to another Weir, over the `http` sink.
//!
//! It adds where to (`POST {url}/logs/selfstream`), as whom (the token, and the node's id in `X-Weir-Node`), and
//! the time of each request in its query, as LogDNA's ingestion has it. All else is the `http` sink's: the
//! connection, the `Idempotency-Key`, what an answer means.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::http::HttpSink;
use super::settings::HttpSettings;
use super::{OpenError, Outcome, Sink, WallClock};
use crate::batch::Parcel;

/// Settings of a relay to another Weir.
#[derive(Debug, Clone, PartialEq)]
pub struct RelaySettings {
    /// How to get there; the URL's path is the one before [`PATH`], the token is among the headers.
    pub http: HttpSettings,
    /// Name under which this node's events appear there; its id when absent. Characters of a host's name.
    pub hostname: Option<String>,
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
        let before = http.url.path().trim_end_matches('/');
        Ok(Self {
            path: format!("{before}{PATH}?hostname={hostname}&now="),
            http: HttpSink::open(&http, Arc::clone(&clock))?,
            clock: Now(clock),
        })
    }

    /// Path and query of a request now.
    fn path_now(&self) -> Uri {
        let millis = (self.clock.0)().0.div_euclid(1000);
        let path = format!("{}{millis}", self.path);
        let path = PathAndQuery::try_from(path);
        path.expect("the path of a URL, the name of a host and a number make a path").into()
    }
}

impl Sink for RelaySink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let path = self.path_now();
        self.http.set_path(path);
        self.http.deliver(parcel).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Timestamp;
    use crate::sink::settings::{Compression, TlsSettings};
    use std::time::Duration;

    #[test]
    fn the_path_names_host_and_time_behind_the_path_of_the_url() {
        let path = |url: &str, hostname: Option<&str>| {
            let settings = RelaySettings {
                http: HttpSettings {
                    url: url.parse().unwrap(),
                    headers: Vec::new(),
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
