//! Asking a running node by its admin listener: one small request, one answer in JSON.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::CommandError;
use crate::config::{self, Environment};

/// Time to connect: the listener is on this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence; the node itself gives a stream 30 s to answer.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Which node.
#[derive(Debug, Args)]
pub(super) struct AdminPlace {
    /// Configuration that names the admin listener.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Address of the admin listener. Default: that of the embedded default, 127.0.0.1:9600.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl AdminPlace {
    /// Posts a JSON body and returns the JSON of an answer with status 200.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        let address = self.address()?;
        let (status, text) = exchange(address, path, body).map_err(|error| {
            CommandError::Node(format!(
                "ask the node at {address}: {error}; does it run, and is that its admin.listen?"
            ))
        })?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match answer {
            Some(answer) if status == 200 => Ok(answer),
            Some(Value::Object(told)) if told.contains_key("error") => {
                let error = told["error"].as_str().unwrap_or_default().to_owned();
                Err(CommandError::Node(error))
            }
            _ => Err(CommandError::Node(format!(
                "{address} answers {status}, and not as Weir does"
            ))),
        }
    }

    fn address(&self) -> Result<SocketAddr, CommandError> {
        if let Some(address) = self.admin {
            return Ok(address);
        }
        let plan = match &self.config {
            Some(file) => config::load(file),
            None => config::parse(
                config::embedded_default(),
                "embedded default",
                &Environment::of_this_process(),
            ),
        };
        let plan = plan.map_err(|errors| CommandError::Usage(errors.to_string()))?;
        Ok(reachable(plan.admin_listen))
    }
}

/// Path of a stream's commands. A name needs no escapes; any other text is no stream's.
pub(super) fn stream_path(stream: &str, command: &str) -> Result<String, CommandError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if stream.is_empty() || !stream.bytes().all(is_plain) {
        return Err(CommandError::Usage(format!(
            "{stream:?}: no stream has such a name"
        )));
    }
    Ok(format!("/v1/streams/{stream}/{command}"))
}

/// A listener on all addresses is reached by loopback.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listen
}

/// Sends the request and reads status and body. In HTTP/1.0, where a body ends with its
/// connection.
fn exchange(address: SocketAddr, path: &str, body: &Value) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the answer is no HTTP"))?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    /// Posts to a peer that gives one scripted answer; returns what it was sent.
    fn post(answer: &'static str) -> (Result<Value, CommandError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::Builder::new().name("peer".to_owned());
        let peer = peer.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut chunk = [0; 1024];
            while !request.ends_with('}') {
                let read = stream.read(&mut chunk).unwrap();
                request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
            }
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let place = AdminPlace {
            config: None,
            admin: Some(address),
        };
        let path = stream_path("siem", "dead-letters/redrive").unwrap();
        let answered = place.post(&path, &json!({"all": true}));
        (answered, peer.unwrap().join().unwrap())
    }

    #[test]
    fn a_request_says_what_it_is_and_its_answer_is_read() {
        let (answer, request) = post("HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"letters\":3}");
        assert_eq!(answer.unwrap(), json!({"letters": 3}));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/streams/siem/dead-letters/redrive HTTP/1.0\r\n"));
        assert!(head.contains("\r\nContent-Type: application/json\r\n"));
        assert!(head.ends_with("\r\nContent-Length: 12"), "{head}");
        assert_eq!(body, "{\"all\":true}");
    }

    #[test]
    fn what_the_node_says_against_it_is_told() {
        let cases = [
            (
                "HTTP/1.0 404 Not Found\r\n\r\n{\"error\":\"there is no stream\"}",
                "there is no stream",
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\nhello",
                "answers 200, and not as Weir",
            ),
            ("SSH-2.0\r\n", "no HTTP"),
            ("", "no HTTP"),
        ];
        for (answer, part) in cases {
            let error = post(answer).0.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        let cases = [
            ("0.0.0.0:9600", "127.0.0.1:9600"),
            ("[::]:9600", "[::1]:9600"),
            ("192.0.2.1:9600", "192.0.2.1:9600"),
        ];
        for (listen, expected) in cases {
            assert_eq!(
                reachable(listen.parse().unwrap()),
                expected.parse().unwrap()
            );
        }
    }

    #[test]
    fn a_name_that_would_change_the_path_is_no_streams() {
        assert!(stream_path("a-b_C1", "resume").is_ok());
        for name in ["", "..", "a/b", "a b", "a?b", "a\r\nb", "é"] {
            assert!(stream_path(name, "resume").is_err(), "{name:?}");
        }
    }
}
