//! What the inputs run on; built by `config`, never changed after.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{InputId, Labels};

/// How much of a line is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Validation {
    /// Every byte: one complete JSON object in valid UTF-8.
    #[default]
    Full,
    /// Only that it begins with `{` and ends with `}`, white space aside: for senders that are
    /// trusted to write JSON. What they get wrong, UTF-8 included, is stored and delivered as
    /// it came.
    None,
}

/// Settings every input has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSettings {
    /// Number of the input.
    pub id: InputId,
    /// Name in the configuration, metrics and audit events.
    pub name: String,
    /// How lines are judged.
    pub validation: Validation,
    /// Longest line, without its line end, in bytes. 1 to 16 MiB; default 1 MiB.
    pub line_bytes_max: usize,
    /// Labels given to every event of the input unless the sender says otherwise.
    pub labels: Labels,
}

/// A `tcp` input: NDJSON over plain TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSettings {
    /// What every input has.
    pub input: InputSettings,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Answer with `{"ack":N}` lines.
    pub ack: bool,
    /// Open connections; further ones are closed at once and counted. Default 10,000.
    pub connections_max: usize,
    /// A connection silent for so long is closed. `None`: never. Default 1 h.
    pub idle_timeout: Option<Duration>,
}

/// An `http` input: `POST /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// What every input has.
    pub input: InputSettings,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Open connections; further ones are closed at once and counted. Default 10,000.
    pub connections_max: usize,
    /// Bytes of a body as sent. Default 16 MiB, at most 64 MiB.
    pub body_bytes_max: usize,
    /// Bytes of a body once decompressed. Default 32 MiB, at most 128 MiB.
    pub decompressed_bytes_max: usize,
    /// Decompressed bytes per compressed byte above which a body of more than 1 MiB is refused
    /// as a bomb. Default 200.
    pub expansion_max: usize,
    /// Time to send the request head. Default 10 s.
    pub header_timeout: Duration,
    /// Longest pause between two pieces of a body, and a floor of 1 KiB/s over the whole
    /// body. Default 10 s.
    pub body_timeout: Duration,
    /// Time a connection may stay without a request. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// Who may relay events to `POST /logs/selfstream`; empty: nobody, and the path does not exist.
    pub relay: Vec<RelayToken>,
}

/// A sender of relayed events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayToken {
    /// What its events are labelled with.
    pub name: Arc<str>,
    /// The `Authorization` header it shows: `Basic`, with the token as user and no password. Sensitive.
    pub authorization: http::HeaderValue,
}
