//! The admin listener over real sockets, on a node put together by hand.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::block::{Block, CodecId};
use crate::budget::{Budget, Grant};
use crate::control::admin;
use crate::control::commands::StreamCommands;
use crate::control::observed::{
    Observed, ObservedInput, ObservedJournal, ObservedKind, ObservedStream,
};
use crate::event::InputId;
use crate::filter::exclusions::Exclusions;
use crate::filter::tree::{Expr, Literal};
use crate::ingest::door::GateState;
use crate::ingest::http::{HttpCounters, RefusalReason};
use crate::ingest::tcp::TcpCounters;
use crate::journal::tail::Tail;
use crate::metrics::latency::Latency;
use crate::metrics::ledger::{InputCounts, RejectReason};
use crate::os::clock::FakeClock;
use crate::os::sockets;
use crate::position::{JournalId, Offset, SegmentId, Timestamp};
use crate::shard::mailbox::{ConnectionCounts, ShardHandle};
use crate::shard::run::ShardLedger;
use crate::stream::status::{LaneActivity, LaneStatus};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// A node with two journals of 100 and 50 events, a tcp and an http input, and a stream that
/// has 40 and 20 events left.
struct Node {
    observed: Arc<Observed>,
    clock: FakeClock,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _grant: Grant,
}

impl Node {
    fn start() -> Self {
        let clock = FakeClock::at(NOW);
        let budget = Budget::new(1_000);
        let grant = budget.take(300).unwrap();
        let observed = Arc::new(Observed {
            clock: Arc::new(clock.clone()),
            data_dir: "/nowhere".into(),
            inputs: inputs(),
            journals: vec![journal(0, 100), journal(1, 50)],
            streams: vec![stream()],
            keeper: Arc::default(),
            internal: Arc::default(),
            internal_tail: Arc::new(Tail::new(1 << 20, Offset(0))),
            budget,
            exclusions: Arc::new(ArcSwap::from_pointee(exclusions())),
            ready: Arc::new(AtomicBool::new(true)),
            codec: "stored",
        });
        observed.keeper.bytes_max.store(1 << 30, Ordering::Relaxed);
        observed.internal.reject_records.store(4, Ordering::Relaxed);
        let listener = sockets::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let thread = admin::spawn(
            listener,
            Arc::clone(&observed),
            StreamCommands::default(),
            stopped,
        )
        .unwrap();
        Self {
            observed,
            clock,
            address,
            stop,
            thread: Some(thread),
            _grant: grant,
        }
    }

    fn request(&self, method: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.request("GET", path);
        (answer.status, answer.body)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).1).unwrap()
    }

    /// Values of the metrics page by name and labels.
    fn metrics(&self) -> HashMap<String, f64> {
        let (status, page) = self.get("/metrics");
        assert_eq!(status, 200);
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    fn set_gate(&self, journal: usize, gate: GateState) {
        let journal = &self.observed.journals[journal];
        let ledger = ShardLedger {
            gate,
            ..ShardLedger::clone(&journal.ledger.load())
        };
        journal.ledger.store(Arc::new(ledger));
    }

    fn turn(&self, journal: usize) {
        let state = self.observed.journals[journal].shard.state();
        state.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn set_lane(&self, lane: usize, change: impl FnOnce(&mut LaneStatus)) {
        let lane = &self.observed.streams[0].lanes[lane];
        let mut status = LaneStatus::clone(&lane.load());
        change(&mut status);
        lane.store(Arc::new(status));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.send(true).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

struct Answer {
    status: u16,
    /// Status line and headers in lower case.
    head: String,
    body: String,
}

fn inputs() -> Vec<ObservedInput> {
    let connections = Arc::new(ConnectionCounts::default());
    connections.open.store(3, Ordering::Relaxed);
    connections.accepted.store(9, Ordering::Relaxed);
    let tcp = TcpCounters::default();
    tcp.idle_closed.store(2, Ordering::Relaxed);
    let http = HttpCounters::default();
    http.requests[0].store(11, Ordering::Relaxed);
    http.refused[RefusalReason::Memory.index()].store(5, Ordering::Relaxed);
    http.idle_timeouts.store(1, Ordering::Relaxed);
    vec![
        ObservedInput {
            id: InputId(0),
            name: "lines".to_owned(),
            connections,
            kind: ObservedKind::Tcp(Arc::new(tcp)),
        },
        ObservedInput {
            id: InputId(4),
            name: "web \"a\"".to_owned(),
            connections: Arc::default(),
            kind: ObservedKind::Http(Arc::new(http)),
        },
    ]
}

/// A journal of `stored` events of 9 bytes and a line end, three lines rejected beside them.
fn journal(number: u16, stored: u32) -> ObservedJournal {
    let mut counts = InputCounts::of_stored(stored, stored as usize * 10);
    counts.received += 3;
    counts.received_bytes += 30;
    counts.rejected[RejectReason::TooLong.index()] = 1;
    counts.rejected[RejectReason::Malformed.index()] = 2;
    counts.skipped = 7;
    let tail = Tail::new(1_000_000, Offset(0));
    tail.publish(&[block(0, stored - 10, 60), block(stored - 10, 10, 5)]);
    let ledger = ShardLedger {
        settled: vec![(InputId(0), counts)],
        open: 2,
        durable_end: Offset(u64::from(stored)),
        chain: [0; 32],
        gate: GateState::Open,
    };
    let durable_latency = Latency::default();
    durable_latency.record(Duration::from_millis(4), u64::from(stored));
    ObservedJournal {
        id: JournalId(number),
        ledger: Arc::new(ArcSwap::from_pointee(ledger)),
        tail: Arc::new(tail),
        shard: ShardHandle::new().0,
        durable_latency,
    }
}

fn block(first: u32, events: u32, age_seconds: i64) -> Arc<Block> {
    let received = Timestamp(NOW.0 - age_seconds * 1_000_000);
    Arc::new(Block {
        journal: JournalId(0),
        segment: SegmentId([1; 16]),
        first: Offset(u64::from(first)),
        events,
        codec: CodecId::Stored,
        raw_len: events * 10,
        raw_crc32: 0,
        received_first: received,
        received_last: received,
        image: Bytes::from_static(&[0; 64]),
        metadata: 0..0,
        body: 0..64,
        verdicts: Arc::default(),
    })
}

fn stream() -> ObservedStream {
    let lane = |journal, start: u64, cursor: u64| {
        let discarded = BTreeMap::from([("damaged", 1)]);
        let status = LaneStatus {
            journal: Some(JournalId(journal)),
            start: Offset(start),
            cursor: Offset(cursor),
            delivered: cursor - start - 1,
            delivered_bytes: (cursor - start - 1) * 10,
            discarded,
            activity: LaneActivity::Delivering,
            batches: 2,
            sent_bytes: 77,
            failures: BTreeMap::from([("http_5xx", 3)]),
            last_failure: "503 busy".into(),
            ..LaneStatus::default()
        };
        Arc::new(ArcSwap::from_pointee(status))
    };
    let delivery_latency = Latency::default();
    delivery_latency.record(Duration::from_millis(700), 80);
    ObservedStream {
        name: "siem".into(),
        destination: "http",
        lanes: vec![lane(0, 10, 60), lane(1, 0, 30)],
        delivery_latency,
    }
}

/// Samples that the page of [`Node`] has.
const COUNTED: &str = r##"weir_ready 1
weir_start_time_seconds 1700000000
weir_memory_taken_bytes 300
weir_memory_max_bytes 1000
weir_input_received_lines_total{input="lines"} 156
weir_input_received_bytes_total{input="lines"} 1410
weir_input_stored_lines_total{input="lines"} 150
weir_input_skipped_lines_total{input="lines"} 14
weir_input_rejected_lines_total{input="lines",reason="malformed"} 4
weir_input_stored_lines_total{input="web \"a\""} 0
weir_input_open_connections{input="lines"} 3
weir_input_connections_total{input="lines"} 9
weir_tcp_idle_closed_connections_total{input="lines"} 2
weir_http_requests_total{input="web \"a\"",code="200"} 11
weir_http_refused_total{input="web \"a\"",reason="memory"} 5
weir_http_timeouts_total{input="web \"a\"",phase="idle"} 1
weir_journal_open_lines{journal="1"} 2
weir_journal_durable_events_total{journal="1"} 50
weir_journal_tail_bytes{journal="0"} 128
weir_journal_gate{journal="0",state="open"} 1
weir_journal_gate{journal="0",state="full"} 0
weir_journal_durable_latency_seconds_count{journal="0"} 100
weir_journal_durable_latency_seconds_bucket{le="0.0025",journal="0"} 0
weir_journal_durable_latency_seconds_bucket{le="0.005",journal="0"} 100
weir_journal_durable_latency_seconds_bucket{le="+Inf",journal="0"} 100
weir_keeper_max_bytes 1073741824
weir_internal_records_total{kind="reject"} 4
weir_stream_events_total{stream="siem"} 140
weir_stream_delivered_events_total{stream="siem"} 78
weir_stream_delivered_bytes_total{stream="siem"} 780
weir_stream_discarded_events_total{stream="siem",reason="damaged"} 2
weir_stream_discarded_events_total{stream="siem",reason="hold_max"} 0
weir_stream_pending_events{stream="siem"} 60
weir_stream_lag_events{stream="siem"} 60
weir_stream_lag_bytes{stream="siem"} 600
weir_stream_lag_seconds{stream="siem"} 60
weir_stream_batches_total{stream="siem"} 4
weir_stream_sent_bytes_total{stream="siem"} 154
weir_stream_failures_total{stream="siem",reason="http_5xx"} 6
weir_stream_failures_total{stream="siem",reason="dns_failure"} 0
weir_stream_activity{stream="siem",journal="1",state="delivering"} 1
weir_stream_delivery_latency_seconds_count{stream="siem"} 80"##;

#[test]
fn the_metrics_page_shows_what_was_counted() {
    let node = Node::start();
    let metrics = node.metrics();
    for sample in COUNTED.lines() {
        let (name, value) = sample.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    let build = concat!(
        "weir_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\",codec=\"stored\"}"
    );
    assert!(metrics.contains_key(build));
    let longest = metrics["weir_stream_delivery_latency_quantile_seconds{stream=\"siem\",q=\"1\"}"];
    assert!((longest - 0.7).abs() < 0.007, "{longest}");
}

#[test]
fn promtool_has_no_complaint_about_the_metrics_page() {
    let node = Node::start();
    let (_, page) = node.get("/metrics");
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr/bin");
    let path = format!("{unpacked}:{}", std::env::var("PATH").unwrap_or_default());
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: run `make promtool`, which brings it, or `make test`");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(page.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let complaints = [output.stdout, output.stderr].concat();
    let complaints = String::from_utf8_lossy(&complaints);
    assert!(output.status.success(), "{complaints}");
    assert_eq!(complaints, "");
}

#[test]
fn the_lag_in_seconds_is_what_the_lane_knows_then_the_tail_and_zero_without_lag() {
    let node = Node::start();
    let lag = |node: &Node| {
        let metrics = node.metrics();
        metrics["weir_stream_lag_seconds{stream=\"siem\"}"]
    };
    // The tail knows the block that holds offset 60.
    assert!((lag(&node) - 60.0).abs() < 1e-9);
    node.set_lane(0, |lane| {
        lane.oldest_received = Some(Timestamp(NOW.0 - 90_500_000))
    });
    assert!((lag(&node) - 90.5).abs() < 1e-9);
    node.clock.advance(Duration::from_secs(2));
    assert!((lag(&node) - 92.5).abs() < 1e-9);
    node.set_lane(0, |lane| lane.cursor = Offset(95));
    node.set_lane(0, |lane| lane.oldest_received = None);
    node.set_lane(1, |lane| lane.cursor = Offset(45));
    assert!((lag(&node) - 7.0).abs() < 1e-9);
    node.set_lane(0, |lane| lane.cursor = Offset(100));
    node.set_lane(1, |lane| lane.cursor = Offset(50));
    assert!(lag(&node).abs() < 1e-9);
}

#[test]
fn a_shard_that_hangs_makes_the_node_unhealthy_until_it_turns_again() {
    let node = Node::start();
    assert_eq!(node.get("/healthz"), (200, "ok\n".to_owned()));
    node.clock.advance(Duration::from_secs(9));
    assert_eq!(node.get("/healthz").0, 200);
    node.turn(0);
    assert_eq!(node.get("/healthz").0, 200);
    node.clock.advance(Duration::from_secs(2));
    let stuck = "shard 1 has not turned its loop for 11 s\n".to_owned();
    assert_eq!(node.get("/healthz"), (503, stuck));
    node.turn(1);
    assert_eq!(node.get("/healthz").0, 200);
}

#[test]
fn a_shard_that_ended_because_the_node_stops_does_not_hang() {
    let node = Node::start();
    assert_eq!(node.get("/healthz").0, 200);
    node.clock.advance(Duration::from_secs(60));
    node.turn(1);
    assert_eq!(node.get("/healthz").0, 503);
    node.set_gate(0, GateState::Stopping);
    assert_eq!(node.get("/healthz").0, 200);
}

#[test]
fn the_node_is_ready_while_it_runs_and_every_journal_takes_events() {
    let node = Node::start();
    let ready = json!({"ready": true, "reasons": []});
    assert_eq!(node.get("/readyz").0, 200);
    assert_eq!(node.json("/readyz"), ready);
    node.set_gate(0, GateState::Busy);
    assert_eq!(node.get("/readyz").0, 200);
    node.set_gate(0, GateState::Full);
    node.set_gate(1, GateState::Failed);
    assert_eq!(node.get("/readyz").0, 503);
    let reasons = json!(["journal 0 is full", "journal 1 can make nothing durable"]);
    assert_eq!(node.json("/readyz")["reasons"], reasons);
    node.set_gate(0, GateState::Open);
    node.set_gate(1, GateState::Open);
    assert_eq!(node.json("/readyz"), ready);
    node.observed
        .internal
        .failing
        .store(true, Ordering::Relaxed);
    let reasons = json!(["the internal journal can make nothing durable"]);
    assert_eq!(node.json("/readyz")["reasons"], reasons);
    node.observed
        .internal
        .failing
        .store(false, Ordering::Relaxed);
    node.observed.ready.store(false, Ordering::Release);
    assert_eq!(node.get("/readyz").0, 503);
    assert_eq!(node.json("/readyz")["ready"], false);
}

#[test]
fn the_status_says_whether_the_books_balance() {
    let node = Node::start();
    let status = node.json("/v1/status");
    assert_eq!(status["balanced"], true);
    assert_eq!(status["ready"], true);
    let input = &status["inputs"][0];
    assert_eq!(input["name"], "lines");
    assert_eq!(input["kind"], "tcp");
    assert_eq!(input["received"], 156);
    assert_eq!(
        input["rejected"],
        json!({"too_long": 2, "malformed": 4, "relay_loop": 0})
    );
    assert_eq!(status["journals"][1]["gate"], "open");
    assert_eq!(status["journals"][1]["durable_end"], 50);
    let stream = &status["streams"][0];
    assert_eq!(stream["pending"], 60);
    assert_eq!(stream["events"], 140);
    assert_eq!(stream["lanes"][0]["last_failure"], "503 busy");

    node.set_lane(1, |lane| lane.delivered -= 1);
    let status = node.json("/v1/status");
    assert_eq!(status["streams"][0]["balanced"], false);
    assert_eq!(status["balanced"], false);
    node.set_lane(1, |lane| lane.filtered += 1);
    assert_eq!(node.json("/v1/status")["balanced"], true);

    let journal = &node.observed.journals[0];
    let mut ledger = ShardLedger::clone(&journal.ledger.load());
    ledger.settled[0].1.received += 1;
    journal.ledger.store(Arc::new(ledger));
    let status = node.json("/v1/status");
    assert_eq!(status["inputs"][0]["balanced"], false);
    assert_eq!(status["inputs"][1]["balanced"], true);
    assert_eq!(status["journals"][0]["balanced"], false);
    assert_eq!(status["balanced"], false);
}

#[test]
fn an_input_that_the_configuration_lost_stays_in_the_books() {
    let node = Node::start();
    let journal = &node.observed.journals[0];
    let mut ledger = ShardLedger::clone(&journal.ledger.load());
    ledger
        .settled
        .push((InputId(9), InputCounts::of_stored(8, 80)));
    journal.ledger.store(Arc::new(ledger));
    let stored = node.metrics()["weir_input_stored_lines_total{input=\"#9\"}"];
    assert!((stored - 8.0).abs() < 1e-9);
    assert_eq!(node.json("/v1/status")["inputs"][2]["kind"], Value::Null);
}

#[test]
fn a_lane_that_does_not_run_yet_counts_for_nothing() {
    let node = Node::start();
    node.set_lane(0, |lane| *lane = LaneStatus::default());
    let stream = &node.json("/v1/status")["streams"][0];
    assert_eq!(stream["events"], 50);
    assert_eq!(stream["pending"], 20);
    assert_eq!(stream["lanes"].as_array().unwrap().len(), 1);
}

#[test]
fn only_what_is_listed_is_answered_and_only_to_readers() {
    let node = Node::start();
    let (status, index) = node.get("/");
    assert_eq!(status, 200);
    assert!(
        index.starts_with(concat!("Weir ", env!("CARGO_PKG_VERSION"), "\n")),
        "{index}"
    );
    for path in index.lines().filter(|line| line.starts_with('/')) {
        let path = path.split(' ').next().unwrap();
        assert_eq!(node.get(path).0, 200, "{path}");
        let head = node.request("HEAD", path);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        let post = node.request("POST", path);
        assert_eq!(post.status, 405, "{path}");
        assert!(post.head.contains("\r\nallow: get,head"), "{}", post.head);
    }
    let read = node.request("GET", "/v1/streams/siem/resume");
    assert_eq!(read.status, 405);
    assert!(read.head.contains("\r\nallow: post"), "{}", read.head);
    let missing = node.request("GET", "/v1/events");
    assert_eq!(missing.status, 404);
    assert!(missing.head.contains("content-type: application/json"));
    let error: Value = serde_json::from_str(&missing.body).unwrap();
    assert_eq!(
        error["error"],
        "there is no /v1/events; / lists what there is"
    );
}

#[test]
fn a_command_is_taken_from_a_connection_of_this_host() {
    let node = Node::start();
    let mut stream = TcpStream::connect(node.address).unwrap();
    let request = "POST /v1/streams/nobody/resume HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\
                   Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("there is no stream"), "{answer}");
}

#[test]
fn what_is_no_http_ends_its_connection_and_nothing_else() {
    let node = Node::start();
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream.write_all(b"\x16\x03\x01 no http\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    assert_eq!(node.get("/healthz").0, 200);
}

#[test]
fn the_thread_ends_when_told_while_connections_are_open() {
    let mut node = Node::start();
    let mut stream = TcpStream::connect(node.address).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    node.stop.send(true).unwrap();
    node.thread.take().unwrap().join().unwrap().unwrap();
    // The rest of the answer, and the end of the connection.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// Two rules, of which the first has dropped two events.
fn exclusions() -> Exclusions {
    let rule = |name: &str| (name.into(), Expr::Literal(Literal::Bool(false)));
    let exclusions = Exclusions::compile(vec![rule("noise"), rule("tests")], None);
    exclusions.count(0, 2, 30);
    exclusions
}
