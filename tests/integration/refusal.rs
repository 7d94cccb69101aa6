//! Destinations that refuse: one event, one batch, everything, or us. What is refused for good is
//! a dead letter, what can be helped is waited for, and nothing else is held up or lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::destination::{Destination, Reply, TAKEN, is_probe};
use crate::harness::{Relay, Stage, Status, eventually};
use crate::peers::Sender;

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
batch = { records = 100, age = "5ms" }
retry = { delay_min = "5ms", delay_max = "40ms", probe_after = "1s", probe_every = "200ms" }
[stream.siem.http]
url = "@URL@"
[stream.audit]
from = "start"
audit = "only"
batch.age = "5ms"
[stream.audit.file]
path = "@DIR@/out/audit.ndjson"
"#;

/// A relay that delivers to a destination, and a sender.
struct Refused {
    stage: Stage,
    relay: Relay,
    sender: Sender,
    sent: Vec<String>,
}

impl Refused {
    fn begin(destination: &Destination) -> Self {
        let stage = Stage::new();
        let relay = stage.relay(&CONFIG.replace("@URL@", &destination.url()));
        Self {
            sender: Sender::connect(stage.tcp),
            stage,
            relay,
            sent: Vec::new(),
        }
    }

    /// Sends events that are told apart by their number; some are poison.
    fn send(&mut self, events: u64, is_poison: impl Fn(u64) -> bool) {
        let first = self.sent.len() as u64;
        for number in first..first + events {
            let kind = if is_poison(number) { "poison" } else { "good" };
            self.sent
                .push(format!("{{\"n\":{number},\"kind\":\"{kind}\"}}"));
        }
        let lines = self.sent[usize::try_from(first).expect("small")..].join("\n");
        self.sender.send(lines + "\n");
        let told = self.sender.acked(self.sent.len() as u64);
        assert_eq!(told.rejected_total, 0);
    }

    fn becomes(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.relay.status();
        eventually(what, || {
            status = self.relay.status();
            is_so(&status)
        });
        status
    }

    /// Ends the relay; gives the lines of its dead letters and its audit events.
    fn end(self) -> (Vec<String>, Vec<Value>) {
        self.becomes("all audit events are written", |status| {
            status.stream("audit", "pending") == 0
        });
        self.relay.status().assert_balanced();
        assert!(self.relay.terminate().success());
        (letters(&self.stage), audited(&self.stage))
    }
}

/// The events that are dead letters of the stream `siem`.
pub(crate) fn letters(stage: &Stage) -> Vec<String> {
    let letters = std::fs::read_to_string(stage.path("data/dead-letters/siem.letters"));
    let letters = letters.unwrap_or_default();
    letters.lines().map(letter_line).collect()
}

/// The audit events that a stream wrote into the file `out/audit.ndjson`.
pub(crate) fn audited(stage: &Stage) -> Vec<Value> {
    let audit = std::fs::read_to_string(stage.path("out/audit.internal.ndjson"));
    let audit = audit.unwrap_or_default();
    let events = audit.lines();
    let events = events.map(|line| serde_json::from_str(line).expect("audit events are JSON"));
    events.collect()
}

fn activity(status: &Status) -> &str {
    let streams = status.0["streams"].as_array().expect("a list of streams");
    let siem = streams.iter().find(|stream| stream["name"] == "siem");
    let lane = &siem.expect("the stream")["lanes"][0];
    lane["activity"].as_str().expect("an activity")
}

/// Reasons of the audit events of an action.
pub(crate) fn reasons(audit: &[Value], action: &str) -> Vec<String> {
    let of_action = audit.iter().filter(|event| event["action"] == action);
    of_action
        .map(|event| {
            event["reason"]["reasonType"]
                .as_str()
                .expect("a reason")
                .to_owned()
        })
        .collect()
}

/// Events that were taken, in the order they arrived.
fn arrived(destination: &Destination) -> Vec<String> {
    let requests = destination.requests();
    let taken = requests.iter().filter(|request| request.taken());
    taken.flat_map(|request| request.events.clone()).collect()
}

#[test]
fn poison_among_good_events_ends_in_the_dead_letters_and_all_others_arrive_in_order() {
    let destination = Destination::listen(|events| {
        if events.iter().any(|event| event.contains("poison")) {
            Reply::Status(403, "")
        } else {
            TAKEN
        }
    });
    let mut refused = Refused::begin(&destination);
    refused.send(300, |number| [0, 37, 38, 150, 299].contains(&number));
    let status = refused.relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), 295);
    assert_eq!(status.stream("siem", "dead_lettered"), 5);
    let (poison, good): (Vec<_>, Vec<_>) = refused
        .sent
        .iter()
        .cloned()
        .partition(|event| event.contains("poison"));
    let (letters, audit) = refused.end();
    assert_eq!(letters, poison);
    assert_eq!(arrived(&destination), good);
    let told = reasons(&audit, "weir.event.dead-letter");
    assert!(!told.is_empty() && told.iter().all(|reason| reason == "http_4xx"));
    assert_eq!(reasons(&audit, "weir.stream.park"), [""; 0]);
}

#[test]
fn a_destination_that_refuses_us_parks_the_stream_until_a_probe_is_taken() {
    let allowed = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&allowed);
    let destination = Destination::listen(move |_| {
        if answer.load(Ordering::Acquire) {
            TAKEN
        } else {
            Reply::Status(401, "")
        }
    });
    let mut refused = Refused::begin(&destination);
    refused.send(250, |_| false);
    let status = refused.becomes("the stream is parked", |status| {
        activity(status) == "parked"
    });
    assert_eq!(status.stream("siem", "pending"), 250);
    assert_eq!(status.stream("siem", "dead_lettered"), 0);
    // While it is parked, nothing but probes goes out.
    let before = destination.requests_and_probes().len();
    eventually("two more probes", || {
        destination.requests_and_probes().len() >= before + 2
    });
    let later = destination.requests_and_probes();
    assert!(
        later[before..]
            .iter()
            .all(|request| is_probe(&request.events))
    );
    allowed.store(true, Ordering::Release);
    let status = refused.relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), 250);
    let sent = refused.sent.clone();
    let (letters, audit) = refused.end();
    assert_eq!(letters, [""; 0]);
    assert_eq!(arrived(&destination), sent);
    assert_eq!(reasons(&audit, "weir.stream.park"), ["http_4xx"]);
    // A success has no other word; why it was parked stands in the details.
    assert_eq!(reasons(&audit, "weir.stream.resume"), ["OK"]);
}

#[test]
fn a_destination_that_takes_probes_and_no_event_parks_the_stream_after_a_few_letters() {
    let broken = Arc::new(AtomicBool::new(true));
    let answer = Arc::clone(&broken);
    let destination = Destination::listen(move |events| {
        if is_probe(events) || !answer.load(Ordering::Acquire) {
            TAKEN
        } else {
            Reply::Status(400, "")
        }
    });
    let mut refused = Refused::begin(&destination);
    refused.send(400, |_| false);
    let status = refused.becomes("the stream is parked", |status| {
        activity(status) == "parked"
    });
    let letters_held = status.stream("siem", "dead_lettered");
    assert!((1..=16).contains(&letters_held), "{letters_held}");
    broken.store(false, Ordering::Release);
    let status = refused.relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), 400 - letters_held);
    assert_eq!(status.stream("siem", "dead_lettered"), letters_held);
    let sent = refused.sent.clone();
    let (letters, audit) = refused.end();
    let held = usize::try_from(letters_held).expect("few");
    assert_eq!(letters, sent[..held]);
    assert_eq!(arrived(&destination), sent[held..]);
    assert_eq!(reasons(&audit, "weir.stream.park"), ["refuses_everything"]);
}

#[test]
fn an_event_that_is_too_large_alone_is_a_dead_letter_and_can_be_sent_again_later() {
    let mended = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&mended);
    let destination = Destination::listen(move |events| {
        let is_large = events.iter().any(|event| event.contains("poison"));
        if is_large && !answer.load(Ordering::Acquire) {
            Reply::Status(413, "")
        } else {
            TAKEN
        }
    });
    let mut refused = Refused::begin(&destination);
    refused.send(60, |number| number == 20 || number == 40);
    let status = refused.relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), 58);
    assert_eq!(status.stream("siem", "dead_lettered"), 2);
    let redrive = |expected: u16| {
        let body = "{\"all\":true}";
        let request = format!(
            "POST /v1/streams/siem/dead-letters/redrive HTTP/1.1\r\nHost: weir\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = crate::harness::exchange(refused.stage.admin, request.as_bytes());
        let (status, _, body) = answer.expect("an answer");
        assert_eq!(status, expected, "{body}");
        body
    };
    assert!(redrive(409).contains("0 of 2 dead letters were taken"));
    mended.store(true, Ordering::Release);
    assert!(redrive(200).contains("2"));
    let sent = refused.sent.clone();
    let (letters, audit) = refused.end();
    assert_eq!(letters, [""; 0]);
    assert_eq!(reasons(&audit, "weir.dead-letter.redrive").len(), 2);
    let mut arrived = arrived(&destination);
    arrived.sort_unstable();
    let mut sent = sent;
    sent.sort_unstable();
    assert_eq!(arrived, sent);
}

#[test]
fn an_event_that_breaks_the_destination_is_found_once_all_else_was_tried_for_long() {
    let destination = Destination::listen(|events| {
        if events.iter().any(|event| event.contains("poison")) {
            Reply::Status(500, "")
        } else {
            TAKEN
        }
    });
    let mut refused = Refused::begin(&destination);
    refused.send(120, |number| number == 60);
    let status = refused.relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), 119);
    assert_eq!(status.stream("siem", "dead_lettered"), 1);
    let sent = refused.sent.clone();
    let (letters, _) = refused.end();
    assert_eq!(letters, sent[60..61]);
    assert_eq!(arrived(&destination).len(), 119);
}

/// The event that a line of the file of dead letters holds.
fn letter_line(letter: &str) -> String {
    let letter: Value = serde_json::from_str(letter).expect("a letter is JSON");
    letter["line"].as_str().expect("its line").to_owned()
}
