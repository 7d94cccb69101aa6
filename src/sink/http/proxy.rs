//! A tunnel through an HTTP proxy: `CONNECT`, RFC 9110 section 9.3.6.

use http::HeaderValue;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connection::failure;
use crate::sink::Failure;

/// Longest head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Asks the proxy at the other end of `tcp` for a way to `destination`, which is `host:port`, and
/// returns once it is open.
///
/// # Errors
/// `proxy_refused` when the proxy does not let us (4xx), `connect_failed` when it does not get
/// there, `protocol_error` when it is no proxy, `connection_closed` when it says nothing.
pub(super) async fn tunnel(
    tcp: &mut TcpStream,
    destination: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(), Failure> {
    let mut request =
        format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let closed = |error: std::io::Error| failure("connection_closed", format!("proxy: {error}"));
    tcp.write_all(&request).await.map_err(closed)?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = memmem::find(&head, b"\r\n\r\n") {
            break at + 4;
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(no_proxy("its answer has no end", &head));
        }
        if tcp.read_buf(&mut head).await.map_err(closed)? == 0 {
            let detail = "the proxy closed the connection without an answer";
            return Err(failure("connection_closed", detail.to_owned()));
        }
    };
    let line = String::from_utf8_lossy(&head[..end]);
    let line = line.lines().next().unwrap_or_default();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    let said = || format!("proxy, asked for {destination}: {line}");
    match status {
        // The destination waits for us to speak first; what came already is not its.
        Some(200..=299) if head.len() > end => Err(no_proxy("it sent more than an answer", &head)),
        Some(200..=299) => Ok(()),
        Some(400..=499) => Err(failure("proxy_refused", said())),
        Some(_) => Err(failure("connect_failed", said())),
        None => Err(no_proxy("its answer is not HTTP", &head)),
    }
}

fn no_proxy(why: &str, head: &[u8]) -> Failure {
    let start = String::from_utf8_lossy(&head[..head.len().min(80)]);
    failure(
        "protocol_error",
        format!("proxy: {why}: {:?}", start.trim()),
    )
}
