//! One connection to the endpoint, from its first request to its last.
//!
//! Owns reading requests, the moment a body counts as received, and the answer. A body is stored (or
//! judged, with `--verify live`) before its sender is told so.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::faults::Fate;
use super::store::{NewRecord, StoreWriter};
use super::{Shared, VerifyMode};
use crate::http1::{Encoding, HttpError, RequestReader};
use crate::verify::decode::Decoder;

/// Serves one connection until it closes or the endpoint stops.
pub(super) struct Connection<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    writer: StoreWriter,
    decoder: Option<Decoder>,
}

/// Reads from the socket, but not while the endpoint is told to hang.
struct GatedSource<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
}

impl Read for GatedSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.shared.wait_while_hanging();
        self.stream.read(buffer)
    }
}

impl<'a> Connection<'a> {
    pub(super) fn new(shared: &'a Shared, stream: &'a TcpStream) -> Self {
        let decoder = (shared.mode == VerifyMode::Live).then(Decoder::new);
        Self {
            shared,
            stream,
            writer: StoreWriter::default(),
            decoder,
        }
    }

    /// Answers requests until the peer closes; a peer that breaks off ends it too.
    pub(super) fn serve(mut self) -> io::Result<()> {
        let source = GatedSource {
            shared: self.shared,
            stream: self.stream,
        };
        let mut reader = RequestReader::new(source, self.shared.body_bytes_max);
        let mut body = Vec::new();
        let result = loop {
            match self.next_request(&mut reader, &mut body) {
                Ok(true) if !self.shared.stop.load(Ordering::Relaxed) => {}
                Ok(_) | Err(HttpError::Io(_) | HttpError::Ended(_)) => break Ok(()),
                Err(error) => {
                    self.shared
                        .counters
                        .malformed
                        .fetch_add(1, Ordering::Relaxed);
                    break self.respond(refusal_status(&error), &error.to_string(), false);
                }
            }
        };
        if let Some(decoder) = &self.decoder {
            self.shared
                .live
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(decoder);
        }
        result
    }

    /// Reads and answers one request; false when there is no next one.
    fn next_request(
        &mut self,
        reader: &mut RequestReader<GatedSource<'a>>,
        body: &mut Vec<u8>,
    ) -> Result<bool, HttpError> {
        let Some(head) = reader.read_head()? else {
            return Ok(false);
        };
        if head.expects_continue {
            (&mut self.stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        reader.read_body(&head, body)?;
        self.shared.wait_while_hanging();
        let fake = self.shared.fake.as_ref();
        if let Some(answer) = fake.and_then(|fake| fake.question(&head, body)) {
            self.respond(answer.status, &answer.body, head.keep_alive)?;
            return Ok(head.keep_alive);
        }
        if !matches!(head.method.as_str(), "POST" | "PUT") {
            self.respond(200, "{}", head.keep_alive)?;
            return Ok(head.keep_alive);
        }
        let counters = &self.shared.counters;
        let number = counters.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let fate = self.shared.faults.fate(number);
        let (mut status, mut said) = (200, "{}".to_owned());
        match (fate, fake) {
            (Fate::Refuse(_), _) => {}
            (Fate::Accept | Fate::CloseMidResponse, None) => {
                self.take(head.encoding, head.idempotency_key.as_deref(), body)?;
            }
            (Fate::Accept | Fate::CloseMidResponse, Some(fake)) => {
                let answer = fake.events(&head, body);
                if !answer.taken.is_empty() {
                    // Of a body sent again, what is taken now was not taken before: no repetition.
                    self.take(Encoding::Identity, None, &answer.taken)?;
                }
                (status, said) = (answer.status, answer.body);
            }
        }
        let slow = Duration::from_millis(self.shared.faults.slow_ms);
        self.shared.sleep(slow);
        self.shared.wait_while_hanging();
        match fate {
            Fate::Accept => self.respond(status, &said, head.keep_alive)?,
            Fate::Refuse(status) => {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                self.respond(status, "{\"error\":\"told to fail\"}", head.keep_alive)?;
            }
            Fate::CloseMidResponse => {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                (&mut self.stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Le")?;
                self.stream.shutdown(Shutdown::Both)?;
                return Ok(false);
            }
        }
        Ok(head.keep_alive)
    }

    /// The body has been received: from here on it counts.
    fn take(&mut self, encoding: Encoding, key: Option<&str>, body: &[u8]) -> io::Result<()> {
        let shared = self.shared;
        let received_us = shared.clock.now_us();
        match (shared.mode, &shared.store, &mut self.decoder) {
            (VerifyMode::After, Some(store), _) => {
                let ordinal = shared.counters.taken.fetch_add(1, Ordering::Relaxed);
                let record = NewRecord {
                    ordinal,
                    received_us,
                    encoding,
                    idempotency_key: key,
                    body,
                };
                if let Err(error) = self.writer.append(store, &record) {
                    shared.fail(format!("store a body: {error}"));
                    return Err(error);
                }
            }
            (VerifyMode::Live, _, Some(decoder)) => {
                shared.counters.taken.fetch_add(1, Ordering::Relaxed);
                let arrivals = decoder.decode(body, encoding, received_us);
                let mut live = shared.live.lock().unwrap_or_else(PoisonError::into_inner);
                let known_key = live.ledger.open_body(key);
                for arrival in arrivals {
                    live.ledger.apply(arrival, known_key);
                }
            }
            _ => {
                shared.counters.taken.fetch_add(1, Ordering::Relaxed);
            }
        }
        shared
            .counters
            .body(body.len() as u64, raw_bytes(encoding, body), received_us);
        Ok(())
    }

    fn respond(&self, status: u16, body: &str, keep_alive: bool) -> io::Result<()> {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let retry_after = match self.shared.faults.retry_after {
            Some(seconds) if status >= 400 => format!("Retry-After: {seconds}\r\n"),
            _ => String::new(),
        };
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: {connection}\r\n{retry_after}\r\n{body}",
            reason(status)
        );
        let mut stream = self.stream;
        stream.write_all(response.as_bytes())
    }
}

/// Decoded length without decoding: a gzip member ends with it (modulo 2^32). Of several members
/// only the last one tells, so this serves for progress, not for verdicts.
fn raw_bytes(encoding: Encoding, body: &[u8]) -> u64 {
    match encoding {
        Encoding::Identity => body.len() as u64,
        Encoding::Gzip => body
            .last_chunk()
            .map_or(0, |length| u64::from(u32::from_le_bytes(*length))),
    }
}

fn refusal_status(error: &HttpError) -> u16 {
    match error {
        HttpError::BodyTooLong { .. } => 413,
        HttpError::HeadTooLong => 431,
        HttpError::Header {
            name: "Content-Encoding",
            ..
        } => 415,
        _ => 400,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Told So",
    }
}
