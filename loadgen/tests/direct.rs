//! `send`, `receive` and `verify` against each other, without a relay between them.
//!
//! Proves what a report says about a path that loses, repeats, changes or reorders nothing, and that
//! misbehaviour of the endpoint shows in the report. Every process is a child of its test.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its stage has failed"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

const PORT_MIN: u16 = 10_000;
const PORTS: u16 = 4_000;

/// An endpoint ends this long after its last body: longer than a busy machine may keep a sender from its next one.
const IDLE: &str = "8s";

/// A folder of its own for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An address on loopback that nobody listens on, and that no other test of this process is given.
///
/// Below the range of ephemeral ports: there an outgoing connection takes a free port at any moment,
/// and a connection to a port without a listener can become one with itself.
fn free_address() -> String {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let own = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap();
    (0..PORTS)
        .map(|_| TRIED.fetch_add(1, Ordering::Relaxed))
        .map(|tried| PORT_MIN + own.wrapping_mul(37).wrapping_add(tried) % PORTS)
        .map(|port| format!("127.0.0.1:{port}"))
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap()
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        text.lines().count(),
        1,
        "exactly one object: {text} {errors}"
    );
    serde_json::from_str(&text).unwrap()
}

fn start_receiver(address: &str, more: &[&str]) -> Child {
    let arguments = [
        "receive",
        "--listen",
        address,
        "--until-idle",
        IDLE,
        "--json",
    ];
    let child = loadgen(&[&arguments, more].concat()).spawn().unwrap();
    while TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    child
}

/// Sends to an endpoint started with `receive`, and returns both reports and the endpoint's status.
fn send_and_receive(folder: &Folder, send: &[&str], receive: &[&str]) -> (Value, Value, i32) {
    let (address, state) = (free_address(), folder.file("state.json"));
    let mut receiver = start_receiver(&address, &[&["--state", &state], receive].concat());
    let url = format!("http://{address}/ingest");
    let arguments = ["send", "--http", &url, "--state", &state, "--json"];
    let sent = loadgen(&[&arguments, send].concat()).output().unwrap();
    if !sent.status.success() {
        receiver.kill().unwrap();
    }
    let received = receiver.wait_with_output().unwrap();
    assert!(
        sent.status.success(),
        "{}\nthe endpoint: {} {}",
        String::from_utf8_lossy(&sent.stderr),
        String::from_utf8_lossy(&received.stdout),
        String::from_utf8_lossy(&received.stderr)
    );
    (
        report(&sent),
        report(&received),
        received.status.code().unwrap(),
    )
}

fn assert_figures(report: &Value, expected: &[(&str, u64)]) {
    for &(name, figure) in expected {
        assert_eq!(report[name].as_u64(), Some(figure), "{name} in {report}");
    }
}

const NOTHING_WRONG: [(&str, u64); 8] = [
    ("lost", 0),
    ("duplicated", 0),
    ("out_of_order", 0),
    ("content_differs", 0),
    ("gaps", 0),
    ("foreign", 0),
    ("unknown", 0),
    ("undecodable", 0),
];

#[test]
fn a_path_without_faults_has_a_report_without_findings() {
    for mode in ["after", "live"] {
        let folder = Folder::new(&format!("clean-{mode}"));
        let send = ["--connections", "5", "--events", "20003", "--kind", "mixed"];
        let (sent, received, status) = send_and_receive(&folder, &send, &["--verify", mode]);
        assert_figures(&sent, &[("events_sent", 20_003), ("events_acked", 20_003)]);
        assert_figures(&received, &NOTHING_WRONG);
        assert_figures(
            &received,
            &[("events_received", 20_003), ("events_acked", 20_003)],
        );
        assert_eq!(received["raw_bytes"], sent["raw_bytes"]);
        assert_eq!(received["delivery_ms"]["count"].as_u64(), Some(20_003));
        assert_eq!(sent["ack_ms"]["count"].as_u64(), Some(20_003));
        assert_eq!(status, 0);
    }
}

#[test]
fn refused_bodies_are_sent_again_and_nothing_is_lost() {
    let folder = Folder::new("refused");
    let send = ["--connections", "3", "--events", "3000", "--kind", "waf"];
    let faults = [
        "--fail-every",
        "4",
        "--fail-status",
        "429,503",
        "--retry-after",
        "0",
    ];
    let (sent, received, status) = send_and_receive(&folder, &send, &faults);
    assert_figures(&received, &NOTHING_WRONG);
    assert_figures(&received, &[("events_received", 3_000)]);
    assert_eq!(sent["bodies_retried"], received["bodies_refused"]);
    assert!(sent["bodies_retried"].as_u64().unwrap() >= 7, "{sent}");
    assert_eq!(status, 0);
}

#[test]
fn answers_cut_in_half_make_duplicates_but_no_loss() {
    let folder = Folder::new("cut");
    let send = [
        "--connections",
        "1",
        "--events",
        "1000",
        "--body-events",
        "100",
        "--reconnect",
    ];
    let faults = ["--fail-first", "2", "--close-mid-response"];
    let (sent, received, status) = send_and_receive(&folder, &send, &faults);
    assert_figures(
        &received,
        &[("events_received", 1_000), ("duplicated", 200), ("lost", 0)],
    );
    assert_figures(&received, &[("out_of_order", 0), ("content_differs", 0)]);
    assert_figures(&sent, &[("reconnects", 2), ("events_resent", 200)]);
    assert_eq!(status, 0);
}

#[test]
fn an_acknowledged_event_that_is_missing_gives_status_1() {
    let folder = Folder::new("missing");
    let store = folder.file("bodies");
    let send = [
        "--connections",
        "2",
        "--events",
        "500",
        "--body-events",
        "50",
    ];
    let (_, _, status) = send_and_receive(&folder, &send, &["--store", &store]);
    assert_eq!(status, 0);
    let state = folder.file("state.json");
    let arguments = ["verify", "--store", &store, "--state", &state, "--json"];
    let whole = loadgen(&arguments).output().unwrap();
    assert_figures(&report(&whole), &[("events_received", 500), ("lost", 0)]);
    assert_eq!(whole.status.code(), Some(0));
    // One body of fifty goes: cut from the end of one connection's file.
    let file = fs::read_dir(&store)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let length = fs::metadata(&file).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(length - 1)
        .unwrap();
    let cut = loadgen(&arguments).output().unwrap();
    assert_figures(&report(&cut), &[("events_received", 450), ("lost", 50)]);
    assert_eq!(cut.status.code(), Some(1));
}

/// A relay of a few lines: takes NDJSON until the end of the stream, acknowledging as asked.
fn take_lines(listener: &TcpListener, path: &Path, acks: bool, lines_max: usize) -> usize {
    let (stream, _) = listener.accept().unwrap();
    // Closing with unread input resets the connection and drops what has not been sent yet.
    stream.set_nodelay(true).unwrap();
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let (mut reader, mut line, mut lines) = (BufReader::new(&stream), Vec::new(), 0);
    while lines < lines_max && reader.read_until(b'\n', &mut line).unwrap() > 0 {
        assert_eq!(line.pop(), Some(b'\n'));
        file.write_all(&line).unwrap();
        file.write_all(b"\n").unwrap();
        line.clear();
        lines += 1;
        if acks && lines % 100 == 0 {
            (&stream)
                .write_all(format!("{{\"ack\":{lines}}}\n").as_bytes())
                .unwrap();
        }
    }
    lines
}

#[test]
fn tcp_with_acknowledgements_sends_again_what_a_broken_connection_left_open() {
    let folder = Folder::new("tcp-ack");
    let (file, state) = (folder.file("out.ndjson"), folder.file("state.json"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = [
        "send",
        "--tcp",
        &address,
        "--ack",
        "--reconnect",
        "--connections",
        "1",
    ];
    let more = [
        "--events", "5000", "--state", &state, "--json", "--kind", "waf",
    ];
    let sender = loadgen(&[&arguments[..], &more].concat()).spawn().unwrap();
    // The first connection is dropped with 1,050 lines taken and 1,000 acknowledged.
    assert_eq!(take_lines(&listener, Path::new(&file), true, 1_050), 1_050);
    assert_eq!(
        take_lines(&listener, Path::new(&file), true, usize::MAX),
        4_000
    );
    let sent = report(&sender.wait_with_output().unwrap());
    assert_figures(
        &sent,
        &[
            ("events_sent", 5_000),
            ("events_acked", 5_000),
            ("reconnects", 1),
        ],
    );
    let verified = loadgen(&["verify", "--files", &file, "--state", &state, "--json"])
        .output()
        .unwrap();
    let verified = report(&verified);
    assert_figures(
        &verified,
        &[("events_received", 5_000), ("duplicated", 50), ("lost", 0)],
    );
    assert_figures(&verified, &[("content_differs", 0), ("out_of_order", 0)]);
}

#[test]
fn tcp_without_acknowledgements_counts_what_the_orderly_end_proves() {
    let folder = Folder::new("tcp-plain");
    let (file, state) = (folder.file("out.ndjson"), folder.file("state.json"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let arguments = [
        "send",
        "--tcp",
        &address,
        "--connections",
        "1",
        "--events",
        "700",
    ];
    let sender = loadgen(&[&arguments[..], &["--state", &state, "--json"]].concat())
        .spawn()
        .unwrap();
    assert_eq!(
        take_lines(&listener, Path::new(&file), false, usize::MAX),
        700
    );
    let sent = report(&sender.wait_with_output().unwrap());
    assert_figures(&sent, &[("events_sent", 700), ("events_acked", 700)]);
    let arguments = [
        "verify",
        "--files",
        &folder.file("*.ndjson"),
        "--state",
        &state,
        "--json",
    ];
    let verified = loadgen(&arguments).output().unwrap();
    assert_figures(&report(&verified), &NOTHING_WRONG);
    assert_eq!(verified.status.code(), Some(0));
}

#[test]
fn endpoint_that_hangs_or_is_down_loses_nothing() {
    let folder = Folder::new("down");
    let send = [
        "--connections",
        "2",
        "--events",
        "4000",
        "--rate",
        "4MB",
        "--reconnect",
    ];
    let faults = [
        "--down-after",
        "300ms",
        "--down-for",
        "200ms",
        "--hang-after",
        "3s",
        "--hang-for",
        "200ms",
    ];
    let (_, received, status) = send_and_receive(&folder, &send, &faults);
    assert_figures(
        &received,
        &[("events_received", 4_000), ("lost", 0), ("out_of_order", 0)],
    );
    assert_eq!(status, 0);
}

#[test]
fn wrong_usage_gives_status_2() {
    for arguments in [
        &["send"][..],
        &["send", "--tcp", "127.0.0.1:1", "--connections", "0"],
        &["send", "--http", "ftp://127.0.0.1/"],
        &["run"],
        &["verify"],
    ] {
        let mut child = loadgen(arguments).spawn().unwrap();
        let mut message = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut message)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2), "{arguments:?}");
        assert!(!message.is_empty());
    }
}
