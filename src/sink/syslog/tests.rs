//! The syslog sink against receivers on loopback sockets that behave well and badly.
//!
//! No test measures time. Where a timeout is what is tested it is short; everywhere else it is so long that
//! reaching it means a hang.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::batch::{BatchId, Body, Compression, EventPosition, Purpose};
use crate::event::{InputId, Labels};
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::sink::FAILURE_REASONS;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

/// What stands before the body of every message here.
const HEAD: &str = "<134>1 2023-11-14T22:13:20.000000Z - - - - - ";

fn parcel(bodies: &[&[u8]]) -> Parcel {
    let segment = SegmentId([7; 16]);
    let records = (0_u64..).zip(bodies).map(|(number, body)| Record {
        position: EventPosition {
            segment,
            journal: JournalId(0),
            offset: Offset(number),
        },
        received: Timestamp(1_700_000_000_000_000),
        labels: Arc::new(Labels::of_input(InputId(0))),
        line: Bytes::from_static(b"{}"),
        body: Bytes::copy_from_slice(body),
    });
    Parcel {
        id: BatchId {
            segment,
            range: OffsetRange {
                first: Offset(0),
                end: Offset(bodies.len() as u64),
            },
            stream: "siem".into(),
            version: 0,
        },
        journal: JournalId(0),
        attempt: 0,
        events: bodies.len() as u64,
        raw_bytes: bodies.iter().map(|body| body.len() as u64 + 1).sum(),
        body: Body::Records(records.collect()),
        content_encoding: Compression::Identity,
        content_type: None,
        received_first: Timestamp(0),
        purpose: Purpose::Events,
    }
}

fn settings(port: u16) -> SyslogSettings {
    SyslogSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        framing: Framing::OctetCounting,
        header: HeaderSettings {
            facility: 16,
            ..HeaderSettings::default()
        },
        message_bytes_max: None,
        connect_timeout: LONG,
        send_timeout: LONG,
        ack_timeout: LONG,
    }
}

async fn listener() -> (TcpListener, SyslogSettings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(listener.local_addr().unwrap().port());
    (listener, settings)
}

fn open(settings: &SyslogSettings) -> SyslogSink {
    SyslogSink::open(settings).unwrap()
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

async fn read(peer: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exact(&mut bytes).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

/// `delivered`, or outcome and reason word.
fn verdict(outcome: &Outcome) -> (&'static str, &'static str) {
    let (word, why) = match outcome {
        Outcome::Delivered => return ("delivered", ""),
        Outcome::RecordFirst => return ("record", ""),
        Outcome::Partial { why, .. } => ("partial", why),
        Outcome::Retry { why, .. } => ("retry", why),
        Outcome::Split { why } => ("split", why),
        Outcome::Refused { why } => ("refused", why),
    };
    assert!(FAILURE_REASONS.contains(&why.reason), "{why:?}");
    (word, why.reason)
}

#[tokio::test]
async fn messages_are_counted_in_octets_and_the_connection_is_kept() {
    let (listener, settings) = listener().await;
    let mut sink = open(&settings);
    let delivering = async {
        for bodies in [&[b"{\"a\":1}".as_slice(), b""][..], &["é\nx".as_bytes()]] {
            assert_eq!(sink.deliver(&parcel(bodies)).await, Outcome::Delivered);
        }
    };
    let receiving = async {
        let mut peer = accept(&listener).await;
        let head = HEAD.len();
        let expected = format!(
            "{} {HEAD}{{\"a\":1}}{head} {HEAD}{} {HEAD}é\nx",
            head + 7,
            head + 4
        );
        read(&mut peer, &expected).await;
        peer
    };
    tokio::join!(delivering, receiving);
}

#[tokio::test]
async fn a_line_each_holds_no_other_line_feed() {
    let (listener, mut settings) = listener().await;
    settings.framing = Framing::Newline;
    let mut sink = open(&settings);
    let parcel = parcel(&[b"a\nb", b"c"]);
    let delivering = async { assert_eq!(sink.deliver(&parcel).await, Outcome::Delivered) };
    let receiving = async {
        let mut peer = accept(&listener).await;
        read(&mut peer, &format!("{HEAD}a b\n{HEAD}c\n")).await;
        peer
    };
    tokio::join!(delivering, receiving);
}

#[tokio::test]
async fn records_above_the_limit_are_rejected_and_the_others_sent() {
    let (listener, mut settings) = listener().await;
    settings.message_bytes_max = Some(HEAD.len() as u64 + 2);
    let mut sink = open(&settings);
    let parcel = parcel(&[b"{}", b"{\"a\":1}", b"{}", b"abc"]);
    let delivering = async { sink.deliver(&parcel).await };
    let receiving = async {
        let mut peer = accept(&listener).await;
        let message = format!("{} {HEAD}{{}}", HEAD.len() + 2);
        read(&mut peer, &format!("{message}{message}")).await;
        peer
    };
    let (outcome, _peer) = tokio::join!(delivering, receiving);
    assert_eq!(verdict(&outcome), ("partial", "message_size_too_large"));
    let Outcome::Partial { retry, reject, .. } = outcome else {
        unreachable!("it is partial");
    };
    let rejected: Vec<u32> = reject.iter().map(|(record, _)| *record).collect();
    assert_eq!((retry, rejected), (Vec::new(), vec![1, 3]));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_a_failure() {
    let (listener, settings) = listener().await;
    let mut sink = open(&settings);
    for _ in 0..3 {
        let parcel = parcel(&[b"{}"]);
        let delivering = async { assert_eq!(sink.deliver(&parcel).await, Outcome::Delivered) };
        let receiving = async {
            let mut peer = accept(&listener).await;
            read(&mut peer, &format!("{} {HEAD}{{}}", HEAD.len() + 2)).await;
            peer
        };
        // The peer closes only after the sink is satisfied.
        let ((), peer) = tokio::join!(delivering, receiving);
        drop(peer);
    }
}

#[tokio::test]
async fn a_receiver_that_closes_at_once_took_nothing() {
    let (listener, settings) = listener().await;
    let mut sink = open(&settings);
    let parcel = parcel(&[b"{}"]);
    let closing = async { drop(accept(&listener).await) };
    let (outcome, ()) = tokio::join!(sink.deliver(&parcel), closing);
    assert_eq!(verdict(&outcome), ("retry", "connection_closed"));
}

#[tokio::test]
async fn a_receiver_that_closes_before_it_read_all_has_not_the_batch() {
    let (listener, settings) = listener().await;
    let mut sink = open(&settings);
    let large = vec![b'x'; 32 << 20];
    let parcel = parcel(&[&large]);
    let closing = async {
        let mut peer = accept(&listener).await;
        // Enough that the watch over the new connection is over.
        peer.read_exact(&mut [0; 1000]).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(sink.deliver(&parcel), closing);
    assert_eq!(verdict(&outcome), ("retry", "connection_closed"));
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_more_times_out() {
    let (listener, mut settings) = listener().await;
    settings.send_timeout = SHORT;
    let large = vec![b'x'; 32 << 20];
    let parcel = parcel(&[&large]);
    let mut sink = open(&settings);
    let (outcome, _peer) = tokio::join!(sink.deliver(&parcel), accept(&listener));
    assert_eq!(verdict(&outcome), ("retry", "timed_out"));
}

/// Everything fits our send buffer, so it is written; the peer's window stays shut behind its first part.
#[tokio::test]
async fn what_the_peers_kernel_has_not_taken_is_not_delivered() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut settings = settings(listener.local_addr().unwrap().port());
    settings.ack_timeout = SHORT;
    let large = vec![b'x'; 256 << 10];
    let parcel = parcel(&[&large]);
    let mut sink = open(&settings);
    let (outcome, _peer) = tokio::join!(sink.deliver(&parcel), accept(&listener));
    assert_eq!(verdict(&outcome), ("retry", "timed_out"));
    let Outcome::Retry { why, .. } = outcome else {
        unreachable!("it is a retry");
    };
    assert!(
        why.detail.contains("did not acknowledge the last "),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_refused_and_a_name_without_address_has_its_word() {
    let (listener, settings) = listener().await;
    drop(listener);
    let outcome = open(&settings).deliver(&parcel(&[b"{}"])).await;
    assert_eq!(verdict(&outcome), ("retry", "connect_refused"));
    let nowhere = SyslogSettings {
        host: "nowhere.invalid".to_owned(),
        ..settings
    };
    let outcome = open(&nowhere).deliver(&parcel(&[b"{}"])).await;
    assert_eq!(verdict(&outcome), ("retry", "dns_failure"));
}
