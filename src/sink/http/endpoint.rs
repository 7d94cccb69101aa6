//! One URL of a destination: where it is, its connection, and one request and its reply.
//!
//! The connection is kept alive between requests and made anew after any error. A server may close
//! a kept connection at the moment a request goes out; when such a re-used connection ends
//! before a single byte of the reply, the request is sent once more on a new connection at once. That
//! is not counted as a failure: it is the same request under the same `Idempotency-Key`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use tokio::time::timeout;

use super::answer::{Reply, ReplyEnd, ReplyLimits};
use super::connection::{Connection, ExchangeError, Target, failure};
use crate::sink::settings::HttpSettings;
use crate::sink::tls::TlsClient;
use crate::sink::{Failure, OpenError};

/// See the module's documentation.
pub(super) struct Endpoint {
    target: Target,
    /// Value of `Host`.
    host: HeaderValue,
    /// Path and query of the URL.
    path: PathAndQuery,
    /// A connection whose last exchange ended well; gone while one is under way, so that a
    /// dropped delivery takes it along.
    kept: Option<Connection>,
}

/// A request but for what each endpoint has its own of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// Path and query, when not those of the URL.
    pub(super) path: Option<&'a PathAndQuery>,
    /// Headers without `Host`.
    pub(super) headers: &'a HeaderMap,
    /// The body.
    pub(super) chunks: &'a [Bytes],
}

/// Bounds of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time to connect, proxy and TLS included.
    pub(super) connect: Duration,
    /// Time from the request's first byte to the end of the reply.
    pub(super) request: Duration,
    /// How much of the reply is read.
    pub(super) reply: ReplyLimits,
}

impl Endpoint {
    /// Checks the URL and reads the certificates. Does not connect.
    pub(super) fn open(url: &Uri, settings: &HttpSettings) -> Result<Self, OpenError> {
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
        let root = PathAndQuery::from_static("/");
        Ok(Self {
            target: Target {
                host: host.to_owned(),
                port,
                tls,
                proxy: settings.proxy.clone(),
            },
            host: host_header,
            path: url.path_and_query().cloned().unwrap_or(root),
            kept: None,
        })
    }

    /// `host:port`, as shown to people.
    pub(super) fn name(&self) -> String {
        self.target.name()
    }

    /// Sets path and query of the requests from now on.
    pub(super) fn set_path(&mut self, path: PathAndQuery) {
        self.path = path;
    }

    /// The path of the URL.
    pub(super) fn path(&self) -> &str {
        self.path.path()
    }

    /// True when there is a connection to be used again.
    pub(super) fn is_connected(&self) -> bool {
        self.kept.is_some()
    }

    /// Sends on the kept connection, or on a new one when there is none or it turns out to have
    /// been closed.
    pub(super) async fn send(
        &mut self,
        request: Outgoing<'_>,
        limits: Limits,
    ) -> Result<Reply, Failure> {
        let head = self.head(request);
        if let Some(mut kept) = self.kept.take()
            && kept.is_usable().await
        {
            match self.exchange(kept, head.clone(), request, limits).await {
                Err(error) if error.unanswered && error.failure.reason == "connection_closed" => {
                    tracing::debug!(
                        target = %self.name(), why = %error.failure.detail,
                        "kept connection was closed; sending again on a new one"
                    );
                }
                replied => return replied.map_err(|error| error.failure),
            }
        }
        let fresh = Connection::open(&self.target, limits.connect).await?;
        let replied = self.exchange(fresh, head, request, limits).await;
        replied.map_err(|error| error.failure)
    }

    /// One request and its reply, within the request timeout. Keeps the connection when it
    /// can carry another.
    async fn exchange(
        &mut self,
        mut connection: Connection,
        head: http::request::Parts,
        request: Outgoing<'_>,
        limits: Limits,
    ) -> Result<Reply, ExchangeError> {
        let limit = limits.request;
        let exchange = connection.exchange(head, request.chunks, limits.reply);
        let reply = timeout(limit, exchange).await.unwrap_or_else(|_| {
            let name = self.name();
            let detail = format!("no complete reply from {name} within {limit:?}");
            Err(ExchangeError {
                failure: failure("timed_out", detail),
                unanswered: false,
            })
        })?;
        if reply.end == ReplyEnd::Whole && reply.request_sent {
            self.kept = Some(connection);
        }
        Ok(reply)
    }

    /// The request's head. Through a proxy, a request that is not in a tunnel names its whole URL.
    fn head(&self, request: Outgoing<'_>) -> http::request::Parts {
        let mut headers = request.headers.clone();
        headers.insert(HOST, self.host.clone());
        let path = request.path.unwrap_or(&self.path);
        let mut uri = Uri::from(path.clone());
        if let (Some(proxy), None) = (&self.target.proxy, &self.target.tls) {
            let host = self.host.to_str().unwrap_or_default();
            uri = Uri::try_from(format!("http://{host}{path}"))
                .expect("the parts of a URL make a URL");
            if let Some(value) = &proxy.authorization {
                headers.insert(PROXY_AUTHORIZATION, value.clone());
            }
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = uri;
        head.headers = headers;
        head
    }
}
