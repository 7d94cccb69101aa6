//! Destinations that refuse, cut their answers short, say nothing or hang up. In each case
//! every event arrives once in its order, what is sent again has the name of the first try,
//! the failures are counted under their word, and the other stream does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::destination::{Destination, Reply, Request, TAKEN};
use crate::harness::{Relay, Stage, Status, eventually, free_address};
use crate::peers::Sender;

/// One journal, so that one order holds for all; `@URL@` and `@KEYS@` are the test's.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
drain_timeout = "300ms"
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "64 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[stream.siem]
from = "start"
batch = { records = 20, age = "5ms" }
retry = { delay_min = "5ms", delay_max = "40ms", probe_every = "200ms" }
[stream.siem.http]
url = "@URL@"
@KEYS@
[stream.archive]
from = "start"
batch.age = "5ms"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// Events sent before, and as many again behind, the end of the trouble.
const EVENTS: u64 = 60;

/// A destination in trouble, the relay that delivers to it, and a sender.
struct Trouble {
    stage: Stage,
    relay: Relay,
    sender: Sender,
    /// What was sent.
    sent: Vec<String>,
}

impl Trouble {
    fn begin(url: &str, keys: &str) -> Self {
        let stage = Stage::new();
        let config = config(url, keys);
        let relay = stage.relay(&config);
        Self {
            sender: Sender::connect(stage.tcp),
            stage,
            relay,
            sent: Vec::new(),
        }
    }

    /// Sends events, which are acknowledged whatever the destination does.
    fn send(&mut self) {
        let first = self.sent.len() as u64;
        let events = (first..first + EVENTS).map(|n| format!("{{\"n\":{n},\"text\":\"né\"}}"));
        let lines: Vec<String> = events.collect();
        self.sender.send(lines.join("\n") + "\n");
        self.sent.extend(lines);
        let told = self.sender.acked(self.sent.len() as u64);
        assert_eq!(told.rejected_total, 0);
    }

    /// The trouble lasts: nothing is delivered, it is said why, and the archive has all.
    fn lasts(&mut self, reason: &str, failures: u64) {
        self.relay.wait_drained("archive");
        let mut status = self.relay.status();
        eventually(&format!("{failures} tries failed with {reason}"), || {
            status = self.relay.status();
            failure_count(&status, reason) >= failures && last_failure(&status).starts_with(reason)
        });
        assert_eq!(status.stream("siem", "delivered"), 0, "{}", status.0);
        assert_eq!(status.stream("siem", "pending"), self.sent.len() as u64);
        assert_eq!(status.0["ready"], Value::Bool(true), "{}", status.0);
        status.assert_balanced();
    }

    /// The trouble is over: all is delivered, the books say so, and no other failure was
    /// counted than those named.
    fn ends(mut self, reason: &str) -> Vec<String> {
        self.send();
        let status = self.relay.wait_drained("siem");
        let count = self.sent.len() as u64;
        assert_eq!(status.stream("siem", "delivered"), count, "{}", status.0);
        assert_eq!(last_failure(&status), "", "{}", status.0);
        status.assert_balanced();
        let others = failures(&status).as_object().expect("failures by reason");
        for (other, count) in others {
            assert!(other == reason || *count == 0, "{other}: {count}");
        }
        self.relay.wait_drained("archive");
        assert!(self.relay.terminate().success());
        let archive = self.stage.path("out/events.ndjson");
        let archive = std::fs::read_to_string(archive).expect("the archive was written");
        let archived: Vec<&str> = archive.lines().collect();
        assert_eq!(archived, self.sent);
        self.sent
    }
}

/// The configuration with a destination.
fn config(url: &str, keys: &str) -> String {
    CONFIG.replace("@URL@", url).replace("@KEYS@", keys)
}

fn siem(status: &Status) -> &Value {
    let streams = status.0["streams"].as_array().expect("a list of streams");
    let siem = streams.iter().find(|stream| stream["name"] == "siem");
    siem.expect("the stream")
}

fn failures(status: &Status) -> &Value {
    &siem(status)["failures"]
}

/// Nothing is said of a reason that never was.
fn failure_count(status: &Status, reason: &str) -> u64 {
    failures(status)[reason].as_u64().unwrap_or(0)
}

fn last_failure(status: &Status) -> &str {
    let said = siem(status)["lanes"][0]["last_failure"].as_str();
    said.expect("the last failure")
}

/// Every event was taken once and in order. A batch that was not taken came again under its
/// name and with the same events, or in halves when it was too large; no two requests were
/// under way at one time.
fn assert_in_order_once(destination: &Destination, sent: &[String]) {
    let requests = destination.requests();
    let taken = requests.iter().filter(|request| request.taken());
    let events: Vec<String> = taken.flat_map(|request| request.events.clone()).collect();
    assert_eq!(events, sent);
    for pair in requests.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let same = before.key == after.key && before.events == after.events;
        match before.reply {
            Reply::Status(200..=299, _) => assert_ne!(before.key, after.key),
            Reply::Status(413, _) if before.events.len() > 1 => {
                assert!(before.events.starts_with(&after.events), "{after:?}");
                assert!(after.events.len() < before.events.len(), "{after:?}");
                assert_ne!(before.key, after.key);
            }
            _ => assert!(same, "{before:?} was followed by {after:?}"),
        }
    }
    assert!(requests.iter().all(|request| !request.key.is_empty()));
    assert!(requests.iter().all(|request| request.path == "/in"));
    assert_eq!(destination.under_way_max(), 1, "requests at one time");
}

/// A destination that answers everything with `reply` until it is mended: how it goes, with
/// the requests it has read.
fn survives(reply: Reply, reason: &str, keys: &str) -> Vec<Request> {
    let mended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&mended);
    let destination = Destination::listen(move |_| {
        if seen.load(Ordering::Acquire) {
            TAKEN
        } else {
            reply.clone()
        }
    });
    let mut trouble = Trouble::begin(&destination.url(), keys);
    trouble.send();
    trouble.lasts(reason, 3);
    mended.store(true, Ordering::Release);
    let sent = trouble.ends(reason);
    assert_in_order_once(&destination, &sent);
    destination.requests()
}

#[test]
fn a_destination_that_answers_500_gets_every_event_once_it_is_mended() {
    survives(Reply::Status(500, ""), "http_5xx", "");
    survives(Reply::Status(503, ""), "http_5xx", "");
}

#[test]
fn retry_after_is_waited_for() {
    let reply = Reply::Status(429, "Retry-After: 1\r\n");
    let requests = survives(reply, "http_4xx", "");
    for pair in requests.windows(2).filter(|pair| !pair[0].taken()) {
        // Without the header the delays are at most 40 ms. No bound above: the machine may
        // be slow.
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
    }
}

#[test]
fn a_batch_answered_with_413_is_sent_in_halves_that_fit() {
    let destination = Destination::listen(|events| {
        if events.len() > 8 {
            Reply::Status(413, "")
        } else {
            TAKEN
        }
    });
    let mut trouble = Trouble::begin(&destination.url(), "");
    trouble.send();
    let status = trouble.relay.wait_drained("siem");
    let requests = destination.requests();
    let refused = requests.iter().filter(|request| !request.taken()).count();
    assert!(refused > 0);
    assert_eq!(failure_count(&status, "http_4xx"), refused as u64);
    let sent = trouble.ends("http_4xx");
    assert_in_order_once(&destination, &sent);
}

#[test]
fn a_redirect_is_not_followed_and_nothing_is_lost() {
    static ELSEWHERE: &str = "Location: /elsewhere\r\n";
    // A relay that followed would ask for another path, which no request may have.
    survives(Reply::Status(301, ELSEWHERE), "http_3xx", "");
}

#[test]
fn a_destination_that_refuses_with_400_or_401_gets_every_event_once_it_is_mended() {
    survives(Reply::Status(400, ""), "http_4xx", "");
    survives(Reply::Status(401, ""), "http_4xx", "");
}

#[test]
fn a_destination_that_says_nothing_is_given_up_and_tried_again() {
    survives(Reply::Nothing, "timed_out", "request_timeout = \"300ms\"");
}

#[test]
fn half_an_answer_is_no_answer() {
    // Within the body, behind a status that would have been enough; within the head; and
    // within the status line.
    for (half, reason) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            "connection_closed",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Le", "connection_closed"),
        ("HTTP/1.1 2", "connection_closed"),
    ] {
        survives(Reply::Cut(half), reason, "");
    }
}

#[test]
fn an_answer_that_is_no_http_is_no_answer() {
    survives(
        Reply::Cut("220 mail.example ESMTP\r\n"),
        "protocol_error",
        "",
    );
}

#[test]
fn a_destination_that_closes_behind_the_request_gets_it_again() {
    survives(Reply::Cut(""), "connection_closed", "");
}

#[test]
fn a_destination_that_hangs_up_at_once_gets_everything_later() {
    let destination = Destination::listen(|_| TAKEN);
    destination.hang_up(true);
    let mut trouble = Trouble::begin(&destination.url(), "");
    trouble.send();
    trouble.lasts("connection_closed", 3);
    assert!(destination.connections() >= 3);
    destination.hang_up(false);
    let sent = trouble.ends("connection_closed");
    assert_in_order_once(&destination, &sent);
}

#[test]
fn where_nobody_listens_events_wait() {
    let nobody = free_address();
    let mut trouble = Trouble::begin(&format!("http://{nobody}/in"), "");
    trouble.send();
    trouble.lasts("connect_refused", 3);
    let destination = Destination::listen_on(nobody, |_| TAKEN);
    let sent = trouble.ends("connect_refused");
    assert_in_order_once(&destination, &sent);
}

#[test]
fn a_slow_destination_never_has_two_requests_of_one_journal_at_a_time() {
    let destination = Destination::listen(|_| {
        std::thread::sleep(Duration::from_millis(20));
        TAKEN
    });
    let mut trouble = Trouble::begin(&destination.url(), "");
    for _ in 0..9 {
        trouble.send();
    }
    let sent = trouble.ends("");
    assert!(destination.requests().len() >= 30, "twenty events a batch");
    assert_in_order_once(&destination, &sent);
}

#[test]
fn bodies_are_gzip_or_plain_as_the_stream_says() {
    for (compression, encoding) in [("gzip", "gzip"), ("identity", "")] {
        let destination = Destination::listen(|_| TAKEN);
        let keys = format!("compression = \"{compression}\"");
        let mut trouble = Trouble::begin(&destination.url(), &keys);
        trouble.send();
        let sent = trouble.ends("");
        let requests = destination.requests();
        assert!(requests.iter().all(|request| request.encoding == encoding));
        assert_in_order_once(&destination, &sent);
    }
}

#[test]
fn what_is_not_delivered_before_the_stop_goes_out_after_the_start_under_its_name() {
    let mended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&mended);
    let destination = Destination::listen(move |_| {
        if seen.load(Ordering::Acquire) {
            TAKEN
        } else {
            Reply::Status(500, "")
        }
    });
    let mut trouble = Trouble::begin(&destination.url(), "");
    trouble.send();
    trouble.lasts("http_5xx", 1);
    let Trouble {
        stage, relay, sent, ..
    } = trouble;
    // Not delivered is no failure of the relay: it stops in good order.
    assert!(relay.terminate().success());
    mended.store(true, Ordering::Release);
    let mut relay = stage.relay(&config(&destination.url(), ""));
    let status = relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), EVENTS);
    status.assert_balanced();
    assert!(relay.terminate().success());
    assert_in_order_once(&destination, &sent);
}
