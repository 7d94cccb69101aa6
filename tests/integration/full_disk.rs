//! A disk that fills and is freed again, under load: what is given up, what waits, what goes on.
//!
//! Owns the proof that a full disk costs no acknowledged event of a stream that blocks, is felt by
//! senders as backpressure, discards only what its streams may lose, and ends by itself. The disk
//! is a tmpfs of 64 MiB, which takes root to mount: without, the test says so and passes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Books, Choices, Loadgen, Relay, Stage, eventually, exchange, free_address};
use crate::scene::sample_of;

/// How often the disk fills.
const CYCLES: u64 = 5;

/// The journals' own limit leaves a little of the disk, of which the internal journal has 24 MiB.
/// Three streams: one that blocks and whose endpoint comes and goes, one that may lose its oldest
/// events and whose endpoint is never there, and one that always delivers.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/disk/data"
shards = 2
journals = 2
[admin]
listen = "@ADMIN@"
[journal]
segment_bytes = "2 MiB"
spares = 1
max_bytes = "28 MiB"
min_free_bytes = "8 MiB"
[input.lines.tcp]
listen = "@TCP@"
ack = true
[input.web.http]
listen = "@HTTP@"
[stream.siem]
from = "start"
retry.delay_max = "300ms"
[stream.siem.http]
url = "http://@SINK@/ingest"
[stream.fresh]
from = "start"
when_full = "discard_oldest"
retry.delay_max = "300ms"
[stream.fresh.http]
url = "http://@NOBODY@/ingest"
[stream.archive]
from = "start"
batch.age = "5ms"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
[stream.auditor]
from = "start"
audit = "only"
batch.age = "5ms"
[stream.auditor.file]
path = "@DIR@/out/audit.ndjson"
"#;

/// A file system in memory, mounted as long as this lives.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`, with a word about it, where mounting is not allowed.
    fn mount(at: PathBuf, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(&at).expect("make the mount point");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
        let mounted = mount.arg(&at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at)),
            refused => {
                eprintln!("SKIPPED: this test mounts a tmpfs, which takes root: {refused:?}");
                None
            }
        }
    }

    /// Another program's file of so many megabytes, or as many as there is room for.
    fn ballast(&self, megabytes: usize) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("make the ballast");
        let piece = vec![1; 1 << 20];
        for _ in 0..megabytes {
            if file.write_all(&piece).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // A relay that a failed test left behind holds it: it goes with that one.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        drop(unmounted);
    }
}

fn gates(relay: &Relay, state: &str) -> usize {
    let status = relay.status();
    let journals = status.0["journals"].as_array().expect("a list of journals");
    let found = journals.iter().filter(|journal| journal["gate"] == state);
    found.count()
}

fn books(stage: &Stage, name: &str) -> Books {
    Books::read(&stage.path(&format!("{name}.state")))
}

/// Both journals are full: HTTP says so, TCP is not read, and a stream that delivers has
/// delivered all there is.
fn assert_full(stage: &Stage, relay: &Relay) {
    eventually("both journals are full", || gates(relay, "full") == 2);
    let request = "POST /v1/events HTTP/1.1\r\nHost: relay\r\nContent-Length: 8\r\n\
                   Connection: close\r\n\r\n{\"a\":1}\n";
    let (code, head, body) = exchange(stage.http, request.as_bytes()).expect("an answer");
    assert_eq!(code, 429, "{head}\n{body}");
    assert!(head.to_lowercase().contains("\r\nretry-after: "), "{head}");
    let mut sent = 0;
    eventually("what senders have sent stands still", || {
        std::thread::sleep(Duration::from_millis(300));
        let before = std::mem::replace(&mut sent, books(stage, "lines").sent);
        sent == before && sent > 0
    });
    eventually("the stream that delivers has all", || {
        relay.status().stream("archive", "pending") == 0
    });
    let status = relay.status();
    status.assert_balanced();
    for (stream, reason) in [("siem", "journal_full"), ("archive", "journal_full")] {
        assert_eq!(discarded(relay, stream, reason), 0, "of stream {stream}");
    }
}

fn discarded(relay: &Relay, stream: &str, reason: &str) -> u64 {
    let sample =
        format!("weir_stream_discarded_events_total{{stream=\"{stream}\",reason=\"{reason}\"}}");
    sample_of(&relay.metrics(), &sample)
}

fn assert_acknowledged_again(stage: &Stage) {
    let before = [books(stage, "lines").acked, books(stage, "web").acked];
    eventually("senders of both kinds are acknowledged again", || {
        books(stage, "lines").acked > before[0] && books(stage, "web").acked > before[1]
    });
}

fn start_load(stage: &Stage, run: &str) -> [Loadgen; 2] {
    let common = format!("--duration 1h --run-id {run}");
    let lines = format!(
        "send {common} --tcp @TCP@ --ack --connections 4 --rate 40MB --state @DIR@/lines.state"
    );
    let web = format!(
        "send {common} --http http://@HTTP@/v1/events --connections 2 --rate 1MB \
         --sender-base 100 --state @DIR@/web.state"
    );
    [stage.loadgen("lines", &lines), stage.loadgen("web", &web)]
}

/// The audit events that were delivered so far, of one action.
fn audited(stage: &Stage, action: &str) -> Vec<Value> {
    let text = fs::read_to_string(stage.path("out/audit.internal.ndjson")).unwrap_or_default();
    // A line without its end is still being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let events = whole
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an audit event is JSON"));
    events.filter(|event| event["action"] == action).collect()
}

/// How many events of a stream audit events say were discarded.
fn audited_discards(stage: &Stage, stream: &str) -> u64 {
    let events = audited(stage, "weir.event.discard");
    let of_stream = events
        .iter()
        .filter(|event| event["target"]["name"] == stream);
    of_stream
        .map(|event| event["requestData"]["events"].as_u64().expect("a number"))
        .sum()
}

#[test]
fn a_disk_filled_and_freed_under_load_loses_nothing_of_who_blocks_and_resumes_by_itself() {
    let (stage, nobody) = (Stage::new(), free_address());
    let run = Choices::new("a_disk_filled_and_freed").run_id();
    let Some(disk) = Tmpfs::mount(stage.path("disk"), 64) else {
        return;
    };
    let config = CONFIG.replace("@NOBODY@", &nobody.to_string());
    let mut relay = stage.relay(&config);
    let load = start_load(&stage, &run);
    for cycle in 1..=CYCLES {
        // With the endpoint away the journals fill, in odd cycles up to their own limit, in even
        // ones because another program takes the rest of the disk.
        let ballast = (cycle % 2 == 0).then(|| disk.ballast(20));
        assert_full(&stage, &relay);
        if let Some(ballast) = ballast {
            // The room comes back, and that is enough.
            fs::remove_file(ballast).expect("remove the ballast");
            if sample_of(&relay.metrics(), "weir_keeper_bytes") < (24 << 20) {
                assert_acknowledged_again(&stage);
                assert_full(&stage, &relay);
            }
        }
        // The endpoint comes back: the stream that blocks lets go, the other discards.
        let before = discarded(&relay, "fresh", "journal_full");
        let receiver = stage.receiver("");
        assert_acknowledged_again(&stage);
        eventually("the stream that may lose events has lost some", || {
            discarded(&relay, "fresh", "journal_full") > before
        });
        relay.ensure_running();
        relay.status().assert_balanced();
        drop(receiver.stop());
    }
    let receiver = stage.receiver("");
    for load in load {
        let report = load.stop();
        let failures = report.0["failures"].as_array().map_or(0, Vec::len);
        assert_eq!(failures, 0, "{}", report.0);
    }
    relay.wait_drained("archive").assert_balanced();
    relay.wait_drained("siem").assert_balanced();
    let metrics = relay.metrics();
    assert_eq!(sample_of(&metrics, "weir_internal_failed_records_total"), 0);
    assert_told(&stage, &relay);
    assert!(relay.terminate().success());
    drop(receiver.stop());
    let states = ["lines", "web"].map(|name| stage.path(&format!("{name}.state")));
    let endpoint = stage.verify_bodies(&states);
    endpoint.assert_nothing_lost();
    let files = stage.verify("--files @DIR@/out/events.*.ndjson", &states);
    files.assert_nothing_lost();
    // The endpoint's bodies of several lives are not told apart by time; the files are.
    for name in ["duplicated", "out_of_order"] {
        assert_eq!(files.figure(name), 0, "{}", files.0);
    }
    drop(disk);
}

/// Every event that was discarded is in an audit event, and warnings name who holds the journal.
fn assert_told(stage: &Stage, relay: &Relay) {
    let lost = discarded(relay, "fresh", "journal_full");
    eventually("audit events tell of every discard", || {
        audited_discards(stage, "fresh") >= lost
    });
    assert_eq!(audited_discards(stage, "fresh"), lost);
    for stream in ["siem", "archive"] {
        assert_eq!(audited_discards(stage, stream), 0, "of stream {stream}");
    }
    for level in ["above_70", "above_85", "above_95"] {
        eventually(&format!("an audit event says {level}"), || {
            let warnings = audited(stage, "weir.room.notify");
            let mut warnings = warnings.iter();
            warnings.any(|event| {
                let holder = &event["target"]["name"];
                event["requestData"]["notificationType"] == level
                    && (holder == "siem" || holder == "fresh")
            })
        });
    }
}
