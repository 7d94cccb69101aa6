//! What the tests of this folder share, and the sink against a peer that is not S3. The real
//! service is met in `tests/integration/s3.rs`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::batch::{BatchId, Body, Compression, Purpose};
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::sink::settings::{KeyLayout, S3Checksum, S3KeySource, Secret};

/// Settings with short waits and keys nobody knows.
pub(super) fn settings(host: &str) -> S3Settings {
    S3Settings {
        host: host.parse().unwrap(),
        bucket: "events".to_owned(),
        region: "us-east-1".to_owned(),
        path_style: true,
        keys: S3KeySource::Given {
            access_key: "A".to_owned(),
            secret_key: Secret::new("sesame".to_owned()),
        },
        prefix: "weir".to_owned(),
        key_layout: KeyLayout::Flat,
        content_type: "plain/text",
        checksum: S3Checksum::Crc32c,
        sign_body: false,
        part_bytes: 5 << 20,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        ca_file: None,
    }
}

/// A parcel of these chunks.
pub(super) fn parcel(chunks: &[&'static [u8]]) -> Parcel {
    let chunks: Vec<Bytes> = chunks.iter().map(|text| Bytes::from_static(text)).collect();
    Parcel {
        id: BatchId {
            segment: SegmentId([7; 16]),
            range: OffsetRange {
                first: Offset(10),
                end: Offset(12),
            },
            stream: "siem".into(),
            version: 0,
        },
        journal: JournalId(0),
        attempt: 0,
        events: 2,
        raw_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        body: Body::Whole(chunks),
        content_encoding: Compression::Identity,
        content_type: None,
        received_first: Timestamp(1_622_575_860_091_000),
        purpose: Purpose::Events,
    }
}

/// Outcome and reason word.
pub(super) fn verdict_of(outcome: &Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Delivered => ("delivered", ""),
        Outcome::RecordFirst => ("record", ""),
        Outcome::Partial { why, .. } => ("partial", why.reason),
        Outcome::Retry { why, .. } => ("retry", why.reason),
        Outcome::Split { why } => ("split", why.reason),
        Outcome::Refused { why } => ("refused", why.reason),
    }
}

/// What the sink makes of a parcel.
async fn deliver(settings: &S3Settings) -> Outcome {
    let mut sink = S3Sink::open(settings).unwrap();
    sink.deliver(&parcel(&[b"{\"a\":1}\n", b"{\"a\":2}\n"]))
        .await
}

fn start<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let thread = std::thread::Builder::new().name("peer".to_owned());
    thread.spawn(body).unwrap()
}

/// A peer that reads one request to the end of `body` and answers so; its head is given back.
fn peer(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let thread = start(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !read.ends_with(b"{\"a\":2}\n") {
            let length = connection.read(&mut buffer).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..length]);
        }
        connection.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(read).unwrap()
    });
    (host, thread)
}

const STORED: &str = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn the_request_is_as_documented() {
    let (host, peer) = peer(STORED);
    let outcome = deliver(&settings(&host)).await;
    assert_eq!(outcome, Outcome::Delivered);
    let request = peer.join().unwrap();
    let key = format!("weir_1622575860091_{}", parcel(&[]).id.uuid());
    let first = format!("PUT /events/{key}?x-id=PutObject HTTP/1.1\r\n");
    assert!(request.starts_with(&first), "{request}");
    let lower = request.to_ascii_lowercase();
    for header in [
        "\r\ncontent-type: plain/text\r\n",
        "\r\ncontent-length: 16\r\n",
        "\r\nx-amz-content-sha256: unsigned-payload\r\n",
        "\r\nx-amz-checksum-crc32c: ",
        "\r\nauthorization: aws4-hmac-sha256 ",
    ] {
        assert!(lower.contains(header), "{header:?} in {request}");
    }
    for header in ["content-encoding", "transfer-encoding", "x-amz-trailer"] {
        assert!(!lower.contains(header), "{header:?} in {request}");
    }
    assert!(!request.contains("sesame"));
}

#[tokio::test]
async fn a_signed_body_is_hashed_and_md5_goes_in_its_header() {
    let (host, peer) = peer(STORED);
    let signed = S3Settings {
        sign_body: true,
        checksum: S3Checksum::Md5,
        ..settings(&host)
    };
    assert_eq!(deliver(&signed).await, Outcome::Delivered);
    let request = peer.join().unwrap().to_ascii_lowercase();
    assert!(request.contains("\r\ncontent-md5: "), "{request}");
    assert!(!request.contains("x-amz-checksum"), "{request}");
    let hash = request.split("x-amz-content-sha256: ").nth(1).unwrap();
    assert_eq!(hash.find('\r'), Some(64), "{request}");
}

#[tokio::test]
async fn a_200_without_an_entity_tag_is_not_taken_for_s3() {
    let (host, peer) = peer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let outcome = deliver(&settings(&host)).await;
    assert_eq!(verdict_of(&outcome), ("retry", "protocol_error"));
    peer.join().unwrap();
}

#[tokio::test]
async fn a_403_of_somebody_between_is_not_a_matter_of_keys() {
    let (host, peer) = peer("HTTP/1.1 403 No\r\nContent-Length: 7\r\n\r\nblocked");
    let outcome = deliver(&settings(&host)).await;
    assert_eq!(verdict_of(&outcome), ("refused", "http_4xx"), "{outcome:?}");
    peer.join().unwrap();
}

#[tokio::test]
async fn a_peer_that_hangs_up_closed_the_connection() {
    let (host, peer) = peer("");
    let outcome = deliver(&settings(&host)).await;
    assert_eq!(
        verdict_of(&outcome),
        ("retry", "connection_closed"),
        "{outcome:?}"
    );
    peer.join().unwrap();
}

#[tokio::test]
async fn a_delivery_that_is_dropped_takes_its_connection_along() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    let (reached, mut is_reached) = tokio::sync::mpsc::channel(1);
    let peer = start(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        assert!(connection.read(&mut buffer).unwrap() > 0);
        reached.blocking_send(()).unwrap();
        // Ends, or fails, when the other side lets go.
        while matches!(connection.read(&mut buffer), Ok(1..)) {}
        reached.blocking_send(()).unwrap();
    });
    let mut sink = S3Sink::open(&settings).unwrap();
    let parcel = parcel(&[b"{}\n"]);
    tokio::select! {
        outcome = sink.deliver(&parcel) => panic!("nobody answered: {outcome:?}"),
        _ = is_reached.recv() => {}
    }
    is_reached.recv().await.unwrap();
    peer.join().unwrap();
    assert!(sink.may_have_left);
}

#[tokio::test]
async fn troubles_of_the_way_have_the_words_of_http() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for (host, reason) in [
        (format!("http://{closed}"), "connect_refused"),
        ("http://nowhere.invalid".to_owned(), "dns_failure"),
        (format!("http://{silent_address}"), "timed_out"),
    ] {
        let settings = S3Settings {
            request_timeout: Duration::from_millis(500),
            ..settings(&host)
        };
        let outcome = deliver(&settings).await;
        assert_eq!(
            verdict_of(&outcome),
            ("retry", reason),
            "{host} {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    std::fs::write(&ca_file, ca.cert.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("https://{}", listener.local_addr().unwrap());
    let peer = start(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(b"HTTP/1.1 400 x\r\n\r\n").unwrap();
    });
    let settings = S3Settings {
        ca_file: Some(ca_file),
        ..settings(&host)
    };
    let outcome = deliver(&settings).await;
    assert_eq!(
        verdict_of(&outcome),
        ("retry", "tls_failure"),
        "{outcome:?}"
    );
    peer.join().unwrap();
}

#[tokio::test]
async fn keys_are_read_again_when_they_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = S3Settings {
        keys: S3KeySource::File(file.clone()),
        ..settings(&format!("http://{}", listener.local_addr().unwrap()))
    };
    // Without the file nothing is sent, and that it is missing is said.
    let mut sink = S3Sink::open(&settings).unwrap();
    let parcel = parcel(&[b"{}\n"]);
    let outcome = sink.deliver(&parcel).await;
    assert_eq!(verdict_of(&outcome), ("refused", ACCESS_DENIED));

    std::fs::write(&file, "access_key = OLD\nsecret_key = o\n").unwrap();
    let peer = start(move || {
        let mut names = Vec::new();
        while names.last() != Some(&"NEW") {
            let (mut connection, _) = listener.accept().unwrap();
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            while !read.ends_with(b"{}\n") {
                let length = connection.read(&mut buffer).unwrap();
                read.extend_from_slice(&buffer[..length]);
            }
            let head = String::from_utf8(read).unwrap();
            if head.contains("Credential=OLD/") {
                names.push("OLD");
                std::fs::write(&file, "access_key = NEW\nsecret_key = n\n").unwrap();
                let body = "<Error><Code>InvalidAccessKeyId</Code></Error>";
                let length = body.len();
                write!(
                    connection,
                    "HTTP/1.1 403 x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .unwrap();
            } else {
                assert!(head.contains("Credential=NEW/"), "{head}");
                names.push("NEW");
                connection.write_all(STORED.as_bytes()).unwrap();
            }
        }
        names
    });
    assert_eq!(sink.deliver(&parcel).await, Outcome::Delivered);
    assert_eq!(peer.join().unwrap(), ["OLD", "NEW"]);
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, "nothing").unwrap();
    let settings = S3Settings {
        ca_file: Some(ca_file),
        ..settings("https://127.0.0.1:1")
    };
    let error = S3Sink::open(&settings).unwrap_err();
    assert!(matches!(error, OpenError::Pem { .. }), "{error}");
    assert!(!format!("{settings:?}").contains("sesame"));
}
