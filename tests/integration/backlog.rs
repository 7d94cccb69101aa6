//! Destinations that are away: how long nobody notices, and what happens when they come back.
//!
//! Owns the proof that a dead destination costs disk and nothing else until the journal's limit,
//! that backpressure then reaches the senders, and that the backlog drains whole and in order.
//! `WEIR_DEAD_SECONDS` sets for how long the endpoint is dead while there is room.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::bodies::assert_identities_name_bytes;
use crate::harness::{
    Books, Choices, Relay, Stage, environment, eventually, exchange, free_address,
};

/// Room for a few segments beyond the spares, and an endpoint tried often.
const SMALL_JOURNAL: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
[admin]
listen = "@ADMIN@"
[journal]
segment_bytes = "4 MiB"
max_bytes = "@ROOM@ MiB"
[input.lines.tcp]
listen = "@TCP@"
ack = true
[input.web.http]
listen = "@HTTP@"
[stream.siem]
from = "start"
[stream.siem.retry]
delay_max = "500ms"
[stream.siem.http]
url = "http://@SINK@/ingest"
"#;

/// That configuration with room for a load of 5 MB/s over `seconds` and for the spares, in small
/// blocks that hardly compress.
fn config(seconds: u64) -> String {
    SMALL_JOURNAL.replace("@ROOM@", &(32 + 4 * seconds).to_string())
}

/// What one load has sent and had acknowledged, as its state file says.
fn books(stage: &Stage, name: &str) -> Books {
    Books::read(&stage.path(&format!("{name}.state")))
}

/// How many of the two journals say that they are full.
fn full_journals(relay: &Relay) -> usize {
    let status = relay.status();
    let journals = status.0["journals"].as_array().expect("a list of journals");
    let full = journals.iter().filter(|journal| journal["gate"] == "full");
    full.count()
}

fn assert_in_order(stage: &Stage, states: &[PathBuf]) {
    let report = stage.verify_bodies(states);
    report.assert_nothing_lost();
    assert_eq!(report.figure("out_of_order"), 0, "{}", report.0);
    assert_eq!(
        report.0["duplicated"],
        report.0["duplicated_with_known_key"]
    );
    assert_identities_name_bytes(&stage.path("bodies"));
}

#[test]
fn a_dead_receiver_is_felt_by_nobody_before_the_journals_limit_and_then_as_backpressure() {
    let mut choices = Choices::new("a_dead_receiver_is_felt_by_nobody");
    let (stage, run) = (Stage::new(), choices.run_id());
    let dead_seconds = environment("WEIR_DEAD_SECONDS").unwrap_or(8);
    let mut relay = stage.relay(&config(dead_seconds));
    let send = |name: &str, more: &str| {
        let common = format!("--duration 1h --run-id {run} --state @DIR@/{name}.state");
        stage.loadgen(name, &format!("send {common} {more}"))
    };
    let lines = send("lines", "--tcp @TCP@ --ack --connections 4 --rate 4MB");
    let web = "--http http://@HTTP@/v1/events --connections 4 --sender-base 100 --rate 1MB";
    let bodies = send("bodies", web);

    // While there is room, both kinds of senders go on as if nothing were amiss.
    let dead = Duration::from_secs(dead_seconds);
    let since = Instant::now();
    while since.elapsed() < dead {
        let before = [books(&stage, "lines"), books(&stage, "bodies")];
        std::thread::sleep(Duration::from_millis(500));
        eventually("both kinds of senders are acknowledged more", || {
            books(&stage, "lines").acked > before[0].acked
                && books(&stage, "bodies").acked > before[1].acked
        });
        assert_eq!(full_journals(&relay), 0, "{}", relay.status().0);
    }
    let status = relay.status();
    status.assert_balanced();
    assert_eq!(status.stream("siem", "delivered"), 0);
    let calm = bodies.stop();
    assert_eq!(calm.figure("bodies_retried"), 0, "{}", calm.0);

    // Then more comes than fits: the journals close their gates, and senders come to a stand.
    let flood = send(
        "flood",
        "--tcp @TCP@ --ack --connections 8 --sender-base 200",
    );
    eventually("both journals are full", || full_journals(&relay) == 2);
    let request = "POST /v1/events HTTP/1.1\r\nHost: relay\r\nContent-Length: 8\r\n\
                   Connection: close\r\n\r\n{\"a\":1}\n";
    let (code, head, body) = exchange(stage.http, request.as_bytes()).expect("an answer");
    assert_eq!(code, 429, "{head}\n{body}");
    assert!(head.to_lowercase().contains("\r\nretry-after: "), "{head}");
    let mut sent = 0;
    eventually("what senders have sent stands still", || {
        std::thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut sent, books(&stage, "flood").sent);
        sent == before && sent > 0
    });
    let full = web.replace("--sender-base 100", "--sender-base 300");
    let refused = send("refused", &full);
    relay.status().assert_balanced();

    // The endpoint comes back: everybody goes on, and all of it arrives in the order sent.
    let receiver = stage.receiver("");
    let acked = books(&stage, "flood").acked;
    eventually("senders are acknowledged again", || {
        books(&stage, "flood").acked > acked && books(&stage, "refused").acked > 0
    });
    for load in [lines, flood, refused] {
        let report = load.stop();
        let failures = report.0["failures"].as_array().map_or(0, Vec::len);
        assert_eq!(failures, 0, "{}", report.0);
    }
    relay.wait_drained("siem").assert_balanced();
    assert!(relay.terminate().success());
    drop(receiver.stop());
    let states =
        ["lines", "bodies", "flood", "refused"].map(|name| stage.path(&format!("{name}.state")));
    assert_in_order(&stage, &states);
}

#[test]
fn what_a_stopped_relay_still_had_goes_out_after_the_next_start() {
    let config = config(8).replace("[admin]", "drain_timeout = \"300ms\"\n[admin]");
    let (stage, states) = (Stage::new(), [1, 2, 3]);
    let states = states.map(|number| stage.path(&format!("load-{number}.state")));
    let run = Choices::new("what_a_stopped_relay_still_had").run_id();
    for number in 1..=3 {
        let relay = stage.relay(&config);
        let name = format!("load-{number}");
        let base = 100 * number;
        let load = format!(
            "send --tcp @TCP@ --ack --connections 4 --events 4000 --sender-base {base} \
             --run-id {run} --state @DIR@/{name}.state"
        );
        let report = stage.loadgen(&name, &load).wait();
        assert_eq!(report.figure("events_acked"), 4_000, "{}", report.0);
        let status = relay.status();
        status.assert_balanced();
        assert_eq!(status.stream("siem", "pending"), 4_000 * number);
        assert!(
            relay.terminate().success(),
            "what is left is in the journal"
        );
    }
    let receiver = stage.receiver("");
    let mut relay = stage.relay(&config);
    let status = relay.wait_drained("siem");
    assert_eq!(status.stream("siem", "delivered"), 12_000);
    assert!(relay.terminate().success());
    drop(receiver.stop());
    assert_in_order(&stage, &states);
}

#[test]
fn a_stream_gets_everything_while_the_destination_of_another_is_dead() {
    let mut choices = Choices::new("a_stream_gets_everything");
    let (mut stage, run) = (Stage::new(), choices.run_id());
    let (good, dead) = (stage.sink, free_address());
    let config = format!(
        "{}\n[stream.other]\nfrom = \"start\"\n[stream.other.retry]\n\
         delay_max = \"500ms\"\n[stream.other.http]\nurl = \"http://{dead}/ingest\"\n",
        config(8)
    );
    let config = stage.fill(&config);
    let receiver = stage.receiver("");
    // It accepts connections, and that is all it does.
    let hanging = format!("receive --listen {dead} --store @DIR@/nothing --hang-for 1h");
    let hanging = stage.loadgen("hanging", &hanging);
    let mut relay = stage.relay(&config);
    let load = format!(
        "send --tcp @TCP@ --ack --connections 4 --events 20000 --run-id {run} \
         --state @DIR@/load.state"
    );
    let report = stage.loadgen("load", &load).wait();
    assert_eq!(report.figure("events_acked"), 20_000, "{}", report.0);
    let status = relay.wait_drained("siem");
    status.assert_balanced();
    assert_eq!(status.stream("siem", "delivered"), 20_000);
    assert_eq!(status.stream("other", "delivered"), 0);
    drop(receiver.stop());
    let states = [stage.path("load.state")];
    assert_in_order(&stage, &states);

    // What hung is replaced by what works, at the same address.
    hanging.kill();
    std::fs::rename(stage.path("bodies"), stage.path("bodies-of-siem")).expect("rename a folder");
    stage.sink = dead;
    assert_ne!(stage.sink, good);
    let receiver = stage.receiver("");
    relay.wait_drained("other").assert_balanced();
    assert!(relay.terminate().success());
    drop(receiver.stop());
    assert_in_order(&stage, &states);
}
