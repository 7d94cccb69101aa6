//! The HTTP sink against receivers on loopback sockets that behave well and badly.
//!
//! No test measures time. Where a timeout is what is tested it is short; everywhere else it
//! is so long that reaching it means a hang.

mod endpoints;
mod plain;
mod products;
mod proxies;
mod requests;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::HttpSink;
use crate::batch::{BatchId, Body, Compression, Parcel, Purpose};
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::sink::settings::{HttpSettings, ReplyForm, TlsSettings};
use crate::sink::{FAILURE_REASONS, Outcome, Sink};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// 1994-11-06T08:49:37Z: the sink's time of day in these tests.
const NOW: Timestamp = Timestamp(784_111_777_000_000);

/// A request as a receiver read it.
#[derive(Debug, Clone)]
struct Received {
    head: String,
    body: Vec<u8>,
}

impl Received {
    /// A header's value.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A listener whose connections are each given to `script`, with their number from 0.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Received>>>,
}

/// One accepted connection of a receiver.
struct Peer<S = TcpStream> {
    number: usize,
    socket: S,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let connections = Arc::clone(&receiver.connections);
        let requests = Arc::clone(&receiver.requests);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(script(Peer {
                    number: connections.fetch_add(1, Ordering::Relaxed),
                    socket,
                    requests: Arc::clone(&requests),
                }));
            }
        });
        receiver
    }

    /// A receiver that reads every request and answers with the same text.
    async fn answering(answer: impl Into<String>) -> Self {
        let answer: String = answer.into();
        Self::start(move |mut peer| {
            let answer = answer.clone();
            async move {
                while peer.read_request().await.is_some() {
                    peer.send(&answer).await;
                }
            }
        })
        .await
    }

    fn settings(&self) -> HttpSettings {
        settings(&format!("http://{}/in?source=weir", self.address))
    }

    fn sink(&self) -> HttpSink {
        open(&self.settings())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }
}

impl<S: AsyncRead + tokio::io::AsyncWrite + Unpin> Peer<S> {
    /// Reads up to the end of a request's head; `None` when the connection ended.
    async fn read_head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.socket.read_u8().await.ok()?);
        }
        Some(String::from_utf8(head).unwrap())
    }

    /// Reads a request and keeps it; `None` when the connection ended.
    async fn read_request(&mut self) -> Option<Received> {
        let head = self.read_head().await?;
        let mut received = Received {
            head,
            body: Vec::new(),
        };
        let length = received.header("content-length").unwrap().parse().unwrap();
        received.body.resize(length, 0);
        self.socket.read_exact(&mut received.body).await.ok()?;
        self.requests.lock().unwrap().push(received.clone());
        Some(received)
    }

    /// Writes; the other side may be gone.
    async fn send(&mut self, text: &str) {
        if self.socket.write_all(text.as_bytes()).await.is_ok() {
            self.socket.flush().await.ok();
        }
    }
}

fn settings(url: &str) -> HttpSettings {
    HttpSettings {
        urls: vec![url.parse().unwrap()],
        headers: vec![(
            HeaderName::from_static("authorization"),
            HeaderValue::from_static("Bearer tok-123456"),
        )],
        token: None,
        compression: Compression::Gzip,
        content_type: None,
        body_bytes_max: None,
        replies: ReplyForm::Status,
        connect_timeout: LONG,
        request_timeout: LONG,
        proxy: None,
        tls: TlsSettings::default(),
    }
}

fn open(settings: &HttpSettings) -> HttpSink {
    HttpSink::open(settings, Arc::new(|| NOW)).unwrap()
}

/// A parcel whose body is these chunks; `first` makes its identity.
fn parcel(first: u64, body: Vec<Bytes>) -> Parcel {
    Parcel {
        id: BatchId {
            segment: SegmentId([0xab; 16]),
            range: OffsetRange {
                first: Offset(first),
                end: Offset(first + 10),
            },
            stream: "siem".into(),
            version: 1,
        },
        journal: JournalId(0),
        attempt: 0,
        events: 10,
        raw_bytes: 100,
        body: Body::Whole(body),
        purpose: Purpose::Events,
        content_encoding: Compression::Gzip,
        content_type: None,
        received_first: Timestamp(0),
    }
}

fn small(first: u64) -> Parcel {
    parcel(
        first,
        vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")],
    )
}

/// A parcel far larger than all socket buffers on the way.
fn large(first: u64) -> Parcel {
    parcel(first, vec![Bytes::from(vec![b'x'; 256 * 1024]); 128])
}

/// Outcome and reason word, and a check that the word is a listed one.
fn verdict(outcome: &Outcome) -> (&'static str, &'static str) {
    let (outcome, reason) = match outcome {
        Outcome::Delivered => return ("delivered", ""),
        Outcome::RecordFirst => return ("record first", ""),
        Outcome::Partial { why, .. } => ("partial", why.reason),
        Outcome::Retry { why, .. } => ("retry", why.reason),
        Outcome::Split { why } => ("split", why.reason),
        Outcome::Refused { why } => ("refused", why.reason),
    };
    assert!(FAILURE_REASONS.contains(&reason), "{reason} is not listed");
    (outcome, reason)
}

fn detail(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered | Outcome::RecordFirst => "",
        Outcome::Partial { why, .. }
        | Outcome::Retry { why, .. }
        | Outcome::Split { why }
        | Outcome::Refused { why } => &why.detail,
    }
}

/// One delivery that must not hang.
async fn deliver(sink: &mut HttpSink, parcel: &Parcel) -> Outcome {
    tokio::time::timeout(LONG, sink.deliver(parcel))
        .await
        .expect("a delivery ends")
}
