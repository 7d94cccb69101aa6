//! Audit events: what the relay did, refused or lost reaches a stream that asks for it, adds up
//! with the books, and survives the relay.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use serde_json::Value;

use crate::bad_input::malformed_lines;
use crate::harness::{Relay, Stage, eventually};
use crate::peers::{Client, Sender};

/// Two streams that want audit events: one beside all others, one alone.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
pin = false
drain_timeout = "10s"
[journal]
segment_bytes = "4 MiB"
spares = 1
max_bytes = "256 MiB"
min_free_bytes = 0
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
line_bytes_max = "1 KiB"
[input.web.http]
listen = "@HTTP@"
[stream.all]
from = "start"
audit = "with"
batch.age = "5ms"
[stream.all.file]
path = "@DIR@/out/events.ndjson"
[stream.auditor]
from = "start"
audit = "only"
batch.age = "5ms"
[stream.auditor.file]
path = "@DIR@/out/audit.ndjson"
"#;

/// The audit events in a stream's file so far.
fn audit_events(stage: &Stage, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(stage.path("out").join(file)).unwrap_or_default();
    // A line without its end is still being written.
    let whole = text
        .rfind('\n')
        .map_or("", |end| text.get(..end).unwrap_or(""));
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn actions(events: &[Value]) -> Vec<&str> {
    let all = events.iter().map(|event| &event["action"]);
    all.map(|action| action.as_str().expect("an action"))
        .collect()
}

/// Lines that events of rejects tell of, by input and reason.
fn rejects_told(events: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut told = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event["action"] == "weir.line.reject")
    {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let key = (
            text(&event["target"]["name"]),
            text(&event["reason"]["reasonType"]),
        );
        let data = &event["requestData"];
        let lines = data["events"].as_u64().expect("a number");
        *told.entry(key).or_default() += lines;
        let peers = data["peers"].as_array().expect("a list of peers");
        assert_eq!(peers.len(), 1, "{event}");
        assert_eq!(peers[0]["address"], "127.0.0.1", "{event}");
        assert_eq!(peers[0]["events"], lines, "{event}");
    }
    told
}

/// Lines the ledger says were rejected, by input and reason.
fn rejects_counted(relay: &Relay) -> BTreeMap<(String, String), u64> {
    let status = relay.status();
    let mut counted = BTreeMap::new();
    for input in status.0["inputs"].as_array().expect("a list of inputs") {
        let name = input["name"].as_str().expect("a name");
        for (reason, count) in input["rejected"].as_object().expect("counts by reason") {
            let count = count.as_u64().expect("a number");
            if count > 0 {
                counted.insert((name.to_owned(), reason.clone()), count);
            }
        }
    }
    counted
}

/// Lines that are no event, one of each kind; how many.
fn send_bad_lines(sender: &mut Sender) -> u64 {
    let bad = malformed_lines();
    for (line, _) in &bad {
        let mut line = line.clone();
        line.push(b'\n');
        sender.send(&line);
    }
    sender.send(format!("{{\"long\":\"{}\"}}\n", "x".repeat(2_000)));
    bad.len() as u64 + 1
}

#[test]
fn audit_events_reach_the_streams_that_want_them_and_add_up_with_the_ledger() {
    let stage = Stage::new();
    let relay = stage.relay(CONFIG);
    let mut sender = Sender::connect(stage.tcp);
    let mut lines = 0;
    for _round in 0..3 {
        sender.send("{\"good\":1}\n");
        lines += 1 + send_bad_lines(&mut sender);
        // Each round is a block of its own, and all but the first are summed in a window.
        sender.acked(lines);
    }
    let answer = Client::connect(stage.http).post("", b"{\"good\":2}\nno event\n");
    assert_eq!(answer.body["rejected_total"], 1);
    let records = 3 * malformed_lines().len() as u64 + 3 + 1;
    eventually("all rejects are settled", || {
        let counted: u64 = rejects_counted(&relay).values().sum();
        counted == records
    });
    let counted = rejects_counted(&relay);
    eventually("reject records are passed over", || {
        relay.status().stream("auditor", "filtered") == records
    });
    relay.status().assert_balanced();
    assert!(relay.terminate().success(), "SIGTERM");

    let told = audit_events(&stage, "audit.internal.ndjson");
    assert_eq!(rejects_told(&told), counted);
    for event in &told {
        assert_eq!(event["observer"]["name"], "ActivityTracker", "{event}");
        let message = event["message"].as_str().expect("text");
        assert_eq!(
            message.ends_with(" -failure"),
            event["outcome"] == "failure",
            "{event}"
        );
    }
    let done = actions(&told);
    assert_eq!(done[0], "weir.node.start");
    assert_eq!(done[done.len() - 1], "weir.node.stop");
    assert!(done.contains(&"weir.journal-head.publish"), "{done:?}");

    let relay = stage.relay(CONFIG);
    eventually("the second start is told", || {
        let told = audit_events(&stage, "audit.internal.ndjson");
        actions(&told[done.len()..]).contains(&"weir.node.start")
    });
    relay.status().assert_balanced();
    assert!(relay.terminate().success(), "SIGTERM");
    let told = audit_events(&stage, "audit.internal.ndjson");
    let lives: Vec<_> = actions(&told)
        .into_iter()
        .filter(|action| action.starts_with("weir.node."))
        .collect();
    let life = ["weir.node.start", "weir.node.stop"];
    assert_eq!(lives, [life, life].concat());
    assert_eq!(
        rejects_told(&told),
        counted,
        "the second life refused nothing"
    );
    assert_eq!(audit_events(&stage, "events.internal.ndjson"), told);
    // What is not for a SIEM did not leave, and the events of inputs are where they were.
    let others = ["events.0.ndjson", "events.1.ndjson"];
    let others = others.map(|file| audit_events(&stage, file).len());
    assert_eq!(others.iter().sum::<usize>(), 4);
}

#[test]
fn rejects_that_were_acknowledged_survive_sigkill() {
    let stage = Stage::new();
    let relay = stage.relay(CONFIG);
    let mut sender = Sender::connect(stage.tcp);
    let first = send_bad_lines(&mut sender);
    sender.acked(first);
    let second = send_bad_lines(&mut sender);
    sender.acked(first + second);
    relay.kill();

    let relay = stage.relay(CONFIG);
    // Each acknowledged line has its record, whatever of the window's sum was lost.
    eventually("the records of both lives are passed over", || {
        relay.status().stream("auditor", "filtered") == first + second
    });
    relay.status().assert_balanced();
    assert!(relay.terminate().success(), "SIGTERM");
    let told = audit_events(&stage, "audit.internal.ndjson");
    let lives: Vec<_> = actions(&told)
        .into_iter()
        .filter(|action| action.starts_with("weir.node."))
        .collect();
    let start = "weir.node.start";
    assert_eq!(lives, [start, start, "weir.node.stop"]);
}

/// Flips a byte in the first block of every segment; gives their number.
fn spoil_first_blocks(stage: &Stage) -> usize {
    let mut spoiled = 0;
    for journal in ["0", "1"] {
        let dir = stage.path("data/journal").join(journal);
        for entry in fs::read_dir(dir).expect("read the journal's directory") {
            let path = entry.expect("read the journal's directory").path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                let file = File::options().read(true).write(true).open(&path);
                let file = file.expect("open the segment");
                // Behind the page of the header, within the block.
                let (position, mut byte) = (4096 + 1_000, [0]);
                file.read_exact_at(&mut byte, position).expect("read it");
                file.write_all_at(&[byte[0] ^ 1], position)
                    .expect("write it");
                spoiled += 1;
            }
        }
    }
    spoiled
}

#[test]
fn damage_that_a_stream_meets_while_the_relay_runs_is_told() {
    let stage = Stage::new();
    let relay = stage.relay(CONFIG);
    let mut sender = Sender::connect(stage.tcp);
    let lines: String = (0..1_000)
        .map(|number| format!("{{\"good\":{number}}}\n"))
        .collect();
    sender.send(&lines);
    sender.acked(1_000);
    relay.status().assert_balanced();
    assert!(relay.terminate().success(), "SIGTERM");
    assert_eq!(spoil_first_blocks(&stage), 1);

    // A start believes the trailer of a sealed segment; who reads it first finds the damage.
    let late =
        "[stream.late]\nfrom = \"start\"\n[stream.late.file]\npath = \"@DIR@/out/late.ndjson\"\n";
    let relay = stage.relay(&format!("{CONFIG}{late}"));
    eventually("quarantine and loss are told", || {
        let told = audit_events(&stage, "audit.internal.ndjson");
        let done = actions(&told);
        done.contains(&"weir.block.quarantine") && done.contains(&"weir.event.discard")
    });
    relay.status().assert_balanced();
    assert!(relay.terminate().success(), "SIGTERM");
    let told = audit_events(&stage, "audit.internal.ndjson");
    let of = |action: &str| {
        told.iter()
            .filter(|event| event["action"] == action)
            .count()
    };
    assert_eq!(of("weir.block.quarantine"), 1);
    assert_eq!(of("weir.event.discard"), 1);
}
