//! One HTTP/1.1 connection: how it is made, and one request and its reply over it.
//!
//! hyper's connection is not given to a task of its own: whoever waits for an exchange
//! drives it, so that dropping the exchange drops the socket with it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::answer::{Reply, ReplyEnd, ReplyLimits};
use super::body::{ParcelBody, Progress};
use super::proxy::tunnel;
use super::wire::{INTERIM_MAX, Socket, Wire};
use crate::sink::Failure;
use crate::sink::settings::ProxySettings;
use crate::sink::tls::TlsClient;

/// Where to connect.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Host name or address, without brackets.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// TLS, when the URL is `https`.
    pub(super) tls: Option<TlsClient>,
    /// What is connected to instead, if anything.
    pub(super) proxy: Option<ProxySettings>,
}

/// A connection that can carry one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<ParcelBody>,
    driver: Driver,
    progress: Arc<Progress>,
}

type HyperConnection = http1::Connection<TokioIo<Wire>, ParcelBody>;

/// hyper's half of the connection, which moves bytes when polled.
#[derive(Debug)]
struct Driver {
    /// `None` once the connection has ended. It is dropped then, because that is what makes
    /// hyper fail a request which it had taken but not begun.
    io: Option<Pin<Box<HyperConnection>>>,
}

/// Why an exchange brought no reply.
#[derive(Debug)]
pub(super) struct ExchangeError {
    /// What happened.
    pub(super) failure: Failure,
    /// Not a byte came back: on a connection used before, the server may have closed it
    /// while the request was on its way.
    pub(super) unanswered: bool,
}

impl Connection {
    /// Connects, proxy and TLS included, within `limit`.
    pub(super) async fn open(target: &Target, limit: Duration) -> Result<Self, Failure> {
        let deadline = Instant::now() + limit;
        let opened = tokio::time::timeout_at(deadline, Self::connect(target, deadline)).await;
        opened.unwrap_or_else(|_| {
            let what = if target.tls.is_some() {
                "no TLS connection"
            } else {
                "no connection"
            };
            Err(failure(
                "connect_timed_out",
                format!("{what} to {} within {limit:?}", target.name()),
            ))
        })
    }

    async fn connect(target: &Target, deadline: Instant) -> Result<Self, Failure> {
        let tcp = connect_socket(target, deadline).await?;
        let socket = match &target.tls {
            None => Socket::Plain(tcp),
            Some(tls) => {
                let handshake = tls.connector.connect(tls.server_name.clone(), tcp);
                let stream = handshake.await.map_err(|error| {
                    let reason = if is_tls(&error) {
                        "tls_failure"
                    } else {
                        "connection_closed"
                    };
                    let name = target.name();
                    failure(reason, format!("TLS handshake with {name}: {error}"))
                })?;
                Socket::Tls(Box::new(stream))
            }
        };
        let progress = Arc::new(Progress::default());
        let wire = TokioIo::new(Wire::new(socket, Arc::clone(&progress)));
        let (sender, io) = http1::Builder::new()
            .writev(true)
            .handshake(wire)
            .await
            .map_err(|error| failure("protocol_error", error.to_string()))?;
        Ok(Self {
            sender,
            driver: Driver {
                io: Some(Box::pin(io)),
            },
            progress,
        })
    }

    /// True when the connection can carry a request, as far as this side knows.
    pub(super) async fn is_usable(&mut self) -> bool {
        // One turn of the driver lets it see an end that came while nobody looked.
        poll_fn(|cx| {
            self.driver.turn(cx);
            Poll::Ready(())
        })
        .await;
        self.driver.io.is_some()
            && self.sender.is_ready()
            && self.progress.write_error.get().is_none()
    }

    /// Sends a request and reads the reply, without a time limit. The reply's body is read
    /// as far as `limits` say. Returns also when the request could not be sent whole, as
    /// long as a reply came; see [`Reply::request_sent`].
    pub(super) async fn exchange(
        &mut self,
        head: http::request::Parts,
        chunks: &[Bytes],
        limits: ReplyLimits,
    ) -> Result<Reply, ExchangeError> {
        self.progress.begin();
        let body = ParcelBody::new(chunks, Arc::clone(&self.progress));
        let mut request = http::Request::from_parts(head, body);
        let progress = Arc::clone(&self.progress);
        hyper::ext::on_informational(&mut request, move |_| {
            progress.interim.fetch_add(1, Ordering::Relaxed);
        });
        let sending = self.sender.send_request(request);
        let reading = async {
            let response = sending.await?;
            Ok(read_reply(response, limits).await)
        };
        let outcome: Result<Reply, hyper::Error> = self.driver.drive(reading).await;
        let mut reply = outcome.map_err(|error| self.exchange_error(&error))?;
        if reply.status.is_success() && reply.end != ReplyEnd::Broken {
            // The server may answer before it has read all; wait until it had the chance.
            self.driver.drive_until_sent(&self.progress).await;
        }
        reply.request_sent = self.progress.sent_whole();
        Ok(reply)
    }

    fn exchange_error(&self, error: &hyper::Error) -> ExchangeError {
        let too_many = self.progress.interim.load(Ordering::Relaxed) > INTERIM_MAX;
        let reason = if error.is_parse() || error.is_user() || too_many {
            "protocol_error"
        } else if io_source(error).is_some_and(is_tls) {
            "tls_failure"
        } else {
            "connection_closed"
        };
        let mut detail = chain(error);
        if let Some(write_error) = self.progress.write_error.get() {
            detail = format!("{detail}; the write had failed: {write_error}");
        }
        ExchangeError {
            failure: failure(reason, detail),
            unanswered: !self.progress.answered.load(Ordering::Relaxed),
        }
    }
}

impl Driver {
    /// Moves what can be moved now.
    fn turn(&mut self, cx: &mut std::task::Context<'_>) {
        // An error here is also told to the exchange, which knows what it means.
        if let Some(io) = &mut self.io
            && io.as_mut().poll(cx).is_ready()
        {
            self.io = None;
        }
    }

    /// Runs `exchange` with the connection turning under it.
    async fn drive<T>(&mut self, exchange: impl Future<Output = T>) -> T {
        let mut exchange = pin!(exchange);
        poll_fn(|cx| {
            if let Poll::Ready(done) = exchange.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            self.turn(cx);
            // What the turn brought is taken at once: after the connection's end nothing
            // else would wake this task.
            exchange.as_mut().poll(cx)
        })
        .await
    }

    /// Turns until the request is out or never will be.
    async fn drive_until_sent(&mut self, progress: &Progress) {
        poll_fn(|cx| {
            if !progress.sent.load(Ordering::Relaxed) {
                self.turn(cx);
            }
            let write_failed = progress.write_error.get().is_some();
            if progress.sent.load(Ordering::Relaxed) || self.io.is_none() || write_failed {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Target {
    /// `host:port`, as shown to people.
    pub(super) fn name(&self) -> String {
        place(&self.host, self.port)
    }
}

/// `host:port`, with brackets around an address that has colons of its own.
fn place(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Connects to the destination, or to the proxy, which for TLS opens a tunnel.
async fn connect_socket(target: &Target, deadline: Instant) -> Result<TcpStream, Failure> {
    let Some(proxy) = &target.proxy else {
        return connect_tcp((&target.host, target.port), deadline).await;
    };
    let reached = connect_tcp((&proxy.host, proxy.port), deadline).await;
    let mut tcp = reached.map_err(|why| failure(why.reason, format!("proxy: {}", why.detail)))?;
    if target.tls.is_some() {
        tunnel(&mut tcp, &target.name(), proxy.authorization.as_ref()).await?;
    }
    Ok(tcp)
}

/// Connects to the first address that answers. Each address gets an even share of the time
/// that is left, so that a dead first one does not take it all.
async fn connect_tcp((host, port): (&str, u16), deadline: Instant) -> Result<TcpStream, Failure> {
    let name = place(host, port);
    let found = lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|error| failure("dns_failure", format!("look up {host}: {error}")))?
        .collect();
    let mut last = failure("dns_failure", format!("{host} has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // A request is written in large pieces; its last, short one must not wait
                // for an acknowledgement. Without the option it is only slower.
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%address, %error, "set TCP_NODELAY");
                }
                return Ok(tcp);
            }
            Ok(Err(error)) => connect_failure(&name, *address, &error),
            Err(_) => failure(
                "connect_timed_out",
                format!("connect to {name} at {address}: no answer within {share:?}"),
            ),
        };
    }
    Err(last)
}

fn connect_failure(name: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect_refused",
        io::ErrorKind::TimedOut => "connect_timed_out",
        _ => "connect_failed",
    };
    failure(reason, format!("connect to {name} at {address}: {error}"))
}

/// Reads a reply's body as far as it is of use.
async fn read_reply(response: http::Response<hyper::body::Incoming>, limits: ReplyLimits) -> Reply {
    let (head, mut body) = response.into_parts();
    let mut kept = Vec::new();
    let mut read_bytes = 0;
    let end = loop {
        match body.frame().await {
            None => break ReplyEnd::Whole,
            Some(Err(_)) => break ReplyEnd::Broken,
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                let room = limits.kept - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
                read_bytes += data.len();
                if read_bytes > limits.read {
                    break ReplyEnd::TooLong;
                }
            }
        }
    };
    Reply {
        status: head.status,
        headers: head.headers,
        body: kept,
        end,
        request_sent: false,
    }
}

/// True when the error is of TLS itself: a bad certificate, an alert, a broken record.
fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// The I/O error under a hyper error, if there is one.
fn io_source(error: &hyper::Error) -> Option<&io::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A failure of the way to the destination.
pub(super) fn failure(reason: &'static str, detail: String) -> Failure {
    Failure { reason, detail }
}
