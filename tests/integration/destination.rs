//! A destination that behaves as a test tells it to: it takes requests, refuses them, cuts
//! its replies short, says nothing, or hangs up; and it remembers every request it read.
//!
//! It shares no code with the relay: requests are read with the standard library alone and
//! bodies are decoded by another's gzip. What the requests prove is for the tests to say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use flate2::bufread::GzDecoder;
use weir::stream::probe::MESSAGE as PROBE;

/// What is sent back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// This status, with further header lines, each ended by `\r\n`.
    Status(u16, &'static str),
    /// Nothing, for as long as the relay keeps the connection.
    Nothing,
    /// These bytes, and then the connection is closed.
    Cut(&'static str),
}

/// 200.
pub(crate) const TAKEN: Reply = Reply::Status(200, "");

/// A request as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The path of its first line.
    pub(crate) path: String,
    /// Its `Idempotency-Key`.
    pub(crate) key: String,
    /// Its `Content-Encoding`, or nothing.
    pub(crate) encoding: String,
    /// The lines of its body, decoded.
    pub(crate) events: Vec<String>,
    /// What was sent back.
    pub(crate) reply: Reply,
    /// When it had been read.
    pub(crate) at: Instant,
}

impl Request {
    /// True when it was answered with a whole 2xx.
    pub(crate) fn taken(&self) -> bool {
        matches!(self.reply, Reply::Status(200..=299, _))
    }
}

/// See the module's documentation. It listens until it is dropped.
pub(crate) struct Destination {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// Whether these events are a probe.
pub(crate) fn is_probe(events: &[String]) -> bool {
    events.len() == 1 && events[0].contains(PROBE)
}

/// Says what is sent back for the events of a request.
type Answering = dyn Fn(&[String]) -> Reply + Send + Sync;

/// What its connections share.
struct Seen {
    answer: Box<Answering>,
    requests: Mutex<Vec<Request>>,
    /// Requests being read or answered now, and the most there ever were.
    under_way: AtomicUsize,
    under_way_max: AtomicUsize,
    connections: AtomicUsize,
    /// Connections are closed before a byte is read.
    hangs_up: AtomicBool,
    closed: AtomicBool,
}

impl Destination {
    /// Listens on a free port; `answer` is given the events of each request.
    pub(crate) fn listen(answer: impl Fn(&[String]) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen_on(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    /// Listens on an address.
    pub(crate) fn listen_on(
        address: SocketAddr,
        answer: impl Fn(&[String]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen {
            answer: Box::new(answer),
            requests: Mutex::default(),
            under_way: AtomicUsize::new(0),
            under_way_max: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            hangs_up: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&seen);
        start("destination", move || {
            for connection in listener.incoming() {
                if shared.closed.load(Ordering::Acquire) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::AcqRel);
                if shared.hangs_up.load(Ordering::Acquire) {
                    continue;
                }
                let shared = Arc::clone(&shared);
                start("destination-peer", move || {
                    // A relay that gives up a connection is a part of many tests.
                    shared.serve(connection.expect("a connection")).ok();
                });
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// From now on every connection is closed at once, or no longer.
    pub(crate) fn hang_up(&self, at_once: bool) {
        self.seen.hangs_up.store(at_once, Ordering::Release);
    }

    /// Every request read so far, in the order they were read, but for the probes of a stream that
    /// was refused.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let mut requests = self.requests_and_probes();
        requests.retain(|request| !is_probe(&request.events));
        requests
    }

    /// Every request read so far, in the order they were read.
    pub(crate) fn requests_and_probes(&self) -> Vec<Request> {
        self.seen
            .requests
            .lock()
            .expect("no holder panicked")
            .clone()
    }

    /// The most requests that were under way at one time.
    pub(crate) fn under_way_max(&self) -> usize {
        self.seen.under_way_max.load(Ordering::Acquire)
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Acquire)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.seen.closed.store(true, Ordering::Release);
        // Wakes the listening thread, which then sees that it is over.
        TcpStream::connect(self.address).ok();
    }
}

impl Seen {
    /// Serves one connection, request by request.
    fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(connection.try_clone()?);
        let mut writer = connection;
        loop {
            if reader.fill_buf()?.is_empty() {
                return Ok(());
            }
            let now = self.under_way.fetch_add(1, Ordering::AcqRel) + 1;
            self.under_way_max.fetch_max(now, Ordering::AcqRel);
            let read = self.read_request(&mut reader);
            // No longer under way before the reply lets the relay go on.
            self.under_way.fetch_sub(1, Ordering::AcqRel);
            match read? {
                Reply::Status(status, headers) => {
                    let reply =
                        format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: 0\r\n\r\n");
                    writer.write_all(reply.as_bytes())?;
                }
                Reply::Nothing => {
                    std::io::copy(&mut reader, &mut std::io::sink())?;
                    return Ok(());
                }
                Reply::Cut(bytes) => return writer.write_all(bytes.as_bytes()),
            }
        }
    }

    fn read_request(&self, reader: &mut impl BufRead) -> std::io::Result<Reply> {
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut key, mut encoding, mut length) = (String::new(), String::new(), 0);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => value.clone_into(&mut key),
                "content-encoding" => value.clone_into(&mut encoding),
                "content-length" => length = value.parse().expect("a length is a number"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let events = lines(&body, &encoding);
        let reply = (self.answer)(&events);
        self.requests
            .lock()
            .expect("no holder panicked")
            .push(Request {
                path,
                key,
                encoding,
                events,
                reply: reply.clone(),
                at: Instant::now(),
            });
        Ok(reply)
    }
}

/// The lines of a body; a gzip body is one member with nothing behind it.
fn lines(body: &[u8], encoding: &str) -> Vec<String> {
    let text = match encoding {
        "gzip" => {
            let mut text = String::new();
            let mut member = GzDecoder::new(body);
            member
                .read_to_string(&mut text)
                .expect("a gzip body decodes");
            assert!(member.into_inner().is_empty(), "one member a request");
            text
        }
        "" => String::from_utf8(body.to_vec()).expect("events are UTF-8"),
        other => panic!("nobody asked for the encoding {other:?}"),
    };
    assert!(text.ends_with('\n'), "every event ends its line");
    text.lines().map(str::to_owned).collect()
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("a thread");
}
