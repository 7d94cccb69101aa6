//! Answers: what a client is told, as JSON with a status.
//!
//! Owns the words of every refusal. An answer names the place, the value, the rule and what
//! to do; it never repeats more than a few bytes of what the client sent.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::counters::RefusalReason;
use super::decode::DecodeError;
use super::judge::KeptReject;
use super::labels::LabelsError;
use super::relay::RelayError;
use crate::ingest::json_array::BrokenArray;

/// The one path events are posted to.
pub(super) const EVENTS_PATH: &str = "/v1/events";

/// Rejected lines an answer names; further ones are only counted.
pub(super) const REJECTED_NAMED_MAX: usize = 100;

/// Why a request is refused as a whole. None of its lines was admitted, except for
/// [`Refusal::NotDurable`], where they may or may not be on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("path {path:?}: nothing is here; send events to POST {EVENTS_PATH}")]
    Path { path: String },
    #[error("method {method}: {EVENTS_PATH} takes only POST")]
    Method { method: String },
    #[error(
        "Content-Encoding {encoding:?}: not supported; send gzip, zstd or identity, and only one"
    )]
    Encoding { encoding: String },
    #[error(transparent)]
    Labels(#[from] LabelsError),
    #[error("no relay token of this input was shown; send it as the user of Basic authorization")]
    Unauthorized,
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error("another try of this batch is under way; send it again, it is stored once")]
    RelayBusy,
    #[error(
        "body: {bytes} bytes or more, above the limit of {bytes_max} (body_bytes_max); send fewer \
         events a request"
    )]
    BodyTooLarge { bytes: u64, bytes_max: usize },
    #[error(
        "body: more than {bytes_max} bytes once decompressed (decompressed_bytes_max); send fewer \
         events a request"
    )]
    DecompressedTooLarge { bytes_max: usize },
    #[error(
        "body: {sent} bytes decompress to more than {expansion_max} times as many \
         (expansion_max), which is taken for a bomb; compress at a lower level, send fewer events \
         a request, or raise expansion_max"
    )]
    Expansion { sent: usize, expansion_max: usize },
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
    #[error("body: a JSON array that is broken at {0}; send a whole array, or one event a line")]
    Array(#[from] BrokenArray),
    #[error("body: after {received} bytes the chunks are not readable: {cause}; send them again")]
    Chunks { received: usize, cause: String },
    #[error("body: ended after {received} bytes, before its announced end; send it again")]
    Aborted { received: usize },
    #[error(
        "body: {received} bytes came too slowly; no pause may be longer than {pause_s} s, and the \
         whole must come at 1 KiB/s or more (body_timeout)"
    )]
    TooSlow { received: usize, pause_s: f64 },
    #[error("the node's memory budget (memory.max) is taken; send the request again")]
    Memory,
    #[error(
        "the journal is full until streams deliver or retention frees some; send the request again"
    )]
    JournalFull,
    #[error("the journal cannot make events durable now; send the request again")]
    Failed,
    #[error("the node is stopping; send the request again, to another node if there is one")]
    Stopping,
    #[error(
        "the journal could not make the events durable; send the request again (some events may \
         then be delivered twice)"
    )]
    NotDurable,
}

/// What an answer says and what becomes of the connection.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    /// Seconds after which to try again.
    pub(super) retry_after_s: Option<u16>,
    /// Close the connection behind the answer.
    pub(super) close: bool,
}

/// The fate of a body's lines.
#[derive(Debug)]
pub(super) struct Accepted<'a> {
    /// Lines taken, those that an exclusion rule drops included.
    pub(super) accepted: u64,
    pub(super) excluded: u64,
    /// The first rejected lines, in order.
    pub(super) rejected: &'a [KeptReject],
    pub(super) rejected_total: u64,
}

impl Refusal {
    /// The counter of the refusal.
    pub(super) fn reason(&self) -> RefusalReason {
        match self {
            Self::Path { .. } => RefusalReason::Path,
            Self::Method { .. } => RefusalReason::Method,
            Self::Encoding { .. } => RefusalReason::Encoding,
            Self::Labels(_) => RefusalReason::Labels,
            Self::Unauthorized => RefusalReason::Unauthorized,
            Self::Relay(_) => RefusalReason::Relay,
            Self::RelayBusy => RefusalReason::RelayBusy,
            Self::BodyTooLarge { .. } => RefusalReason::BodyTooLarge,
            Self::DecompressedTooLarge { .. } => RefusalReason::DecompressedTooLarge,
            Self::Expansion { .. } => RefusalReason::Expansion,
            Self::Undecodable(_) | Self::Array(_) | Self::Chunks { .. } => {
                RefusalReason::Unreadable
            }
            Self::Aborted { .. } => RefusalReason::Aborted,
            Self::TooSlow { .. } => RefusalReason::TooSlow,
            Self::Memory => RefusalReason::Memory,
            Self::JournalFull => RefusalReason::JournalFull,
            Self::Failed => RefusalReason::Failed,
            Self::Stopping => RefusalReason::Stopping,
            Self::NotDurable => RefusalReason::NotDurable,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Path { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Labels(_)
            | Self::Relay(_)
            | Self::Undecodable(_)
            | Self::Array(_)
            | Self::Chunks { .. }
            | Self::Aborted { .. } => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. }
            | Self::DecompressedTooLarge { .. }
            | Self::Expansion { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::JournalFull => StatusCode::TOO_MANY_REQUESTS,
            Self::Memory | Self::Failed | Self::Stopping | Self::NotDurable | Self::RelayBusy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Memory comes back within a request's time, room in the journal with a batch's, and a
    /// failed disk not before someone looked.
    fn retry_after_s(&self) -> Option<u16> {
        match self {
            Self::Memory | Self::Stopping | Self::RelayBusy => Some(1),
            Self::JournalFull | Self::Failed | Self::NotDurable => Some(5),
            Self::Path { .. }
            | Self::Method { .. }
            | Self::Encoding { .. }
            | Self::Labels(_)
            | Self::Unauthorized
            | Self::Relay(_)
            | Self::BodyTooLarge { .. }
            | Self::DecompressedTooLarge { .. }
            | Self::Expansion { .. }
            | Self::Undecodable(_)
            | Self::Array(_)
            | Self::Chunks { .. }
            | Self::Aborted { .. }
            | Self::TooSlow { .. } => None,
        }
    }

    /// The answer that says so. `close` when the connection cannot go on behind it.
    pub(super) fn answer(&self, close: bool) -> Answer {
        Answer {
            status: self.status(),
            body: error_body(&self.to_string()),
            retry_after_s: self.retry_after_s(),
            close: close || matches!(self, Self::Stopping),
        }
    }
}

impl Answer {
    /// 200 with the fate of every line.
    pub(super) fn accepted(accepted: &Accepted<'_>) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            accepted: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            excluded: Option<u64>,
            rejected: Vec<Line<'a>>,
            rejected_total: u64,
        }
        #[derive(Serialize)]
        struct Line<'a> {
            line: u64,
            error: &'a str,
        }
        let named = accepted.rejected.iter().take(REJECTED_NAMED_MAX);
        let body = Body {
            accepted: accepted.accepted,
            excluded: Some(accepted.excluded).filter(|excluded| *excluded > 0),
            rejected: named
                .map(|reject| Line {
                    line: reject.line,
                    error: &reject.detail,
                })
                .collect(),
            rejected_total: accepted.rejected_total,
        };
        Self {
            status: StatusCode::OK,
            body: json_line(&body),
            retry_after_s: None,
            close: false,
        }
    }

    /// The answer as hyper sends it.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let basic = HeaderValue::from_static("Basic realm=\"weir\"");
            headers.insert(WWW_AUTHENTICATE, basic);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The whole answer to a client that did not finish its request head in time; hyper gives
/// up such a connection without a word.
pub(super) fn slow_head_answer(pause_s: f64) -> Vec<u8> {
    let body = error_body(&format!(
        "request head: not complete after {pause_s} s (header_timeout); send it at once"
    ));
    let mut answer = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

fn error_body(error: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
    }
    json_line(&Body { error })
}

/// Answers end with a line end, which is kind to people at a terminal.
fn json_line(body: &impl Serialize) -> Vec<u8> {
    let mut json =
        serde_json::to_vec(body).expect("a record of numbers and strings is always JSON");
    json.push(b'\n');
    json
}
