//! The senders of these tests, byte by byte: a TCP sender that reads its acks, and an HTTP
//! client that sends what it is told, right or wrong, and reads one answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a peer waits for the relay before the test has failed. Only a safety.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a `tcp` input with `ack = true`.
pub(crate) struct Sender {
    stream: TcpStream,
    acks: BufReader<TcpStream>,
}

/// What the relay said of the lines of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The last line with a fate.
    pub(crate) acked: u64,
    /// Lines named as rejected.
    pub(crate) rejected: Vec<u64>,
    /// The sum of `rejected_total`.
    pub(crate) rejected_total: u64,
    /// What was said of the lines named.
    pub(crate) errors: Vec<String>,
}

impl Sender {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let acks = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, acks }
    }

    /// The socket, for what only it can do.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the relay reads");
    }

    /// Reads acks until the line has its fate.
    pub(crate) fn acked(&mut self, line: u64) -> Told {
        let mut told = Told::default();
        while told.acked < line {
            assert!(self.read_ack(&mut told), "closed after {told:?}");
        }
        told
    }

    /// Says that nothing more comes, and reads acks until the relay closes too.
    pub(crate) fn finish(self) -> Told {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the relay is there");
        self.acked_until_closed()
    }

    /// Reads acks until the relay closes the connection.
    pub(crate) fn acked_until_closed(mut self) -> Told {
        let mut told = Told::default();
        while self.read_ack(&mut told) {}
        told
    }

    /// False at the end of the connection.
    fn read_ack(&mut self, told: &mut Told) -> bool {
        let mut line = String::new();
        if self.acks.read_line(&mut line).expect("an ack in time") == 0 {
            return false;
        }
        let ack: Value = serde_json::from_str(&line).expect("an ack is JSON");
        let acked = ack["ack"].as_u64().expect("a line number");
        assert!(acked > told.acked, "acks go forward: {line}");
        told.acked = acked;
        told.rejected_total += ack["rejected_total"].as_u64().unwrap_or(0);
        for rejected in ack["rejected"].as_array().into_iter().flatten() {
            told.rejected
                .push(rejected["line"].as_u64().expect("a line number"));
            told.errors
                .push(rejected["error"].as_str().expect("a text").to_owned());
        }
        true
    }
}

/// An answer of the `http` input.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The JSON of its body; null for a bare answer.
    pub(crate) body: Value,
}

impl Answer {
    /// The text of a refusal.
    pub(crate) fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    /// Numbers of the rejected lines.
    pub(crate) fn rejected(&self) -> Vec<u64> {
        let named = self.body["rejected"].as_array().into_iter().flatten();
        named
            .map(|line| line["line"].as_u64().expect("a line number"))
            .collect()
    }
}

/// A connection to an `http` input.
pub(crate) struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let answers = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, answers }
    }

    /// The socket, for what only it can do.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the relay reads");
    }

    /// A whole request with the right length; `headers` are whole header lines.
    pub(crate) fn post(&mut self, headers: &str, body: &[u8]) -> Answer {
        self.send(request(headers, body));
        self.answer().expect("an answer before the end")
    }

    /// The next answer; `None` when the connection ended instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut first = String::new();
        if self.answers.read_line(&mut first).unwrap_or(0) == 0 {
            return None;
        }
        let status = first.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.answers
                .read_line(&mut header)
                .expect("a head comes whole");
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.answers
            .read_exact(&mut body)
            .expect("a body comes whole");
        let body = match length {
            0 => Value::Null,
            _ => serde_json::from_slice(&body).expect("answers are JSON"),
        };
        Some(Answer { status, body })
    }
}

/// `POST /v1/events` with the right length.
pub(crate) fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: weir\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
