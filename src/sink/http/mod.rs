//! The `http` sink: every parcel is one `POST` over HTTP/1.1, one at a time.
//!
//! The connection is kept alive between parcels and made anew after any error. A server
//! may close a kept connection at the moment a request goes out; when such a re-used
//! connection ends before a single byte of the reply, the request is sent once more on a
//! new connection at once. That is not counted as a failure: it is the same request under
//! the same `Idempotency-Key`.
//!
//! No redirect is followed: events go to the configured host or nowhere.

mod answer;
mod body;
mod connection;
#[cfg(test)]
mod tests;
pub(super) mod tls;
mod wire;

use std::fmt;

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use tokio::time::timeout;

use self::answer::{ReplyEnd, Secrets, judge};
use self::connection::{Connection, Target, failure};
use self::tls::TlsClient;
use super::settings::{Compression, HttpSettings};
use super::{Failure, OpenError, Outcome, Sink, WallClock};
use crate::batch::Parcel;

/// Delivers to an HTTP endpoint.
pub struct HttpSink {
    settings: HttpSettings,
    target: Target,
    /// Headers of every request; the parcel's own are added to a copy.
    headers: HeaderMap,
    /// Path and query of the request line.
    path: Uri,
    secrets: Secrets,
    clock: WallClock,
    /// A connection whose last exchange ended well; gone while one is under way, so that a
    /// dropped delivery takes it along.
    kept: Option<Connection>,
}

/// The name of the identity's header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers the sink sets, or that would change how a request is framed.
const OWN_HEADERS: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    IDEMPOTENCY_KEY,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

impl HttpSink {
    /// Checks the settings and reads the certificates. Does not connect.
    ///
    /// # Errors
    /// When the URL, a header or the TLS options cannot work.
    pub fn open(settings: &HttpSettings, clock: WallClock) -> Result<Self, OpenError> {
        let (target, host_header) = target(settings)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host_header);
        let content_type = HeaderValue::from_static("application/x-ndjson");
        headers.insert(
            CONTENT_TYPE,
            settings.content_type.clone().unwrap_or(content_type),
        );
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, _) in &settings.headers {
            if OWN_HEADERS.contains(name) {
                return Err(OpenError::Header(name.clone()));
            }
            // A configured header replaces the sink's; one given twice is sent twice.
            headers.remove(name);
        }
        for (name, value) in &settings.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let path = settings
            .url
            .path_and_query()
            .cloned()
            .map_or_else(|| Uri::from_static("/"), Uri::from);
        Ok(Self {
            secrets: Secrets::new(
                settings.headers.iter().map(|(_, value)| value),
                &settings.url,
            ),
            settings: settings.clone(),
            target,
            headers,
            path,
            clock,
            kept: None,
        })
    }

    /// Sends on the kept connection, or on a new one when there is none or it turns out
    /// to have been closed.
    async fn send(&mut self, parcel: &Parcel) -> Result<Outcome, Failure> {
        if let Some(mut kept) = self.kept.take()
            && kept.is_usable().await
        {
            match self.exchange(kept, parcel).await? {
                Exchanged::Judged(outcome) => return Ok(outcome),
                Exchanged::Unanswered(why) => {
                    tracing::debug!(
                        target = %self.target.name(), %why.detail,
                        "kept connection was closed; sending again on a new one"
                    );
                }
            }
        }
        let fresh = Connection::open(&self.target, self.settings.connect_timeout).await?;
        match self.exchange(fresh, parcel).await? {
            Exchanged::Judged(outcome) => Ok(outcome),
            Exchanged::Unanswered(why) => Err(why),
        }
    }

    /// One request and its reply, within the request timeout. Keeps the connection when it
    /// can carry another.
    async fn exchange(
        &mut self,
        mut connection: Connection,
        parcel: &Parcel,
    ) -> Result<Exchanged, Failure> {
        let limit = self.settings.request_timeout;
        let exchange = connection.exchange(self.head(parcel), parcel.chunks());
        let reply = match timeout(limit, exchange).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) if error.unanswered && error.failure.reason == "connection_closed" => {
                return Ok(Exchanged::Unanswered(error.failure));
            }
            Ok(Err(error)) => return Err(error.failure),
            Err(_) => {
                let name = self.target.name();
                let detail = format!("no complete reply from {name} within {limit:?}");
                return Err(failure("timed_out", detail));
            }
        };
        if reply.end == ReplyEnd::Whole && reply.request_sent {
            self.kept = Some(connection);
        }
        Ok(Exchanged::Judged(judge(
            &reply,
            &self.secrets,
            (self.clock)(),
        )))
    }

    /// The request's head.
    fn head(&self, parcel: &Parcel) -> http::request::Parts {
        let mut headers = self.headers.clone();
        let id = parcel.id.to_string();
        // A stream's name may hold bytes a header cannot; the UUID names the batch as well.
        let key = HeaderValue::from_str(&id)
            .or_else(|_| HeaderValue::from_str(&parcel.id.uuid().to_string()))
            .expect("the text of a UUID is a header value");
        headers.insert(IDEMPOTENCY_KEY, key);
        let is_chosen = |(name, _): &(HeaderName, HeaderValue)| name == CONTENT_TYPE;
        let chosen =
            self.settings.content_type.is_some() || self.settings.headers.iter().any(is_chosen);
        if let Some(content_type) = parcel.content_type.filter(|_| !chosen) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(parcel.body_bytes()));
        match parcel.content_encoding {
            Compression::Gzip => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Compression::Identity => {}
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = self.path.clone();
        head.headers = headers;
        head
    }
}

impl Sink for HttpSink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        self.send(parcel)
            .await
            .unwrap_or_else(|why| Outcome::Retry { why, after: None })
    }
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither headers nor the URL's query are for the log.
        f.debug_struct("HttpSink")
            .field("target", &self.target.name())
            .field("connected", &self.kept.is_some())
            .finish_non_exhaustive()
    }
}

/// What came of an exchange.
enum Exchanged {
    /// A reply, judged.
    Judged(Outcome),
    /// The connection ended before a byte of a reply.
    Unanswered(Failure),
}

/// Where the URL points, and the `Host` header for it.
fn target(settings: &HttpSettings) -> Result<(Target, HeaderValue), OpenError> {
    let url = &settings.url;
    let (encrypted, port_default) = match url.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => return Err(OpenError::Url("must begin with http:// or https://")),
    };
    let authority = url.authority().ok_or(OpenError::Url("must name a host"))?;
    if authority.as_str().contains('@') {
        return Err(OpenError::Url(
            "must not hold a user or password; set an Authorization header",
        ));
    }
    let bracketed = authority.host();
    let host = bracketed.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(OpenError::Url("must name a host"));
    }
    let port = authority.port_u16().unwrap_or(port_default);
    let host_header = if port == port_default {
        bracketed.to_owned()
    } else {
        format!("{bracketed}:{port}")
    };
    let host_header = HeaderValue::try_from(host_header)
        .map_err(|_| OpenError::Url("holds a host that cannot be sent in a header"))?;
    let tls = encrypted
        .then(|| TlsClient::open(&settings.tls, host))
        .transpose()?;
    let target = Target {
        host: host.to_owned(),
        port,
        tls,
    };
    Ok((target, host_header))
}
