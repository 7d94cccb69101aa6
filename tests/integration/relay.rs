//! One Weir that relays to another: bytes and provenance, and batches that are stored once whatever dies.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Choices, Relay, Stage, environment, eventually};
use crate::peers::{Client, Sender};

/// The token that the hub has for the site.
pub(crate) const TOKEN: &str = "a-token-of-site-a";

/// `Basic` authorization with the token as user.
const AUTHORIZATION: &str = "Authorization: Basic YS10b2tlbi1vZi1zaXRlLWE6\r\n";

/// The sending side; `@HUB@` is where the other listens.
const SITE: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 1
journals = 1
pin = false
[journal]
commit_interval = "1ms"
[admin]
listen = "@ADMIN@"
[input.apps.tcp]
listen = "@TCP@"
ack = true
[stream.hub]
from = "start"
batch = { bytes = "2 MiB", age = "20ms" }
retry = { delay_min = "5ms", delay_max = "40ms", probe_every = "200ms" }
[stream.hub.relay]
url = "http://@HUB@"
token = "@TOKEN@"
hostname = "site-1"
"#;

/// The receiving side, with two journals, so that what is sent again may meet another one.
pub(crate) const HUB: &str = r#"
[node]
data_dir = "@DIR@/data"
shards = 2
journals = 2
pin = false
[journal]
segment_bytes = "1088 KiB"
commit_interval = "1ms"
[admin]
listen = "@ADMIN@"
[input.sites.http]
listen = "@HTTP@"
line_bytes_max = "64 KiB"
relay.tokens = { siteA = "@TOKEN@" }
[stream.archive]
from = "start"
batch = { bytes = "1 MiB", age = "20ms" }
[stream.archive.file]
path = "@DIR@/out/events.ndjson"
[stream.labelled]
from = "start"
batch.age = "20ms"
template.shape = "logdna"
[stream.labelled.file]
path = "@DIR@/labelled/events.ndjson"
"#;

/// Two nodes.
struct Scene {
    site: Stage,
    hub: Stage,
}

impl Scene {
    fn new() -> Self {
        Self {
            site: Stage::new(),
            hub: Stage::new(),
        }
    }

    fn start_site(&self, token: &str) -> Relay {
        let hub = self.hub.http.to_string();
        self.site
            .relay(&SITE.replace("@HUB@", &hub).replace("@TOKEN@", token))
    }

    fn start_hub(&self) -> Relay {
        self.hub.relay(&HUB.replace("@TOKEN@", TOKEN))
    }

    fn lines(&self, folder: &str) -> Vec<String> {
        archived(&self.hub, folder)
    }
}

/// Lines of the files that a stream of the hub wrote, one for each journal.
pub(crate) fn archived(hub: &Stage, folder: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for journal in 0..2 {
        let path = hub.path(&format!("{folder}/events.{journal}.ndjson"));
        let text = fs::read_to_string(path).unwrap_or_default();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

fn events(first: u64, count: u64, bytes: usize) -> Vec<String> {
    let padding = "x".repeat(bytes);
    let event = |n| format!(r#"{{"n":{n}, "text":"né \u00e9 1.50e+3","pad":"{padding}"}}"#);
    (first..first + count).map(event).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

#[test]
fn events_arrive_byte_for_byte_with_where_they_come_from() {
    let scene = Scene::new();
    let mut hub = scene.start_hub();
    let mut site = scene.start_site(TOKEN);
    let sent = events(0, 3000, 300);
    let mut sender = Sender::connect(scene.site.tcp);
    sender.send(sent.join("\n") + "\n");
    sender.acked(3000);
    site.wait_drained("hub").assert_balanced();
    for stream in ["archive", "labelled"] {
        hub.wait_drained(stream).assert_balanced();
    }
    assert_eq!(sorted(scene.lines("out")), sorted(sent));
    let identity = fs::read_to_string(scene.site.path("data/node.toml")).expect("the site's id");
    for line in scene.lines("labelled") {
        let record: Value = serde_json::from_str(&line).expect("a record");
        assert_eq!(record["_host"], "site-1");
        let source = &record["_label"]["_source"];
        assert_eq!(source["token"], "siteA", "{line}");
        assert!(
            identity.contains(source["node"].as_str().expect("a node")),
            "{line}"
        );
        assert!(
            source["batch"].as_str().expect("a batch").contains("/hub/"),
            "{line}"
        );
    }
}

#[test]
fn a_wrong_token_is_refused_and_nothing_arrives() {
    let scene = Scene::new();
    let hub = scene.start_hub();
    let site = scene.start_site("another-token-of-nobody");
    let mut sender = Sender::connect(scene.site.tcp);
    sender.send("{\"n\":1}\n");
    sender.acked(1);
    eventually("the hub refuses", || {
        hub.metrics()
            .contains("weir_http_refused_total{input=\"sites\",reason=\"unauthorized\"}")
            && !hub
                .metrics()
                .contains("weir_http_refused_total{input=\"sites\",reason=\"unauthorized\"} 0")
    });
    assert_eq!(hub.status().inputs("stored"), 0);
    assert_eq!(site.status().stream("hub", "delivered"), 0);
}

/// The state a crash leaves between sync and answer: the events are durable, and the sender does not know.
#[test]
fn a_batch_whose_answer_was_lost_in_a_crash_is_not_stored_again() {
    let scene = Scene::new();
    let request = |batch: &str, body: &str| {
        format!(
            "POST /logs/selfstream?hostname=site-1 HTTP/1.1\r\nHost: hub\r\n{AUTHORIZATION}\
             Content-Type: application/x-ndjson\r\nIdempotency-Key: {batch}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let send = |batch: &str, body: &str| {
        let mut client = Client::connect(scene.hub.http);
        client.send(request(batch, body));
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let mut sent = Vec::new();
    for life in 0..5 {
        let hub = scene.start_hub();
        // Large enough for several blocks.
        let batch = events(life * 1000, 900, 1500);
        let body = batch.join("\n") + "\n";
        send(&format!("batch-{life}"), &body);
        sent.extend(batch);
        hub.kill();
        let hub = scene.start_hub();
        send(&format!("batch-{life}"), &body);
        assert_eq!(hub.status().inputs("stored"), sent.len() as u64);
        hub.kill();
    }
    let mut hub = scene.start_hub();
    hub.wait_drained("archive").assert_balanced();
    assert_eq!(sorted(scene.lines("out")), sorted(sent));
}

#[test]
fn a_receiver_that_is_killed_at_random_stores_every_event_once() {
    let kills = environment("WEIR_KILLS").unwrap_or(20);
    let mut choices = Choices::new("relay");
    let scene = Scene::new();
    let mut site = scene.start_site(TOKEN);
    let mut sender = Sender::connect(scene.site.tcp);
    let mut sent = Vec::new();
    for _ in 0..kills {
        let hub = scene.start_hub();
        for _ in 0..choices.between(1, 6) {
            let lines = events(sent.len() as u64, choices.between(1, 1500), 1500);
            sender.send(lines.join("\n") + "\n");
            sent.extend(lines);
            std::thread::sleep(Duration::from_millis(choices.between(0, 40)));
        }
        hub.kill();
    }
    let mut hub = scene.start_hub();
    sender.acked(sent.len() as u64);
    site.wait_drained("hub").assert_balanced();
    let status = hub.wait_drained("archive");
    status.assert_balanced();
    let stored = scene.lines("out");
    assert_eq!(stored.len(), sent.len(), "events stored and sent");
    assert!(
        sorted(stored) == sorted(sent),
        "other events than were sent"
    );
}
