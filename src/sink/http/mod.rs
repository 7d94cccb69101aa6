//! The `http` sink: every parcel is one `POST` over HTTP/1.1, one at a time.
//!
//! A destination may have several URLs; [`circuit`] says which is tried. What is the same for all is
//! here: the headers, the token, and what a reply makes of the parcel ([`answer`]). A token that is
//! refused is read again, and when it is another one the parcel is sent once more at once.
//!
//! No redirect is followed: events go to the configured hosts or nowhere.

mod acknowledgement;
mod answer;
mod body;
mod circuit;
mod connection;
mod endpoint;
mod proxy;
#[cfg(test)]
mod tests;
mod token;
mod wire;

use std::fmt;
use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use self::acknowledgement::CHANNEL;
use self::answer::{Answered, ReplyLimits, Secrets, Verdict};
use self::circuit::Circuits;
use self::endpoint::{Endpoint, Limits, Outgoing};
use self::token::Token;
use super::settings::{Compression, HttpSettings, ReplyForm};
use super::{Failure, OpenError, Outcome, Sink, WallClock};
use crate::batch::{Parcel, text_hash};

pub use self::token::authorization;

/// Delivers to an HTTP destination.
pub struct HttpSink {
    settings: HttpSettings,
    /// In the order of preference.
    endpoints: Vec<Endpoint>,
    circuits: Circuits,
    /// Headers of every request; the parcel's own are added to a copy.
    headers: HeaderMap,
    token: Option<Token>,
    secrets: Secrets,
    clock: WallClock,
    /// What circuits and the token's file count time from.
    opened: Instant,
    /// Why the last endpoint that was tried failed, for the time when none may be tried.
    last_failure: Option<Failure>,
}

/// The name of the identity's header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers the sink sets, or that would change how a request is framed.
const OWN_HEADERS: [HeaderName; 12] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    IDEMPOTENCY_KEY,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    CHANNEL,
];

/// Why an endpoint did not take a parcel, through no fault of the parcel.
struct Failed {
    why: Failure,
    /// What it asked to wait.
    after: Option<Duration>,
}

impl HttpSink {
    /// Checks the settings and reads the certificates. Does not connect.
    ///
    /// # Errors
    /// When a URL, a header or the TLS options cannot work.
    pub fn open(settings: &HttpSettings, clock: WallClock) -> Result<Self, OpenError> {
        let endpoints: Vec<Endpoint> = settings
            .urls
            .iter()
            .map(|url| Endpoint::open(url, settings))
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(OpenError::Url("must be given"));
        }
        let proxy = settings.proxy.as_ref();
        let proxy = proxy.and_then(|proxy| proxy.authorization.as_ref());
        let values = settings.headers.iter().map(|(_, value)| value).chain(proxy);
        Ok(Self {
            secrets: Secrets::new(values, &settings.urls),
            circuits: Circuits::new(endpoints.len()),
            endpoints,
            headers: headers(settings)?,
            token: settings.token.clone().map(Token::new),
            settings: settings.clone(),
            clock,
            opened: Instant::now(),
            last_failure: None,
        })
    }

    /// Path and query of the requests from now on, of all URLs.
    pub(in crate::sink) fn set_path(&mut self, path: &PathAndQuery) {
        for endpoint in &mut self.endpoints {
            endpoint.set_path(path.clone());
        }
    }

    /// Tries the endpoints that may be tried, in their order, until one answers.
    async fn send(&mut self, parcel: &Parcel) -> Result<Outcome, Failed> {
        self.ready_token()?;
        let mut asked = None;
        for endpoint in 0..self.endpoints.len() {
            if !self.circuits.may_try(endpoint, self.opened.elapsed()) {
                continue;
            }
            match self.send_to(endpoint, parcel).await {
                Ok(outcome) => {
                    self.circuits.succeeded(endpoint);
                    return Ok(outcome);
                }
                Err(Failed { why, after }) => {
                    let now = self.opened.elapsed();
                    let random = format!("{} {} {endpoint}", parcel.id, parcel.attempt);
                    let random = text_hash(&random);
                    self.circuits.failed(endpoint, now, after, random);
                    self.last_failure = Some(why);
                    asked = after;
                }
            }
        }
        let nothing_tried = || connection::failure("connect_failed", String::new());
        Err(Failed {
            why: self.last_failure.clone().unwrap_or_else(nothing_tried),
            after: self.circuits.wait(self.opened.elapsed()).or(asked),
        })
    }

    /// Sends to one endpoint. An error is the endpoint's, or of the way to it: it counts for its
    /// circuit.
    async fn send_to(&mut self, endpoint: usize, parcel: &Parcel) -> Result<Outcome, Failed> {
        let (mut status, mut verdict) = self.post(endpoint, parcel).await?;
        if is_unauthorized(status) {
            match self.token_changed() {
                Ok(true) => (status, verdict) = self.post(endpoint, parcel).await?,
                Ok(false) => {}
                Err(why) => return Ok(Outcome::Retry { why, after: None }),
            }
        }
        let outcome = match verdict {
            Verdict::Settled(outcome) => outcome,
            Verdict::Acknowledge(id) => self.acknowledgement(endpoint, parcel, id).await,
        };
        match outcome {
            Outcome::Retry { why, after } if status.is_server_error() => Err(Failed { why, after }),
            outcome => Ok(outcome),
        }
    }

    /// One request with the parcel, and what its reply says.
    async fn post(
        &mut self,
        endpoint: usize,
        parcel: &Parcel,
    ) -> Result<(StatusCode, Verdict), Failure> {
        let headers = self.headers_of(parcel);
        let limits = self.limits(ReplyLimits::of(self.settings.replies));
        let request = Outgoing {
            path: None,
            headers: &headers,
            chunks: parcel.chunks(),
        };
        let reply = self.endpoints[endpoint].send(request, limits).await?;
        let answered = Answered {
            reply: &reply,
            events: u32::try_from(parcel.events).unwrap_or(u32::MAX),
            secrets: &self.secrets,
            now: (self.clock)(),
        };
        Ok((reply.status, answered.judge(self.settings.replies)))
    }

    fn limits(&self, reply: ReplyLimits) -> Limits {
        Limits {
            connect: self.settings.connect_timeout,
            request: self.settings.request_timeout,
            reply,
        }
    }

    /// Reads the token when it was not read yet.
    fn ready_token(&mut self) -> Result<(), Failure> {
        let now = self.opened.elapsed();
        if let Some(token) = &mut self.token
            && let Some(fresh) = token.ensure(now)?
        {
            fresh.hide_in(&mut self.secrets);
        }
        Ok(())
    }

    /// Whether there is another token than the one that was refused.
    fn token_changed(&mut self) -> Result<bool, Failure> {
        let now = self.opened.elapsed();
        let Some(token) = &mut self.token else {
            return Ok(false);
        };
        let fresh = token.refused(now)?;
        if let Some(fresh) = &fresh {
            fresh.hide_in(&mut self.secrets);
        }
        Ok(fresh.is_some())
    }

    /// The headers that requests with and without a parcel share.
    fn common_headers(&self, parcel: &Parcel) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(value) = self.token.as_ref().and_then(Token::header) {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let ReplyForm::SplunkHec {
            acknowledgement: Some(_),
        } = self.settings.replies
        {
            let channel = HeaderValue::try_from(parcel.channel().to_string());
            headers.insert(
                CHANNEL,
                channel.expect("the text of a UUID is a header value"),
            );
        }
        headers
    }

    /// The headers of a parcel's request.
    fn headers_of(&self, parcel: &Parcel) -> HeaderMap {
        let mut headers = self.common_headers(parcel);
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
        headers
    }

    /// Why the parcel is split unsent, if it is.
    fn too_large(&self, parcel: &Parcel) -> Option<Failure> {
        let limit = self.settings.body_bytes_max?;
        let bytes = parcel.raw_bytes;
        (bytes > limit && parcel.events > 1).then(|| {
            let detail = format!("a body of {bytes} bytes, where the destination takes {limit}");
            connection::failure("body_too_large", detail)
        })
    }
}

impl Sink for HttpSink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        if let Some(why) = self.too_large(parcel) {
            return Outcome::Split { why };
        }
        match self.send(parcel).await {
            Ok(outcome) => outcome,
            Err(Failed { why, .. }) if why.reason == "proxy_refused" => Outcome::Refused { why },
            Err(Failed { why, after }) => Outcome::Retry { why, after },
        }
    }
}

impl From<Failure> for Failed {
    fn from(why: Failure) -> Self {
        Self { why, after: None }
    }
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither headers nor the URL's query are for the log.
        let endpoints: Vec<_> = self
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.name(), endpoint.is_connected()))
            .collect();
        f.debug_struct("HttpSink")
            .field("endpoints", &endpoints)
            .finish_non_exhaustive()
    }
}

fn is_unauthorized(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403)
}

/// The headers of every request.
fn headers(settings: &HttpSettings) -> Result<HeaderMap, OpenError> {
    let mut headers = HeaderMap::new();
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
    Ok(headers)
}
