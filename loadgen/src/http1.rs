//! The little HTTP/1.1 that a generator and an endpoint need.
//!
//! Owns heads (through httparse), body framing (`Content-Length`, chunked with trailers) and the
//! reader that takes requests off a connection one after the other, however the bytes arrive. Every
//! length has a maximum. Leaves what an answer means to the caller.

use std::io::{self, Read};

/// What the receiver must know of a request before it reads the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// `POST`, `GET`, …
    pub(crate) method: String,
    /// Path with query, as sent.
    pub(crate) target: String,
    pub(crate) framing: Framing,
    pub(crate) encoding: Encoding,
    /// The sender's name for this body, the same at every try.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Splunk's name for a sequence of requests.
    pub(crate) channel: Option<String>,
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
    /// `Retry-After` in seconds, if it was a number.
    pub(crate) retry_after_s: Option<u64>,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Known beforehand, bytes; 0 when the head says nothing.
    Length(u64),
    Chunked,
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

/// Why bytes are not the HTTP expected here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("read: {0}")]
    Io(#[from] io::Error),
    #[error("the connection ended {0}")]
    Ended(&'static str),
    #[error("malformed head: {0}")]
    Head(#[from] httparse::Error),
    #[error("head longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("body longer than {limit} bytes")]
    BodyTooLong { limit: u64 },
    #[error("bad `{name}: {value}`")]
    Header { name: &'static str, value: String },
    #[error("malformed chunk")]
    Chunk,
}

/// Takes requests off a byte stream; what one read brought too much is kept for the next request.
pub(crate) struct RequestReader<R> {
    source: R,
    buffer: Vec<u8>,
    body_bytes_max: u64,
}

impl<R: Read> RequestReader<R> {
    /// Reads from `source`; a body over `body_bytes_max` is an error.
    pub(crate) fn new(source: R, body_bytes_max: u64) -> Self {
        Self {
            source,
            buffer: Vec::with_capacity(READ_BYTES),
            body_bytes_max,
        }
    }

    /// The next head; `None` when the peer closed between two requests.
    pub(crate) fn read_head(&mut self) -> Result<Option<RequestHead>, HttpError> {
        loop {
            if let Some((head, length)) = parse_request(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(head));
            }
            if self.buffer.len() >= HEAD_BYTES_MAX {
                return Err(HttpError::HeadTooLong);
            }
            if self.read_more()? == 0 {
                let clean = self.buffer.is_empty();
                return if clean {
                    Ok(None)
                } else {
                    Err(HttpError::Ended("inside a head"))
                };
            }
        }
    }

    /// Replaces `body` with the body that follows `head`.
    pub(crate) fn read_body(
        &mut self,
        head: &RequestHead,
        body: &mut Vec<u8>,
    ) -> Result<(), HttpError> {
        body.clear();
        match head.framing {
            Framing::Length(length) => self.read_exactly(length, body),
            Framing::Chunked => self.read_chunks(body),
        }
    }

    fn read_exactly(&mut self, length: u64, body: &mut Vec<u8>) -> Result<(), HttpError> {
        let limit = self.body_bytes_max;
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limit {
            return Err(HttpError::BodyTooLong { limit });
        }
        let buffered = wanted.min(self.buffer.len());
        body.reserve(wanted);
        body.extend(self.buffer.drain(..buffered));
        let missing = (wanted - buffered) as u64;
        (&mut self.source).take(missing).read_to_end(body)?;
        if body.len() < wanted {
            Err(HttpError::Ended("inside a body"))
        } else {
            Ok(())
        }
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<(), HttpError> {
        let mut chunks = Chunks::default();
        loop {
            let (used, done) = chunks.feed(&self.buffer, body)?;
            self.buffer.drain(..used);
            if body.len() as u64 > self.body_bytes_max {
                return Err(HttpError::BodyTooLong {
                    limit: self.body_bytes_max,
                });
            }
            if done {
                return Ok(());
            }
            if self.buffer.len() >= HEAD_BYTES_MAX {
                return Err(HttpError::Chunk);
            }
            if self.read_more()? == 0 {
                return Err(HttpError::Ended("inside a chunked body"));
            }
        }
    }

    fn read_more(&mut self) -> Result<usize, HttpError> {
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let result = loop {
            match self.source.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer
            .truncate(before + *result.as_ref().unwrap_or(&0));
        Ok(result?)
    }
}

/// Decodes the chunked framing, one piece of input after the other.
#[derive(Debug, Default)]
struct Chunks {
    state: ChunkState,
}

#[derive(Debug, Default, Clone, Copy)]
enum ChunkState {
    #[default]
    Size,
    /// Bytes of the chunk still to come.
    Data(usize),
    /// The line end after a chunk's data.
    DataEnd,
    Trailer,
}

impl Chunks {
    /// Appends decoded bytes to `out`; returns how much of `input` was used and whether the body
    /// has ended. What is not used must be offered again with more behind it.
    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), HttpError> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match self.state {
                ChunkState::Size => match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        used += line;
                        let size = usize::try_from(size).map_err(|_| HttpError::Chunk)?;
                        let data = ChunkState::Data(size);
                        self.state = if size == 0 { ChunkState::Trailer } else { data };
                    }
                    Ok(httparse::Status::Partial) => return Ok((used, false)),
                    Err(_) => return Err(HttpError::Chunk),
                },
                ChunkState::Data(left) => {
                    let count = left.min(rest.len());
                    out.extend_from_slice(&rest[..count]);
                    used += count;
                    if count < left {
                        self.state = ChunkState::Data(left - count);
                        return Ok((used, false));
                    }
                    self.state = ChunkState::DataEnd;
                }
                ChunkState::DataEnd if rest.len() < 2 => return Ok((used, false)),
                ChunkState::DataEnd => {
                    if &rest[..2] != b"\r\n" {
                        return Err(HttpError::Chunk);
                    }
                    used += 2;
                    self.state = ChunkState::Size;
                }
                ChunkState::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        return Ok((used, false));
                    };
                    used += end + 1;
                    if matches!(&rest[..end], b"" | b"\r") {
                        return Ok((used, true));
                    }
                }
            }
        }
    }
}

/// Parses a request head off the front of `buffer`: the head and its length, or `None` when more
/// bytes are needed.
pub(crate) fn parse_request(buffer: &[u8]) -> Result<Option<(RequestHead, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(buffer)? else {
        return Ok(None);
    };
    let fields = Fields::read(request.headers)?;
    let head = RequestHead {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        framing: fields.framing.unwrap_or(Framing::Length(0)),
        encoding: fields.encoding,
        idempotency_key: fields.idempotency_key,
        authorization: fields.authorization,
        channel: fields.channel,
        keep_alive: fields.keep_alive.unwrap_or(request.version == Some(1)),
        expects_continue: fields.expects_continue,
    };
    Ok(Some((head, length)))
}

/// Parses one whole answer off the front of `buffer`: the answer and its length, or `None` when
/// more bytes are needed. An answer without a length lasts until the connection has `ended`.
pub(crate) fn parse_response(
    buffer: &[u8],
    ended: bool,
) -> Result<Option<(Response, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = response.parse(buffer)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let version_1_1 = response.version == Some(1);
    let fields = Fields::read(response.headers)?;
    let rest = &buffer[start..];
    if (100..200).contains(&status) {
        let next = parse_response(rest, ended)?;
        return Ok(next.map(|(response, length)| (response, start + length)));
    }
    let mut body = Vec::new();
    let used = match fields.framing {
        _ if matches!(status, 204 | 304) => 0,
        Some(Framing::Length(length)) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(bytes) = rest.get(..length) else {
                return Ok(None);
            };
            body.extend_from_slice(bytes);
            length
        }
        Some(Framing::Chunked) => match Chunks::default().feed(rest, &mut body)? {
            (used, true) => used,
            (_, false) => return Ok(None),
        },
        None if ended => {
            body.extend_from_slice(rest);
            rest.len()
        }
        None => return Ok(None),
    };
    let keep_alive = fields.keep_alive.unwrap_or(version_1_1) && !ended;
    let retry_after_s = fields.retry_after_s;
    Ok(Some((
        Response {
            status,
            body,
            keep_alive,
            retry_after_s,
        },
        start + used,
    )))
}

/// The header fields either side looks at.
struct Fields {
    framing: Option<Framing>,
    encoding: Encoding,
    idempotency_key: Option<String>,
    authorization: Option<String>,
    channel: Option<String>,
    keep_alive: Option<bool>,
    expects_continue: bool,
    retry_after_s: Option<u64>,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, HttpError> {
        let mut fields = Self {
            framing: None,
            encoding: Encoding::Identity,
            idempotency_key: None,
            authorization: None,
            channel: None,
            keep_alive: None,
            expects_continue: false,
            retry_after_s: None,
        };
        for header in headers {
            let text = String::from_utf8_lossy(header.value);
            let value = text.trim();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                fields.set_length(value)?;
            } else if is("transfer-encoding") {
                fields.framing = Some(chunked(value)?);
            } else if is("content-encoding") {
                fields.encoding = encoding(value)?;
            } else if is("idempotency-key") {
                fields.idempotency_key = Some(value.to_owned());
            } else if is("authorization") {
                fields.authorization = Some(value.to_owned());
            } else if is("x-splunk-request-channel") {
                fields.channel = Some(value.to_owned());
            } else if is("connection") {
                fields.keep_alive = match value.to_ascii_lowercase().as_str() {
                    "close" => Some(false),
                    "keep-alive" => Some(true),
                    _ => fields.keep_alive,
                };
            } else if is("expect") {
                fields.expects_continue = value.eq_ignore_ascii_case("100-continue");
            } else if is("retry-after") {
                fields.retry_after_s = value.parse().ok();
            }
        }
        Ok(fields)
    }

    /// Two lengths that differ, or a length beside chunked, are the classic way to smuggle.
    fn set_length(&mut self, value: &str) -> Result<(), HttpError> {
        let bad = || HttpError::Header {
            name: "Content-Length",
            value: value.to_owned(),
        };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let length = Framing::Length(value.parse().map_err(|_| bad())?);
        match self.framing {
            Some(Framing::Chunked) => Ok(()),
            Some(other) if other != length => Err(bad()),
            _ => {
                self.framing = Some(length);
                Ok(())
            }
        }
    }
}

fn chunked(value: &str) -> Result<Framing, HttpError> {
    if value.eq_ignore_ascii_case("chunked") {
        Ok(Framing::Chunked)
    } else {
        Err(HttpError::Header {
            name: "Transfer-Encoding",
            value: value.to_owned(),
        })
    }
}

fn encoding(value: &str) -> Result<Encoding, HttpError> {
    match value.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        _ => Err(HttpError::Header {
            name: "Content-Encoding",
            value: value.to_owned(),
        }),
    }
}

const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;
/// One read for heads and chunks; bodies of known length are read past this buffer.
const READ_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of `step`.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn bodies(text: &str, step: usize) -> Result<Vec<(RequestHead, String)>, HttpError> {
        let mut reader = RequestReader::new(Dribble(text.as_bytes(), step), 1_000);
        let (mut found, mut body) = (Vec::new(), Vec::new());
        while let Some(head) = reader.read_head()? {
            reader.read_body(&head, &mut body)?;
            found.push((head, String::from_utf8(body.clone()).unwrap()));
        }
        Ok(found)
    }

    const PIPELINED: &str = "POST /ingest?a=1 HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\
        Idempotency-Key: seg/0-4\r\nContent-Encoding: gzip\r\n\r\nhello\
        POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        3\r\nabc\r\n8;x=y\r\n12345678\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\n\
        GET /c HTTP/1.0\r\n\r\n";

    #[test]
    fn requests_read_alike_however_the_bytes_are_split() {
        for step in 1..PIPELINED.len() {
            let found = bodies(PIPELINED, step).unwrap();
            let texts: Vec<&str> = found.iter().map(|(_, body)| body.as_str()).collect();
            assert_eq!(texts, ["hello", "abc12345678", ""], "step {step}");
            assert_eq!(found[0].0.idempotency_key.as_deref(), Some("seg/0-4"));
            assert_eq!(found[0].0.encoding, Encoding::Gzip);
            assert_eq!(
                (found[0].0.keep_alive, found[1].0.keep_alive),
                (true, false)
            );
            assert_eq!(
                (found[2].0.method.as_str(), found[2].0.keep_alive),
                ("GET", false)
            );
        }
    }

    #[test]
    fn bad_framing_is_refused() {
        let cases = [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell",
            "POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Encoding: br\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "POST / HTTP/1.1\r\nHo",
            "nonsense\r\n\r\n",
        ];
        for case in cases {
            assert!(bodies(case, 7).is_err(), "{case:?}");
        }
    }

    #[test]
    fn answer_is_parsed_only_when_whole() {
        let texts = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                "{}",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
                "",
            ),
        ];
        for (text, body) in texts {
            for end in 0..text.len() {
                assert_eq!(
                    parse_response(&text.as_bytes()[..end], false).unwrap(),
                    None
                );
            }
            let (response, length) = parse_response(text.as_bytes(), false).unwrap().unwrap();
            assert_eq!(
                (response.body.as_slice(), length),
                (body.as_bytes(), text.len())
            );
        }
        let text = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\nlater";
        assert_eq!(parse_response(text, false).unwrap(), None);
        let (response, _) = parse_response(text, true).unwrap().unwrap();
        assert_eq!((response.status, response.retry_after_s), (503, Some(7)));
        assert_eq!(
            (response.body.as_slice(), response.keep_alive),
            (&b"later"[..], false)
        );
    }
}
