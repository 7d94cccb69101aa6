//! One connection to a receiver that never answers: how it is made, written to, and found to be closed.
//!
//! Syslog has no acknowledgement of its own, so three things are watched in its place. **While bytes are
//! written**, the receiving side is read: an end or an alert ends the writing at once. **After the last
//! byte** the kernel is asked until the peer's kernel has acknowledged all of them; an end seen before that
//! fails the batch. **A new connection** carries nothing until the peer had the time to close it again, as a
//! server does that has too many of them or dislikes a certificate: it accepts first and closes then, and
//! what was sent meanwhile would pass for delivered.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::os::sockets::{tune_connection, unacknowledged_bytes};
use crate::sink::tls::TlsClient;
use crate::sink::{Failure, Outcome};

/// Where to connect.
#[derive(Debug)]
pub(super) struct Target {
    /// Host name or address, without brackets.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// TLS, when it is asked for.
    pub(super) tls: Option<TlsClient>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
}

/// Plain or encrypted.
#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A new connection is watched for an end this many times as long as it took to make, within bounds: a
/// refusal is half a round trip away.
const WATCH_FACTOR: u32 = 2;
const WATCH_MIN: Duration = Duration::from_millis(20);
const WATCH_MAX: Duration = Duration::from_secs(1);

/// Pauses between two questions for unacknowledged bytes.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(1);
const ASK_AGAIN_MAX: Duration = Duration::from_millis(20);

impl Connection {
    /// Connects, TLS included, within `limit`, and watches whether the peer keeps the connection.
    pub(super) async fn open(target: &Target, limit: Duration) -> Result<Self, Outcome> {
        let began = Instant::now();
        let name = target.name();
        let tcp = connect_tcp(target, began + limit).await.map_err(retry)?;
        let socket = match &target.tls {
            None => Socket::Plain(tcp),
            Some(tls) => {
                let handshake = tls.connector.connect(tls.server_name.clone(), tcp);
                let finished = timeout_at(began + limit, handshake).await.map_err(|_| {
                    let detail = format!("no TLS connection to {name} within {limit:?}");
                    retry(failure("connect_timed_out", detail))
                })?;
                let stream = finished
                    .map_err(|error| outcome_of(&error, &format!("TLS handshake with {name}")))?;
                Socket::Tls(Box::new(stream))
            }
        };
        let mut connection = Self { socket };
        let watch = (WATCH_FACTOR * began.elapsed()).clamp(WATCH_MIN, WATCH_MAX);
        match timeout(watch, connection.end()).await {
            Ok(why) => Err(why),
            Err(_) => Ok(connection),
        }
    }

    /// True when no end of the connection has come.
    pub(super) async fn is_open(&mut self) -> bool {
        self.end_that_came().await.is_none()
    }

    /// Writes all bytes, without a time limit.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written =
                poll_fn(|cx| self.poll(cx, |socket, cx| socket.poll_write(cx, rest))).await?;
            if written == 0 {
                return Err(retry(closed("the connection takes no more bytes")));
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Waits, without a time limit, until the peer's kernel has all that was written.
    pub(super) async fn acknowledged(&mut self) -> Result<(), Outcome> {
        poll_fn(|cx| self.poll(cx, |socket, cx| socket.poll_flush(cx))).await?;
        let mut pause = ASK_AGAIN_MIN;
        while self.unacknowledged_bytes()? > 0 {
            if let Ok(why) = timeout(pause, self.end()).await {
                return Err(why);
            }
            pause = (2 * pause).min(ASK_AGAIN_MAX);
        }
        // The kernel also has nothing left to send once the peer has reset the connection.
        self.end_that_came().await.map_or(Ok(()), Err)
    }

    /// Bytes the peer's kernel does not have yet.
    pub(super) fn unacknowledged_bytes(&self) -> Result<u64, Outcome> {
        let tcp = match &self.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref().0,
        };
        unacknowledged_bytes(tcp).map_err(|error| outcome_of(&error, "ask for what was received"))
    }

    /// Waits for the connection's end.
    async fn end(&mut self) -> Outcome {
        poll_fn(|cx| self.socket.poll_end(cx)).await
    }

    /// The connection's end, if it has come already.
    async fn end_that_came(&mut self) -> Option<Outcome> {
        // The runtime asks the kernel for news between two turns of a task, not within one.
        tokio::task::yield_now().await;
        poll_fn(|cx| match self.socket.poll_end(cx) {
            Poll::Ready(why) => Poll::Ready(Some(why)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// One turn of an operation that writes; the connection's end ends it too.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Socket, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<Result<T, Outcome>> {
        match write(&mut self.socket, cx) {
            Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
            // What the peer said before it closed tells more than the failed write.
            Poll::Ready(Err(error)) => Poll::Ready(Err(match self.socket.poll_end(cx) {
                Poll::Ready(why) => why,
                Poll::Pending => outcome_of(&error, "write"),
            })),
            Poll::Pending => self.socket.poll_end(cx).map(Err),
        }
    }
}

impl Socket {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Ready when the peer has ended the connection. What it says before that is ignored: a receiver of
    /// syslog has nothing to say.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut ignored = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut ignored);
            let read = match self {
                Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
                Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
            };
            match ready!(read) {
                Ok(()) if buffer.filled().is_empty() => {
                    return Poll::Ready(retry(closed("the receiver closed the connection")));
                }
                Ok(()) => {}
                Err(error) => return Poll::Ready(outcome_of(&error, "the connection ended")),
            }
        }
    }
}

impl Target {
    /// `host:port`, as shown to people.
    pub(super) fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Connects to the first address that answers. Each address gets an even share of the time
/// that is left, so that a dead first one does not take it all.
async fn connect_tcp(target: &Target, deadline: Instant) -> Result<TcpStream, Failure> {
    let name = target.name();
    let dns = |why| failure("dns_failure", format!("look up {}: {why}", target.host));
    let found = timeout_at(deadline, lookup_host((target.host.as_str(), target.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(dns(error.to_string())),
        Err(_) => return Err(dns("no answer in time".to_owned())),
    };
    let mut last = dns("it has no address".to_owned());
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // A receiver that vanished is found by keep-alive while nothing is sent. Without the
                // options it is found later.
                if let Err(error) = tune_connection(&tcp) {
                    tracing::debug!(%address, %error, "set the options of a connection");
                }
                return Ok(tcp);
            }
            Ok(Err(error)) => {
                let reason = match error.kind() {
                    io::ErrorKind::ConnectionRefused => "connect_refused",
                    io::ErrorKind::TimedOut => "connect_timed_out",
                    _ => "connect_failed",
                };
                failure(reason, format!("connect to {name} at {address}: {error}"))
            }
            Err(_) => {
                let detail = format!("connect to {name} at {address}: no answer within {share:?}");
                failure("connect_timed_out", detail)
            }
        };
    }
    Err(last)
}

/// What an error of the socket means.
fn outcome_of(error: &io::Error, what: &str) -> Outcome {
    let detail = format!("{what}: {error}");
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) if is_of_our_certificate(*alert) => {
            Outcome::Refused {
                why: failure("tls_failure", detail),
            }
        }
        Some(_) => retry(failure("tls_failure", detail)),
        None => retry(closed(&detail)),
    }
}

/// Whether the receiver says that it does not like our certificate, or wants one.
fn is_of_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// A connection that ended.
fn closed(detail: &str) -> Failure {
    failure("connection_closed", detail.to_owned())
}

pub(super) fn failure(reason: &'static str, detail: String) -> Failure {
    Failure { reason, detail }
}

pub(super) fn retry(why: Failure) -> Outcome {
    Outcome::Retry { why, after: None }
}
