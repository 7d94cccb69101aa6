//! Relays that die: SIGKILL at random moments under load, and ends in good order.
//!
//! Owns the proof that an acknowledged event survives the process, that what is sent again carries
//! the identity of its first try, and that the books balance in every life. `WEIR_KILLS` sets how
//! often each relay is killed, `WEIR_SEED` the moments.

use std::path::PathBuf;
use std::time::Duration;

use crate::bodies::assert_identities_name_bytes;
use crate::harness::{Choices, Loadgen, Relay, Report, Stage, environment};

/// A small journal whose segments roll, both inputs, an endpoint and a file.
const CONFIG: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
io_uring = @IO_URING@
[admin]
listen = "@ADMIN@"
[journal]
segment_bytes = "4 MiB"
direct_io = @DIRECT_IO@
[input.lines.tcp]
listen = "@TCP@"
ack = true
[input.web.http]
listen = "@HTTP@"
[stream.siem]
from = "start"
[stream.siem.batch]
bytes = "1 MiB"
age = "100ms"
[stream.siem.http]
url = "http://@SINK@/ingest"
[stream.archive]
from = "start"
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
"#;

/// Connections of each kind; senders of one round are numbered apart from those of the next.
const CONNECTIONS: u64 = 6;
/// HTTP senders are numbered from here.
const HTTP_BASE: u64 = 25_000;

fn config(io_uring: bool, direct_io: bool) -> String {
    CONFIG
        .replace("@IO_URING@", &io_uring.to_string())
        .replace("@DIRECT_IO@", &direct_io.to_string())
}

/// Senders over TCP and HTTP that go on until they are stopped or their connections break.
struct Senders {
    lines: Loadgen,
    bodies: Loadgen,
}

impl Senders {
    /// Starts those of round `round` and notes where their books are.
    fn start(stage: &Stage, run: &str, round: u64, more: &str, books: &mut Vec<PathBuf>) -> Self {
        let mut start = |kind: &str, target: &str, base: u64| {
            let name = format!("{kind}-{round}");
            books.push(stage.path(&format!("{name}.state")));
            let base = base + round * CONNECTIONS;
            let arguments = format!(
                "send {target} --connections {CONNECTIONS} --sender-base {base} --run-id {run} \
                 --duration 1h --state @DIR@/{name}.state {more}"
            );
            stage.loadgen(&name, &arguments)
        };
        Self {
            lines: start("lines", "--tcp @TCP@ --ack --rate 6MB", 0),
            bodies: start(
                "bodies",
                "--http http://@HTTP@/v1/events --body-events 40 --rate 3MB",
                HTTP_BASE,
            ),
        }
    }

    /// Fails when one of them has given up.
    fn ensure_running(&mut self) {
        self.lines.ensure_running();
        self.bodies.ensure_running();
    }

    /// Ends them in good order; what they sent again, in events.
    fn stop(self) -> u64 {
        let resent = |report: Report| {
            let failures = report.0["failures"].as_array().map_or(0, Vec::len);
            assert_eq!(failures, 0, "{}", report.0);
            report.figure("events_resent")
        };
        resent(self.lines.stop()) + resent(self.bodies.stop())
    }

    /// Waits until all their connections are broken.
    fn wait_broken(self) {
        for report in [self.lines.wait(), self.bodies.wait()] {
            assert_eq!(report.figure("events_resent"), 0, "{}", report.0);
        }
    }
}

/// What arrived in the end, by both ways.
struct Arrived {
    endpoint: Report,
    files: Report,
    /// Events the relay says it has stored, over all its lives.
    stored: u64,
}

/// Lets the backlog drain, ends relay and endpoint and judges both destinations.
fn settle(stage: &Stage, mut relay: Relay, receiver: Loadgen, books: &[PathBuf]) -> Arrived {
    relay.wait_drained("siem");
    let status = relay.wait_drained("archive");
    status.assert_balanced();
    assert!(relay.terminate().success(), "SIGTERM after a drain");
    let heard = receiver.stop();
    assert_eq!(heard.figure("undecodable"), 0, "{}", heard.0);
    let endpoint = stage.verify_bodies(books);
    let files = stage.verify("--files @DIR@/out/events.*.ndjson", books);
    endpoint.assert_nothing_lost();
    files.assert_nothing_lost();
    assert!(endpoint.figure("events_acked") > 0, "{}", endpoint.0);
    Arrived {
        endpoint,
        files,
        stored: status.inputs("stored"),
    }
}

/// Kills the relay `kills` times under senders that come back and send again what they have no
/// acknowledgement for.
fn kill_under_patient_senders(test: &str, config: &str, kills: u64) {
    let mut choices = Choices::new(test);
    let (stage, run) = (Stage::new(), choices.run_id());
    let receiver = stage.receiver("");
    let mut books = Vec::new();
    let mut relay = stage.relay(config);
    let mut senders = Senders::start(&stage, &run, 0, "--reconnect", &mut books);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(choices.between(1, 900)));
        relay.status().assert_balanced();
        relay.kill();
        if choices.between(1, 4) == 1 {
            // A relay may die again before it has come up.
            let early = stage.spawn(config);
            std::thread::sleep(Duration::from_millis(choices.between(0, 60)));
            early.kill();
        }
        relay = stage.relay(config);
        relay.status().assert_balanced();
        senders.ensure_running();
    }
    let resent = senders.stop();
    let arrived = settle(&stage, relay, receiver, &books);
    // What a sender sends again because its acknowledgement died on the way is stored twice, and
    // is no re-send of the relay's: each such copy has a batch of its own.
    for report in [&arrived.endpoint, &arrived.files] {
        let new = report.figure("duplicated") - report.figure("duplicated_with_known_key");
        assert!(new <= resent, "{new} > {resent}: {}", report.0);
    }
    let again = assert_identities_name_bytes(&stage.path("bodies"));
    eprintln!("{test}: {again} bodies came again, senders sent {resent} events again");
}

fn kills() -> u64 {
    environment("WEIR_KILLS").unwrap_or(20)
}

#[test]
fn every_acknowledged_event_survives_sigkill() {
    let test = "every_acknowledged_event_survives_sigkill";
    kill_under_patient_senders(test, &config(true, true), kills());
}

#[test]
fn every_acknowledged_event_survives_sigkill_without_io_uring() {
    let test = "every_acknowledged_event_survives_sigkill_without_io_uring";
    kill_under_patient_senders(test, &config(false, true), kills().div_ceil(4));
}

#[test]
fn every_acknowledged_event_survives_sigkill_without_direct_io() {
    let test = "every_acknowledged_event_survives_sigkill_without_direct_io";
    kill_under_patient_senders(test, &config(true, false), kills().div_ceil(4));
}

/// No sender sends anything twice here, so that every copy is the relay's own.
#[test]
fn what_the_relay_sends_again_carries_the_identity_of_its_first_try() {
    let test = "what_the_relay_sends_again_carries_the_identity_of_its_first_try";
    let mut choices = Choices::new(test);
    let (stage, run, config) = (Stage::new(), choices.run_id(), config(true, true));
    let receiver = stage.receiver("");
    let mut books = Vec::new();
    let mut relay = stage.relay(&config);
    for round in 0..kills() {
        let senders = Senders::start(&stage, &run, round, "", &mut books);
        std::thread::sleep(Duration::from_millis(choices.between(150, 900)));
        relay.kill();
        senders.wait_broken();
        relay = stage.relay(&config);
        relay.status().assert_balanced();
    }
    let arrived = settle(&stage, relay, receiver, &books);
    let (endpoint, files) = (&arrived.endpoint, &arrived.files);
    assert_eq!(
        endpoint.0["duplicated"],
        endpoint.0["duplicated_with_known_key"]
    );
    assert_eq!(endpoint.figure("out_of_order"), 0, "{}", endpoint.0);
    // A file is cut to what the cursor knows of it: no copies at all.
    assert_eq!(files.figure("duplicated"), 0, "{}", files.0);
    assert_eq!(files.figure("out_of_order"), 0, "{}", files.0);
    // The books of all lives together name what lies in the file, and in the endpoint's store.
    assert_eq!(files.figure("events_received"), arrived.stored);
    assert_eq!(endpoint.figure("events_received"), arrived.stored);
    let again = assert_identities_name_bytes(&stage.path("bodies"));
    let events = endpoint.figure("duplicated");
    eprintln!("{test}: {again} bodies of {events} events came again");
}

#[test]
fn an_end_in_good_order_under_load_repeats_and_loses_nothing() {
    let mut choices = Choices::new("an_end_in_good_order_under_load_repeats_and_loses_nothing");
    let (stage, run, config) = (Stage::new(), choices.run_id(), config(true, true));
    let receiver = stage.receiver("");
    let mut books = Vec::new();
    for round in 0..10 {
        let relay = stage.relay(&config);
        relay.status().assert_balanced();
        let senders = Senders::start(&stage, &run, round, "", &mut books);
        std::thread::sleep(Duration::from_millis(500));
        let status = relay.terminate();
        assert!(status.success(), "{status} in round {round}");
        senders.wait_broken();
    }
    let arrived = settle(&stage, stage.relay(&config), receiver, &books);
    for report in [&arrived.endpoint, &arrived.files] {
        for name in ["duplicated", "out_of_order"] {
            assert_eq!(report.figure(name), 0, "{name} in {}", report.0);
        }
        assert_eq!(report.figure("events_received"), arrived.stored);
    }
}
